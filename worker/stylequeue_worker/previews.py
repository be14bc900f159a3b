"""Small pictures of the work so far, at a stable key in the work bucket."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from stylequeue.job import preview_key
from stylequeue.settings import Settings
from stylequeue.store import Store

from . import images
from .engine import Step
from .holder import Every, Holder

PREVIEW_PX = 256
"""Longest side."""
_QUALITY = 70


class Previews:
    """Stores a preview of the newest step every `preview_interval_s` while the `with` block runs."""

    def __init__(self, store: Store, settings: Settings, holder: Holder) -> None:
        self.newest: Step | None = None
        self._shown: Step | None = None
        self._store = store
        self._bucket = settings.work_bucket
        self._holder = holder
        self._every = Every(settings.preview_interval_s, self._show, name="preview", share=0.02)

    def __enter__(self) -> Self:
        self._every.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._every.__exit__(kind, error, at)

    def _show(self) -> None:
        step = self.newest
        if step is None or step is self._shown:
            return
        picture = images.to_picture(step.picture)
        picture.thumbnail((PREVIEW_PX, PREVIEW_PX))
        key = preview_key(self._holder.record.id)
        self._store.put_work(key, images.encode(picture, "webp", _QUALITY), content_type="image/webp")
        self._holder.preview = f"s3://{self._bucket}/{key}"
        self._shown = step
