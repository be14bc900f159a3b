"""What lies in the work bucket while a picture is painted: a small preview, and a checkpoint to go on from."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from stylequeue.contract.errors import CannotServe, Code, Permanent, Unavailable
from stylequeue.contract.objects import checkpoint_key, preview_key
from stylequeue.settings import Settings
from stylequeue.store import ObjectInfo, Origin, Store, heeding

from ..engine import Checkpoint, Step
from ..pictures import images
from . import checkpoints
from .lease import Every, Holder, stop_requested

log = logging.getLogger(__name__)

PREVIEW_PX = 256
"""Longest side."""
PREVIEW_QUALITY = 70
MAX_SHARE = 0.02
"""Of the wall time, for checkpoints and for previews."""
_LOOK_S = 0.5
"""Between two looks whether the worker is to stop."""


class Workbench:
    """Keeps preview and checkpoint of one job up to date, each in a thread of its own, while the `with` block runs.

    Where the worker is told to stop, what there is is saved at once: the step that is being made may take longer than
    the worker has.

    `fingerprint` says what is painted: a checkpoint of anything else is not resumed.
    """

    def __init__(self, store: Store, settings: Settings, holder: Holder, fingerprint: str) -> None:
        self.newest: Step | None = None
        self._shown: Step | None = None
        self._saved: Step | None = None
        self._store = store
        self._bucket = settings.work_bucket
        self._holder = holder
        self._fingerprint = fingerprint
        self._origin = Origin(holder.record.id, fingerprint)
        self._lying: dict[str, ObjectInfo] = {}
        """What of this job lies in the work bucket, by key."""
        self._threads = ExitStack()
        self._closing = False
        self._saving = threading.Lock()
        self._every = (
            Every(settings.preview_interval_s, self._show, name="preview", share=MAX_SHARE),
            Every(settings.checkpoint_interval_s, self.save, name="checkpoint", share=MAX_SHARE),
            Every(_LOOK_S, self._save_if_stopped, name="last checkpoint"),
        )

    def __enter__(self) -> Self:
        for every in self._every:
            self._threads.enter_context(every)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing = True
        self._threads.close()

    def resume(self, height: int, width: int) -> Checkpoint | None:
        """Where an attempt before this one left off; None: nowhere, or at something else. Of a picture of this size."""
        key = checkpoint_key(self._holder.record.id)
        try:
            most_bytes = checkpoints.max_bytes(height, width)
            data, self._lying[key] = self._store.read_work(key, origin=self._origin, max_bytes=most_bytes)
        except (Permanent, CannotServe) as error:
            if error.code != Code.OBJECT_NOT_FOUND:
                log.warning("no checkpoint: %s", error)
            return None
        try:
            fingerprint, state = checkpoints.unpack(data)
        except ValueError:
            log.warning("the checkpoint is damaged, starting anew")
            return None
        if fingerprint != self._fingerprint:
            log.info("the checkpoint is of another picture, starting anew")
            return None
        return state

    def save_if_possible(self) -> None:
        """As `save`, but trouble is only logged: the job goes on from an older checkpoint, or from none."""
        try:
            self.save()
        except Exception as error:  # the store's, or the machine's
            log.warning("no checkpoint at the end: %s", error)

    def save(self) -> None:
        """Save the newest step's state now."""
        # One at a time: an older state that arrives last would stand.
        with self._saving:
            self._save()

    def _save_if_stopped(self) -> None:
        if stop_requested():
            self.save()

    def _save(self) -> None:
        step = self.newest
        if step is None or step is self._saved or step.state is None:
            return
        self._holder.left_work = True
        packed = checkpoints.pack(self._fingerprint, step.state)
        self._put(checkpoint_key(self._holder.record.id), packed, "application/octet-stream")
        self._saved = step

    def _show(self) -> None:
        step = self.newest
        if step is None or step is self._shown:
            return
        picture = images.to_picture(step.picture)
        picture.thumbnail((PREVIEW_PX, PREVIEW_PX))
        key = preview_key(self._holder.record.id)
        self._holder.left_work = True
        self._put(key, images.encode(picture, "webp", PREVIEW_QUALITY), "image/webp")
        self._holder.preview = f"s3://{self._bucket}/{key}"
        self._shown = step

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        with heeding(self._check):
            self._lying[key] = self._store.put_work(
                key, body, origin=self._origin, content_type=content_type, there=self._lying.get(key)
            )

    def _check(self) -> None:
        """Also of a worker that is told to stop a checkpoint is saved."""
        if self._closing:
            raise Unavailable(Code.STORE_UNAVAILABLE, "the painting ended before the store answered")
        self._holder.still_wanted()
