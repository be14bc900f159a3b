"""For tests of what uses stylequeue: jobs, events, and a whole service whose worker paints nothing.

    pytest_plugins = ["stylequeue.testing"]  # in conftest.py

    def test_a_photo_is_painted(stylequeue_service):
        job = make_job(content=stylequeue_service.photo)
        with StyleQueue() as queue:  # the environment leads to the service
            assert queue.wait(queue.submit(job), timeout_s=60).id == job.id

Needs the extra `testing`, but no TensorFlow. PYTEST_DONT_REWRITE: nothing here asserts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import as_file, files
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

from .broker.app import READY_FOR_JOBS
from .client import StyleQueue
from .contract.errors import Code
from .contract.events import (
    Accepted,
    AcceptedData,
    Cancelled,
    CancelledData,
    EventData,
    Expired,
    ExpiredData,
    Failed,
    FailedData,
    PaintingReport,
    Progress,
    ProgressData,
    Started,
    StartedData,
    StoredPicture,
    Succeeded,
    SucceededData,
    TerminalEvent,
    event_id,
    source_of,
)
from .contract.job import Job
from .contract.objects import CONTENT_TYPES, ImageRef, report_key
from .contract.recipe import resolve
from .local import Stack
from .settings import Settings

__all__ = ["JobEvents", "Service", "make_job", "stylequeue_service"]

_E = TypeVar("_E", Accepted, Started, Progress, Succeeded, Failed, Cancelled, Expired)

_START_TIMEOUT_S = 60


def make_job(**fields: Any) -> Job:
    """A job of one picture of the bucket `uploads` and one of `styles`; `fields` replace its own. Raises InvalidJob."""
    own = {
        "content": {"bucket": "uploads", "key": "photo.jpg"},
        "styles": [{"image": {"bucket": "styles", "key": "wave.jpg"}}],
        "output": {"bucket": "results"},
    }
    return Job.model_validate({**own, **fields})


class JobEvents:
    """Makes events of one job, in the order in which they are asked for, as a service would tell them.

        events = JobEvents(job)
        handle(events.accepted()), handle(events.started()), handle(events.succeeded())

    `sequence` grows with each; `changes` replace fields of its data.
    """

    def __init__(self, job: Job, *, deployment: str = "default") -> None:
        self._job = job
        self._deployment = deployment
        self._run = 1
        self._attempt = 0
        self._sequence = 0
        self._progress = 0

    def accepted(self, **changes: Any) -> Accepted:
        """The service has the job: the first event; after a terminal one, of the job's next run."""
        return self._event(Accepted, AcceptedData(queue=self._job.queue_name), changes)

    def started(self, **changes: Any) -> Started:
        """A worker begins the next attempt."""
        self._attempt += 1
        self._progress = 0
        return self._event(Started, StartedData(worker="stand-in@test"), changes)

    def progress(self, step: int = 1, steps: int = 10, **changes: Any) -> Progress:
        """The attempt has taken `step` of `steps` steps."""
        self._progress += 1
        data = ProgressData(number=self._progress, stage="painting", step=step, steps=steps, size_px=512)
        return self._event(Progress, data, changes)

    def succeeded(self, **changes: Any) -> Succeeded:
        """The picture lies in the store; or would, if this were more than an event."""
        output, recipe = self._job.output, resolve(self._job.recipe)
        data = SucceededData(
            output=StoredPicture(
                bucket=output.bucket,
                key=self._job.output_key,
                etag='"0123456789abcdef0123456789abcdef"',
                sha256="0" * 64,
                width_px=512,
                height_px=384,
                size_bytes=100_000,
                content_type=CONTENT_TYPES[output.format],
            ),
            report_key=report_key(self._job.output_key) if output.report else None,
            fingerprint="0" * 64,
            recipe=recipe,
            engine_version="0",
            report=PaintingReport(
                network="stand-in",
                network_digest="0" * 64,
                precision="float32",
                tiles=1,
                steps=getattr(recipe, "steps", 0),
                ended_by="steps",
                losses={},
                style_distances={},
                ssim=1.0,
                timings_s={"fetch": 0.1, "paint": 1.0, "store": 0.1},
                peak_memory_bytes=10**9,
            ),
        )
        return self._event(Succeeded, data, changes)

    def failed(
        self, code: str = Code.OBJECT_NOT_FOUND, message: str = "there is no such object", hint: str = ""
    ) -> Failed:
        """The job ends without a picture."""
        return self._event(Failed, FailedData(code=code, message=message, hint=hint), {})

    def cancelled(self) -> Cancelled:
        """Somebody no longer wants the picture."""
        return self._event(Cancelled, CancelledData.by_request(), {})

    def expired(self) -> Expired:
        """The deadline passed."""
        return self._event(Expired, ExpiredData.late(), {})

    def _event(self, kind: type[_E], data: EventData, changes: dict[str, Any]) -> _E:
        self._sequence += 1
        event_type: str = kind.model_fields["type"].default
        terminal = issubclass(kind, TerminalEvent)
        event = kind.model_validate(
            {
                "id": event_id(
                    job_id=self._job.id,
                    run=self._run,
                    event_type=event_type,
                    attempt=None if terminal else self._attempt,
                    number=str(self._progress) if kind is Progress else "",
                ),
                "source": source_of(self._deployment),
                "subject": self._job.id,
                "time": datetime.now(UTC),
                "sequence": f"{self._sequence:010}",
                "data": {
                    **data.model_dump(),
                    "labels": self._job.labels,
                    "run": self._run,
                    "attempt": self._attempt,
                    **changes,
                },
            }
        )
        if terminal:
            self._run, self._attempt = self._run + 1, 0
        return event


class Service:
    """Real servers on this machine, and a real worker whose engine hands the content back.

        with Service() as service:
            service.queue.submit(...)

    Everything is as in a deployment but the pictures. Each step of a recipe takes `step_s` seconds: raise it for a job
    to be painted long enough to be cancelled. `settings` are kept but for where the servers are. Raises Unavailable
    where a server or the worker does not start.
    """

    def __init__(self, settings: Settings | None = None, *, step_s: float = 0) -> None:
        self._stack = Stack(settings=settings)
        self._step_s = step_s
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.enter_context(self._stack)
            celery = [sys.executable, "-m", "celery", "-A", "stylequeue_worker.stand_in", "worker"]
            worker = self._stack.process(
                "worker",
                [*celery, "--hostname=stand-in@%h", "--without-gossip", "--without-mingle"],
                env={"_STYLEQUEUE_STAND_IN_STEP_S": str(self._step_s)},
            )
            worker.wait_for_line(READY_FOR_JOBS, _START_TIMEOUT_S)
            self.queue = started.enter_context(StyleQueue(self._stack.settings))
            """A client of it."""
            self._closing = started.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.close()

    @property
    def settings(self) -> Settings:
        """What leads a `StyleQueue` there."""
        return self._stack.settings

    @property
    def env(self) -> dict[str, str]:
        """The same as environment variables, for another process or for `StyleQueue()`. They hold passwords."""
        return self._stack.env

    @cached_property
    def photo(self) -> ImageRef:
        """A photograph in the store, 512 x 512 px."""
        with as_file(files(__package__) / "local" / "samples" / "astronaut.jpg") as path:
            return self.queue.upload(path)


@pytest.fixture(scope="session")
def stylequeue_service() -> Iterator[Service]:
    """A service for all tests of a session; meanwhile the environment leads there, so that `StyleQueue()` does."""
    with Service() as service, pytest.MonkeyPatch.context() as environment:
        for name, value in service.env.items():
            environment.setenv(name, value)
        yield service
