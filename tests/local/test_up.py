"""Everything on one machine, as a newcomer starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.support.processes import wait_for

WAIT_S = 120


def test_demo(model_dir: Path, tmp_path: Path) -> None:
    env = {**os.environ, "STYLEQUEUE_MODEL_DIR": str(model_dir)}
    command = [
        sys.executable,
        "-m",
        "stylequeue.cli",
        "demo",
        "--size",
        "64",
        "--steps",
        "6",
        "--output",
        str(tmp_path),
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    names = ["content.jpg", "style.jpg", "fast.jpg", "result.jpg", "report.png", "events.jsonl"]
    assert done.stdout.split() == [str(tmp_path / name) for name in names]
    for name in names[:-1]:
        with Image.open(tmp_path / name) as picture:
            picture.load()
    with Image.open(tmp_path / "result.jpg") as picture:
        assert max(picture.size) == 64
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [e["type"].split(".")[-2] for e in events if "progress" not in e["type"]] == [
        "accepted",
        "started",
        "succeeded",
    ] * 2
    assert re.search(r"\d s +painted job", done.stderr), "it says how long each part took"


def test_up(model_dir: Path, tmp_path: Path) -> None:
    env = {**os.environ, "STYLEQUEUE_MODEL_DIR": str(model_dir)}
    out, err = tmp_path / "out", tmp_path / "err"
    command = [sys.executable, "-m", "stylequeue.cli", "up"]
    with out.open("w") as stdout, err.open("w") as stderr:
        up = subprocess.Popen(command, env=env, stdout=stdout, stderr=stderr)
    try:
        wait_for(
            lambda: "waiting for jobs" in err.read_text() or up.poll() is not None, WAIT_S, "the worker to be ready"
        )
        settings = dict(re.findall(r"export (STYLEQUEUE_\w+)='(.*)'", out.read_text()))
        doctor = [sys.executable, "-m", "stylequeue.cli", "doctor"]
        found = subprocess.run(doctor, env={**env, **settings}, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr + err.read_text()
        assert {line[:4] for line in found.stdout.splitlines()} == {"ok  "}
        for looked_at in (
            "redis",
            "worker stylequeue-",
            "bucket results",
            "conditional writes",
            "models: fast",
            "TensorFlow",
        ):
            assert looked_at in found.stdout
        assert settings["STYLEQUEUE_REDIS_URL"] not in found.stdout
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(WAIT_S) == 0
    assert "stopping" in err.read_text()
