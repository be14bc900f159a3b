"""What lies in the work bucket when a worker has to stop in the middle of a step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stylequeue.contract.objects import checkpoint_key
from stylequeue.store import Store
from stylequeue_worker.work import workbench
from stylequeue_worker.work.lease import STOP_FILE_VARIABLE
from stylequeue_worker.work.workbench import Workbench
from tests.support.odd_s3 import OddS3
from tests.support.processes import wait_for

WAIT_S = 30


def test_the_newest_step_is_saved_before_the_next_one_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_file = tmp_path / "stop"
    monkeypatch.setenv(STOP_FILE_VARIABLE, str(stop_file))
    monkeypatch.setattr(workbench, "_LOOK_S", 0.01)
    holder: Any = SimpleNamespace(record=SimpleNamespace(id="mine"), left_work=False, still_wanted=lambda: None)
    with OddS3() as s3:
        store = Store(s3.settings())
        seldom = s3.settings().model_copy(update={"checkpoint_interval_s": 1000, "preview_interval_s": 1000})
        bench = Workbench(store, seldom, holder, "f")
        with bench:
            step: Any = SimpleNamespace(state={"step": np.array(3)})
            bench.newest = step
            assert f"/work/{checkpoint_key('mine')}" not in s3.objects
            stop_file.touch()
            saved = wait_for(lambda: bench.resume(16, 16), WAIT_S, "a checkpoint")
            assert saved
            assert int(saved["step"]) == 3
            assert holder.left_work
