"""A worker that is real but for its engine: `celery -A stylequeue_worker.stand_in worker`.

`stylequeue.testing` starts it. It hands each content back, with NumPy and Pillow, but no TensorFlow and no networks.
"""

from __future__ import annotations

import os

from stylequeue.settings import Settings

from .engine.stand_in import StandIn
from .process.app import make_worker_app


def load_engine(_settings: Settings) -> StandIn:
    """In the child."""
    engine = StandIn()
    # As `stylequeue.testing` names it, which knows nothing of this side.
    engine.step_s = float(os.environ.get("_STYLEQUEUE_STAND_IN_STEP_S", "0"))
    return engine


app = make_worker_app(Settings.load(), module=__name__, load_engine=load_engine)
