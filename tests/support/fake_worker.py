"""A worker that is real but for its painter, which hands the content back after the steps asked for."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from stylequeue_worker.process import inspection
from stylequeue_worker.process.app import make_worker_app
from tests.support.fake_painter import FakePainter
from tests.support.messages import NOTHING_TASK

START_TIMEOUT_S = 120


def command(name: str, app: str = "tests.support.fake_worker", queues: str = "") -> list[str]:
    """What starts this worker, or that of another module."""
    celery = [sys.executable, "-m", "celery", "-A", app, "worker", *([f"--queues={queues}"] if queues else [])]
    return [*celery, f"--hostname={name}@%h"]


def start_fake_worker(stack: Stack, name: str, **env: str) -> Process:
    """A worker whose painter is fake; `env` are further settings."""
    process = stack.process(name, command(name), env={"PYTHONPATH": str(Path(__file__).parents[2]), **env})
    process.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    return process


def load_engine(settings: Settings) -> FakePainter:
    return FakePainter()


app = make_worker_app(Settings.load(), module="tests.support.fake_worker", load_engine=load_engine)
inspection.TASKS.add(NOTHING_TASK)


@app.task(name=NOTHING_TASK, shared=False)
def nothing() -> float:
    """A bare Celery task, to compare with: when it began."""
    return time.time()
