"""The worker that ships: its Celery app paints with the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stylequeue.cli import console
from stylequeue.settings import Settings

from .process.app import make_worker_app
from .work.options import options_of

if TYPE_CHECKING:
    from .engine import Engine


def load_engine(settings: Settings) -> Engine:
    """The engine with its models loaded: imports TensorFlow. Raises CannotServe where it cannot paint here."""
    from .engine import Engine
    from .engine.device import require_gpu
    from .engine.fitness import try_out

    require_gpu()
    engine = Engine(settings.models, settings.hub_handle, options_of(settings), settings.network_sha256)
    engine.warm_up({"optimize", "fast"})
    # What a strange network can do is its operator's affair.
    try_out(engine, {"optimize"} if settings.hub_handle else {"optimize", "fast"})
    return engine


# Celery's own command imports this as well, and would show settings that cannot be as a traceback.
with console.errors_told(as_json=False):
    app = make_worker_app(Settings.load(), module=__name__, load_engine=load_engine)
