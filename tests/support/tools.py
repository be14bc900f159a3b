"""Tools of other languages, brought by their package managers into a folder of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def run(directory: Path, *command: str, env: dict[str, str] | None = None, stdin: str = "") -> str:
    """What a command says; it does what it should."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fetch(what: str, directory: Path, *command: str) -> None:
    """Bring a tool into a folder of the test's own; skip where there is no way to it."""
    if not shutil.which(command[0]):
        pytest.skip(f"not run: there is no {command[0]} here for {what}")
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"not run: {what} is not at hand: {done.stderr.strip()[-200:]}")
