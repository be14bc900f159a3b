"""How a picture is made: looked for, fetched, painted, stored. `Maker.make`, top to bottom."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from stylequeue import tracing
from stylequeue.contract import objects
from stylequeue.contract.errors import Code, Permanent, Retryable, Unavailable
from stylequeue.contract.events import PaintingReport, StoredFile, StoredPicture, SucceededData
from stylequeue.contract.job import THUMBNAIL_PX, Job
from stylequeue.contract.objects import CONTENT_TYPES
from stylequeue.contract.recipe import resolve
from stylequeue.ledger import Ledger, Record
from stylequeue.settings import Settings
from stylequeue.store import (
    HEIGHT_METADATA,
    PAINTING_METADATA,
    SHA256_METADATA,
    WIDTH_METADATA,
    ObjectInfo,
    Origin,
    Store,
    heeding,
)

from ..engine import ENGINE_VERSION
from ..pictures import images
from ..pictures.contact_sheet import contact_sheet
from ..pictures.decoder import Decoder, Pixels
from ..pictures.inputs import Role
from .lease import Holder
from .order import Found, Order
from .painting import Inputs, Painting, PaintingEngine, paint
from .rates import Rates
from .recent import RecentStyles
from .workbench import Workbench

log = logging.getLogger(__name__)

_REUSES = 3
"""Of pictures painted for other jobs, as many are tried that turn out to be gone."""
_PAUSE_S = 0.1
_LOOKS_AT_ONCE = 4
"""At objects in the store: most jobs have two pictures and one place to put another."""


class Waiting(Exception):
    """Another job paints the same picture now; this one is woken when that has ended."""


@dataclass(frozen=True)
class Made:
    """A picture in the store, and how it came about."""

    output: StoredPicture
    report: PaintingReport
    sheet: StoredFile | None = None
    """The contact sheet, where the job wants one."""
    thumbnail: StoredFile | None = None
    """The small picture, where the job wants one."""
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
        self.rates = Rates()
        """How fast it paints here."""
        self._styles = RecentStyles()
        self._looks = ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="look")

    def make(self, job: Job, holder: Holder) -> SucceededData:
        """Make the picture of a job that `holder` holds, and put it into the store; or find that it is made already.

        Raises Waiting where another job paints it now, and whatever the errors say about the job.
        """
        with heeding(holder.check):
            return self._made(job, holder)

    def _made(self, job: Job, holder: Holder) -> SucceededData:
        stopwatch = Stopwatch()
        recipe = resolve(job.recipe)
        network = self.engine.network(recipe)

        holder.stage("fetching")
        with stopwatch.stage("fetch"):
            order = Order.take(job, recipe, network, self.store, self._looks, record=holder.record)
        if reused := self._reuse(order, holder):
            return _done(order, self._with_thumbnail(order, reused, holder), reused=True)
        before = self._made_before(order)
        made = self._with_thumbnail(order, before, holder) if before else self._make(order, holder, stopwatch)
        is_first = (holder.record.run, holder.record.attempt) == (1, 1)
        return _done(order, made, reused=before is not None and is_first, timings_s=stopwatch.seconds)

    def _reuse(self, order: Order, holder: Holder) -> Made | None:
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
                return self._copy(order, answer.painted, holder.record)
            except (ValueError, TypeError, KeyError, RecursionError):
                log.info("the picture was painted before, but this version cannot read what is on record of it")
            except Permanent as error:
                if error.code != Code.OBJECT_NOT_FOUND:
                    raise
                log.info("the picture painted before is gone from the store: %s", error)
                time.sleep(_PAUSE_S)
            forget = True
        raise Unavailable(
            Code.STORE_UNAVAILABLE,
            "pictures painted for other jobs are gone from the store again and again",
            "let nobody delete pictures while jobs like theirs are waiting",
        )

    def _copy(self, order: Order, painted: str, record: Record) -> Made:
        """The picture that was `painted`, by what the ledger has of it (JSON), which says no more than where to look.

        Raises Permanent with `object_not_found` where what lies there is not proven to be it, or is out of the job's
        reach, ValueError, TypeError, KeyError or RecursionError where that cannot be read.
        """
        output, data = order.job.output, json.loads(painted)["data"]
        stored = self.store.copy(
            _within_reach(data["output"], record),
            (output.bucket, order.job.output_key),
            there=order.place.picture,
            origin=order.origin,
            overwrite=order.overwrite,
        )
        made = _as_stored(order.job, stored)
        log.info("reused: %s", data["output"]["key"])
        copied = partial(self.store.copy_beside, picture=made.output, origin=order.origin, overwrite=output.overwrite)
        if output.report:
            source = _within_reach(data.get("report_file"), record)
            made = replace(made, sheet=copied(source, key=objects.report_key(made.output.key)))
        if output.thumbnail and data.get("thumbnail_file"):
            try:
                source = _within_reach(data["thumbnail_file"], record)
                made = replace(made, thumbnail=copied(source, key=objects.thumbnail_key(made.output.key)))
            except Permanent as error:
                if error.code != Code.OBJECT_NOT_FOUND:
                    raise
                log.info("the thumbnail is made anew of the picture: %s", error)
        return made

    def _made_before(self, order: Order) -> Made | None:
        """What lies there already, where that is all there is to make: an attempt before this one came to harm later.

        Or another job made it, of which the ledger knows no longer.
        """
        job, stored = order.job, order.place.picture
        if stored is None or not self.store.proven(stored, order.origin):
            return None
        beside = {one.key: self.store.proven(one, order.origin) for one in order.place.beside}
        sheet = beside.get(objects.report_key(job.output_key))
        if job.output.report and sheet is None:
            return None
        log.info("the picture lies there already")
        thumbnail = beside.get(objects.thumbnail_key(job.output_key))
        try:
            return replace(_as_stored(job, stored), sheet=sheet, thumbnail=thumbnail)
        except (ValueError, KeyError):
            log.info("what a newer worker says of it cannot be read here: it is painted again")
            return None

    def _make(self, order: Order, holder: Holder, stopwatch: Stopwatch) -> Made:
        """Fetch the pictures that were found, paint, and store what came of it."""
        with stopwatch.stage("fetch"):
            inputs = self._fetch(order, holder)
        with stopwatch.stage("paint"):
            workbench = Workbench(self.store, self.settings, holder, order.fingerprint)
            painting = paint(self.engine, order, inputs, workbench, holder, self.rates)
        holder.stage("storing")
        # It is painted: a worker that is told to stop has the time to store it.
        with stopwatch.stage("store"), heeding(holder.still_wanted):
            output = self._store_picture(order, painting)
            sheet = thumbnail = None
            if order.job.output.thumbnail:
                origin = order.origin_of(partial=painting.partial)
                thumbnail = self._store_thumbnail(order, output, painting.picture, origin)
            if order.job.output.report:
                sheet = self.store.write_beside(
                    output,
                    objects.report_key(output.key),
                    _contact_sheet(order, inputs, painting, stopwatch.seconds["paint"]),
                    origin=order.origin,
                    content_type="image/png",
                    overwrite=order.job.output.overwrite,
                    just_stored=True,
                )
        return Made(output, painting.report, sheet, thumbnail, painting.partial)

    def _fetch(self, order: Order, holder: Holder) -> Inputs:
        def picture(found: Found, size: int | tuple[int, int]) -> Pixels:
            with found.input.named_in_errors():
                data = self.store.read(found.info, max_bytes=self.settings.max_image_bytes)
                return self.decoder.decode(data, found.input.role, size, check=holder.check)

        content = picture(order.content, order.recipe.size)
        height, width, _ = content.shape
        return Inputs(
            content=content,
            styles=[self._styles.pixels(style, order.style_size_px, picture) for style in order.styles],
            masks=[picture(mask, (width, height)) if mask else None for mask in order.masks],
            kept=picture(order.kept, (width, height)) if order.kept else None,
            start=picture(order.init, (width, height)) if order.init else None,
        )

    def _with_thumbnail(self, order: Order, made: Made, holder: Holder) -> Made:
        """With the small picture that the job wants, also where whoever painted it wanted none: of what lies there."""
        if not order.job.output.thumbnail or made.thumbnail:
            return made
        body = self.store.read_recorded(made.output)
        if body is None:
            return made
        sides_px = made.output.width_px, made.output.height_px
        scale = min(1, THUMBNAIL_PX / max(sides_px))
        width, height = (max(1, round(side_px * scale)) for side_px in sides_px)
        try:
            pixels = self.decoder.decode(body, Role.CONTENT, (width, height), check=holder.check)
        except (Permanent, Retryable) as error:
            log.warning("the picture is stored, and goes without a thumbnail: %s", error)
            return made
        small = Image.fromarray(pixels)
        return replace(made, thumbnail=self._store_thumbnail(order, made.output, small, order.origin))

    def _store_thumbnail(
        self, order: Order, output: StoredPicture, picture: Image.Image, origin: Origin
    ) -> StoredFile | None:
        return self.store.write_beside(
            output,
            objects.thumbnail_key(output.key),
            images.thumbnail(picture, order.provenance(origin.fingerprint)),
            origin=origin,
            content_type=CONTENT_TYPES["webp"],
            overwrite=order.job.output.overwrite,
            just_stored=True,
        )

    def _store_picture(self, order: Order, painting: Painting) -> StoredPicture:
        job, picture = order.job, painting.picture
        origin = order.origin_of(partial=painting.partial)
        body = images.encode(picture, job.output.format, job.output.quality, order.provenance(origin.fingerprint))
        # Where an attempt before this one stored the same picture, what is recorded is what lies there.
        stored = self.store.write(
            job.output.bucket,
            job.output_key,
            body,
            origin=origin,
            content_type=CONTENT_TYPES[job.output.format],
            metadata={
                WIDTH_METADATA: str(picture.width),
                HEIGHT_METADATA: str(picture.height),
                PAINTING_METADATA: painting.report.model_dump_json(),
            },
            overwrite=order.overwrite,
        )
        return _stored_picture(job, stored)


def _within_reach(file: object, record: Record) -> StoredFile:
    """What is on record of a file, if the job may see it. Raises Permanent with `object_not_found` where not."""
    found = StoredFile.model_validate(file)
    if record.scope and not record.scope.holds(found.bucket, found.key, tenant=record.tenant):
        raise Permanent(Code.OBJECT_NOT_FOUND, f"s3://{found.bucket}/{found.key} is out of the job's reach")
    return found


def _stored_picture(job: Job, stored: ObjectInfo) -> StoredPicture:
    """Of an object whose metadata is proven, or just written."""
    return StoredPicture(
        bucket=stored.bucket,
        key=stored.key,
        etag=stored.etag,
        sha256=stored.metadata[SHA256_METADATA],
        width_px=int(stored.metadata[WIDTH_METADATA]),
        height_px=int(stored.metadata[HEIGHT_METADATA]),
        size_bytes=stored.size_bytes,
        content_type=CONTENT_TYPES[job.output.format],
    )


def _as_stored(job: Job, stored: ObjectInfo) -> Made:
    """A picture of which its own metadata, which is proven, tells how it came about.

    Raises KeyError or ValueError where that cannot be read: a newer worker wrote it.
    """
    report = PaintingReport.model_validate_json(stored.metadata[PAINTING_METADATA])
    return Made(_stored_picture(job, stored), report)


def _done(order: Order, made: Made, *, reused: bool, timings_s: Mapping[str, float] | None = None) -> SucceededData:
    """As this job has it: another's may name what is no business of this one's."""
    return SucceededData(
        output=made.output,
        report_key=made.sheet.key if made.sheet else None,
        report_file=made.sheet,
        thumbnail_file=made.thumbnail,
        fingerprint=order.fingerprint,
        recipe=order.recipe,
        engine_version=ENGINE_VERSION,
        report=made.report.model_copy(update={"timings_s": dict(timings_s or {})}),
        reused=reused,
        partial=made.partial,
    )


def _contact_sheet(order: Order, inputs: Inputs, painting: Painting, took_s: float) -> bytes:
    return contact_sheet(
        content=Image.fromarray(inputs.content),
        styles=[Image.fromarray(style) for style in inputs.styles],
        result=painting.picture,
        scales=painting.scales,
        history=painting.history,
        caption=f"{order.method} · {order.recipe.size} px · {order.network.name} · {took_s:.1f} s",
    )


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside as `name`, which is also its span's."""
        began_at = time.monotonic()
        with tracing.span(name):
            yield
        self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - began_at, 3)
