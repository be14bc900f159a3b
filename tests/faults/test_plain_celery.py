"""Faults 47 to 50: what a sender or an operator does by Celery's own means is done, or refused in words they hear."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature
from celery.result import AsyncResult

from stylequeue.contract.errors import Code, JobCancelled, JobExpired, JobFailed
from stylequeue.contract.events import Started
from stylequeue.contract.job import TASK_NAME
from stylequeue.ledger.names import record_key
from tests.faults.conftest import CREW
from tests.support.deployment import HURRIED, WAIT_S, Deployment
from tests.support.invariants import check
from tests.support.processes import child_of, kill, wait_for
from tests.support.proxy import Proxy
from tests.support.roles import as_role

# Celery's own way of storing a result, in our process where the client tells of a cancelled job.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

QUEUE = "paint"
QUICK = 3
"""Steps."""
_long = itertools.count(3000)
"""Steps of jobs that are stopped: more than half a minute, each another picture."""
ANSWER_S = 5
WAIT: Any = {"timeout": WAIT_S}


@pytest.fixture
def sender(crew: Deployment) -> Iterator[Celery]:
    """An app as any program makes it, knowing nothing of us."""
    url = as_role(crew.settings, "sender").redis_url.get_secret_value()
    with Celery("somebody", broker=url, backend=url, set_as_current=False) as app:
        yield app


@pytest.fixture
def anybody(crew: Deployment) -> Iterator[Celery]:
    """The same, with more rights in Redis than senders need: remote control and chords take them."""
    url = crew.settings.redis_url.get_secret_value()
    with Celery("anybody", broker=url, backend=url, set_as_current=False) as app:
        yield app


def call(deployment: Deployment, steps: int) -> dict[str, Any]:
    """A job as a plain sender writes it."""
    return {"job": deployment.job(steps).model_dump(mode="json", exclude_none=True, exclude={"id"})}


def send(sender: Celery, deployment: Deployment, steps: int = QUICK, **options: Any) -> AsyncResult[Any]:
    return sender.send_task(TASK_NAME, kwargs=call(deployment, steps), queue=QUEUE, **options)


def signature(sender: Celery, deployment: Deployment, steps: int = QUICK) -> Signature[Any]:
    return sender.signature(TASK_NAME, kwargs=call(deployment, steps), queue=QUEUE)


def until_painting(deployment: Deployment, job_id: str) -> None:
    def is_painting() -> bool:
        progress = state_of(deployment, job_id) == "running" and deployment.queue.status(job_id).progress
        return bool(progress and progress.data.step)

    wait_for(is_painting, WAIT_S, "a step")


def state_of(deployment: Deployment, job_id: str) -> str:
    found = deployment.queue._ledger.redis.hget(record_key(job_id), "state")
    return str(found or "unknown")


def attempts(deployment: Deployment, job_id: str) -> int:
    return sum(isinstance(event, Started) for event in deployment.queue._ledger.job_events(job_id))


@pytest.mark.slow
def test_01_child_killed_before_it_has_claimed(deployment: Deployment, redis_proxy: Proxy) -> None:
    """Its message is all there is of the job: it is put back, and nothing is charged."""
    worker = deployment.worker(redis=redis_proxy)
    url = deployment.settings.redis_url.get_secret_value()
    claiming = redis_proxy.hold(deployment.move("claim"))
    with Celery("somebody", broker=url, backend=url, set_as_current=False) as sender:
        result = send(sender, deployment)
        claiming.wait(WAIT_S)
        kill(child_of(worker))
        claiming.drop()
        assert result.get(**WAIT)["report"]["steps"] == QUICK
    assert deployment.queue.status(result.id).attempt == 1
    check(deployment.queue, [result.id], visibility_timeout_s=30)


COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("shutdown", {}),
    ("revoke", {"terminate": True, "signal": "SIGKILL"}),
    ("terminate", {"signal": "SIGKILL"}),
    ("revoke_by_stamped_headers", {"headers": {"a": ["b"]}, "terminate": True}),
    ("rate_limit", {"task_name": TASK_NAME, "rate_limit": "1/h"}),
    ("time_limit", {"task_name": TASK_NAME, "hard": 1, "soft": 1}),
    ("pool_grow", {"n": 1}),
    ("pool_shrink", {"n": 1}),
    ("pool_restart", {}),
    ("autoscale", {"max": 5, "min": 2}),
    ("cancel_consumer", {"queue": QUEUE}),
    ("add_consumer", {"queue": "anywhere"}),
    ("election", {"id": "1", "topic": "x", "action": None}),
    ("ping", {}),
    ("stats", {}),
    ("conf", {"with_defaults": True}),
]


def test_47_nobody_hears_remote_control(crew: Deployment, sender: Celery, anybody: Celery) -> None:
    """Neither a shutdown nor a revoke nor anything else: all jobs are painted, by the same processes."""
    children = [child_of(worker) for worker in crew.workers]
    named = send(sender, crew, 100)
    until_painting(crew, named.id)
    results = [send(sender, crew) for _ in range(CREW + 1)]
    ids = [named.id, *(result.id for result in results)]
    for command, arguments in COMMANDS:
        if command in ("revoke", "terminate"):
            arguments = {"task_id": ids, **arguments}
        anybody.control.broadcast(command, arguments=arguments)
    # Told last, and heard by nobody: what was told before has come as far by now as it ever will.
    assert not anybody.control.ping(timeout=1)
    for result in results:
        assert result.get(**WAIT)["report"]["steps"] == QUICK
    assert named.get(**WAIT)["report"]["steps"] == 100
    later = send(sender, crew, 4)
    anybody.control.revoke(later.id, terminate=True)
    assert later.get(**WAIT)["report"]["steps"] == 4
    assert [child_of(worker) for worker in crew.workers] == children, "no child was ended or added"
    redis = crew.queue._ledger.redis
    subscribed: Any = redis.pubsub_channels("*")
    assert not [channel for channel in subscribed if "pidbox" in channel or "celeryev" in channel]
    patterns: Any = redis.pubsub_numpat()
    assert patterns == 0
    for worker in crew.workers:
        assert worker.running
    check(crew.queue, [*ids, later.id], visibility_timeout_s=30)


def test_47_cancelled_by_its_id(crew: Deployment, sender: Celery) -> None:
    """What a plain sender does in place of `revoke`: the job has the task's id, and the ledger hears of it."""
    result = send(sender, crew, next(_long))
    until_painting(crew, result.id)
    crew.queue.cancel(result.id)
    with pytest.raises(JobCancelled):
        result.get(**WAIT)
    assert state_of(crew, result.id) == "cancelled"
    crew.queue.retry(result.id)
    until_painting(crew, result.id)
    crew.queue.cancel(result.id)


def test_48_expired_in_the_queue(crew: Deployment, sender: Celery) -> None:
    result = send(sender, crew, next(_long), expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(JobExpired) as caught:
        result.get(**WAIT)
    assert caught.value.code == Code.DEADLINE_PASSED
    assert (state_of(crew, result.id), attempts(crew, result.id)) == ("expired", 0)
    check(crew.queue, [result.id], visibility_timeout_s=30)


def test_48_expires_while_it_is_painted(crew: Deployment, sender: Celery) -> None:
    result = send(sender, crew, next(_long), expires=2)
    with pytest.raises(JobExpired):
        result.get(**WAIT)
    assert (state_of(crew, result.id), attempts(crew, result.id)) == ("expired", 1)
    crew.queue.retry(result.id)
    until_painting(crew, result.id)
    crew.queue.cancel(result.id)


@pytest.mark.parametrize("by", ["eta", "countdown"])
def test_48_not_before_its_time(crew: Deployment, sender: Celery, by: str) -> None:
    """It waits in the ledger, in no worker's memory, and no worker waits for it."""
    due = datetime.now(UTC) + timedelta(seconds=3)
    result = send(sender, crew, QUICK, **({"eta": due} if by == "eta" else {"countdown": 3}))
    wait_for(lambda: state_of(crew, result.id) == "queued", WAIT_S, "the job to be on record")
    record = crew.queue._ledger.record(result.id)
    assert record.not_before is not None
    assert abs(record.not_before - due) < timedelta(seconds=1)
    assert str(crew.queue.status(result.id).waits_for).startswith("its time: ")
    redis = crew.queue._ledger.redis
    wait_for(lambda: not redis.exists(QUEUE, "unacked"), WAIT_S, "its message to be gone")
    assert result.get(**WAIT)["report"]["steps"] == QUICK
    started = next(event for event in crew.queue._ledger.job_events(result.id) if isinstance(event, Started))
    assert started.time >= record.not_before - timedelta(seconds=0.1)
    check(crew.queue, [result.id], visibility_timeout_s=30)


def test_48_cancelled_before_it_is_due(crew: Deployment, sender: Celery) -> None:
    result = send(sender, crew, countdown=600)
    wait_for(lambda: state_of(crew, result.id) == "queued", WAIT_S, "the job to be on record")
    crew.queue.cancel(result.id)
    with pytest.raises(JobCancelled):
        result.get(**WAIT)


def test_48_expires_before_it_is_due(crew: Deployment, sender: Celery) -> None:
    result = send(sender, crew, countdown=600, expires=2)
    with pytest.raises(JobExpired):
        result.get(**WAIT)


def test_48_due_later_than_any_deadline_may_be(crew: Deployment, sender: Celery) -> None:
    result = send(sender, crew, eta=datetime.now(UTC) + timedelta(days=31))
    with pytest.raises(JobFailed, match=r"headers\.eta") as caught:
        result.get(**WAIT)
    assert caught.value.code == Code.INVALID_JOB
    assert state_of(crew, result.id) == "failed"


@pytest.mark.parametrize("limit", ["time_limit", "soft_time_limit"])
def test_48_a_time_limit_of_its_own(crew: Deployment, sender: Celery, limit: str) -> None:
    """The job ends, once; the child goes on to the next."""
    children = [child_of(worker) for worker in crew.workers]
    result = send(sender, crew, next(_long), **{limit: 1})
    with pytest.raises(JobFailed) as caught:
        result.get(**WAIT)
    assert caught.value.code == Code.TIME_LIMIT
    assert (state_of(crew, result.id), attempts(crew, result.id)) == ("failed", 1)
    assert send(sender, crew, time_limit=WAIT_S).get(**WAIT)["report"]["steps"] == QUICK
    assert [child_of(worker) for worker in crew.workers] == children


@pytest.mark.slow
def test_48_no_longer_than_the_workers_own_limit(deployment: Deployment) -> None:
    deployment.configure(**HURRIED)
    deployment.worker(max_attempts=1)
    url = deployment.settings.redis_url.get_secret_value()
    with Celery("somebody", broker=url, backend=url, set_as_current=False) as sender:
        result = send(sender, deployment, next(_long), time_limit=1000)
        with pytest.raises(JobFailed, match=Code.TIME_LIMIT) as caught:
            result.get(**WAIT)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED


def assert_refused(deployment: Deployment, result: AsyncResult[Any], job_id: str, way: str) -> None:
    with pytest.raises(JobFailed, match=way) as caught:
        result.get(**WAIT)
    assert caught.value.code == Code.CALLBACKS_REFUSED
    assert caught.value.hint
    assert (state_of(deployment, job_id), attempts(deployment, job_id)) == ("failed", 0)
    assert deployment.queue.dead_letter(job_id).code == Code.CALLBACKS_REFUSED


def test_49_link(crew: Deployment, sender: Celery) -> None:
    result = send(sender, crew, link=sender.signature("somebodys.task", queue=QUEUE))
    assert_refused(crew, result, result.id, "link")


def test_49_link_error(crew: Deployment, sender: Celery) -> None:
    result = send(sender, crew, link_error=sender.signature("somebodys.task", queue=QUEUE))
    assert_refused(crew, result, result.id, "link_error")


def test_49_chain(crew: Deployment, sender: Celery) -> None:
    """Its sender waits for the last task of it."""
    result: Any = chain(signature(sender, crew), sender.signature("somebodys.task", queue=QUEUE)).apply_async()
    assert_refused(crew, result, result.parent.id, "chain")
    with pytest.raises(JobFailed):
        result.parent.get(**WAIT)


def test_49_chord(crew: Deployment, anybody: Celery) -> None:
    """Its sender waits for the body."""
    result: Any = chord([signature(anybody, crew), signature(anybody, crew, 4)])(
        anybody.signature("somebodys.task", queue=QUEUE)
    )
    with pytest.raises(JobFailed, match="chord"):
        result.get(**WAIT)
    for part in result.parent:
        assert_refused(crew, part, part.id, "chord")


def test_49_a_chain_that_ends_in_a_group(crew: Deployment, sender: Celery) -> None:
    others = group(sender.signature("somebodys.task", queue=QUEUE), sender.signature("anybodys.task", queue=QUEUE))
    result: Any = chain(signature(sender, crew), others).apply_async()
    for part in result:
        with pytest.raises(JobFailed, match="chain"):
            part.get(**WAIT)


def test_49_a_group_is_just_many(crew: Deployment, sender: Celery) -> None:
    result = group(signature(sender, crew, steps) for steps in (2, 3, 4)).apply_async()
    assert [one["report"]["steps"] for one in result.get(**WAIT)] == [2, 3, 4]


def test_49_celerys_own_tasks_do_not_call_ours(crew: Deployment, sender: Celery) -> None:
    [call_of_one] = [signature(sender, crew)]
    result = sender.send_task("celery.map", kwargs={"task": dict(call_of_one), "it": [1]}, queue=QUEUE)
    with pytest.raises(JobFailed) as caught:
        result.get(**WAIT)
    assert caught.value.code == Code.UNKNOWN_TASK


def test_49_what_was_refused_is_replayed_alone(crew: Deployment, sender: Celery) -> None:
    result = send(sender, crew, link=sender.signature("somebodys.task", queue=QUEUE))
    assert_refused(crew, result, result.id, "link")
    crew.queue.replay(result.id)
    assert crew.queue._app.AsyncResult(result.id).get(**WAIT)["report"]["steps"] == QUICK
    check(crew.queue, [result.id], visibility_timeout_s=30)


def test_49_a_refusal_leaves_a_job_of_that_name_alone(crew: Deployment, sender: Celery) -> None:
    job = crew.job(next(_long))
    crew.queue.submit(job)
    crew.until_painting(job)
    before = len(crew.queue.dead_letters())
    send(sender, crew, task_id=job.id, link=sender.signature("somebodys.task", queue=QUEUE))
    wait_for(lambda: len(crew.queue.dead_letters()) > before, WAIT_S, "the dead letter")
    assert state_of(crew, job.id) == "running"
    crew.queue.cancel(job.id)
    with pytest.raises(JobCancelled):
        sender.AsyncResult(job.id).get(**WAIT)


def test_49_a_job_that_was_deleted_says_so(crew: Deployment, sender: Celery) -> None:
    first = send(sender, crew)
    first.get(**WAIT)
    crew.queue.delete(first.id)
    kwargs = call(crew, QUICK)
    kwargs["job"]["id"] = first.id
    again = sender.send_task(TASK_NAME, kwargs=kwargs, queue=QUEUE)
    with pytest.raises(JobFailed, match="deleted") as caught:
        again.get(**WAIT)
    assert caught.value.code == Code.JOB_NOT_FOUND


@pytest.mark.parametrize("how", [{"serializer": "pickle"}, {"compression": "zlib"}])
def test_49_a_way_of_packing_that_is_not_read(crew: Deployment, sender: Celery, how: dict[str, Any]) -> None:
    result = send(sender, crew, **how)
    with pytest.raises(JobFailed) as caught:
        result.get(**WAIT)
    assert caught.value.code == Code.MESSAGE_MALFORMED


def test_49_an_unknown_task_says_so(crew: Deployment, sender: Celery) -> None:
    result = sender.send_task("stylequeue.sculpt", queue=QUEUE)
    with pytest.raises(JobFailed, match=r"stylequeue\.sculpt") as caught:
        result.get(**WAIT)
    assert caught.value.code == Code.UNKNOWN_TASK


@pytest.fixture
def old_sender(sender: Celery) -> Celery:
    """Speaks the protocol of Celery 3, as clients in other languages do."""
    sender.conf.task_protocol = 1
    return sender


def test_50_old_protocol(crew: Deployment, old_sender: Celery) -> None:
    result = send(old_sender, crew)
    assert result.get(**WAIT)["report"]["steps"] == QUICK
    assert crew.queue.status(result.id).attempt == 1
    check(crew.queue, [result.id], visibility_timeout_s=30)


def test_50_old_protocol_and_what_it_asks(crew: Deployment, old_sender: Celery) -> None:
    later = send(old_sender, crew, countdown=2)
    stale = send(old_sender, crew, next(_long), expires=datetime.now(UTC) - timedelta(seconds=1))
    limited = send(old_sender, crew, next(_long), time_limit=1)
    linked = send(old_sender, crew, link=old_sender.signature("somebodys.task", queue=QUEUE))
    assert_refused(crew, linked, linked.id, "link")
    with pytest.raises(JobExpired):
        stale.get(**WAIT)
    with pytest.raises(JobFailed, match=Code.TIME_LIMIT):
        limited.get(**WAIT)
    assert later.get(**WAIT)["report"]["steps"] == QUICK
    record = crew.queue._ledger.record(later.id)
    assert record.created_at + timedelta(seconds=1) < record.updated_at
