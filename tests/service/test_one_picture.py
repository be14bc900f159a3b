"""One job, one picture: repetitions, pictures in the way, jobs too late."""

from __future__ import annotations

import hashlib

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, JobExpired
from stylequeue.contract.objects import ImageRef
from stylequeue.contract.recipe import FastRecipe
from tests.service.conftest import WAIT_S, assert_fails, make, paint, stored
from tests.support.processes import wait_for


def test_the_same_job_sent_again_is_painted_once(service: StyleQueue, photograph: ImageRef) -> None:
    job = make(photograph)
    for _ in range(5):
        service.submit(job)
    done = service.wait(job.id, timeout_s=WAIT_S)
    service.submit(job)
    assert paint(service, make(photograph)).output, "the messages before it are dealt with by now"
    assert service.status(job.id).attempt == 1
    assert service.wait(job.id) == done


def test_a_picture_in_the_way_is_not_replaced_unless_asked(service: StyleQueue, photograph: ImageRef) -> None:
    where = {"bucket": "results", "key": "in-the-way.jpg"}
    first = paint(service, make(photograph, output=where))
    other = {"method": "fast", "size": 48}
    assert_fails(service, make(photograph, other, output=where), Code.OUTPUT_EXISTS)
    assert hashlib.sha256(stored(service, "in-the-way.jpg")).hexdigest() == first.output.sha256
    second = paint(service, make(photograph, other, output={**where, "overwrite": True}))
    assert hashlib.sha256(stored(service, "in-the-way.jpg")).hexdigest() == second.output.sha256 != first.output.sha256


def test_the_same_picture_in_the_way_is_success(service: StyleQueue, photograph: ImageRef) -> None:
    """As when a worker was killed between storing the picture and recording that."""
    where = {"bucket": "results", "key": "twice.jpg"}
    first = paint(service, make(photograph, output=where))
    second = paint(service, make(photograph, output=where))
    assert second.output == first.output
    assert second.fingerprint == first.fingerprint


def test_who_has_painted_can_say_how_long_it_takes(service: StyleQueue, photograph: ImageRef) -> None:
    recipe = FastRecipe(size=72)
    paint(service, make(photograph, recipe.model_dump(exclude_none=True)))
    wait_for(lambda: service.estimate(recipe).paint_s is not None, WAIT_S, "the worker to say how fast it was")
    found = service.estimate(recipe)
    assert found.paint_s is not None
    assert 0 <= found.paint_s < WAIT_S
    assert (found.wait_s, found.workers, found.tiles) == (0, 1, 1)


def test_a_job_past_its_deadline_expires(service: StyleQueue, photograph: ImageRef) -> None:
    job = make(photograph, deadline="2020-01-01T00:00:00Z")
    service.submit(job)
    with pytest.raises(JobExpired) as caught:
        service.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.DEADLINE_PASSED
