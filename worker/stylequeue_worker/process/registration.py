"""The worker's entry in the registry: the child says what it has to paint with, the parent keeps that on record."""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from stylequeue import __version__
from stylequeue.contract.errors import CannotServe, Code, StyleQueueError
from stylequeue.contract.recipe import networks_of_queue
from stylequeue.ledger.registry import LiveWorker, Registry, named, not_served

from ..memory import resident_bytes
from ..work.lease import STOP_FILE_VARIABLE, Every
from .gpu import gpu_use
from .listening import Listening
from .vitals import Vitals

if TYPE_CHECKING:
    from ..work.activity import Activity
    from ..work.painting import PaintingEngine
    from ..work.rates import Rates

log = logging.getLogger(__name__)

PARENT_VARIABLE = "_STYLEQUEUE_PARENT"
"""Environment variable: what the parent tells its child of itself, as JSON."""
_FILE = "worker.json"
"""Beside the file by which the parent tells the child to stop: what the child has said of itself."""
_LOOK_S = 0.2
"""Between two looks whether the child has said so."""


class Told(BaseModel):
    """What a child cannot know by itself."""

    name: str
    queues: tuple[str, ...]
    started_at: datetime


def tell_child(told: Told) -> None:
    """In the parent, before the child is started, which inherits it."""
    os.environ[PARENT_VARIABLE] = told.model_dump_json()


def describe(engine: PaintingEngine, memory_bytes: int | None, pod: str | None) -> LiveWorker:
    """In the child: this worker, with what `engine` has now, what paintings may take, and the pod that it is in.

    What a child before this one had measured is among it.
    """
    before = _announced()
    worker = before.worker if before else None
    told = Told.model_validate_json(os.environ[PARENT_VARIABLE])
    return LiveWorker(
        name=told.name,
        host=platform.node(),
        pod=pod,
        started_at=told.started_at,
        version=__version__,
        python=platform.python_version(),
        celery=version("celery"),
        tensorflow=version("tensorflow") if "tensorflow" in sys.modules else "",
        device=engine.device,
        precision=engine.precision,
        queues=told.queues,
        networks=engine.networks(),
        rates=worker.rates if worker else {},
        jobs_done=worker.jobs_done if worker else 0,
        stage_s=worker.stage_s if worker else {},
        memory_bytes=memory_bytes,
    )


def require_networks(queues: Sequence[str], networks: Mapping[str, str] | Iterable[str]) -> None:
    """Return if a worker with `networks` can paint what comes by all of `queues` by itself. Raises CannotServe."""
    lacking = not_served(queues, networks)
    if not lacking:
        return
    needs = {queue: networks_of_queue(queue) for queue in lacking}
    wanted = "; ".join(f"queue {queue} needs {' or '.join(networks)}" for queue, networks in needs.items())
    has = named(networks) if isinstance(networks, Mapping) else ", ".join(sorted(networks)) or "none"
    pulls = " ".join(dict.fromkeys(networks[0] for networks in needs.values()))
    left = ",".join(queue for queue in queues if queue not in needs)
    raise CannotServe(
        Code.NETWORK_UNAVAILABLE,
        f"this worker cannot paint what it would take: {wanted}; networks at hand: {has}",
        f"`stylequeue models pull {pulls}`" + (f", or take only what it can paint: --queues {left}" if left else ""),
    )


def require_the_fleets_networks(worker: LiveWorker, registry: Registry) -> None:
    """Return if `worker` would paint the same pictures as the others; also where Redis does not say who they are.

    Raises CannotServe where, of those that take jobs, more have other weights by the name of one of its networks than
    have the same.
    """
    try:
        others = [other for other in registry.workers() if other.name != worker.name and other.draining is None]
    except StyleQueueError as error:
        log.warning("could not look which networks the other workers have: %s", error)
        return
    for network, digest in worker.networks.items():
        holders = Counter(other.networks[network] for other in others if network in other.networks)
        usual, count = max(holders.items(), key=lambda held: held[1], default=(digest, 0))
        if usual == digest or count <= holders[digest]:
            continue
        one = next(other.name for other in others if other.networks.get(network) == usual)
        raise CannotServe(
            Code.NETWORK_UNAVAILABLE,
            f"it would paint other pictures than the rest: its network is {named({network: digest})}, "
            f"that of {count} live workers, such as {one}, is {named({network: usual})}",
            "give it the same; or, to change all of them, first drain the others: `stylequeue workers drain NAME`",
        )


class Announced(BaseModel):
    """What the child says of itself to its parent."""

    worker: LiveWorker
    """For the record."""
    moved_s: float | None
    """When its work on a job last went on, by the monotonic clock; None: it has none."""


def announce(worker: LiveWorker, moved_s: float | None = None) -> None:
    """In the child: have the parent put `worker` on record, in place of what it was told before."""
    path = _path()
    aside = path.with_name(f".{_FILE}-{os.getpid()}")
    aside.write_text(Announced(worker=worker, moved_s=moved_s).model_dump_json())
    aside.replace(path)


def keep_announced(
    engine: PaintingEngine, rates: Rates, activity: Activity, worker: LiveWorker, interval_s: float
) -> None:
    """In the child, for the rest of its life: announce `worker` anew where anything of it changes."""
    newest = worker

    def look() -> None:
        nonlocal newest
        used = gpu_use(worker.device)
        done, stage_s = worker.jobs_done + activity.jobs_done, Counter(worker.stage_s) + activity.stage_s
        now = newest.model_copy(
            update={
                "networks": engine.networks(),
                "rates": rates.all(),
                "job": activity.job,
                "job_since": activity.job_since,
                "stage": activity.stage,
                "step": activity.step,
                "steps": activity.steps,
                "steps_per_s": activity.steps_per_s,
                "jobs_done": done,
                "stage_s": dict(stage_s),
                "resident_bytes": resident_bytes(),
                "gpu_memory_bytes": used.memory_bytes,
                "gpu_utilisation": used.utilisation,
            }
        )
        if now.networks != newest.networks:
            log.info("networks at hand now: %s", named(now.networks))
        if now != newest:
            newest = now
            announce(newest, activity.moved_s)

    Every(interval_s, look, name="announcing").__enter__()


def listen_to_child(vitals: Vitals, interval_s: float, stop: threading.Event) -> None:
    """In the parent, from its beginning until `stop`: have `vitals` know what the child says, whatever Redis does."""
    pause_s = 0.0
    while not stop.wait(pause_s):
        said = _announced()
        if said:
            vitals.child_said(moved_s=said.moved_s)
        pause_s = interval_s if said else _LOOK_S


class Registration:
    """Keeps what the child announced on record, from the parent."""

    def __init__(
        self, registry: Registry, name: str, heartbeat_s: float, *, vitals: Vitals, listening: Listening
    ) -> None:
        self._registry = registry
        self._listening = listening
        self._vitals = vitals
        self._name = name
        self._heartbeat_s = heartbeat_s
        self._is_trouble = False

    def run(self, stop: threading.Event) -> None:
        """Register with every heartbeat until `stop`, then no longer. Trouble is logged once, not at every beat."""
        newest, pause_s = None, 0.0
        while not stop.wait(pause_s):
            # What it said last stands where its file is gone.
            newest = _announced() or newest
            if newest:
                self._register(newest.worker)
            pause_s = self._heartbeat_s if newest else _LOOK_S
        self._vitals.stops()
        with suppress(StyleQueueError):
            self._registry.unregister(self._name)

    def _register(self, worker: LiveWorker) -> None:
        try:
            heard = self._registry.register(worker)
        except StyleQueueError as error:
            if not self._is_trouble:
                log.warning("not on record as a live worker: %s", error)
            self._is_trouble = True
            return
        if heard.woken:
            log.info("%d jobs waited for what this worker has", heard.woken)
        self._vitals.registered()
        self._vitals.drained(is_drained=heard.draining is not None)
        self._listening.close(worker.queues if heard.draining else heard.paused)
        self._is_trouble = False


def _announced() -> Announced | None:
    try:
        return Announced.model_validate_json(_path().read_text())
    except FileNotFoundError:
        return None


def _path() -> Path:
    return Path(os.environ[STOP_FILE_VARIABLE]).with_name(_FILE)
