"""What a newer worker tells, as this version's client and keeper take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stylequeue import EventsLost, JobFailed, SchemaTooNew, StyleQueue, Succeeded, UnknownEvent, asking_events
from stylequeue.cli import console
from stylequeue.contract.events import (
    PaintingReport,
    Progress,
    ProgressData,
    StoredPicture,
    SucceededData,
    UnknownRecipe,
)
from stylequeue.contract.job import Job
from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue.keeper import Keeper
from stylequeue.ledger import names
from stylequeue.settings import Settings
from stylequeue.store import Origin
from tests.support.clients import Client
from tests.support.jobs import NO_REPORT, make_job
from tests.support.roles import as_role

VARNISHED = "io.stylequeue.job.varnished.v1"


class NewerWorker:
    """Has one job, and tells of it what nobody knew when this version was made."""

    def __init__(self, queue: StyleQueue, job: Job) -> None:
        self.job = job
        self._ledger = queue._ledger
        self._redis: Any = queue._ledger.redis
        self._store = queue._store
        self._ledger.accept([job])
        self._fence = self._ledger.claim(job, task_id=job.id, worker="newer").record.fence

    def tell(self, event_type: str, data: dict[str, Any], **envelope: Any) -> str:
        """As the ledger's scripts of that version do."""
        sequence = self._redis.hincrby(names.record_key(self.job.id), "sequence", 1)
        event = {
            "specversion": "1.0",
            "id": "newer",
            "source": "/stylequeue/default",
            "subject": self.job.id,
            "type": event_type,
            "time": "2031-01-01T00:00:00Z",
            "sequence": f"{sequence:010}",
            "data": {"labels": {}, "run": 1, "attempt": 1, **data},
            **envelope,
        }
        text = json.dumps(event)
        self._redis.xadd(names.events_key(self.job.id), {"event": text}, id=f"{sequence}-1")
        self._redis.xadd(names.EVENTS_KEY, {"event": text})
        return text

    def progress(self, stage: str) -> None:
        self._ledger.heartbeat(self.job.id, fence=self._fence, data=ProgressData(number=1, stage=stage))

    def succeed(self, **changes: Any) -> SucceededData:
        """With a picture, told of in an event of which `changes` are the data's fields."""
        output = self.job.output
        written = self._store.write(
            output.bucket,
            self.job.output_key,
            b"picture",
            origin=Origin(self.job.id, "f"),
            content_type="image/jpeg",
            overwrite=True,
        )
        picture = StoredPicture(
            bucket=output.bucket,
            key=self.job.output_key,
            etag=written.etag,
            sha256="",
            width_px=1,
            height_px=1,
            size_bytes=len(b"picture"),
            content_type="image/jpeg",
        )
        recipe = resolve(self.job.recipe)
        data = SucceededData(output=picture, fingerprint="f", recipe=recipe, engine_version="9", report=NO_REPORT)
        self._ledger.finish(self.job.id, fence=self._fence, data=data.model_copy(update=changes))
        return data

    def end(self, state: str, event_type: str, data: dict[str, Any], **envelope: Any) -> None:
        """In a state, and with an event, that may both be new."""
        self.succeed()
        last = self._redis.xrevrange(names.events_key(self.job.id), count=1)[0][0]
        self._redis.xdel(names.events_key(self.job.id), last)
        event = self.tell(event_type, data, **envelope)
        self._redis.hset(names.record_key(self.job.id), mapping={"state": state, "outcome": event})


@pytest.fixture(autouse=True)
def _known_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """That an event nobody knows was a job's end is seen at the next look at its record."""
    monkeypatch.setattr(asking_events, "_LOOK_S", 0.1)


@pytest.fixture
def newer(queue: StyleQueue) -> NewerWorker:
    return NewerWorker(queue, make_job(recipe=OptimizeRecipe(steps=3)))


def test_an_unknown_event_is_shown_as_one(queue: StyleQueue, newer: NewerWorker) -> None:
    newer.tell(VARNISHED, {"coats": 2})
    newer.succeed()
    _, _, varnished, succeeded = queue.watch(newer.job.id, timeout_s=5)
    assert isinstance(varnished, UnknownEvent)
    assert (varnished.kind, varnished.type, varnished.subject) == ("varnished", VARNISHED, newer.job.id)
    assert varnished.data.model_extra == {"coats": 2}
    assert isinstance(succeeded, Succeeded)
    assert queue.wait(newer.job.id, timeout_s=5).id == newer.job.id
    kinds = [event.kind for _, event in queue.events(follow=False)]
    assert kinds == ["accepted", "started", "varnished", "succeeded"]


def test_a_known_event_that_looks_different_is_an_unknown_one(queue: StyleQueue, newer: NewerWorker) -> None:
    newer.tell("io.stylequeue.job.started.v1", {"workers": ["a", "b"]})
    newer.tell("framed", {})
    newer.tell("io.stylequeue.job.started.v2", {"worker": "a"}, specversion="2.0", datacontenttype="application/cbor")
    *_, first, second, third = (event for _, event in queue.events(follow=False))
    assert {type(event) for event in (first, second, third)} == {UnknownEvent}
    assert [event.kind for event in (first, second, third)] == ["started", "framed", "started"]
    assert [console.describe(event) for event in (first, second, third)] == ["started", "framed", "started"]


def test_unknown_words_are_kept(queue: StyleQueue, newer: NewerWorker) -> None:
    newer.progress("varnishing")
    status = queue.status(newer.job.id)
    assert status.progress
    assert status.progress.data.stage == "varnishing"
    report = PaintingReport(**{**NO_REPORT.model_dump(), "ended_by": "varnish", "network": "vgg22"})
    recipe = {**resolve(newer.job.recipe).model_dump(), "network": "vgg22", "steps": 10**9}
    newer.succeed(report=report, recipe=UnknownRecipe(**recipe))
    progress = [event for event in queue.watch(newer.job.id, timeout_s=5) if isinstance(event, Progress)]
    assert [event.data.stage for event in progress] == ["varnishing"]
    done = queue.wait(newer.job.id, timeout_s=5)
    assert (done.report.ended_by, done.report.network) == ("varnish", "vgg22")
    told = done.recipe.model_dump()
    assert (told["method"], told["network"], told["steps"]) == ("optimize", "vgg22", 10**9)
    assert queue.status(newer.job.id).state == "succeeded"


def test_an_unknown_state_is_kept(queue: StyleQueue, newer: NewerWorker) -> None:
    newer.end("framed", "io.stylequeue.job.framed.v1", {"code": "frame_missing", "message": "no frame left"})
    status = queue.status(newer.job.id)
    assert (status.state, status.outcome and status.outcome.kind) == ("framed", "framed")
    assert [job.state for job in queue.jobs()] == ["framed"]
    assert [event.kind for event in queue.watch(newer.job.id, timeout_s=10)] == ["accepted", "started", "framed"]
    with pytest.raises(JobFailed, match="no frame left") as caught:
        queue.wait(newer.job.id, timeout_s=10)
    assert caught.value.code == "frame_missing"


def test_a_success_that_cannot_be_read_says_so(queue: StyleQueue, newer: NewerWorker, tmp_path: Path) -> None:
    newer.end("succeeded", "io.stylequeue.job.succeeded.v2", {"outputs": [{"bucket": "results", "key": "a"}]})
    assert queue.status(newer.job.id).state == "succeeded"
    for call in (
        lambda: queue.wait(newer.job.id, timeout_s=10),
        lambda: queue.download(newer.job.id, tmp_path / "picture"),
        lambda: queue.link(newer.job.id),
        lambda: queue.delete(newer.job.id),
    ):
        with pytest.raises(SchemaTooNew) as caught:
            call()
        assert "upgrade" in caught.value.hint


def test_a_picture_can_be_had_where_only_the_rest_is_new(queue: StyleQueue, newer: NewerWorker, tmp_path: Path) -> None:
    output = newer.succeed().output.model_dump()
    newer._redis.hset(names.record_key(newer.job.id), "outcome", newer.tell("x.succeeded.v2", {"output": output}))
    queue.download(newer.job.id, tmp_path / "picture")
    assert (tmp_path / "picture").read_bytes() == b"picture"
    queue.delete(newer.job.id)
    assert not queue._store.exists("results", newer.job.output_key)


@pytest.mark.parametrize(
    ("event_type", "data", "result"),
    [
        ("io.stylequeue.job.succeeded.v2", {"outputs": []}, {"outputs": []}),
        ("io.stylequeue.job.framed.v1", {"code": "frame_missing"}, "frame_missing"),
    ],
)
def test_an_older_keeper_tells_what_it_can(
    queue: StyleQueue, newer: NewerWorker, event_type: str, data: dict[str, Any], result: object
) -> None:
    """The newer worker died before it told, and only older keepers are about."""
    newer.end(event_type.split(".")[-2], event_type, data)
    Keeper(as_role(queue.settings.model_copy(update={"lease_s": 0.001}), "keeper")).round()
    assert not queue._ledger.redis.exists(names.UNTOLD_KEY)
    answer = queue._app.AsyncResult(newer.job.id)
    if isinstance(result, dict):
        assert result.items() <= answer.get(timeout=5).items()
    else:
        with pytest.raises(JobFailed) as caught:
            answer.get(timeout=5)
        assert caught.value.code == result


def test_an_older_keeper_takes_a_job_from_a_newer_worker_that_died(client: Client, settings: Settings) -> None:
    with client(settings.model_copy(update={"lease_s": 0.001})) as queue:
        newer = NewerWorker(queue, make_job())
        newer.tell(VARNISHED, {})
        record = {"progress": newer.tell("io.stylequeue.job.progress.v2", {"share": 0.5}), "frame": "gilded"}
        newer._redis.hset(names.record_key(newer.job.id), mapping=record)
        assert queue.status(newer.job.id).progress is None
        Keeper(as_role(queue.settings, "keeper")).round()
        assert queue.status(newer.job.id).state == "queued"


def test_a_worker_that_says_what_it_has_in_another_way_is_passed_over(queue: StyleQueue) -> None:
    """Here it is as good as none; its own kind knows better."""
    waiting = make_job()
    queue.submit(waiting)
    redis: Any = queue._ledger.redis
    redis.zadd(names.WORKERS_KEY, {"newer": 2**60})
    redis.set(names.worker_key("newer"), json.dumps({"name": "newer", "devices": ["two", "of them"]}), ex=60)
    assert queue._ledger.registry.workers() == []
    assert queue.status(waiting.id).state == "queued"
    assert queue.jobs()[0].id == waiting.id
    queue._ledger.registry.unregister("newer")


def test_positions_of_unknown_events_are_positions(queue: StyleQueue, newer: NewerWorker) -> None:
    newer.tell(VARNISHED, {})
    *_, (position, _) = queue.events(follow=False)
    newer.succeed()
    assert [event.kind for _, event in queue.events(after=position, follow=False)] == ["succeeded"]
    newer._redis.xtrim(names.EVENTS_KEY, maxlen=1, approximate=False)
    with pytest.raises(EventsLost):
        list(queue.events(after=position, follow=False))
