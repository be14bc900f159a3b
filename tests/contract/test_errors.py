"""The tree of errors, as a backend passes it on: between its processes, and in groups."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from stylequeue.contract import errors
from stylequeue.contract.codes import STATUS, status_of
from stylequeue.contract.errors import (
    Code,
    EventsLost,
    FileUnusable,
    InvalidJob,
    JobConflict,
    JobFailed,
    JobsRefused,
    QueueFull,
    StyleQueueError,
    WaitTimeout,
)

ERRORS = {
    "of code, message and hint": JobFailed(Code.OBJECT_NOT_FOUND, "message", "hint"),
    "without a hint": errors.Permanent(Code.OBJECT_NOT_FOUND, "message"),
    "that is a ValueError": InvalidJob("message", "hint"),
    "that writes its message itself": QueueFull("paint", 7),
    "of one argument": EventsLost("1-1"),
    "that is an OSError": FileUnusable("message", "hint", because=FileNotFoundError(2, "no such file", "a.jpg")),
    "that is a TimeoutError": WaitTimeout("job", 3),
    "that is a group": JobsRefused({"a": JobConflict("a"), "b": QueueFull("paint", 7)}),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize(
    "passed_on",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["pickled", "copied", "deep"],
)
def test_an_error_is_the_same_elsewhere(
    error: StyleQueueError, passed_on: Callable[[StyleQueueError], StyleQueueError]
) -> None:
    """Process pools, and tasks of a backend's own, hand exceptions on in this way."""
    error.add_note("note")
    other = passed_on(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert (other.code, other.message, other.hint) == (error.code, error.message, error.hint)
    assert other.__notes__ == error.__notes__
    if isinstance(error, OSError) and isinstance(other, OSError):
        assert (other.errno, other.strerror, other.filename) == (error.errno, error.strerror, error.filename)
    if isinstance(error, JobsRefused) and isinstance(other, JobsRefused):
        assert {job_id: str(why) for job_id, why in other.refused.items()} == {
            job_id: str(why) for job_id, why in error.refused.items()
        }


def test_a_group_comes_apart_by_kinds() -> None:
    refused = JobsRefused({"a": JobConflict("a"), "b": QueueFull("paint", 7), "c": QueueFull("bulk", 7)})
    full, rest = refused.split(errors.Retryable)
    assert isinstance(full, JobsRefused)
    assert isinstance(rest, JobsRefused)
    assert (list(full.refused), list(rest.refused)) == (["b", "c"], ["a"])


def test_every_code_has_an_http_status() -> None:
    assert set(STATUS) == set(Code)
    assert all(400 <= status < 600 for status in STATUS.values())
    assert (status_of(Code.JOB_OPEN), status_of("job_open"), status_of("of_a_newer_version")) == (409, 409, 500)
