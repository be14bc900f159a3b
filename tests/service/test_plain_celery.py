"""Jobs from programs without our package: Celery sends them, and its results tell."""

from __future__ import annotations

import subprocess
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from celery import Celery

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, JobFailed
from stylequeue.contract.events import Failed
from stylequeue.contract.objects import ImageRef
from stylequeue.local import Stack
from tests.service.conftest import WAIT_S, fields, make, paint
from tests.support.processes import wait_for
from tests.support.roles import as_role


def test_plain_celery_can_send_and_get(service: StyleQueue, plain_celery: Celery, photograph: ImageRef) -> None:
    result = plain_celery.send_task("stylequeue.stylize", kwargs={"job": fields(make(photograph))}, queue="paint")
    outcome = result.get(timeout=WAIT_S)
    assert outcome["output"]["key"] == f"{result.id}.jpg"
    assert service.status(result.id).state == "succeeded"


def test_plain_celery_gets_code_and_message(service: StyleQueue, plain_celery: Celery) -> None:
    job = make(ImageRef(bucket="uploads", key="nowhere.jpg"))
    result = plain_celery.send_task("stylequeue.stylize", kwargs={"job": fields(job)}, queue="fast")
    with pytest.raises(JobFailed) as caught:
        result.get(timeout=WAIT_S)
    assert caught.value.code == Code.OBJECT_NOT_FOUND
    assert "nowhere.jpg" in caught.value.message


def test_a_program_without_our_package_gets_code_and_message(service: StyleQueue, stack: Stack) -> None:
    """In an interpreter that cannot import stylequeue."""
    script = """
import sys
sys.modules["stylequeue"] = None
import os
from celery import Celery
app = Celery(broker=os.environ["URL"], backend=os.environ["URL"])
try:
    app.send_task("stylequeue.stylize", kwargs={"job": {"nonsense": 1}}, queue="paint").get(timeout=60)
except Exception as error:
    print(type(error).__name__, *error.args, sep="|")
"""
    env = {"URL": as_role(stack.settings, "sender").redis_url.get_secret_value()}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    name, code, message, hint = done.stdout.strip().split("|")
    assert (name, code) == ("JobFailed", "invalid_job")
    assert "nonsense" in message
    assert hint


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"job": {"recipe": {"method": "optimize", "size": 10**9}}}, "recipe.optimize.size"),
        ({"job": {"id": "mine", "content": "x"}}, "content"),
        ({"job": "text"}, "not a JSON object"),
        ({}, "not a JSON object"),
        ({"image": "s3://a/b"}, "not a JSON object"),
    ],
)
def test_what_is_no_job_fails_under_its_task_id(
    service: StyleQueue, plain_celery: Celery, photograph: ImageRef, kwargs: dict[str, Any], named: str
) -> None:
    result = plain_celery.send_task("stylequeue.stylize", kwargs=kwargs, queue="paint")
    with pytest.raises(JobFailed) as caught:
        result.get(timeout=WAIT_S)
    assert caught.value.code == Code.INVALID_JOB
    assert named in caught.value.message
    outcome = service.status(result.id).outcome
    assert isinstance(outcome, Failed)
    assert outcome.data.code == Code.INVALID_JOB
    assert outcome in [event for _, event in service.events(follow=False)]
    assert paint(service, make(photograph)).output


def test_a_task_id_that_is_no_job_id_reaches_no_key(
    service: StyleQueue, plain_celery: Celery, photograph: ImageRef
) -> None:
    victim = make(photograph)
    result = plain_celery.send_task(
        "stylequeue.stylize", kwargs={"job": {"nonsense": 1}}, queue="paint", task_id=f"{victim.id}:events"
    )
    with pytest.raises(JobFailed) as caught:
        result.get(timeout=WAIT_S)
    assert caught.value.code == Code.INVALID_JOB
    assert any("nonsense" in letter.message for letter in service.dead_letters())
    assert paint(service, victim).output


def test_a_job_under_an_impossible_task_id_can_be_replayed(
    service: StyleQueue, plain_celery: Celery, photograph: ImageRef
) -> None:
    """Under another one, since it was not the job that was wrong."""
    key = f"{uuid.uuid4().hex}.jpg"
    job = fields(make(photograph, output={"bucket": "results", "key": key}))
    result = plain_celery.send_task("stylequeue.stylize", kwargs={"job": job}, queue="paint", task_id="two words")
    with pytest.raises(JobFailed, match=Code.INVALID_JOB):
        result.get(timeout=WAIT_S)
    [letter] = [letter for letter in service.dead_letters() if key in letter.message]
    service.replay(letter.id)
    wait_for(partial(service._store.exists, "results", key), WAIT_S, "the picture")
    assert letter not in service.dead_letters()


def test_what_json_cannot_write_is_a_dead_letter_too(service: StyleQueue, plain_celery: Celery) -> None:
    """Celery's JSON carries dates and UUIDs as such."""
    job: dict[str, Any] = {"id": uuid.uuid4(), "deadline": datetime.now(UTC), "nonsense": Decimal(1)}
    result = plain_celery.send_task("stylequeue.stylize", kwargs={"job": job}, queue="paint")
    with pytest.raises(JobFailed) as caught:
        result.get(timeout=WAIT_S)
    assert caught.value.code == Code.INVALID_JOB
    assert job["id"].hex in service._ledger.dead_letter(result.id).message


def test_a_newer_schema_is_said_to_be_newer(service: StyleQueue, plain_celery: Celery, photograph: ImageRef) -> None:
    job = fields(make(photograph)) | {"schema_version": 99}
    with pytest.raises(JobFailed) as caught:
        plain_celery.send_task("stylequeue.stylize", kwargs={"job": job}, queue="paint").get(timeout=WAIT_S)
    assert caught.value.code == Code.SCHEMA_TOO_NEW
