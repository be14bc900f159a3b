"""How fast uploads become jobs, and that each becomes one, whoever is killed.

    make bench-uploads [UPLOADS=10000] [QUICK=1]

First, notices a second that one process records, fed from inside it by four at once, and what of the processor's time
that takes. Then, each upload told of three times, in any order, in a list in Redis that two listeners take from, one of
which is killed with SIGKILL when a third is done: the seconds until the list is empty, and the jobs there are then.
Last, how long a store waits that brings its notices by HTTP. QUICK takes 500, and judges no speed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

import httpx2
import redis
from rich.console import Console

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.events import Accepted
from stylequeue.local import Process, Stack, environment
from stylequeue.local.server import HOST, free_ports
from stylequeue.settings import Settings
from stylequeue.uploads.intake import Intake
from stylequeue.uploads.notices import Notice
from tests.support.gateway_process import listens
from tests.support.processes import wait_for

QUICK = bool(os.environ.get("QUICK"))
UPLOADS = int(os.environ.get("UPLOADS", "500" if QUICK else "10000"))
TIMES = 3
AT_ONCE = 100
FEEDERS = 4
AIM_PER_S = 1000
BROUGHT = 300
LIST = "uploads-told"
TOKEN = "0123456789abcdef01234567"
WAIT_S = 600
RULES = f"""
[template.wave]
styles = ["s3://styles/wave.jpg"]
recipe = {{method = "fast"}}

[[rule]]
name = "wave"
bucket = "uploads"
prefix = "in/"
template = "wave"
labels = {{from = "{{key}}"}}

[source.told]
redis_list = "{LIST}"

[source.brought]
tokens = ["{TOKEN}"]
"""


def uploads(kind: str, count: int) -> list[Notice]:
    return [
        Notice("bench", "uploads", f"in/{kind}/photo {n}.jpg", etag=f'"{n:032x}"', size_bytes=100_000, sequencer=f"{n}")
        for n in range(count)
    ]


async def fed(settings: Settings, notices: Sequence[Notice]) -> tuple[float, float]:
    """Notices a second, and milliseconds of this process's processor time for each."""
    async with AsyncStyleQueue(settings) as queue:
        intake = Intake(queue)
        await intake.take(uploads("first", AT_ONCE))
        waiting = [notices[start : start + AT_ONCE] for start in range(0, len(notices), AT_ONCE)]

        async def feed() -> None:
            while waiting:
                outcomes = await intake.take(waiting.pop())
                assert all(outcome.verdict == "recorded" for outcome in outcomes)

        began, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*[feed() for _ in range(FEEDERS)])
        return len(notices) / (time.perf_counter() - began), (time.process_time() - busy) / len(notices) * 1000


def listener(stack: Stack, settings: Settings) -> tuple[Process, int]:
    [port] = free_ports(1)
    command = [sys.executable, "-m", "stylequeue.cli", "listen", "--port", str(port)]
    process = stack.process("listener", command, env=environment(settings))
    process.wait_until(lambda: listens(port), 60)
    return process, port


def storm(stack: Stack, settings: Settings, count: int) -> tuple[float, int, int]:
    """Seconds until two listeners, one of them killed, have taken in all; jobs then, and how often one was accepted."""
    notices = uploads("storm", count) * TIMES
    random.Random(1).shuffle(notices)
    told = [notice.to_json() for notice in notices]
    url = settings.redis_url.get_secret_value()
    with redis.Redis.from_url(url, decode_responses=True) as client, StyleQueue(settings) as queue:
        position = queue.newest_position()
        (dying, _), (staying, _) = (listener(stack, settings) for _ in range(2))
        began = time.perf_counter()
        for start in range(0, len(told), 1000):
            client.rpush(LIST, *told[start : start + 1000])
        wait_for(lambda: client.llen(LIST) < len(told) * 2 / 3, WAIT_S, "a third to be taken in")
        dying.kill()
        wait_for(lambda: not client.llen(LIST), WAIT_S, "the rest to be taken in")
        took_s = time.perf_counter() - began
        staying.stop()
        accepted = [
            event.subject for _, event in queue.events(after=position, follow=False) if isinstance(event, Accepted)
        ]
    return took_s, len(set(accepted)), len(accepted)


def answered(stack: Stack, settings: Settings) -> tuple[float, float]:
    """Milliseconds until a notification that is brought is answered: the median, and what one of a hundred takes."""
    process, port = listener(stack, settings)
    took_ms = []
    with httpx2.Client(base_url=f"http://{HOST}:{port}", headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        for notice in uploads("brought", BROUGHT):
            began = time.perf_counter()
            assert http.post("/v1/notices/brought", content=notice.to_json()).json() == {"recorded": 1}
            took_ms.append((time.perf_counter() - began) * 1000)
    process.stop()
    cuts = quantiles(took_ms, n=100)
    return cuts[49], cuts[98]


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory() as directory, Stack(settings=Settings(max_open_jobs=10**6)) as stack:
        operator_file = Path(directory) / "operator.toml"
        operator_file.write_text(RULES)
        settings = stack.settings.model_copy(update={"operator_file": operator_file})
        per_s, busy_ms = asyncio.run(fed(settings, uploads("fed", UPLOADS)))
        console.print(
            f"{per_s:,.0f} notices a second recorded by one process, {busy_ms:.2f} ms of its processor time each"
        )
        took_s, jobs, accepted = storm(stack, settings, UPLOADS)
        told = UPLOADS * TIMES
        console.print(
            f"{told:,} notices of {UPLOADS:,} uploads by two listeners, one killed: {took_s:.1f} s, "
            f"{told / took_s:,.0f} a second; {jobs:,} jobs, accepted {accepted:,} times"
        )
        median_ms, hundredth_ms = answered(stack, settings)
        console.print(
            f"brought by HTTP, one is answered in {median_ms:.1f} ms, one of a hundred in {hundredth_ms:.1f} ms"
        )
    assert jobs == accepted == UPLOADS, "each upload is one job"
    if not QUICK and per_s < AIM_PER_S:
        console.print(f"[red]the aim is {AIM_PER_S:,} a second[/red]")
        sys.exit(1)


if __name__ == "__main__":
    main()
