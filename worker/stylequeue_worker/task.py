"""The way of a job, from the message to the event: `Stylist.stylize`, top to bottom."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from PIL.Image import Resampling

from stylequeue.broker import outcome, send_due
from stylequeue.errors import (
    Cancelled,
    Code,
    DeadlinePassed,
    InvalidJob,
    JobConflict,
    JobFailed,
    LeaseLost,
    Permanent,
    Preempted,
    StyleQueueError,
)
from stylequeue.events import (
    EVENT,
    CancelledData,
    ExpiredData,
    FailedData,
    StoredPicture,
    Succeeded,
    SucceededData,
)
from stylequeue.job import CONTENT_TYPES, Job, ResolvedRecipe, fingerprint, parse_job, resolve
from stylequeue.ledger import Ledger, Record, TerminalData
from stylequeue.settings import Settings
from stylequeue.store import FINGERPRINT_METADATA, ObjectInfo, Store

from . import images
from .engine import ENGINE_VERSION, Network, Step
from .holder import Holder
from .logs import about
from .previews import Previews
from .report import Sample, contact_sheet

if TYPE_CHECKING:
    import numpy as np
    from celery import Celery
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


class NotOurs(Exception):
    """There is nothing that this worker should say of the message's outcome: acknowledge it in silence."""


@dataclass
class Painting:
    """What came of painting."""

    picture: Image
    steps: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    partial: bool = False
    scales: list[tuple[int, Image]] = field(default_factory=list)
    history: list[Sample] = field(default_factory=list)


class Stylist:
    """Takes jobs from message to event. One per worker process."""

    def __init__(self, settings: Settings, painter: Painter, app: Celery) -> None:
        self.settings = settings
        self.ledger = Ledger(settings)
        self.store = Store(settings)
        self.painter = painter
        self.app = app

    def stylize(self, args: Sequence[object], kwargs: Mapping[str, object], delivery: Delivery) -> dict[str, Any]:
        """Do one job and return its outcome: the data of its `succeeded` event.

        Raises JobFailed, JobCancelled, JobExpired or JobConflict, which is what the sender's `AsyncResult.get()` will
        raise; or NotOurs where the job goes on elsewhere or later.
        """
        try:
            job = parse_job(None if args else kwargs.get("job"), default_id=delivery.task_id)
        except InvalidJob as error:
            with about(delivery.task_id):
                raise self._refuse(error, args, kwargs, delivery) from None

        with about(job.id):
            claim = self.ledger.claim(job, task_id=delivery.task_id, worker=delivery.worker)
            match claim.verdict:
                case "conflict":
                    raise JobConflict(job.id)
                case "held":
                    log.info("another attempt has the job, message dropped")
                    raise NotOurs
                case "early":
                    log.info("the job's next attempt is not due yet, message dropped")
                    raise NotOurs
                case "ended":
                    log.info("the job is %s already, message dropped", claim.record.state)
                    self._make_sure_of_the_event(job, claim.record)
                    return outcome(claim.record.outcome)
                case "yours":
                    return self._attempt(job, claim.record)

    def _refuse(
        self, error: InvalidJob, args: Sequence[object], kwargs: Mapping[str, object], delivery: Delivery
    ) -> JobFailed:
        log.warning("refused: %s", error)
        data = FailedData(code=error.code, message=error.message, hint=error.hint)
        message = json.dumps({"args": args, "kwargs": kwargs})
        self.ledger.refuse(delivery.task_id, queue=delivery.queue, message=message, data=data)
        return JobFailed(error.code, error.message, error.hint)

    def _attempt(self, job: Job, record: Record) -> dict[str, Any]:
        log.info("run %d, attempt %d: %s", record.run, record.attempt, job.recipe.method)
        data: TerminalData
        with Holder(self.ledger, self.settings, record) as holder:
            try:
                data = self._make(job, holder)
            except LeaseLost as error:
                log.warning("stopped: %s", error)
                raise NotOurs from None
            except Preempted as error:
                return self._put_back(record, str(error), charged=False)
            except Cancelled:
                data = CancelledData.of(job.labels)
            except DeadlinePassed as error:
                data = ExpiredData(labels=job.labels, code=error.code, message=error.message, hint=error.hint)
            except Permanent as error:
                data = FailedData(labels=job.labels, code=error.code, message=error.message, hint=error.hint)
            except StyleQueueError as error:
                log.warning("came to harm: %s", error)
                return self._put_back(record, str(error), charged=True)
            except NotOurs:
                raise
            except Exception as error:
                log.exception("came to harm")
                return self._put_back(record, f"[{Code.INTERNAL_ERROR}] {type(error).__name__}: {error}", charged=True)
            return self._commit(job, record, data)

    def _put_back(self, record: Record, error: str, *, charged: bool) -> NoReturn:
        """The job goes back to the queue, or ends as a dead letter."""
        delay_s = retry_delay_s(self.settings, record.attempt) if charged else 0
        verdict = self.ledger.put_back(record, error=error, delay_s=delay_s, charged=charged)
        log.warning("put back: %s", verdict)
        send_due(self.app, self.ledger)
        if verdict == "failed":
            outcome(self.ledger.record(record.id).outcome)
        raise NotOurs

    def _commit(self, job: Job, record: Record, data: TerminalData) -> dict[str, Any]:
        """One atomic move ends the job; what depends on its end follows."""
        painted = ""
        if isinstance(data, SucceededData) and not data.partial:
            painted = json.dumps({"job_id": job.id, "data": data.model_dump(mode="json")})
        try:
            event = self.ledger.finish(job.id, fence=record.fence, data=data, painted=painted)
        except LeaseLost as error:
            log.warning("stopped at the end: %s", error)
            raise NotOurs from None
        if isinstance(data, SucceededData):
            self._store_event(data.output, event)
            log.info("succeeded: %s", data.output.key)
        else:
            log.warning("ended: [%s] %s", data.code, data.message)
        # Those that waited for this picture, if any.
        send_due(self.app, self.ledger)
        return outcome(EVENT.validate_json(event))

    def _store_event(self, output: StoredPicture, event: str) -> None:
        """The event beside the picture, byte for byte as in the ledger, for whoever finds the picture only."""
        self.store.write(
            output.bucket, f"{output.key}.json", event.encode(), content_type="application/json", overwrite=True
        )

    def _make_sure_of_the_event(self, job: Job, record: Record) -> None:
        """A worker may have been killed between ending the job and storing its event."""
        if isinstance(record.outcome, Succeeded):
            output = record.outcome.data.output
            if not self.store.exists(output.bucket, f"{output.key}.json"):
                self._store_event(output, self.ledger.outcome(job.id))

    def _make(self, job: Job, holder: Holder) -> SucceededData:
        clock = Clock()
        recipe = resolve(job.recipe)
        network = self.painter.network(recipe)

        holder.stage("fetching")
        with clock.stage("fetch"):
            # All looks before any read: a missing style should not cost the download of the content.
            found = [self.store.look(image) for image in (job.content, *(style.image for style in job.styles))]
        mark = fingerprint(
            content_version=found[0].version,
            style_versions=tuple(info.version for info in found[1:]),
            style_weights=tuple(style.weight for style in job.styles),
            recipe=recipe,
            output=job.output,
            network_digest=network.digest,
            engine_version=ENGINE_VERSION,
        )
        if reused := self._reuse(job, holder, mark):
            return reused
        with clock.stage("fetch"):
            content, *styles = (self._picture(info, recipe.size) for info in found)

        with clock.stage("paint"):
            weighted = list(zip(styles, (style.weight for style in job.styles), strict=True))
            painting = self._paint(content, weighted, recipe, holder)

        holder.stage("storing")
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
            partial=painting.partial,
        )

    def _picture(self, info: ObjectInfo, size_px: int) -> Image:
        data = self.store.read(info, max_bytes=self.settings.max_image_bytes)
        return images.fit(images.decode(data, max_pixels=self.settings.max_image_pixels), size_px)

    def _reuse(self, job: Job, holder: Holder, mark: str) -> SucceededData | None:
        """The picture as another job painted it, or None: paint it. Raises NotOurs where another job paints it now."""
        # A contact sheet is made while painting: only jobs that want one too leave one behind.
        name = f"{mark}+report" if job.output.report else mark
        forget = False
        while True:
            answer = self.ledger.reserve(job.id, fence=holder.record.fence, fingerprint=name, forget=forget)
            if answer.verdict == "wait":
                log.info("another job paints this picture, waiting for it")
                raise NotOurs
            if answer.verdict == "paint":
                return None
            painted = SucceededData.model_validate(json.loads(answer.painted)["data"])
            try:
                output = self._copy(job, painted.output)
                report_key = None
                if painted.report_key:
                    report_key = f"{output.key}.report.png"
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
            return painted.model_copy(update={**changes, "timings_s": {}})

    def _copy(self, job: Job, source: StoredPicture) -> StoredPicture:
        target = (job.output.bucket, job.output_key)
        written = self.store.copy((source.bucket, source.key), target, overwrite=job.output.overwrite)
        if written.metadata.get("sha256") != source.sha256:
            # Somebody replaced it since: it is not the picture that was painted.
            raise Permanent(Code.OBJECT_NOT_FOUND, f"s3://{source.bucket}/{source.key} is another picture now")
        return source.model_copy(update={"bucket": target[0], "key": target[1], "etag": written.etag})

    def _paint(
        self, content: Image, styles: Sequence[tuple[Image, float]], recipe: ResolvedRecipe, holder: Holder
    ) -> Painting:
        arrays = [(images.to_array(style), weight) for style, weight in styles]
        painting = Painting(content)
        last: Step | None = None
        holder.check()
        with Previews(self.store, self.settings, holder) as previews:
            for step in self.painter.paint(images.to_array(content), arrays, recipe):
                if last is not None and step.size_px != last.size_px:
                    painting.scales.append((last.size_px, images.to_picture(last.picture)))
                painting.history.append(Sample(step.step, step.size_px, step.losses))
                last = previews.newest = step
                holder.step(step)
                if holder.keep:
                    painting.partial = step.step < step.steps
                    break
        if last is None:
            raise RuntimeError("the painter yielded no step")
        painting.picture = images.to_picture(last.picture)
        if painting.partial:
            painting.picture = painting.picture.resize(content.size, Resampling.LANCZOS)
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


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside as `name`."""
        began_at = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - began_at, 3)


def retry_delay_s(settings: Settings, attempt: int) -> float:
    """How long to wait after this attempt: doubling, with jitter, so that not all that failed come back together."""
    longest_s: float = min(settings.retry_delay_s * 2.0 ** (attempt - 1), settings.retry_delay_max_s)
    return longest_s * random.uniform(0.5, 1)
