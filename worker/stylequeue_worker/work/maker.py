"""How a picture is made: looked for, fetched, painted, stored. `Maker.make`, top to bottom."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image
from pydantic import ValidationError

from stylequeue.contract import objects
from stylequeue.contract.errors import Code, Permanent, Unavailable
from stylequeue.contract.events import PaintingReport, StoredPicture, SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.objects import CONTENT_TYPES
from stylequeue.contract.recipe import resolve
from stylequeue.ledger import Ledger
from stylequeue.settings import Settings
from stylequeue.store import FINGERPRINT_METADATA, SIZE_METADATA, ObjectInfo, Store

from ..engine import ENGINE_VERSION
from ..pictures import images
from ..pictures.contact_sheet import contact_sheet
from ..pictures.decoder import Decoder, Pixels
from .lease import Holder
from .order import Found, Order
from .painting import Inputs, Painting, PaintingEngine, paint
from .workbench import Workbench

log = logging.getLogger(__name__)

_REUSES = 3
"""Of pictures painted for other jobs, as many are tried that turn out to be gone."""
_PAUSE_S = 0.1


class Waiting(Exception):
    """Another job paints the same picture now; this one is woken when that has ended."""


@dataclass(frozen=True)
class Made:
    """A picture in the store, and how it came about."""

    output: StoredPicture
    report_key: str | None
    report: PaintingReport
    partial: bool = False


class Maker:
    """Makes the pictures of a worker's jobs."""

    def __init__(
        self, settings: Settings, ledger: Ledger, store: Store, engine: PaintingEngine, decoder: Decoder
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.store = store
        self.engine = engine
        self.decoder = decoder

    def make(self, job: Job, holder: Holder) -> SucceededData:
        """Make the picture of a job that `holder` holds, and put it into the store; or find that it is made already.

        Raises Waiting where another job paints it now, and whatever the errors say about the job.
        """
        stopwatch = Stopwatch()
        recipe = resolve(job.recipe)
        network = self.engine.network(recipe)

        holder.stage("fetching")
        with stopwatch.stage("fetch"):
            order = Order.take(job, recipe, network, self.store, record=holder.record)
        if reused := self._reuse(order, holder):
            return reused
        before = self._made_before(order)
        made = before or self._make(order, holder, stopwatch)
        is_first = (holder.record.run, holder.record.attempt) == (1, 1)
        return SucceededData(
            output=made.output,
            report_key=made.report_key,
            fingerprint=order.fingerprint,
            recipe=recipe,
            engine_version=ENGINE_VERSION,
            report=made.report.model_copy(update={"timings_s": stopwatch.seconds}),
            reused=before is not None and is_first,
            partial=made.partial,
        )

    def _reuse(self, order: Order, holder: Holder) -> SucceededData | None:
        """The picture as another job painted it, or None: paint it. Raises Waiting where another job paints it now."""
        job = order.job
        # A contact sheet is made while painting: only jobs that want one too leave one behind.
        name = f"{order.fingerprint}+report" if job.output.report else order.fingerprint
        forget = False
        for _ in range(_REUSES):
            answer = self.ledger.reserve(job.id, fence=holder.record.fence, fingerprint=name, forget=forget)
            if answer.verdict == "wait":
                raise Waiting
            if answer.verdict == "paint":
                return None
            try:
                painted = SucceededData.model_validate(json.loads(answer.painted)["data"])
            except (ValidationError, KeyError):
                log.info("the picture was painted before, but this version cannot read what a newer worker says of it")
                forget = True
                continue
            try:
                output = self._copy(order, painted.output)
                report_key = None
                if painted.report_key:
                    report_key = objects.report_key(output.key)
                    self.store.copy_beside((painted.output.bucket, painted.report_key), output, report_key)
            except Permanent as error:
                if error.code != Code.OBJECT_NOT_FOUND:
                    raise
                log.info("the picture painted before is gone from the store")
                forget = True
                time.sleep(_PAUSE_S)
                continue
            log.info("reused: %s", painted.output.key)
            # The recipe as this job has it: the other's may name a picture that is no business of this one's.
            changes = {"recipe": order.recipe, "output": output, "report_key": report_key, "reused": True}
            return painted.model_copy(update={**changes, "report": painted.report.model_copy(update={"timings_s": {}})})
        raise Unavailable(
            Code.STORE_UNAVAILABLE,
            "pictures painted for other jobs are gone from the store again and again",
            "let nobody delete pictures while jobs like theirs are waiting",
        )

    def _copy(self, order: Order, source: StoredPicture) -> StoredPicture:
        job = order.job
        stored = self.store.copy(
            (source.bucket, source.key),
            (job.output.bucket, job.output_key),
            there=order.output,
            etag=source.etag,
            fingerprint=order.fingerprint,
            overwrite=job.output.overwrite,
        )
        return _stored_picture(job, stored)

    def _made_before(self, order: Order) -> Made | None:
        """What lies there already, where that is all there is to make: an attempt before this one came to harm later.

        Or another job made it, of which the ledger knows no longer.
        """
        job, stored = order.job, order.output
        if stored is None or stored.fingerprint != order.fingerprint or "painting" not in stored.metadata:
            return None
        report_key = objects.report_key(job.output_key) if job.output.report else None
        if report_key and not self.store.exists(job.output.bucket, report_key):
            return None
        log.info("the picture lies there already")
        try:
            report = PaintingReport.model_validate_json(stored.metadata["painting"])
        except ValidationError:
            log.info("what a newer worker says of it cannot be read here: it is painted again")
            return None
        return Made(_stored_picture(job, stored), report_key, report)

    def _make(self, order: Order, holder: Holder, stopwatch: Stopwatch) -> Made:
        """Fetch the pictures that were found, paint, and store what came of it."""
        with stopwatch.stage("fetch"):
            inputs = self._fetch(order, holder)
        with stopwatch.stage("paint"):
            workbench = Workbench(self.store, self.settings, holder, order.fingerprint)
            painting = paint(self.engine, order, inputs, workbench, holder)
        holder.stage("storing")
        with stopwatch.stage("store"):
            output = self._store_picture(order, painting)
            report_key = None
            if order.job.output.report:
                report_key = objects.report_key(output.key)
                sheet = _contact_sheet(order, inputs, painting, stopwatch.seconds["paint"])
                self.store.write_beside(output, report_key, sheet, content_type="image/png", just_stored=True)
        return Made(output, report_key, painting.report, painting.partial)

    def _fetch(self, order: Order, holder: Holder) -> Inputs:
        def picture(found: Found, size: int | tuple[int, int]) -> Pixels:
            with found.input.named_in_errors():
                data = self.store.read(found.info, max_bytes=self.settings.max_image_bytes)
                return self.decoder.decode(data, found.input.role, size, check=holder.check)

        content = picture(order.content, order.recipe.size)
        height, width, _ = content.shape
        return Inputs(
            content=content,
            styles=[picture(style, order.style_size_px) for style in order.styles],
            masks=[picture(mask, (width, height)) if mask else None for mask in order.masks],
            start=picture(order.init, (width, height)) if order.init else None,
        )

    def _store_picture(self, order: Order, painting: Painting) -> StoredPicture:
        job, picture = order.job, painting.picture
        body = images.encode(picture, job.output.format, job.output.quality)
        metadata = {
            FINGERPRINT_METADATA: order.partial_fingerprint if painting.partial else order.fingerprint,
            SIZE_METADATA: str(len(body)),
            "sha256": hashlib.sha256(body).hexdigest(),
            "width-px": str(picture.width),
            "height-px": str(picture.height),
            "painting": painting.report.model_dump_json(),
        }
        # Where an attempt before this one stored the same picture, what is recorded is what lies there.
        stored = self.store.write(
            job.output.bucket,
            job.output_key,
            body,
            content_type=CONTENT_TYPES[job.output.format],
            metadata=metadata,
            overwrite=job.output.overwrite,
        )
        return _stored_picture(job, stored)


def _stored_picture(job: Job, stored: ObjectInfo) -> StoredPicture:
    return StoredPicture(
        bucket=stored.bucket,
        key=stored.key,
        etag=stored.etag,
        sha256=stored.metadata["sha256"],
        width_px=int(stored.metadata["width-px"]),
        height_px=int(stored.metadata["height-px"]),
        size_bytes=stored.size_bytes,
        content_type=CONTENT_TYPES[job.output.format],
    )


def _contact_sheet(order: Order, inputs: Inputs, painting: Painting, took_s: float) -> bytes:
    return contact_sheet(
        content=Image.fromarray(inputs.content),
        styles=[Image.fromarray(style) for style in inputs.styles],
        result=painting.picture,
        scales=painting.scales,
        history=painting.history,
        caption=f"{order.job.recipe.method} · {order.recipe.size} px · {order.network.name} · {took_s:.1f} s",
    )


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside as `name`."""
        began_at = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - began_at, 3)
