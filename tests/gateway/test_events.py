"""Events as they happen, over HTTP: of one job, of many, resumed, ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import EventsLost
from stylequeue.contract.events import MAX_EVENT_BYTES, CancelledData, Progress, ProgressData
from stylequeue.contract.job import Job
from stylequeue.gateway import events as events_module
from stylequeue.gateway import feed, keys, server, streams
from stylequeue.ledger import names
from stylequeue.settings import Settings
from tests.support.gate import ServedGate, uncollected
from tests.support.jobs import make_job
from tests.support.processes import wait_for
from tests.support.sse import Sent, events

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

WAIT_S = 60


@pytest.fixture(scope="module")
def gate(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGate]:
    with ServedGate(module_settings, tmp_path_factory.mktemp("gate") / "keys.json") as gate:
        yield gate


@pytest.fixture(scope="module")
def queue(module_settings: Settings) -> Iterator[StyleQueue]:
    with StyleQueue(module_settings) as queue:
        yield queue


class Worker:
    """Has one job and tells of it."""

    def __init__(self, queue: StyleQueue, job: Job, *, tenant: str | None = None) -> None:
        self._ledger = queue._ledger
        self.job_id = job.id
        (queue.for_tenant(tenant) if tenant else queue).submit(job)
        self._fence = self._ledger.claim(job, task_id=job.id, worker="secret-host").record.fence
        self._number = 0

    def progress(self) -> None:
        self._number += 1
        data = ProgressData(number=self._number, stage="painting", step=self._number)
        self._ledger.heartbeat(self.job_id, fence=self._fence, data=data)

    def end(self) -> None:
        self._ledger.finish(self.job_id, fence=self._fence, data=CancelledData.by_request())


def read(gate: ServedGate, path: str, *, count: int | None = None, **more: Any) -> list[Sent]:
    """The first `count` events of a stream, or all there are until it ends."""
    with gate.stream(path, **more) as response:
        assert response.status_code == 200, response.read()
        return list(islice(events(response.iter_lines()), count))


def kinds(sent: list[Sent]) -> list[str]:
    return [one.kind for one in sent]


# One job's


def test_a_jobs_events_come_as_they_were_told(gate: ServedGate, queue: StyleQueue) -> None:
    worker = Worker(queue, make_job(labels={"user": "ä 42"}))
    path = f"/v1/jobs/{worker.job_id}/events"
    with gate.stream(path) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "no-transform" in response.headers["cache-control"]
        assert response.headers["x-accel-buffering"] == "no"
        lines = response.iter_lines()
        assert next(lines) == "retry: 2000"
        sent = events(lines)
        assert [next(sent).kind, next(sent).kind] == ["accepted", "started"]
        worker.progress()
        assert next(sent).data["data"]["step"] == 1
        worker.progress()
        worker.end()
        assert kinds(list(sent)) == ["progress", "cancelled"]
    whole = read(gate, path)
    stored: Any = queue._ledger.redis.xrange(names.events_key(worker.job_id))
    assert [one.text for one in whole] == [fields["event"] for _, fields in stored]
    assert [one.id for one in whole] == [one.data["sequence"] for one in whole]
    # A browser asks again, and is told not to.
    assert gate.get(path, headers={"Last-Event-ID": whole[-1].id}).status_code == 204


@pytest.mark.parametrize("by", ["header", "query"])
def test_a_reload_in_the_middle_yields_every_event_once(gate: ServedGate, queue: StyleQueue, by: str) -> None:
    worker = Worker(queue, make_job())
    path = f"/v1/jobs/{worker.job_id}/events"

    def paint() -> None:
        for _ in range(30):
            worker.progress()
        worker.end()

    painting = threading.Thread(target=paint)
    seen = read(gate, path, count=2)
    painting.start()
    while seen[-1].kind != "cancelled":
        last = seen[-1].id or ""
        again = (
            {"headers": {"Last-Event-ID": last}, "path": path} if by == "header" else {"path": f"{path}?after={last}"}
        )
        seen += read(gate, **again, count=7)
    painting.join()
    assert [one.sequence for one in seen] == list(range(1, 34))


def test_what_is_kept_no_longer_is_said(gate: ServedGate, queue: StyleQueue) -> None:
    worker = Worker(queue, make_job())
    for _ in range(5):
        worker.progress()
    worker.end()
    queue._ledger.redis.xtrim(names.events_key(worker.job_id), maxlen=2, approximate=False)
    path = f"/v1/jobs/{worker.job_id}/events"
    for resumed in ({}, {"Last-Event-ID": "3"}):
        sent = read(gate, path, headers=resumed)
        assert kinds(sent) == ["lost", "progress", "cancelled"]
        assert (sent[0].data["id"], sent[0].data["state"], sent[0].id) == (worker.job_id, "cancelled", None)
    # Nothing is lost to whoever has the rest.
    assert kinds(read(gate, path, headers={"Last-Event-ID": "6"})) == ["progress", "cancelled"]


def test_a_retried_jobs_stream_begins_with_its_newest_run(gate: ServedGate, queue: StyleQueue) -> None:
    job_id = queue.submit(make_job())
    queue.cancel(job_id)
    queue.retry(job_id)
    queue.cancel(job_id)
    path = f"/v1/jobs/{job_id}/events"
    assert [one.sequence for one in read(gate, path)] == [3, 4]
    # Whoever has seen the beginning of the first sees its end first.
    assert [one.sequence for one in read(gate, f"{path}?after=1")] == [2]
    assert [one.sequence for one in read(gate, f"{path}?after=2")] == [3, 4]


# Many jobs'


def test_one_stream_for_several_jobs(gate: ServedGate, queue: StyleQueue) -> None:
    painted, waiting, other = Worker(queue, make_job()), make_job(), make_job()
    painted.progress()
    painted.progress()
    queue.submit_many([waiting, other])
    path = f"/v1/events?job={painted.job_id}&job={waiting.id}"
    with gate.stream(path) as response:
        sent = events(response.iter_lines())
        newest = next(sent)
        assert (newest.kind, newest.data["data"]["step"], newest.id) == ("progress", 2, None)
        painted.progress()
        assert next(sent).data["data"]["step"] == 3
        queue.cancel(other.id)
        queue.cancel(waiting.id)
        ended = next(sent)
        assert (ended.kind, ended.data["subject"]) == ("cancelled", waiting.id)
        painted.progress()
        assert next(sent).data["data"]["step"] == 4
        painted.end()
        [last] = sent
        assert (last.kind, last.data["subject"]) == ("cancelled", painted.job_id)
    # A browser asks again, and is told not to.
    for resumed in ({}, {"Last-Event-ID": last.id or ""}):
        assert gate.get(path, headers=resumed).status_code == 204
    # What it missed comes first.
    assert [(one.data["subject"], one.id) for one in read(gate, path, headers={"Last-Event-ID": ended.id or ""})] == [
        (painted.job_id, last.id)
    ]


def test_a_stream_of_all_that_have_a_label(gate: ServedGate, queue: StyleQueue) -> None:
    labels = {"gallery": "north"}
    before = Worker(queue, make_job(labels=labels))
    before.progress()
    with gate.stream("/v1/events?label.gallery=north") as response:
        sent = events(response.iter_lines())
        assert next(sent).data["subject"] == before.job_id
        Worker(queue, make_job(labels={"gallery": "south"})).end()
        after = Worker(queue, make_job(labels=labels | {"other": "x"}))
        after.progress()
        after.end()
        before.end()
        assert [(one.kind, one.data["subject"]) for one in _without_progress(islice(sent, 5))] == [
            ("accepted", after.job_id),
            ("started", after.job_id),
            ("cancelled", after.job_id),
            ("cancelled", before.job_id),
        ]


def test_what_is_no_event_is_passed_over(gate: ServedGate, queue: StyleQueue) -> None:
    redis: Any = queue._ledger.redis
    job_id = queue.submit(make_job())
    with gate.stream(f"/v1/events?job={job_id}") as response:
        put = [redis.xadd(names.EVENTS_KEY, fields) for fields in [{"other": "x"}, {"event": "{"}] * 60]
        queue.cancel(job_id)
        assert kinds(list(events(response.iter_lines()))) == ["cancelled"]
    assert [event.kind for _, event in queue.events(after=put[0], follow=False)] == ["cancelled"]
    redis.xdel(names.EVENTS_KEY, *put)


def test_of_named_jobs_those_without_the_label_are_not_waited_for(gate: ServedGate, queue: StyleQueue) -> None:
    north, south = (Worker(queue, make_job(labels={"gallery": where})) for where in ("north", "south"))
    path = f"/v1/events?job={north.job_id}&job={south.job_id}"
    with gate.stream(f"{path}&label.gallery=north") as response:
        north.end()
        assert [(one.kind, one.data["subject"]) for one in events(response.iter_lines())] == [
            ("cancelled", north.job_id)
        ]
    assert gate.get(f"{path}&label.gallery=west").status_code == 204
    south.end()


def _without_progress(sent: Iterator[Sent]) -> Iterator[Sent]:
    """Of a job that has ended by the time it would be sent, there may be none."""
    return islice((one for one in sent if one.kind != "progress"), 4)


def test_a_resumed_stream_of_many_has_every_event_once(gate: ServedGate, queue: StyleQueue) -> None:
    labels = {"reloaded": "yes"}
    position = queue.newest_position()
    jobs = [make_job(labels=labels) for _ in range(20)]

    def live() -> None:
        for job in jobs:
            queue.submit_many([job, make_job()])
            queue.cancel(job.id)

    living = threading.Thread(target=live)
    living.start()
    seen: list[Sent] = []
    while len(seen) < 40:
        seen += read(gate, f"/v1/events?label.reloaded=yes&after={seen[-1].id if seen else position}", count=8)
    living.join()
    assert [(one.kind, one.data["subject"]) for one in seen] == [
        (kind, job.id) for job in jobs for kind in ("accepted", "cancelled")
    ]


def test_of_many_jobs_too_what_is_lost_is_said(queue: StyleQueue, settings: Settings, tmp_path: Path) -> None:
    with ServedGate(settings, tmp_path / "keys.json") as gate, StyleQueue(settings) as queue:
        open_job, ended, other = (queue.submit(make_job()) for _ in range(3))
        _, position = queue.newest_position(), next(queue.events(follow=False))[0]
        queue.cancel(ended)
        queue._ledger.redis.xtrim(names.EVENTS_KEY, maxlen=1, approximate=False)
        path = f"/v1/events?job={open_job}&job={ended}"
        with gate.stream(path, headers={"Last-Event-ID": position}) as response:
            sent = events(response.iter_lines())
            lost = [next(sent), next(sent)]
            assert {(one.kind, one.data["id"], one.data["state"]) for one in lost} == {
                ("lost", open_job, "queued"),
                ("lost", ended, "cancelled"),
            }
            queue.cancel(other)
            queue.cancel(open_job)
            assert [(one.kind, one.data["subject"]) for one in sent] == [("cancelled", open_job)]
        # What was said to be lost is not lost again.
        again = read(gate, path, headers={"Last-Event-ID": lost[-1].id or ""})
        assert [(one.kind, one.data["subject"]) for one in again] == [("cancelled", open_job)]


def test_who_reads_too_slowly_is_let_go() -> None:
    listener = feed.Listener(lambda _: True)
    event: Any = type("Event", (), {"subject": "j"})()
    for number in range(feed.MAX_BEHIND + 5):
        listener.put(str(number), event)
        listener.put_progress(event)

    async def heard() -> list[str | None]:
        return [position async for some in listener.heard() for position, _ in some]

    # What it had taken in is told, and it goes on from there.
    assert [position for position in asyncio.run(heard()) if position] == [str(n) for n in range(feed.MAX_BEHIND)]


def test_after_a_loss_a_new_stream_begins_where_the_reading_does() -> None:
    """What happened before there is a new position is nobody's to hear: a stream has yet to catch up then."""

    class Queue:
        lose, found = asyncio.Event(), asyncio.Event()
        asked = 0

        async def newest_position(self) -> str:
            self.asked += 1
            if self.asked > 1:
                await self.found.wait()
            return f"{self.asked}-0"

        async def events(self, *, after: str) -> AsyncIterator[Any]:
            await (self.lose if after == "1-0" else asyncio.Event()).wait()
            if after:
                raise EventsLost(after)
            yield

    async def heard() -> None:
        queue = Queue()
        reader = feed.Feed(cast("Any", queue))
        with reader.listener(lambda _: True) as early:
            await reader.begun()
            queue.lose.set()
            assert [some async for some in early.heard()] == [], "it is let go"
            with reader.listener(lambda _: True):
                begun = asyncio.create_task(reader.begun())
                while queue.asked < 2 and not begun.done():
                    await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert not begun.done()
                queue.found.set()
                await begun
        await reader.close()

    asyncio.run(heard())


def test_the_progress_of_a_job_that_is_tried_again_is_read_again() -> None:
    # It had ended just before it was asked for the first time.
    progress: Any = Progress.model_construct(**{"subject": "j", "sequence": "4"})  # type: ignore[arg-type]
    runs: Iterator[list[Any]] = iter([[], [progress]])

    class Queue:
        async def watch(self, *_: object, **__: object) -> AsyncIterator[Any]:
            for event in next(runs):
                yield event

    async def heard() -> list[str]:
        reader, listener = feed.Feed(cast("Any", Queue())), feed.Listener(lambda _: True)
        for after in (2, 3):
            reader.follow("j", listener, after=after)
            await asyncio.wait([reader._jobs["j"].reading])
        return list(listener._newest)

    assert asyncio.run(heard()) == ["j"]


# Whose they are


def test_a_tenant_hears_of_its_own_jobs_alone(gate: ServedGate, queue: StyleQueue) -> None:
    acme, globex = gate.key("read", "acme"), gate.key("read", "globex")
    with gate.stream("/v1/events", key=acme) as response:
        sent = events(response.iter_lines())
        theirs, mine = Worker(queue, make_job(), tenant="globex"), Worker(queue, make_job(), tenant="acme")
        Worker(queue, make_job()).end()
        theirs.progress()
        theirs.end()
        mine.end()
        heard = list(islice(sent, 3))
    assert {one.data["subject"] for one in heard} == {mine.job_id}
    assert kinds(heard) == ["accepted", "started", "cancelled"]
    for path in (f"/v1/jobs/{theirs.job_id}/events", f"/v1/events?job={mine.job_id}&job={theirs.job_id}"):
        answer = gate.get(path, key=acme)
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
    # Which machines paint is the operator's business.
    whole = [*heard, *read(gate, f"/v1/jobs/{mine.job_id}/events", key=acme)]
    assert "secret-host" not in "".join(one.text for one in whole)
    assert [one.data["data"]["worker"] for one in whole if one.kind == "started"] == ["", ""], "as is promised"
    assert "secret-host" in "".join(one.text for one in read(gate, f"/v1/jobs/{mine.job_id}/events"))
    assert gate.get(f"/v1/jobs/{mine.job_id}/events", key=globex).status_code == 404


@pytest.mark.parametrize("path", ["/v1/jobs/j/events", "/v1/events"])
def test_who_bears_no_key_hears_nothing(gate: ServedGate, path: str) -> None:
    assert gate.get(path, key=None).status_code == 401
    assert gate.get(path, key=gate.key("monitor")).status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/jobs/nobodys/events", 404),
        ("/v1/jobs/..%2F/events", 404),
        ("/v1/jobs/{job}/events?after=x", 400),
        ("/v1/jobs/{job}/events?after=-1", 400),
        ("/v1/jobs/{job}/events?after=²", 400),
        ("/v1/jobs/{job}/events?after=1-1", 400),
        ("/v1/events?after=x", 400),
        ("/v1/events?job=nobodys", 404),
        ("/v1/events?job=a%20b", 400),
        ("/v1/events?jobs={job}", 400),
        ("/v1/events?" + "&".join(["job=j"] * 101), 400),
    ],
)
def test_what_cannot_be_followed_is_refused_before_the_stream_begins(
    gate: ServedGate, queue: StyleQueue, path: str, status: int
) -> None:
    job_id = queue.submit(make_job())
    answer = gate.get(path.format(job=job_id))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    queue.cancel(job_id)


# How they end


def test_who_goes_leaves_nothing_behind(gate: ServedGate, queue: StyleQueue) -> None:
    worker = Worker(queue, make_job())
    for path in (f"/v1/jobs/{worker.job_id}/events", f"/v1/events?job={worker.job_id}", "/v1/events"):
        with gate.stream(path) as response:
            next(response.iter_lines())
            worker.progress()
        wait_for(lambda: not gate.state.feed._listeners and not gate.state.streams.senders, WAIT_S, "the stream to end")
    wait_for(lambda: not [task for task in gate.waiting() if "feed.py" in task], WAIT_S, "reading to end")
    worker.end()


@pytest.mark.parametrize("path", ["/v1/jobs/{job}/events", "/v1/events?job={job}&after=0-0", "/v1/events?after=0-0"])
def test_who_goes_while_something_is_sent_leaves_nothing_behind(gate: ServedGate, queue: StyleQueue, path: str) -> None:
    worker = Worker(queue, make_job())

    async def held() -> tuple[int, int]:
        return len(gate.state.feed._listeners), len(gate.state.streams.senders)

    async def is_sending() -> bool:
        return any(sender.is_sending for sender in gate.state.streams.senders)

    with uncollected():
        with gate.stalled(path.format(job=worker.job_id)):
            wait_for(lambda: gate.run(is_sending()), WAIT_S, "nothing more to be taken")
        assert gate.run(held()) == (0, 0)
    worker.end()


def test_streams_end_when_the_process_is_told_to_stop(settings: Settings, tmp_path: Path) -> None:
    with ServedGate(settings, tmp_path / "keys.json") as gate, StyleQueue(settings) as queue:
        job_id = queue.submit(make_job())
        with gate.stream(f"/v1/jobs/{job_id}/events") as one, gate.stream("/v1/events") as many:
            told = events(one.iter_lines())
            assert next(told).kind == "accepted"
            gate.stop()
            assert list(told) == []
            assert list(events(many.iter_lines())) == []


def test_a_key_that_is_revoked_hears_no_more_on_streams_that_it_has_open(gate: ServedGate, queue: StyleQueue) -> None:
    job_id = queue.submit(make_job())
    paths = (f"/v1/jobs/{job_id}/events", f"/v1/events?job={job_id}", "/v1/events")
    revoked, live = gate.key("read"), gate.key("read")
    with ExitStack() as opened:
        over = [opened.enter_context(gate.stream(path, key=revoked)).iter_lines() for path in paths]
        others = [opened.enter_context(gate.stream(path, key=live)).iter_lines() for path in paths]
        for stream in (*over, *others):
            assert next(stream) == "retry: 2000"
        keys.revoke(gate.keys_file, revoked.split("_")[1])
        wait_for(lambda: len(gate.state.streams.senders) == len(others), WAIT_S, "the streams to end")
        for stream in over:
            # Each comes to its end, and is not broken off, though the job goes on.
            assert kinds(list(events(stream))) in ([], ["accepted"])
        queue.cancel(job_id)
        for stream in others:
            assert next(one.kind for one in events(stream) if one.kind != "accepted") == "cancelled"
    assert gate.get(paths[0], key=revoked).status_code == 401


@pytest.mark.parametrize("path", ["/v1/jobs/{job}/events", "/v1/events"])
def test_who_takes_nothing_is_kept_little_for_and_holds_up_no_end(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    # By no time limit but that of who is told to stop.
    monkeypatch.setattr(server, "_DRAIN_S", 3600)
    monkeypatch.setattr(streams, "SEND_S", 3600)
    with StyleQueue(settings) as queue, ServedGate(settings, tmp_path / "keys.json") as gate:
        worker = Worker(queue, make_job(labels={str(number): "🎨" * 256 for number in range(14)}))
        redis: Any = queue._ledger.redis
        [(_, fields)] = redis.xrange(names.EVENTS_KEY, count=1)
        stalled = gate.unread(path.format(job=worker.job_id))
        of_many = "/jobs/" not in path
        wait_for(lambda: len(gate.state.feed._listeners) == of_many, WAIT_S, "the stream to listen")
        wait_for(lambda: gate.state.streams.senders, WAIT_S, "the stream to begin")
        [sender] = gate.state.streams.senders

        def tell() -> None:
            pipeline = redis.pipeline()
            for _ in range(5):
                pipeline.xadd(names.EVENTS_KEY, fields)
            pipeline.publish(names.lifecycle_channel(str(settings.redis.database)), worker.job_id)
            pipeline.execute()
            worker.progress()

        def is_taken() -> bool:
            return sender.is_sending or not any(one._lives for one in gate.state.feed._listeners)

        def is_held_up() -> bool:
            limit = sender._limit
            tell()
            wait_for(is_taken, WAIT_S, "what was told to be taken")
            return limit is not None and all(gate.run(_none()) or sender._limit is limit for _ in range(20))

        wait_for(is_held_up, WAIT_S, "nothing more to be taken")
        for _ in range(20):
            tell()
        # One piece, or one event; and of those that wait for it so many, which all streams share.
        [connection] = gate.connections()
        assert (
            0 < connection.transport.get_write_buffer_size() <= max(events_module._PIECE_BYTES, MAX_EVENT_BYTES) + 1000
        )
        assert all(len(one._lives) <= feed.MAX_BEHIND for one in gate.state.feed._listeners)
        gate.stop()
        gate.served()
        stalled.close()


async def _none() -> None:
    """A turn of the event loop."""
