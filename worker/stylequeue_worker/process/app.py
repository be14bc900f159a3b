"""The worker: a Celery app whose parent process stays light and whose one child holds the models.

This module is imported by both. What follows `in the child` runs only there; the rest of the parent is parent.py.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject
from celery.signals import setup_logging, worker_process_init
from celery.worker.request import Request

from stylequeue import logs
from stylequeue.broker.app import READY_FOR_JOBS, make_app
from stylequeue.broker.messages import RECORDED_HEADER, Messages
from stylequeue.contract.errors import JobEnded
from stylequeue.contract.job import TASK_NAME
from stylequeue.ledger import Ledger
from stylequeue.settings import Settings
from stylequeue.store import Store
from stylequeue.telling import Teller

from . import registration
from .parent import Parent

if TYPE_CHECKING:
    from ..work.painting import PaintingEngine
    from ..work.stylist import Stylist

log = logging.getLogger(__name__)


class JobRequest(Request):
    """A job's message in the parent process."""

    store_errors = False
    """Celery's own word for a child that was cut off must not reach the sender: the ledger says what becomes of it."""


def make_worker_app(settings: Settings, *, module: str, load_engine: Callable[[Settings], PaintingEngine]) -> Celery:
    """A Celery app that takes stylequeue's jobs and paints with what `load_engine` returns.

    `module` names the module that calls this at its top level: the child imports it anew. `load_engine` runs in the
    child only, before its first job; everything heavy belongs there.
    """
    app = make_app(settings)
    app.conf.include = [module]
    app.conf.worker_pool = "stylequeue_worker.process.pool:TaskPool"
    # Celery keeps weak references to receivers: hence weak=False.
    setup_logging.connect(lambda **_: logs.configure(settings.log_level), weak=False)
    Parent(app, settings).connect()
    stylist: Stylist | None = None

    def warm_up(**_: Any) -> None:
        """In the child, before its first job."""
        nonlocal stylist
        # A group's SIGTERM is the parent's affair; a handler of Python's own would be replaced, ignoring it lasts.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Celery would only log an exception here, and the child would serve jobs without its models.
        try:
            from ..work.stylist import Stylist

            engine = load_engine(settings)
            worker = registration.describe(engine)
            registration.require_networks(worker.queues, worker.networks)
            ledger, store = Ledger(settings), Store(settings)
            stylist = Stylist(
                settings,
                engine,
                ledger=ledger,
                store=store,
                messages=Messages(app, ledger),
                teller=Teller(app, ledger, store),
            )
            registration.announce(worker)
            registration.keep_announced(engine, worker, settings.heartbeat_s)
            log.info("%s: %s", READY_FOR_JOBS, worker)
        except Exception:
            log.exception("warm-up failed, the worker stops")
            os.kill(os.getppid(), signal.SIGTERM)

    worker_process_init.connect(warm_up, weak=False)

    @app.task(name=TASK_NAME, bind=True, typing=False, shared=False, Request=JobRequest, throws=(JobEnded,))
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
        )
        try:
            return stylist.stylize(args, kwargs, delivery)
        except NotOurs:
            # Acknowledged, and the result stays with whoever has the job.
            raise Ignore from None
        except NotNow:
            raise Reject(requeue=True) from None

    return app
