"""A worker whose child comes to harm while it loads: the environment says how."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from stylequeue.settings import Settings
from stylequeue_worker.process.app import make_worker_app

HOW_VARIABLE = "_STYLEQUEUE_TEST_HARM"
IS_KILLED = "is killed"
"""As by the system where memory runs out."""
EXITS = "exits"
RAISES = "raises"


def load_engine(_settings: Settings) -> NoReturn:
    how = os.environ[HOW_VARIABLE]
    if how == IS_KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == EXITS:
        os._exit(1)
    raise RuntimeError("the models are upside down")


app = make_worker_app(Settings.load(), module=__name__, load_engine=load_engine)
