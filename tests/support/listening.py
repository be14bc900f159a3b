"""Listeners: what the operator's file has them fetch, taken in by a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.objects import MAX_KEY_BYTES, ImageRef, UploadedObject
from stylequeue.contract.status import JobStatus
from stylequeue.operator_file import OperatorFile
from stylequeue.settings import Settings
from stylequeue.store.incoming import Incoming
from stylequeue.uploads.intake import Intake
from stylequeue.uploads.listener import Listener
from stylequeue.uploads.sources import fetching
from tests.support.processes import wait_for
from tests.support.roles import as_role

WAIT_S = 30
RULE = """
[template.wave]
styles = ["s3://styles/wave.jpg"]
recipe = {method = "fast"}

[[rule]]
name = "wave"
bucket = "uploads"
prefix = "in/"
template = "wave"
output = {key = "painted/{version}.{format}", overwrite = true}
"""
LONGEST = "in/" + "/".join(["k" * 200] * 5) + "/" + "k" * 16
ODD_KEYS = ("in/a b.jpg", "in/a+b.jpg", "in/a%2Bb.jpg", "in/a=b:c.jpg", "in/é 絵.jpg", LONGEST)
"""What sources write each in their own way, and the longest that there may be."""
assert len(LONGEST.encode()) == MAX_KEY_BYTES


def operated(settings: Settings, directory: Path, sources: str, rules: str = RULE) -> Settings:
    """Settings with an operator's file that says so."""
    path = directory / "operator.toml"
    path.write_text(rules + sources)
    return settings.model_copy(update={"operator_file": path})


@contextmanager
def listening(settings: Settings) -> Iterator[None]:
    """While the block runs, somebody listens; at the end that has ended, and nothing broke."""
    settings = as_role(settings, "listener")
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    began, broken = threading.Event(), []

    async def listen() -> None:
        stopping = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stopping))
        began.set()
        async with AsyncStyleQueue(settings) as queue:
            sources = fetching(OperatorFile(settings.operator_file).now, settings)
            await Listener(Intake(queue), sources).run(stopping)

    def run() -> None:
        try:
            asyncio.run(listen())
        except BaseException as error:
            broken.append(error)
            began.set()

    thread = threading.Thread(target=run)
    thread.start()
    began.wait(WAIT_S)
    try:
        yield
    finally:
        if loops:
            loop, stopping = loops[0]
            if not loop.is_closed():
                loop.call_soon_threadsafe(stopping.set)
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the listener has not ended"
    if broken:
        raise broken[0]


class Lock:
    """Before a store whose objects nobody may look at, until it `is_open`; then something lies under each key."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = False
        monkeypatch.setattr(Incoming, "find", lambda _, image: self._find(image))

    def _find(self, image: ImageRef) -> UploadedObject:
        if not self.is_open:
            raise Permanent(Code.ACCESS_DENIED, "the store lets us not in")
        there = {"bucket": image.bucket, "key": image.key, "etag": '"now"', "size_bytes": 9}
        return UploadedObject(**there, content_type="image/jpeg", is_ours=False)


def jobs(queue: StyleQueue) -> list[JobStatus]:
    """All jobs on record."""
    return list(queue.jobs(limit=1000))


def keys(queue: StyleQueue) -> list[str]:
    """Of the uploads of all jobs on record, sorted."""
    return sorted(str((job.job or {})["content"]["key"]) for job in jobs(queue))


def until(told: Any, what: str) -> None:
    wait_for(told, WAIT_S, what)
