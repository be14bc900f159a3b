"""A burst: uploads told of again and again, out of order, to two who listen, one of whom goes in the middle."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.broker.lists import Lists
from stylequeue.client import StyleQueue
from stylequeue.contract.events import Accepted
from stylequeue.settings import Settings
from stylequeue.uploads.intake import Intake
from stylequeue.uploads.notices import Notice
from tests.uploads.conftest import WAVE, Operated

UPLOADS, TIMES, AT_ONCE = 300, 3, 10


async def fetch(settings: Settings, told: list[Notice], verdicts: Counter[str]) -> None:
    """As a source does: what it has taken from the pile goes back unless it was settled."""
    async with AsyncStyleQueue(settings) as queue:
        intake = Intake(queue)
        while told:
            some = [told.pop() for _ in range(min(AT_ONCE, len(told)))]
            try:
                outcomes = await intake.take(some)
            except BaseException:
                told += some
                raise
            verdicts.update(outcome.verdict for outcome in outcomes)


async def two_of_whom_one_goes(settings: Settings, told: list[Notice]) -> Sequence[Counter[str]]:
    counts = Counter[str](), Counter[str]()
    going, staying = (asyncio.create_task(fetch(settings, told, count)) for count in counts)
    while sum(counts[0].values()) < UPLOADS / 4:
        await asyncio.sleep(0)
    going.cancel()
    await asyncio.wait([going])
    await staying
    await fetch(settings, told, counts[1])  # what the first gave back when the second had ended
    return counts


def test_each_upload_of_a_burst_is_one_job(operated: Operated) -> None:
    settings = operated(WAVE)
    told = [
        Notice("here", "uploads", f"in/{n}.jpg", etag=f'"{n}"', size_bytes=10, sequencer=f"{k}")
        for n in range(UPLOADS)
        for k in range(TIMES)
    ]
    random.Random(7).shuffle(told)
    one, other = asyncio.run(two_of_whom_one_goes(settings, told))
    assert set(one + other) == {"recorded", "known"}
    assert sum((one + other).values()) >= UPLOADS * TIMES - AT_ONCE
    with StyleQueue(settings) as queue:
        accepted = Counter(event.subject for _, event in queue.events(follow=False) if isinstance(event, Accepted))
        assert len(accepted) == UPLOADS
        assert set(accepted.values()) == {1}
        sent = Lists(queue._ledger.redis).about()
        assert sent <= UPLOADS, "one that is on record is not sent again with each notice"
