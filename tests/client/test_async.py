"""What is the async client's own; all else is asked of both."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from stylequeue import asking_events
from stylequeue.aclient import _THREADS, AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidRequest, JobCancelled, Unavailable
from stylequeue.contract.events import Cancelled
from stylequeue.contract.objects import ImageRef, StoredObject
from stylequeue.ledger import names, watching
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.client.conftest import OFTEN
from tests.support.deployment import WAIT_S
from tests.support.hostile_server import answering
from tests.support.jobs import make_job
from tests.support.proxy import Proxy

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

_BEAT_S = 0.01


def listeners(settings: Settings) -> int:
    """How many subscriptions there are to what is published of this test's own database."""
    with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        [(_, count)] = redis.pubsub_numsub(names.lifecycle_channel(str(settings.redis.database)))
    return int(count)


async def until(condition: Callable[[], bool]) -> None:
    """Returns once it holds; others have their turns meanwhile. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(_BEAT_S)


def methods(client: type) -> dict[str, Any]:
    found = {name: getattr(client, name) for name in dir(client) if not name.startswith("_")}
    return {name: value for name, value in found.items() if callable(value)}


def test_both_clients_have_the_same_methods() -> None:
    blocking, awaited = methods(StyleQueue), methods(AsyncStyleQueue)
    assert set(blocking) == set(awaited)
    for name, method in awaited.items():
        assert inspect.signature(method).parameters == inspect.signature(blocking[name]).parameters, name
        assert method.__doc__ == blocking[name].__doc__, name
        is_asked = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
        assert is_asked is (name != "for_tenant"), name


@asynccontextmanager
async def beating() -> AsyncIterator[list[float]]:
    """How long the loop was held up at most, in seconds, at the end."""
    loop, longest_s = asyncio.get_running_loop(), [0.0]

    async def beat() -> None:
        while True:
            began = loop.time()
            await asyncio.sleep(_BEAT_S)
            longest_s[0] = max(longest_s[0], loop.time() - began - _BEAT_S)

    task = asyncio.create_task(beat())
    yield longest_s
    task.cancel()


CALLS: dict[str, Callable[[AsyncStyleQueue], Awaitable[object]]] = {
    "asked in the loop": lambda queue: queue.status("j"),
    "done in a thread": lambda queue: queue.submit(make_job()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_loop_goes_on_while_redis_is_silent(
    settings_behind: Settings, proxy: Proxy, call: Callable[[AsyncStyleQueue], Awaitable[object]]
) -> None:
    async def ask() -> float:
        async with AsyncStyleQueue(settings_behind) as queue:
            await queue.submit(make_job())  # all is loaded and connected
            proxy.half_open()
            began = asyncio.get_running_loop().time()
            async with beating() as longest_s:
                with pytest.raises(Unavailable):
                    await call(queue)
            assert asyncio.get_running_loop().time() - began >= settings_behind.redis_timeout_s
            return longest_s[0]

    assert asyncio.run(ask()) < settings_behind.redis_timeout_s


@pytest.mark.slow  # to give up, each goes through all its tries
def test_jobs_come_and_go_while_the_store_hangs(settings: Settings, tmp_path: Path) -> None:
    hanging, over = threading.Semaphore(0), threading.Event()

    def hang(_: socket.socket) -> None:
        hanging.release()
        over.wait()
        raise ConnectionResetError

    async def ask(settings: Settings) -> None:
        async with AsyncStyleQueue(settings) as queue:
            picture = ImageRef(bucket="uploads", key="photo.jpg")
            fetched = [
                asyncio.create_task(queue.download(picture, tmp_path / f"{number}.jpg"))
                for number in range(2 * _THREADS)
            ]
            try:
                assert await asyncio.to_thread(hanging.acquire, timeout=WAIT_S)
                for _ in range(2 * _THREADS):
                    job_id = await queue.submit(make_job())
                    assert await queue.cancel(job_id) == "cancelled"
                    assert (await queue.status(job_id)).state == "cancelled"
                assert not any(one.done() for one in fetched), "and they hang to the end"
            finally:
                over.set()
                await asyncio.gather(*fetched, return_exceptions=True)

    with answering(hang) as port:
        asyncio.run(ask(settings.model_copy(update={"s3_endpoint_url": f"http://{HOST}:{port}"})))


def test_who_is_cancelled_while_it_waits_leaves_nothing_behind(settings: Settings) -> None:
    async def wait() -> None:
        async with AsyncStyleQueue(settings) as queue:
            job_id = await queue.submit(make_job())
            left = []
            for _ in range(3):
                waiting = asyncio.create_task(queue.wait(job_id))
                await until(lambda: listeners(settings) > 0)
                waiting.cancel()
                # But for the one that listens for all; what is read for all just now is read to its end.
                await until(lambda: len(asyncio.all_tasks()) == 2)
                assert waiting.cancelled()
                left.append(asyncio.all_tasks())
            assert left[0] == left[1] == left[2]
            # Its connection is not left in the middle of an answer.
            assert (await queue.status(job_id)).id == job_id

    asyncio.run(wait())


def test_whoever_is_cancelled_while_redis_is_asked_hears_of_it(settings: Settings) -> None:
    async def ask() -> None:
        async with AsyncStyleQueue(settings) as queue:
            job_id = await queue.submit(make_job())
            for turns in range(40):
                asking_it = asyncio.create_task(queue.status(job_id))
                for _ in range(turns):
                    await asyncio.sleep(0)
                is_over = asking_it.done()
                asking_it.cancel()
                await asyncio.wait([asking_it])
                assert asking_it.cancelled() is not is_over, turns
            # Whoever was, and still has something to see to, can.
            assert (await queue.status(job_id)).state == "queued"

    asyncio.run(ask())


def test_who_is_cancelled_while_a_picture_is_read_closes_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, closed = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> Iterator[bytes]:
        try:
            began.set()
            time.sleep(0.05)
            yield b"a"
        finally:
            closed.set()

    async def read() -> None:
        async with AsyncStyleQueue(settings) as queue:
            monkeypatch.setattr(queue._access.store.exchange, "read", slow)
            there = StoredObject(bucket="b", key="k", etag="e", size_bytes=9, content_type="image/png")
            reading = asyncio.create_task(anext(queue.read(there)))
            await asyncio.to_thread(began.wait)
            reading.cancel()
            await asyncio.wait([reading])
            assert reading.cancelled()
            assert closed.is_set()

    asyncio.run(read())


def test_a_client_belongs_to_one_loop_until_it_is_closed(settings: Settings) -> None:
    queue = AsyncStyleQueue(settings)
    with asyncio.Runner() as one, asyncio.Runner() as another:
        job_id = one.run(queue.submit(make_job()))
        for call in (queue.status(job_id), queue.cancel(job_id)):
            with pytest.raises(InvalidRequest, match="another event loop"):
                another.run(call)
        one.run(queue.close())
        assert another.run(queue.status(job_id)).state == "queued"
        another.run(queue.close())


def test_many_at_once(settings: Settings) -> None:
    async def all_at_once() -> list[str]:
        async with AsyncStyleQueue(settings) as queue:
            job_ids = await asyncio.gather(*[queue.submit(make_job()) for _ in range(50)])
            statuses = await asyncio.gather(*[queue.status(job_id) for job_id in job_ids])
            return [status.state for status in statuses]

    assert asyncio.run(all_at_once()) == ["queued"] * 50


def test_a_message_that_cannot_be_sent_is_told_of(settings_behind: Settings, proxy: Proxy) -> None:
    async def submit() -> None:
        async with AsyncStyleQueue(settings_behind) as queue:
            for _ in range(OFTEN):
                proxy.answer_once(b"lpush", b"")
            with pytest.raises(Unavailable, match="the job is recorded"):
                await queue.submit(make_job())

    asyncio.run(submit())


def _look_every(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking_events, "_LOOK_S", 3600)
    monkeypatch.setattr(watching, "SWEEP_S", seconds)


def test_events_are_heard_at_once_by_one_subscription(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, and whatever they wait for."""
    _look_every(3600, monkeypatch)

    async def hear() -> None:
        async with AsyncStyleQueue(settings) as queue:
            position = await queue.newest_position()
            job_ids = await queue.submit_many([make_job() for _ in range(20)])
            waiting = [asyncio.create_task(queue.wait(job_id)) for job_id in job_ids]

            async def ended() -> list[str]:
                heard: list[str] = []
                async for _, event in queue.events(after=position):
                    if isinstance(event, Cancelled):
                        heard.append(event.subject)
                    if len(heard) == len(job_ids):
                        break
                return heard

            following = asyncio.create_task(ended())
            await until(lambda: listeners(settings) > 0)
            listening = listeners(settings)
            for job_id in job_ids:
                await queue.cancel(job_id)
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(result) for result in results] == [JobCancelled] * len(job_ids)
            assert await following == job_ids
            assert listening == listeners(settings) == 1
        assert listeners(settings) == 0

    asyncio.run(hear())


def test_what_is_not_heard_is_found_by_looking(
    settings_behind: Settings, proxy: Proxy, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _look_every(0.2, monkeypatch)

    async def wait() -> None:
        async with AsyncStyleQueue(settings_behind) as queue:
            job_id = await queue.submit(make_job())
            subscription = proxy.hold_answer(b"subscribe")
            waiting = asyncio.create_task(queue.wait(job_id))
            await asyncio.to_thread(subscription.wait, WAIT_S)
            with StyleQueue(settings) as another:
                await asyncio.to_thread(another.cancel, job_id)
            with pytest.raises(JobCancelled):
                await waiting
            subscription.drop()

    asyncio.run(wait())


def test_a_broken_subscription_is_made_again(
    settings_behind: Settings, proxy: Proxy, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was not heard meanwhile is looked for."""
    _look_every(3600, monkeypatch)

    async def wait() -> None:
        async with AsyncStyleQueue(settings_behind) as queue:
            job_id = await queue.submit(make_job())
            waiting = asyncio.create_task(queue.wait(job_id))
            await until(lambda: listeners(settings) > 0)
            again = proxy.hold(b"subscribe")
            proxy.reset()
            await asyncio.to_thread(again.wait, WAIT_S)
            with StyleQueue(settings) as another:
                await asyncio.to_thread(another.cancel, job_id)
            again.release()
            with pytest.raises(JobCancelled):
                await waiting

    asyncio.run(wait())
