"""The command `stylequeue`, in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner, Result

from stylequeue.cli import app
from tests.support.roles import address_as

DONE, JOB_FAILED, BAD_INPUT, NOT_REACHABLE = range(4)


class Command:
    """`stylequeue` with the settings of a stack, in this process, which saves it from importing everything anew."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = {**env, "COLUMNS": "200"}
        if url := env.get("STYLEQUEUE_REDIS_URL"):
            self.env["STYLEQUEUE_REDIS_URL"] = address_as(url, "operator")

    def __call__(self, *arguments: str | Path, exit_code: int = DONE) -> Result:
        with own_logging():  # what serves sets it up: to a standard error that is closed by the end
            done = CliRunner(env=self.env).invoke(app, [str(argument) for argument in arguments])
        # What nobody has caught would be a traceback.
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert done.exit_code == exit_code, done.stdout + done.stderr
        return done


@contextmanager
def own_logging() -> Iterator[None]:
    """How this process logs may be set up anew in the block, and is afterwards as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
