"""The worker: a Celery app whose parent process stays light and whose one child holds the models."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery, Task
from celery.exceptions import Ignore
from celery.signals import setup_logging, task_failure, worker_process_init
from celery.worker.request import Request

from stylequeue.broker import READY_FOR_JOBS, make_app
from stylequeue.errors import Code, JobFailed, LeaseLost, StyleQueueError
from stylequeue.events import FailedData
from stylequeue.job import TASK_NAME, Job
from stylequeue.ledger import Ledger
from stylequeue.settings import Settings

from . import logs

if TYPE_CHECKING:
    from .task import Painter, Stylist

log = logging.getLogger(__name__)


class JobRequest(Request):
    """A job's message in the parent process."""

    store_errors = False
    """Celery's own word for a child that was cut off must not reach the sender: `job_was_cut_off` says it in ours."""


def make_worker_app(settings: Settings, *, module: str, load_painter: Callable[[Settings], Painter]) -> Celery:
    """A Celery app that takes stylequeue's jobs and paints with what `load_painter` returns.

    `module` names the module that calls this at its top level: the child imports it anew. `load_painter` runs in the
    child only, before its first job; everything heavy belongs there.
    """
    app = make_app(settings)
    app.conf.include = [module]
    # Celery keeps weak references to receivers: hence weak=False.
    setup_logging.connect(lambda **_: logs.configure(settings.log_level), weak=False)
    stylist: Stylist | None = None

    def warm_up(**_: Any) -> None:
        nonlocal stylist
        # Celery would only log an exception here, and the child would serve jobs without its models.
        try:
            from .task import Stylist

            stylist = Stylist(settings, load_painter(settings))
            log.info(READY_FOR_JOBS)
        except Exception:
            log.exception("warm-up failed, the worker stops")
            os.kill(os.getppid(), signal.SIGTERM)

    worker_process_init.connect(warm_up, weak=False)

    @app.task(name=TASK_NAME, bind=True, typing=False, Request=JobRequest)
    def stylize(task: Task[Any, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Paint one job."""
        from .task import Delivery, NotOurs

        if stylist is None:
            raise Ignore
        request: Any = task.request
        delivery = Delivery(
            task_id=request.id,
            worker=request.hostname,
            queue=request.delivery_info.get("routing_key") or "paint",
            redelivered=bool(request.delivery_info.get("redelivered")),
        )
        try:
            return stylist.stylize(kwargs.get("job") if not args else None, delivery)
        except NotOurs:
            # Acknowledged, and the result stays with the attempt that has the job.
            raise Ignore from None

    def job_was_cut_off(
        sender: Any = None,
        task_id: str = "",
        exception: object = None,
        kwargs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """In the parent: the child is gone, so nobody else can tell what became of its job."""
        if isinstance(exception, TimeLimitExceeded):
            code, message = Code.TIME_LIMIT, f"the job took longer than {settings.job_time_limit_s} s"
            hint = "ask for a smaller size or fewer steps, or raise STYLEQUEUE_JOB_TIME_LIMIT_S"
        elif isinstance(exception, WorkerLostError):
            code, message = Code.WORKER_LOST, "the process that painted the job was killed"
            hint = "look for out-of-memory kills on the worker's machine; submit the job again under a new id"
        else:
            return
        payload = (kwargs or {}).get("job")
        job_id = str(payload.get("id", task_id)) if isinstance(payload, dict) else task_id
        with logs.about(job_id):
            log.error("%s", message)
            ledger = Ledger(settings)
            try:
                record = ledger.record(job_id)
                labels = Job.model_validate_json(record.job).labels
                data = FailedData(labels=labels, code=code, message=message, hint=hint)
                ledger.finish(job_id, fence=record.fence, data=data)
            except LeaseLost:
                return
            except StyleQueueError as error:
                log.exception("could not record that: %s", error)
            finally:
                ledger.close()
            sender.backend.mark_as_failure(task_id, JobFailed(code, message, hint), request=None)

    task_failure.connect(job_was_cut_off, weak=False)
    return app
