"""What a backend pays for importing the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stylequeue
from stylequeue.contract import errors

INSIDE = {"Cancelled", "CannotServe", "DeadlinePassed", "Interrupted", "LeaseLost", "Preempted"}
"""Errors of a worker and of the command, which no backend meets; `stylequeue.Cancelled` is the event."""
HEAVY = {"tensorflow", "keras", "numpy", "PIL", "matplotlib", "boto3", "botocore", "celery", "kombu", "redis"}


def loaded_after(code: str) -> set[str]:
    """Top-level modules that are loaded once `code` has run in a fresh interpreter."""
    script = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import stylequeue",
        "from stylequeue import *",
        "import stylequeue.cli, stylequeue.local",
        "from stylequeue import StyleQueue; StyleQueue()",
        "from stylequeue import AsyncStyleQueue; AsyncStyleQueue()",
    ],
)
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert not loaded_after(code) & HEAVY


def test_a_producer_that_submits_never_meets_the_worker_side() -> None:
    loaded = loaded_after("import stylequeue.broker, stylequeue.ledger, stylequeue.store, celery, redis, boto3")
    assert not loaded & {"stylequeue_worker", "tensorflow", "numpy", "PIL"}


def test_every_public_name_is_there() -> None:
    loaded_after("import stylequeue\nfor name in stylequeue.__all__: getattr(stylequeue, name)")
    loaded_after("from stylequeue import *; StyleQueue, Job, Code, WaitTimeout, __version__")
    assert {"StyleQueue", "Job", "Code", "Permanent", "Retryable", "InvalidSettings"} <= set(dir(stylequeue))


def test_every_error_that_a_user_can_meet_is_public() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.StyleQueueError):
            assert (getattr(stylequeue, name, None) is value) is (name not in INSIDE), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Stylequeue"):
        getattr(stylequeue, "Stylequeue")  # noqa: B009 - a type checker knows that it is not there
