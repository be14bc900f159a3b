"""Receivers of Celery's signals: one that raises is seen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from stylequeue.contract.errors import ExitCode, StyleQueueError

log = logging.getLogger(__name__)


def connect(signal: Any, receiver: Callable[..., object], *, vital: bool = False) -> None:
    """Have `receiver` called, with the signal's own arguments by name, whenever Celery sends `signal`.

    What it raises is logged with its traceback. Celery would go on in any case; where the receiver is `vital`, because
    the worker must not run without what it does, the process ends instead, with the error's exit code.
    """

    def receive(**arguments: Any) -> None:
        try:
            receiver(**arguments)
        except Exception as error:
            log.critical("what is to be done on Celery's signal %s failed", signal.name, exc_info=True)
            if vital:
                code = error.exit_code if isinstance(error, StyleQueueError) else ExitCode.JOB_FAILED
                raise SystemExit(code) from None

    # Celery keeps weak references to receivers unless told otherwise.
    signal.connect(receive, weak=False)
