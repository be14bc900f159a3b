"""How a picture is made: looked for, fetched, painted, stored. `Maker.make`, top to bottom."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from PIL.Image import Resampling

from stylequeue.contract import objects
from stylequeue.contract.errors import Cancelled, Code, Permanent, Preempted
from stylequeue.contract.events import PaintingReport, StoredPicture, SucceededData
from stylequeue.contract.job import Job, fingerprint
from stylequeue.contract.objects import CONTENT_TYPES
from stylequeue.contract.recipe import MAX_SIZE_PX, MIN_SIDE_PX, ResolvedOptimizeRecipe, ResolvedRecipe, resolve
from stylequeue.ledger import Ledger
from stylequeue.settings import Settings
from stylequeue.store import FINGERPRINT_METADATA, ObjectInfo, Store

from ..engine import ENGINE_VERSION, Checkpoint, Network, Step
from ..pictures import images
from ..pictures.contact_sheet import Sample, contact_sheet
from ..pictures.inputs import Input, Role
from .lease import Holder
from .memory import forget_peak, peak_bytes
from .workbench import Workbench

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

log = logging.getLogger(__name__)


class PaintingEngine(Protocol):
    """What paints: `engine.Engine`."""

    def network(self, recipe: ResolvedRecipe) -> Network:
        """Which network paints `recipe`."""

    def paint(
        self,
        content: np.ndarray,
        styles: Sequence[tuple[np.ndarray, float]],
        recipe: ResolvedRecipe,
        resume: Checkpoint | None = None,
        start: np.ndarray | None = None,
        masks: Sequence[np.ndarray | None] | None = None,
    ) -> Iterator[Step]:
        """Paint step by step over `start`, or on from the state of a step before; the last step is the result."""


@dataclass(frozen=True)
class Found:
    """One of a job's pictures, as it lies in the store."""

    input: Input
    info: ObjectInfo

    @property
    def version(self) -> str:
        """Names these bytes."""
        return self.info.version


@dataclass(frozen=True)
class FoundInputs:
    """A job's pictures, as they lie in the store."""

    content: Found
    styles: Sequence[Found]
    masks: Sequence[Found | None]
    """One for each style."""
    init: Found | None


class Waiting(Exception):
    """Another job paints the same picture now; this one is woken when that has ended."""


@dataclass
class Painting:
    """What came of painting."""

    picture: Image
    report: PaintingReport
    partial: bool = False
    scales: list[tuple[int, Image]] = field(default_factory=list)
    history: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Made:
    """A picture in the store, and how it came about."""

    output: StoredPicture
    report_key: str | None
    report: PaintingReport
    partial: bool = False


class Maker:
    """Makes the pictures of a worker's jobs."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store, engine: PaintingEngine) -> None:
        self.settings = settings
        self.ledger = ledger
        self.store = store
        self.engine = engine

    def make(self, job: Job, holder: Holder) -> SucceededData:
        """Make the picture of a job that `holder` holds, and put it into the store; or find that it is made already.

        Raises Waiting where another job paints it now, and whatever the errors say about the job.
        """
        stopwatch = Stopwatch()
        recipe = resolve(job.recipe)
        network = self.engine.network(recipe)

        holder.stage("fetching")
        with stopwatch.stage("fetch"):
            # All looks before any read: a missing style should not cost the download of the content.
            found = FoundInputs(
                content=self._look(Input(Role.CONTENT, job.content)),
                styles=[self._look(Input(Role.STYLE, style.image, n)) for n, style in enumerate(job.styles, 1)],
                masks=[
                    self._look(Input(Role.MASK, style.mask, n)) if style.mask else None
                    for n, style in enumerate(job.styles, 1)
                ],
                init=self._look(Input(Role.INIT, job.init_image)) if job.init_image else None,
            )
        mark = fingerprint(
            content_version=found.content.version,
            init_version=found.init.version if found.init else None,
            style_versions=tuple(style.version for style in found.styles),
            style_weights=tuple(style.weight for style in job.styles),
            mask_versions=tuple(mask.version if mask else None for mask in found.masks) if any(found.masks) else (),
            recipe=recipe,
            output=job.output,
            network_digest=network.digest,
            engine_version=ENGINE_VERSION,
        )
        if reused := self._reuse(job, holder, mark):
            return reused
        made = self._made_before(job, mark) if holder.record.attempt > 1 else None
        if made is None:
            made = self._make(job, holder, recipe, network, mark, found, stopwatch)
        return SucceededData(
            labels=job.labels,
            output=made.output,
            report_key=made.report_key,
            fingerprint=mark,
            recipe=recipe,
            engine_version=ENGINE_VERSION,
            report=made.report.model_copy(update={"timings_s": stopwatch.seconds}),
            partial=made.partial,
        )

    def _make(
        self,
        job: Job,
        holder: Holder,
        recipe: ResolvedRecipe,
        network: Network,
        mark: str,
        found: FoundInputs,
        stopwatch: Stopwatch,
    ) -> Made:
        """Fetch the pictures that were found, paint, and store what came of it."""
        with stopwatch.stage("fetch"):
            content = self._picture(found.content, recipe.size)
            styles = [self._picture(style, style_size_px(recipe)) for style in found.styles]
            start = self._picture(found.init, recipe.size) if found.init else None
            # A mask may be smaller than the content: it is made to fit.
            masks = [
                self._picture(mask, recipe.size).convert("L").resize(content.size) if mask else None
                for mask in found.masks
            ]

        with stopwatch.stage("paint"):
            weighted = list(zip(styles, (style.weight for style in job.styles), strict=True))
            workbench = Workbench(self.store, self.settings, holder, mark)
            painting = self._paint(content, weighted, masks, start, recipe, network, workbench, holder)

        holder.stage("storing")
        with stopwatch.stage("store"):
            # What is not finished never stands for the whole, should another job want it under the same key.
            output = self._store_picture(job, painting, f"{mark}+partial" if painting.partial else mark)
            report_key = None
            if job.output.report:
                report_key = objects.report_key(output.key)
                caption = (
                    f"{job.recipe.method} · {recipe.size} px · {network.name} · {stopwatch.seconds['paint']:.1f} s"
                )
                sheet = contact_sheet(
                    content=content,
                    styles=styles,
                    result=painting.picture,
                    scales=painting.scales,
                    history=painting.history,
                    caption=caption,
                )
                self.store.write(output.bucket, report_key, sheet, content_type="image/png", overwrite=True)

        return Made(output, report_key, painting.report, painting.partial)

    def _made_before(self, job: Job, mark: str) -> Made | None:
        """What an attempt before this one had stored when it came to harm, if that was all."""
        stored = self.store.find(job.output.bucket, job.output_key)
        if stored is None or stored.metadata.get(FINGERPRINT_METADATA) != mark or "painting" not in stored.metadata:
            return None
        report_key = objects.report_key(job.output_key) if job.output.report else None
        if report_key and not self.store.exists(job.output.bucket, report_key):
            return None
        log.info("an attempt before this one had stored the picture")
        report = PaintingReport.model_validate_json(stored.metadata["painting"])
        return Made(_stored_picture(job, stored), report_key, report)

    def _look(self, picture: Input) -> Found:
        with picture.named_in_errors():
            return Found(picture, self.store.look(picture.image))

    def _picture(self, found: Found, size_px: int) -> Image:
        with found.input.named_in_errors():
            data = self.store.read(found.info, max_bytes=self.settings.max_image_bytes)
            return images.fit(images.decode(data, max_pixels=self.settings.max_image_pixels), size_px)

    def _reuse(self, job: Job, holder: Holder, mark: str) -> SucceededData | None:
        """The picture as another job painted it, or None: paint it. Raises Waiting where another job paints it now."""
        # A contact sheet is made while painting: only jobs that want one too leave one behind.
        name = f"{mark}+report" if job.output.report else mark
        forget = False
        while True:
            answer = self.ledger.reserve(job.id, fence=holder.record.fence, fingerprint=name, forget=forget)
            if answer.verdict == "wait":
                raise Waiting
            if answer.verdict == "paint":
                return None
            painted = SucceededData.model_validate(json.loads(answer.painted)["data"])
            try:
                output = self._copy(job, painted.output, mark)
                report_key = None
                if painted.report_key:
                    report_key = objects.report_key(output.key)
                    source = (painted.output.bucket, painted.report_key)
                    self.store.copy(source, (output.bucket, report_key), overwrite=True)
            except Permanent as error:
                if error.code != Code.OBJECT_NOT_FOUND:
                    raise
                log.info("the picture painted before is gone from the store")
                forget = True
                continue
            log.info("reused: %s", painted.output.key)
            changes = {"labels": job.labels, "output": output, "report_key": report_key, "reused": True}
            return painted.model_copy(update={**changes, "report": painted.report.model_copy(update={"timings_s": {}})})

    def _copy(self, job: Job, source: StoredPicture, mark: str) -> StoredPicture:
        stored = self.store.copy(
            (source.bucket, source.key),
            (job.output.bucket, job.output_key),
            etag=source.etag,
            fingerprint=mark,
            overwrite=job.output.overwrite,
        )
        return _stored_picture(job, stored)

    def _paint(
        self,
        content: Image,
        styles: Sequence[tuple[Image, float]],
        masks: Sequence[Image | None],
        start: Image | None,
        recipe: ResolvedRecipe,
        network: Network,
        workbench: Workbench,
        holder: Holder,
    ) -> Painting:
        arrays = [(images.to_array(style), weight) for style, weight in styles]
        where = [None if mask is None else images.to_array(mask) for mask in masks] if any(masks) else None
        scales: list[tuple[int, Image]] = []
        history: list[Sample] = []
        partial = False
        last: Step | None = None
        state = workbench.resume() if holder.record.attempt > 1 else None
        if state is not None:
            log.info("going on from the checkpoint of an attempt before")
        holder.check()
        if holder.keep and state is None:
            # Nothing was painted, or nothing of it is left.
            raise Cancelled
        forget_peak()
        with workbench:
            init = None if start is None else images.to_array(start)
            steps = self.engine.paint(images.to_array(content), arrays, recipe, resume=state, start=init, masks=where)
            for step in steps:
                if last is not None and step.size_px != last.size_px:
                    scales.append((last.size_px, images.to_picture(last.picture)))
                history.append(Sample(step.step, step.size_px, step.losses))
                last = workbench.newest = step
                try:
                    holder.step(step)
                except Preempted:
                    workbench.save_if_possible()
                    raise
                if holder.keep:
                    partial = step.step < step.steps
                    break
        if last is None:
            raise RuntimeError("the engine yielded no step")
        picture = images.to_picture(last.picture)
        if partial:
            picture = picture.resize(content.size, Resampling.LANCZOS)
        scales.append((last.size_px, picture))
        report = _report(network, last, "request" if partial else last.cut)
        return Painting(picture, report, partial, scales, history)

    def _store_picture(self, job: Job, painting: Painting, mark: str) -> StoredPicture:
        picture = painting.picture
        body = images.encode(picture, job.output.format, job.output.quality)
        metadata = {
            FINGERPRINT_METADATA: mark,
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


def _report(
    network: Network, last: Step, ended_by: Literal["time_budget", "stop_when", "request"] | None
) -> PaintingReport:
    """How the picture of the last step came about; its timings are not known yet."""
    summary = last.summarise()
    return PaintingReport(
        network=network.name,
        network_digest=network.digest,
        precision=summary.precision,
        tiles=summary.tiles,
        steps=last.step,
        ended_by=ended_by or ("steps" if last.step == last.steps else "minimum"),
        losses=dict(summary.losses),
        style_distances=dict(summary.style_distances),
        ssim=summary.ssim,
        timings_s={},
        peak_memory_bytes=peak_bytes(),
    )


def style_size_px(recipe: ResolvedRecipe) -> int:
    """Longest side of the style pictures: a network knows strokes by their size in pixels."""
    scale = recipe.style_scale if isinstance(recipe, ResolvedOptimizeRecipe) else 1
    return min(max(round(scale * recipe.size), MIN_SIDE_PX), MAX_SIZE_PX)


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
