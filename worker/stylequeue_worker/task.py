"""The way of a job, from the message to the event: `Stylist.stylize`, top to bottom."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stylequeue.errors import (
    Code,
    DeadlinePassed,
    InvalidJob,
    JobConflict,
    JobExpired,
    JobFailed,
    LeaseLost,
    StyleQueueError,
)
from stylequeue.events import (
    EVENT,
    Expired,
    ExpiredData,
    Failed,
    FailedData,
    ProgressData,
    StoredPicture,
    SucceededData,
)
from stylequeue.job import CONTENT_TYPES, Job, ResolvedRecipe, fingerprint, parse_job, resolve
from stylequeue.ledger import Ledger, Record
from stylequeue.settings import Settings
from stylequeue.store import FINGERPRINT_METADATA, Store

from . import images
from .engine import ENGINE_VERSION, Network, Step
from .logs import about
from .report import Sample, contact_sheet

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

log = logging.getLogger(__name__)


class Painter(Protocol):
    """What paints: `engine.Engine`."""

    def network(self, recipe: ResolvedRecipe) -> Network:
        """Which network paints `recipe`."""

    def paint(
        self, content: np.ndarray, styles: Sequence[tuple[np.ndarray, float]], recipe: ResolvedRecipe
    ) -> Iterator[Step]:
        """Paint step by step; the last step is the result."""


@dataclass(frozen=True)
class Delivery:
    """How a message came."""

    task_id: str
    worker: str
    queue: str
    redelivered: bool


class NotOurs(Exception):
    """The message asks for nothing that this worker should do or say: acknowledge it in silence."""


@dataclass
class Painting:
    """What came of painting."""

    picture: Image
    steps: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    scales: list[tuple[int, Image]] = field(default_factory=list)
    history: list[Sample] = field(default_factory=list)


class Stylist:
    """Takes jobs from message to event. One per worker process."""

    def __init__(self, settings: Settings, painter: Painter) -> None:
        self.settings = settings
        self.ledger = Ledger(settings)
        self.store = Store(settings)
        self.painter = painter

    def stylize(self, payload: object, delivery: Delivery) -> dict[str, Any]:
        """Do one job and return its outcome: the data of its `succeeded` event.

        Raises JobFailed, JobExpired or JobConflict, which is what the sender's `AsyncResult.get()` will raise, or
        NotOurs where another attempt has the job.
        """
        try:
            job = parse_job(payload, default_id=delivery.task_id)
        except InvalidJob as error:
            with about(delivery.task_id):
                raise self._refuse(error, delivery) from None

        with about(job.id):
            claim = self.ledger.claim(
                job, task_id=delivery.task_id, worker=delivery.worker, redelivered=delivery.redelivered
            )
            match claim.verdict:
                case "conflict":
                    raise JobConflict(job.id)
                case "held":
                    log.info("another attempt has the job, message dropped")
                    raise NotOurs
                case "ended":
                    log.info("the job is %s already, message dropped", claim.record.state)
                    return _outcome(claim.record.outcome)
                case "yours":
                    return self._attempt(job, claim.record)

    def _refuse(self, error: InvalidJob, delivery: Delivery) -> JobFailed:
        log.warning("refused: %s", error)
        data = FailedData(code=error.code, message=error.message, hint=error.hint)
        self.ledger.refuse(delivery.task_id, queue=delivery.queue, data=data)
        return JobFailed(error.code, error.message, error.hint)

    def _attempt(self, job: Job, record: Record) -> dict[str, Any]:
        log.info("run %d, attempt %d: %s", record.run, record.attempt, job.recipe.method)
        try:
            data: SucceededData | FailedData | ExpiredData = self._make(
                job, Reporter(self.ledger, self.settings, record)
            )
        except LeaseLost as error:
            log.warning("stopped: %s", error)
            raise NotOurs from None
        except DeadlinePassed as error:
            data = ExpiredData(labels=job.labels, code=error.code, message=error.message, hint=error.hint)
        except StyleQueueError as error:
            data = FailedData(labels=job.labels, code=error.code, message=error.message, hint=error.hint)
        except Exception as error:
            log.exception("unexpected")
            data = FailedData(
                labels=job.labels,
                code=Code.INTERNAL_ERROR,
                message=f"unexpected {type(error).__name__}",
                hint="the worker's log has the traceback under this job's id",
            )
        try:
            event = self.ledger.finish(job.id, fence=record.fence, data=data)
        except LeaseLost as error:
            log.warning("stopped at the end: %s", error)
            raise NotOurs from None
        if isinstance(data, SucceededData):
            # The event beside the picture, byte for byte as in the ledger, for whoever finds the picture only.
            self.store.write(
                job.output.bucket,
                data.output.key + ".json",
                event.encode(),
                content_type="application/json",
                overwrite=True,
            )
            log.info("succeeded: %s in %s s", data.output.key, sum(data.timings_s.values()))
        else:
            log.warning(
                "%s: [%s] %s", "expired" if isinstance(data, ExpiredData) else "failed", data.code, data.message
            )
        return _outcome(EVENT.validate_json(event))

    def _make(self, job: Job, reporter: Reporter) -> SucceededData:
        clock = Clock()
        recipe = resolve(job.recipe)
        network = self.painter.network(recipe)

        reporter.tell("fetching")
        with clock.stage("fetch"):
            # All looks before any read: a missing style should not cost the download of the content.
            found = [self.store.look(image) for image in (job.content, *(style.image for style in job.styles))]
            content, *styles = (
                images.fit(
                    images.decode(
                        self.store.read(info, max_bytes=self.settings.max_image_bytes),
                        max_pixels=self.settings.max_image_pixels,
                    ),
                    recipe.size,
                )
                for info in found
            )
        mark = fingerprint(
            content_version=found[0].version,
            style_versions=tuple(info.version for info in found[1:]),
            style_weights=tuple(style.weight for style in job.styles),
            recipe=recipe,
            output=job.output,
            network_digest=network.digest,
            engine_version=ENGINE_VERSION,
        )

        with clock.stage("paint"):
            painting = self._paint(
                content, list(zip(styles, (s.weight for s in job.styles), strict=True)), recipe, reporter
            )

        reporter.tell("storing")
        with clock.stage("store"):
            output = self._store_picture(job, painting.picture, mark)
            report_key = None
            if job.output.report:
                report_key = output.key + ".report.png"
                caption = f"{job.recipe.method} · {recipe.size} px · {network.name} · {clock.seconds['paint']:.1f} s"
                sheet = contact_sheet(
                    content=content,
                    styles=styles,
                    result=painting.picture,
                    scales=painting.scales,
                    history=painting.history,
                    caption=caption,
                )
                self.store.write(output.bucket, report_key, sheet, content_type="image/png", overwrite=True)

        return SucceededData(
            labels=job.labels,
            output=output,
            report_key=report_key,
            fingerprint=mark,
            recipe=recipe,
            network=network.name,
            network_digest=network.digest,
            engine_version=ENGINE_VERSION,
            steps=painting.steps,
            losses=painting.losses,
            timings_s=clock.seconds,
        )

    def _paint(
        self, content: Image, styles: Sequence[tuple[Image, float]], recipe: ResolvedRecipe, reporter: Reporter
    ) -> Painting:
        arrays = [(images.to_array(style), weight) for style, weight in styles]
        painting = Painting(content)
        last: Step | None = None
        for step in self.painter.paint(images.to_array(content), arrays, recipe):
            if last is not None and step.size_px != last.size_px:
                painting.scales.append((last.size_px, images.to_picture(last.picture)))
            reporter.step(step)
            painting.history.append(Sample(step.step, step.size_px, step.losses))
            last = step
        if last is None:
            raise RuntimeError("the painter yielded no step")
        painting.picture = images.to_picture(last.picture)
        painting.scales.append((last.size_px, painting.picture))
        painting.steps = last.step
        painting.losses = dict(last.losses)
        return painting

    def _store_picture(self, job: Job, picture: Image, mark: str) -> StoredPicture:
        body = images.encode(picture, job.output.format, job.output.quality)
        metadata = {
            FINGERPRINT_METADATA: mark,
            "sha256": hashlib.sha256(body).hexdigest(),
            "width-px": str(picture.width),
            "height-px": str(picture.height),
        }
        content_type = CONTENT_TYPES[job.output.format]
        # Where an attempt before this one stored the same picture, what is recorded is what lies there.
        stored = self.store.write(
            job.output.bucket,
            job.output_key,
            body,
            content_type=content_type,
            metadata=metadata,
            overwrite=job.output.overwrite,
        )
        return StoredPicture(
            bucket=job.output.bucket,
            key=job.output_key,
            etag=stored.etag,
            sha256=stored.metadata["sha256"],
            width_px=int(stored.metadata["width-px"]),
            height_px=int(stored.metadata["height-px"]),
            size_bytes=stored.size_bytes,
            content_type=content_type,
        )


class Reporter:
    """Tells the ledger how far an attempt is, not more often than the settings say, and hears whether to go on."""

    def __init__(self, ledger: Ledger, settings: Settings, record: Record) -> None:
        self._ledger = ledger
        self._interval_s = settings.progress_interval_s
        self._record = record
        self._number = 0
        self._told_at = 0.0
        self._began_at: float | None = None

    def step(self, step: Step) -> None:
        """A step is done. Raises LeaseLost or DeadlinePassed where the attempt should stop."""
        now = time.monotonic()
        if self._began_at is None:
            self._began_at = now
        if now - self._told_at < self._interval_s and step.step < step.steps:
            return
        elapsed_s = now - self._began_at
        self.tell(
            "painting",
            step=step.step,
            steps=step.steps,
            size_px=step.size_px,
            losses=dict(step.losses),
            left_s=elapsed_s * (step.steps - step.step) / step.step if step.step else None,
        )

    def tell(self, stage: str, **details: Any) -> None:
        """Publish progress now. Raises LeaseLost or DeadlinePassed where the attempt should stop."""
        self._number += 1
        self._told_at = time.monotonic()
        data = ProgressData.model_validate({"number": self._number, "stage": stage, **details})
        answer = self._ledger.progress(self._record.id, fence=self._record.fence, data=data)
        if answer == "lost":
            raise LeaseLost(f"fence {self._record.fence} of job {self._record.id} is stale")
        if answer == "overdue":
            raise DeadlinePassed("the deadline passed while the picture was being painted")


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside as `name`."""
        began_at = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began_at, 3)


def _outcome(event: object) -> dict[str, Any]:
    """What the Celery result says: the data of a `succeeded` event, or the error of another."""
    match event:
        case Failed(data=data):
            raise JobFailed(data.code, data.message, data.hint)
        case Expired(data=data):
            raise JobExpired(data.code, data.message, data.hint)
        case _:
            return event.data.model_dump(mode="json")  # type: ignore[attr-defined,no-any-return]
