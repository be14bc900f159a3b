"""Celery's results, as senders of this and of other versions read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

import stylequeue
from stylequeue.broker.app import make_app
from stylequeue.contract.errors import JobCancelled, JobEnded, JobExpired, JobFailed
from stylequeue.settings import Settings

WAIT_S = 60


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    with make_app(settings) as app:
        yield app


def get(app: Celery, task_id: str) -> Any:
    result: Any = app.AsyncResult(task_id)
    return result.get(timeout=WAIT_S)


@pytest.mark.parametrize("kind", [JobFailed, JobCancelled, JobExpired])
def test_an_end_without_a_picture_is_raised_as_what_the_package_exports(app: Celery, kind: type[JobEnded]) -> None:
    app.backend.mark_as_failure("task", kind("image_empty", "there is nothing", "give something"))
    with pytest.raises(getattr(stylequeue, kind.__name__)) as caught:
        get(app, "task")
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.message, caught.value.hint) == (
        "image_empty",
        "there is nothing",
        "give something",
    )


@pytest.mark.parametrize("kind", [JobFailed, JobCancelled, JobExpired])
def test_it_is_stored_under_a_name_that_no_move_of_modules_changes(app: Celery, kind: type[JobEnded]) -> None:
    app.backend.mark_as_failure("task", kind("image_empty", "there is nothing", ""))
    backend: Any = app.backend
    stored: dict[str, Any] = json.loads(backend.get(backend.get_key_for_task("task")))
    assert (stored["result"]["exc_module"], stored["result"]["exc_type"]) == ("stylequeue", kind.__name__)


@pytest.mark.parametrize("module", ["stylequeue", "stylequeue.errors"])
def test_what_other_versions_stored_is_read(app: Celery, module: str) -> None:
    raised = {"exc_type": "JobFailed", "exc_message": ["image_empty", "nothing", ""], "exc_module": module}
    stored: dict[str, Any] = {
        "status": "FAILURE",
        "result": raised,
        "traceback": None,
        "children": [],
        "task_id": "task",
    }
    backend: Any = app.backend
    backend.set(backend.get_key_for_task("task"), json.dumps(stored))
    with pytest.raises(JobFailed, match="image_empty"):
        get(app, "task")


def test_an_error_of_others_stays_theirs(app: Celery) -> None:
    app.backend.mark_as_failure("task", KeyError("theirs"))
    with pytest.raises(KeyError, match="theirs"):
        get(app, "task")


def test_a_sender_subscribes_to_nothing(app: Celery, settings: Settings) -> None:
    for _ in range(3):
        app.send_task("stylequeue.stylize", kwargs={}, queue="paint")
    backend: Any = app.backend
    assert not backend.result_consumer.subscribed_to
