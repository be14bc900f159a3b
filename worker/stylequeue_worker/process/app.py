"""The worker: a Celery app whose parent process stays light and whose one child holds the models.

This module is imported by both. What follows `in the child` runs only there; the rest of the parent is parent.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from billiard.util import get_logger
from celery import Celery, Task
from celery.exceptions import Ignore, Reject
from celery.signals import celeryd_init, setup_logging, worker_process_init
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.serialization import register
from kombu.utils.json import dumps

from stylequeue import logs
from stylequeue.broker.app import READY_FOR_JOBS, make_app
from stylequeue.broker.messages import RECORDED_HEADER, Messages
from stylequeue.contract.errors import CannotServe, ExitCode, JobEnded, StyleQueueError
from stylequeue.contract.job import TASK_NAME
from stylequeue.contract.plain_json import read_json
from stylequeue.contract.trace import HEADER
from stylequeue.ledger import Ledger, Timing, mark_secrets
from stylequeue.ledger.registry import PROCESSOR
from stylequeue.settings import Settings
from stylequeue.store import Store
from stylequeue.telling import Teller
from stylequeue.tracing import exporting

from . import registration
from .parent import Parent
from .receivers import connect
from .request import JobRequest
from .restoring import restore_as_text
from .stopping import Worker

if TYPE_CHECKING:
    from ..work.painting import PaintingEngine
    from ..work.stylist import Stylist

log = logging.getLogger(__name__)


def make_worker_app(settings: Settings, *, module: str, load_engine: Callable[[Settings], PaintingEngine]) -> Celery:
    """A Celery app that takes stylequeue's jobs and paints with what `load_engine` returns.

    `module` names the module that calls this at its top level: the child imports it anew. `load_engine` runs in the
    child only, before its first job; everything heavy belongs there.
    """
    # In parent and child: Celery's own reader makes objects of marked values, of a size that the sender chooses.
    register("json", dumps, read_json, content_type="application/json")
    restore_as_text()
    app = make_app(settings)
    app.set_current()
    app.conf.include = [module]
    app.conf.worker_pool = "stylequeue_worker.process.pool:TaskPool"
    app.conf.worker_consumer = "stylequeue_worker.process.consumer:Consumer"

    def log_as_ours(**_: Any) -> None:
        logs.configure(settings.log_level)
        # That of billiard keeps to itself, and says on standard error what it likes.
        get_logger().propagate = True

    # The former, for Celery warns of things before it sets up its logging.
    connect(celeryd_init, log_as_ours, vital=True)
    connect(setup_logging, log_as_ours, vital=True)
    parent = Parent(app, settings)
    parent.connect()
    cast("Any", app).Worker = app.subclass_with_self(
        Worker, stopping=parent.stopping, vitals=parent.vitals, settings=settings
    )
    stylist: Stylist | None = None

    class Request(JobRequest):
        def has_begun(self) -> bool:
            return parent.holds(self)

    def warm_up(**_: Any) -> None:
        """In the child, before its first job."""
        nonlocal stylist
        # Celery would only log an exception here, and the child would serve jobs without its models.
        try:
            exporting.set_up("worker", settings)
            from ..engine.available import available_bytes
            from ..pictures.decoder import Decoder
            from ..work.options import options_of
            from ..work.rates import Rates
            from ..work.stylist import Stylist

            # First, so that it is ready by the time the engine is.
            decoder = Decoder.of(settings)
            decoder.start()
            engine = load_engine(settings)
            options = options_of(settings)
            memory_bytes = options.gpu_memory_bytes
            if engine.device.startswith(PROCESSOR):
                memory_bytes = options.memory_bytes or available_bytes()
            worker = registration.describe(engine, memory_bytes, settings.pod_name)
            registration.require_networks(worker.queues, worker.networks)
            ledger = Ledger(settings)
            registration.require_the_fleets_networks(worker, ledger.registry)
            store = Store(settings, partial(mark_secrets, ledger))
            stylist = Stylist(
                settings,
                engine,
                decoder=decoder,
                ledger=ledger,
                store=store,
                messages=Messages(app, ledger),
                teller=Teller(app, ledger, store),
            )
            registration.announce(worker)
            stylist.maker.rates = Rates(worker.rates)
            registration.keep_announced(engine, stylist.maker.rates, stylist.activity, worker, settings.heartbeat_s)
            log.info("%s: %s", READY_FOR_JOBS, worker)
        except Exception as error:
            log.exception("warm-up failed, the worker stops")
            if isinstance(error, CannotServe):
                # Whoever watches sees no worker that is not there.
                with suppress(StyleQueueError):
                    Ledger(settings).note(f"unfit|{error.code}")
            parent.stopping.give_up(error.exit_code if isinstance(error, StyleQueueError) else ExitCode.JOB_FAILED)

    connect(worker_process_init, warm_up)

    # Results are told by whoever knows whose they are (`Teller`), not by Celery for every message under any name.
    @app.task(
        name=TASK_NAME, bind=True, typing=False, shared=False, ignore_result=True, Request=Request, throws=(JobEnded,)
    )
    def stylize(task: Task[Any, Any], /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """In the child: paint one job."""
        from ..work.stylist import Delivery, NotNow, NotOurs

        if stylist is None:
            # The parent took it while this child failed to warm up: another worker's, then.
            raise Reject(requeue=True)
        request: Any = task.request
        delivery = Delivery(
            task_id=request.id,
            worker=request.hostname,
            queue=request.delivery_info.get("routing_key") or "",
            recorded=bool(request.get(RECORDED_HEADER)),
            timing=timing_of(request),
            traceparent=request.get(HEADER),
        )
        try:
            with exporting.flushed():
                return stylist.stylize(args, kwargs, delivery)
        except NotOurs:
            # Acknowledged, and the result stays with whoever has the job.
            raise Ignore from None
        except NotNow:
            raise Reject(requeue=True) from None

    return app


def timing_of(request: Any) -> Timing:
    """What the message's sender said by Celery's own means; `inspection` has seen to it that it can be read."""
    limits_s = [limit_s for limit_s in request.timelimit or () if limit_s]
    return Timing(
        not_before=_moment(request.eta), deadline=_moment(request.expires), time_limit_s=min(limits_s, default=None)
    )


def _moment(text: str | None) -> datetime | None:
    return maybe_make_aware(cast("datetime", maybe_iso8601(text))) if text else None
