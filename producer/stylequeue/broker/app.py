"""The Celery application of both sides: queues, serializers, delivery. Producers only send with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..connection import PUBLISH_TRIES, celery_options
from ..contract.base import DEFAULT_QUEUE, QUEUES
from ..settings import Settings

if TYPE_CHECKING:
    from celery import Celery

READY_FOR_JOBS = "ready for jobs"
"""A worker says so in its log once its models are loaded."""

_CHILD_START_S = 120
"""A worker's child imports TensorFlow before it answers; the default of 4 s would kill every replacement."""


def make_app(settings: Settings, *, main: str = "stylequeue") -> Celery:
    """A Celery app that speaks to the deployment of `settings`; connects when first used."""
    from kombu import Exchange, Queue

    from .application import Application

    address, options = settings.redis, celery_options(settings)
    options["broker_transport_options"] |= {
        "visibility_timeout": settings.visibility_timeout_s,
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
        # Of what was delivered too long ago, at once: kombu would hear nothing else until all is put back.
        "unacked_restore_limit": 100,
    }
    results = "SentinelResults" if address.is_sentinel else "Results"
    # A backend's own Celery stays the one that its tasks find.
    app = Application(main, set_as_current=False)
    app.conf.update(
        options,
        result_backend=f"stylequeue.broker.results:{results}+{address.url}",
        # Explicit queues only, each with exchange and routing key: a job on a misspelt queue is a lost job.
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        task_default_queue=DEFAULT_QUEUE,
        task_default_exchange=DEFAULT_QUEUE,
        task_default_routing_key=DEFAULT_QUEUE,
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
        # By pub/sub anybody could stop every worker there is.
        worker_enable_remote_control=False,
        worker_send_task_events=True,
        task_send_sent_event=False,  # a round trip for each message, and the ledger knows what was sent
        task_track_started=True,
        task_time_limit=settings.job_time_limit_s,
        result_expires=settings.record_ttl_s,
        result_extended=False,
        # Nothing waits for ever for a Redis that went away.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # What Redis answers passes as well: a replica, a full memory, a right that is missing.
        broker_channel_error_retry=True,
        broker_pool_acquire_timeout=settings.redis_timeout_s,
        task_publish_retry_policy={"max_retries": PUBLISH_TRIES, "interval_start": 0.1, "interval_max": 1},
        result_backend_always_retry=True,
        result_backend_max_retries=PUBLISH_TRIES,
    )
    return app
