"""Where a job stands among others, and when it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract import cost
from stylequeue.contract.errors import InvalidRequest
from stylequeue.contract.events import ProgressData
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, resolve
from stylequeue.contract.status import Standing
from stylequeue.ledger import Ledger
from stylequeue.ledger.line import Line, Painting, seconds
from stylequeue.ledger.outlook import _Kept
from stylequeue.settings import Settings
from tests.ledger.test_registry import live_worker
from tests.support.clients import Client
from tests.support.jobs import make_job

RECIPE = {"method": "optimize", "preset": "painterly", "network": "vgg16", "size": 256}
KIND = "painterly/adam/vgg16"
RATE = 2.0


@pytest.fixture
def queue(client: Client, settings: Settings) -> Iterator[StyleQueue]:
    with client(settings) as queue:
        yield queue


def paints_s(rate: float = RATE, **recipe: Any) -> float:
    resolved = resolve(OptimizeRecipe(**{**RECIPE, **recipe}))
    return rate * cost.megapixel_steps(resolved, (resolved.size, resolved.size))


def standing(queue: StyleQueue, job_id: str) -> Standing:
    stands = queue.status(job_id).standing
    assert stands is not None
    return stands


def test_a_worker_that_has_painted_nothing_knows_nothing(queue: StyleQueue, ledger: Ledger) -> None:
    [first, second] = [queue.submit(make_job(recipe=RECIPE)) for _ in range(2)]
    assert standing(queue, second) == Standing(ahead=1, workers=0, eta_s=None)
    ledger.registry.register(live_worker())
    assert standing(queue, second) == Standing(ahead=1, workers=1, eta_s=None)
    assert standing(queue, first).ahead == 0


def test_those_ahead_are_shared_out_among_the_workers(queue: StyleQueue, ledger: Ledger) -> None:
    jobs = [queue.submit(make_job(recipe=RECIPE)) for _ in range(5)]
    for name in ("one@here", "two@here"):
        ledger.registry.register(live_worker(name, rates={KIND: RATE}))
    stands = standing(queue, jobs[4])
    assert (stands.ahead, stands.workers) == (4, 2)
    assert stands.eta_s == pytest.approx(3 * paints_s(), abs=0.1), "two of those ahead each, and its own"
    assert standing(queue, jobs[0]).eta_s == pytest.approx(paints_s(), abs=0.1)
    # One more that could not paint it changes nothing.
    ledger.registry.register(live_worker("poor@here", rates={KIND: RATE}, networks={"fast": "a" * 64}))
    assert standing(queue, jobs[4]) == stands


def test_of_many_each_stands_where_it_stands_alone(queue: StyleQueue, ledger: Ledger) -> None:
    jobs = [queue.submit(make_job(recipe=RECIPE, queue=("paint", "bulk")[number % 2])) for number in range(6)]
    other = queue.submit(make_job(recipe={**RECIPE, "network": "vgg19"}))
    running = make_job(recipe=RECIPE)
    queue.submit(running)
    claim = ledger.claim(running, task_id=running.id, worker="one@here")
    progress = ProgressData(number=1, stage="painting", step=1, steps=140, size_px=256, left_s=7.5)
    ledger.heartbeat(running.id, fence=claim.record.fence, data=progress)
    queue.cancel(jobs[1])
    ledger.registry.register(live_worker(rates={KIND: RATE}, queues=("paint", "bulk")))
    alone = {job_id: queue.status(job_id).standing for job_id in (*jobs, other, running.id)}
    assert {status.id: status.standing for status in queue.jobs()} == alone
    assert [stands and stands.ahead for stands in alone.values()] == [0, None, 1, 0, 2, 1, 3, 0]
    assert [stands and stands.workers for stands in alone.values()] == [1, None, 1, 1, 1, 1, 0, 1]
    assert [bool(stands and stands.eta_s) for stands in alone.values()] == [True, False, *[True] * 4, False, True]


def test_what_runs_is_not_ahead_but_takes_its_time(queue: StyleQueue, ledger: Ledger) -> None:
    running, waiting = make_job(recipe=RECIPE), make_job(recipe=RECIPE)
    for job in (running, waiting):
        queue.submit(job)
    ledger.registry.register(live_worker(rates={KIND: RATE}))
    claim = ledger.claim(running, task_id=running.id, worker="one@here")
    assert standing(queue, running.id).eta_s == pytest.approx(paints_s(), abs=2)
    progress = ProgressData(number=1, stage="painting", step=1, steps=140, size_px=256, left_s=7.5)
    ledger.heartbeat(running.id, fence=claim.record.fence, data=progress)
    assert standing(queue, running.id) == Standing(ahead=0, workers=1, eta_s=7.5)
    assert standing(queue, waiting.id) == Standing(ahead=0, workers=1, eta_s=round(7.5 + paints_s(), 1))


def test_who_is_asked_all_the_time_reads_once_for_all(settings: Settings, queue: StyleQueue, ledger: Ledger) -> None:
    """Workers and other jobs as they were, yet each job's own place as it is."""
    job_ids = [queue.submit(make_job(recipe=RECIPE))]
    ledger.registry.register(live_worker(rates={KIND: RATE}))

    async def standings() -> list[Standing | None]:
        async with AsyncStyleQueue(settings, standing_age_s=3600) as asked:
            first = await asked.status(job_ids[0])
            ledger.registry.register(live_worker("two@here", rates={KIND: RATE}))
            job_ids.append(await asked.submit(make_job(recipe=RECIPE)))
            return [first.standing, (await asked.status(job_ids[1])).standing]

    each_s = paints_s()
    assert asyncio.run(standings()) == [
        Standing(ahead=0, workers=1, eta_s=round(each_s, 1)),
        Standing(ahead=1, workers=1, eta_s=round(2 * each_s, 1)),
    ]
    assert standing(queue, job_ids[1]) == Standing(ahead=1, workers=2, eta_s=round(each_s, 1))


def test_what_many_ask_for_at_once_is_read_once() -> None:
    read: list[int] = []

    async def slowly() -> int:
        await asyncio.sleep(0)
        read.append(len(read))
        if len(read) == 1:
            raise OSError
        return read[-1]

    async def ask(kept: _Kept[int]) -> list[object]:
        return list(await asyncio.gather(*[kept() for _ in range(5)], return_exceptions=True))

    async def asked() -> None:
        kept = _Kept(slowly, 3600)
        # Each of them would wait as long for the same error.
        assert [type(error) for error in await ask(kept)] == [OSError] * 5
        assert await ask(kept) == [1] * 5
        kept._until = 0
        assert await ask(kept) == [2, 1, 1, 1, 1], "one reads it anew, the others have what there is"
        assert await ask(kept) == [2] * 5

    asyncio.run(asked())


def test_who_asked_first_and_goes_away_takes_it_from_nobody() -> None:
    async def asked() -> None:
        answers, reads = asyncio.Event(), list[int]()

        async def read() -> int:
            reads.append(len(reads))
            await answers.wait()
            return reads[-1]

        kept = _Kept(read, 3600)
        first, second = (asyncio.create_task(kept()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        answers.set()
        assert (first.cancelled(), await second, await kept(), reads) == (True, 0, 0, [0])

    asyncio.run(asked())


def test_an_ended_job_stands_nowhere(queue: StyleQueue) -> None:
    job_id = queue.submit(make_job(recipe=RECIPE))
    queue.cancel(job_id)
    assert queue.status(job_id).standing is None


def test_an_estimate_before_anything_is_submitted(queue: StyleQueue, ledger: Ledger) -> None:
    recipe = OptimizeRecipe(**RECIPE)
    unknown = queue.estimate(recipe)
    assert (unknown.paint_s, unknown.wait_s, unknown.workers, unknown.tiles) == (None, None, 0, 1)
    assert unknown.peak_bytes > 100e6
    ledger.registry.register(live_worker(rates={KIND: RATE}, memory_bytes=600 * 10**6))
    free = queue.estimate(recipe)
    assert free.paint_s == pytest.approx(paints_s(), abs=0.1)
    assert (free.wait_s, free.workers) == (0, 1)
    for _ in range(3):
        queue.submit(make_job(recipe=RECIPE))
    busy = queue.estimate(recipe)
    assert busy.paint_s == free.paint_s
    assert busy.wait_s == pytest.approx(3 * paints_s(), abs=0.1)
    wide = queue.estimate(recipe, content_px=(1600, 800))
    assert wide.paint_s is not None
    assert wide.paint_s < 0.7 * paints_s()
    large = queue.estimate(OptimizeRecipe(**{**RECIPE, "size": 2048}), styles=2)
    assert large.tiles > 1
    masked = [queue.estimate(recipe, styles=8, masks=masks).peak_bytes for masks in (0, 9)]
    assert masked[1] - masked[0] > 9 * 3 * 4 * (256 + 2 * 16) ** 2, "each mask counts, and what its region keeps"
    assert queue.estimate(recipe, queue="bulk").workers == 0, "nobody takes from it"
    assert queue.estimate(FastRecipe()).paint_s is None
    assert queue.estimate().workers == 1, "the usual recipe"


@pytest.mark.parametrize(
    "given", [{"content_px": (0, 5)}, {"styles": 0}, {"styles": 9}, {"masks": 3}, {"masks": -1}, {"queue": "slow"}]
)
def test_what_cannot_be_estimated_is_refused(queue: StyleQueue, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        queue.estimate(OptimizeRecipe(), **given)


def test_it_waits_for_its_time(queue: StyleQueue, ledger: Ledger) -> None:
    job = make_job(recipe=RECIPE)
    queue.submit(job)
    ledger.registry.register(live_worker(rates={KIND: RATE}))
    record = ledger.claim(job, task_id=job.id, worker="one@here").record
    ledger.put_back(record, error="came to harm", delay_s=500)
    eta_s = standing(queue, job.id).eta_s
    assert eta_s is not None
    assert eta_s == pytest.approx(500 + paints_s(), abs=20)


def test_other_presets_count_where_its_own_was_never_painted() -> None:
    worker = live_worker(rates={"tf-tutorial/adam/vgg16": 1.0, "painterly/lbfgs/vgg16": 3.0, "fast": 0.1})
    recipe = resolve(OptimizeRecipe(**RECIPE))
    assert seconds(worker, recipe) == pytest.approx(2 * paints_s(1.0))
    assert seconds(worker, resolve(FastRecipe(size=1000))) == pytest.approx(0.1, rel=0.02)


def test_many_ahead_are_counted_not_dealt_out() -> None:
    worker = live_worker(rates={KIND: RATE})
    for waiting in (1000, 100_000):
        line = Line(waiting, [(place, painting()) for place in range(4)], [])
        assert line.begins_s(waiting, [worker]) == pytest.approx(waiting * paints_s())


def test_those_ahead_take_as_long_as_the_last_that_was_looked_at_before_them() -> None:
    worker = live_worker(rates={KIND: RATE})
    line = Line(10, [(0, painting()), (6, painting(size=128))], [])
    small_s = paints_s(size=128)
    assert line.begins_s(0, [worker]) == 0
    assert line.begins_s(5, [worker]) == pytest.approx(5 * paints_s())
    assert line.begins_s(10, [worker]) == pytest.approx(6 * paints_s() + 4 * small_s)
    # Such as came since.
    assert line.begins_s(12, [worker]) == pytest.approx(6 * paints_s() + 6 * small_s)


def painting(**recipe: Any) -> Any:
    return Painting.of(make_job(recipe={**RECIPE, **recipe}).canonical_json())


def test_time_that_is_up_is_none_left(ledger: Ledger, queue: StyleQueue) -> None:
    """A worker that is slower than it was does not make an estimate negative."""
    job = make_job(recipe={**RECIPE, "size": 64, "steps": 1})
    queue.submit(job)
    ledger.registry.register(live_worker(rates={KIND: 1e-6}))
    ledger.claim(job, task_id=job.id, worker="one@here")
    long_ago = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000)
    ledger.redis.hset(f"stylequeue:job:{job.id}", "updated_ms", long_ago)
    assert standing(queue, job.id).eta_s == 0
