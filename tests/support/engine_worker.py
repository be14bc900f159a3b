"""A worker with the real engine that saves checkpoints as often as it is told to, however long they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stylequeue.settings import Settings
from stylequeue_worker.app import make_worker_app

if TYPE_CHECKING:
    from stylequeue_worker.engine import Engine


def load_painter(settings: Settings) -> Engine:
    from stylequeue_worker import workbench
    from stylequeue_worker.engine import Engine

    workbench.MAX_SHARE = 1.0
    engine = Engine(settings.models)
    engine.warm_up({"optimize"})
    return engine


app = make_worker_app(Settings.load(), module=__name__, load_painter=load_painter)
