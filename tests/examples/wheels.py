"""The wheel, and environments that it is installed into."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
WAIT_S = 120


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=WAIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(directory: Path, *requirements: str) -> Path:
    """An environment with these and what they ask for, in the versions that we test with; its interpreter."""
    environment = directory / "environment"
    run(BIN / "uv", "venv", "--quiet", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    options = ("--quiet", "--system-certs", "--constraint", str(ROOT / "requirements" / "dev.txt"))
    command: list[str | Path] = [BIN / "uv", "pip", "install", "--python", python, *options, *requirements]
    try:
        # What was installed for development is in the cache.
        run(*command, "--offline")
    except AssertionError:
        run(*command)
    return python
