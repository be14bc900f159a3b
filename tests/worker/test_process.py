"""A worker that cannot do its work."""

from __future__ import annotations

import sys
from pathlib import Path

from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.deployment import WAIT_S
from tests.support.processes import wait_for


def test_a_worker_that_cannot_warm_up_stops(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "broken_worker.py").write_text(
        "from stylequeue.settings import Settings\n"
        "from stylequeue_worker.process.app import make_worker_app\n"
        "def load(settings): raise RuntimeError('no model today')\n"
        "app = make_worker_app(Settings.load(), module='broken_worker', load_engine=load)\n"
    )
    command = ["-m", "celery", "-A", "broken_worker", "worker", "-n", "broken@%h"]
    worker = stack.process(
        "broken",
        [sys.executable, *command],
        env={"PYTHONPATH": str(tmp_path), "STYLEQUEUE_REDIS_URL": settings.redis_url.get_secret_value()},
    )
    wait_for(lambda: not worker.running, WAIT_S, "the worker to stop")
    assert "no model today" in worker.log_text()
    worker.stop()
