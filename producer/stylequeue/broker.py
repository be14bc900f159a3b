"""The Celery application of both sides: queues, serializers, delivery. Producers only send with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .errors import JobCancelled, JobEnded, JobExpired, JobFailed
from .events import EVENT, AnyEvent, Cancelled, Expired, Failed, Succeeded
from .job import QUEUES, TASK_NAME, Job, work_keys
from .settings import Settings

if TYPE_CHECKING:
    from celery import Celery

    from .ledger import Ledger, Record
    from .store import Store

READY_FOR_JOBS = "ready for jobs"
"""A worker says so in its log once its models are loaded."""

RECORDED_HEADER = "stylequeue_recorded"
"""Of a message whose job had a record when it was sent: without one, the job was deleted since."""

_CHILD_START_S = 120
"""A worker's child imports TensorFlow before it answers; the default of 4 s would kill every replacement."""
_PUBLISH_TRIES = 3


def make_app(settings: Settings, *, main: str = "stylequeue") -> Celery:
    """A Celery app that speaks to the deployment of `settings`; connects when first used."""
    from celery import Celery
    from kombu import Exchange, Queue

    url = settings.redis_url.get_secret_value()
    app = Celery(main, broker=url, backend=f"stylequeue.results:Results+{url}")
    timeout_s = settings.redis_timeout_s
    app.conf.update(
        # Explicit queues only, each with exchange and routing key: a job on a misspelt queue is a lost job.
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        task_default_queue="paint",
        task_default_exchange="paint",
        task_default_routing_key="paint",
        task_create_missing_queues=False,
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        # A message is acknowledged when its job has ended, however it ended; and never fetched ahead.
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # One child that holds the models; TensorFlow and CUDA do not survive a fork.
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_concurrency=1,
        worker_proc_alive_timeout=_CHILD_START_S,
        worker_max_memory_per_child=settings.child_memory_mb and settings.child_memory_mb * 1024,
        worker_hijack_root_logger=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        task_track_started=True,
        task_time_limit=settings.job_time_limit_s,
        result_expires=settings.record_ttl_s,
        result_extended=False,
        # Nothing waits for ever for a Redis that went away.
        broker_connection_timeout=timeout_s,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_acquire_timeout=timeout_s,
        task_publish_retry_policy={"max_retries": _PUBLISH_TRIES, "interval_start": 0.1, "interval_max": 1},
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout_s,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "socket_keepalive": True,
            "health_check_interval": max(1, int(timeout_s)),
            "max_retries": _PUBLISH_TRIES,
            "interval_start": 0.1,
            "interval_max": 1,
        },
        redis_socket_timeout=timeout_s,
        redis_socket_connect_timeout=timeout_s,
        redis_socket_keepalive=True,
        redis_retry_on_timeout=True,
        redis_backend_health_check_interval=max(1, int(timeout_s)),
        result_backend_always_retry=True,
        result_backend_max_retries=_PUBLISH_TRIES,
    )
    return app


def send(app: Celery, job: Job, *, task_id: str | None = None, connection: Any = None) -> None:
    """Put the wake-up message for `job` on its queue; its Celery task id is the job's id unless given."""
    fields = job.model_dump(mode="json", exclude_none=True)
    _send(app, fields, queue=job.queue_name, task_id=task_id or job.id, connection=connection)


def _send(app: Celery, fields: dict[str, Any], *, queue: str, task_id: str, connection: Any) -> None:
    app.send_task(
        TASK_NAME,
        kwargs={"job": fields},
        queue=queue,
        task_id=task_id,
        connection=connection,
        # Celery would copy the arguments in clear into a header otherwise: twice the bytes for nothing.
        argsrepr="()",
        kwargsrepr="{}",
        headers={RECORDED_HEADER: True},
    )


def send_due(app: Celery, ledger: Ledger) -> int:
    """Send the fresh messages that are due now, and say how many. Any number of processes may do this at once.

    Where Redis fails in between they are due again; where this process dies, the keeper misses the messages and sends
    them. Raises what Celery does where Redis fails.
    """
    sent = 0
    while due := ledger.take_due():
        unsent = {message.job_id for message in due}
        try:
            with app.connection_for_write() as connection:
                for message in due:
                    # Not looked at: a newer producer may have written it, for newer workers.
                    fields = json.loads(message.job)
                    _send(app, fields, queue=message.queue, task_id=message.task_id, connection=connection)
                    unsent.discard(message.job_id)
                    sent += 1
        finally:
            if unsent:
                ledger.make_due(sorted(unsent))
    return sent


def tell(app: Celery, ledger: Ledger, store: Store, record: Record, event: str, *, left_work: bool = True) -> None:
    """Tell those who look elsewhere than in the ledger of a job's terminal `event` (JSON). Any number may do so.

    The event is put beside the picture, if there is one, byte for byte as in the ledger; `AsyncResult.get()` returns or
    raises what it says; and what attempts left in the work bucket, if they did, goes. Whoever ends a job does this
    next; where they die, or this raises, a keeper does it.
    """
    ended = EVENT.validate_json(event)
    # Its sender waits; whatever happens to the rest, it need not.
    for task_id in ledger.task_ids(record):
        store_result(app, task_id, event)
    if isinstance(ended, Succeeded):
        output = ended.data.output
        store.write(
            output.bucket, f"{output.key}.json", event.encode(), content_type="application/json", overwrite=True
        )
    if left_work:
        store.delete_work(work_keys(record.id))
    ledger.told(record.id)


def store_result(app: Celery, task_id: str, event: str) -> None:
    """Let `AsyncResult.get()` return or raise what the terminal `event` (JSON) says. Raises what Celery does."""
    try:
        app.backend.mark_as_done(task_id, outcome(EVENT.validate_json(event)))
    except JobEnded as error:
        app.backend.mark_as_failure(task_id, error)


def outcome(event: AnyEvent | None) -> dict[str, Any]:
    """What a sender gets for a terminal event: the data of `succeeded`, or one of the JobEnded errors raised."""
    match event:
        case Succeeded(data=data):
            return data.model_dump(mode="json")
        case Failed(data=data):
            raise JobFailed(data.code, data.message, data.hint)
        case Cancelled(data=data):
            raise JobCancelled(data.code, data.message, data.hint)
        case Expired(data=data):
            raise JobExpired(data.code, data.message, data.hint)
        case _:
            raise ValueError("no terminal event")
