"""A worker with the real engine that saves checkpoints as often as it is told to, however long they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stylequeue.settings import Settings
from stylequeue_worker.process.app import make_worker_app

if TYPE_CHECKING:
    from stylequeue_worker.engine import Engine


def load_engine(settings: Settings) -> Engine:
    from stylequeue_worker.engine import Engine
    from stylequeue_worker.work import workbench

    workbench.MAX_SHARE = 1.0
    engine = Engine(settings.models)
    engine.warm_up({"optimize"})
    return engine


app = make_worker_app(Settings.load(), module=__name__, load_engine=load_engine)
