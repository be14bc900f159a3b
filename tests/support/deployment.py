"""A deployment of one test: workers with the fake painter, and clients, any of them behind a proxy."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.client import StyleQueue
from stylequeue.contract.events import Progress
from stylequeue.contract.job import Job
from stylequeue.contract.objects import ImageRef, event_key
from stylequeue.ledger.moves import script
from stylequeue.local import Process, Stack, environment
from stylequeue.settings import Settings
from tests.support import pictures
from tests.support.fake_worker import START_TIMEOUT_S, command
from tests.support.invariants import check
from tests.support.jobs import make_job
from tests.support.processes import kill, living_group, wait_for
from tests.support.proxy import Proxy
from tests.support.roles import as_role

P = ParamSpec("P")
T = TypeVar("T")

WAIT_S = 60
FAKE_WORKER = "tests.support.fake_worker"
ODD_WORKER = "tests.support.odd_worker"
HURRIED: dict[str, Any] = {
    "job_time_limit_s": 8,
    "visibility_timeout_s": 16,
    "lease_s": 4,
    "heartbeat_s": 0.5,
    "keeper_interval_s": 0.3,
    "retry_delay_s": 0.1,
    "checkpoint_interval_s": 0.2,
}
"""Settings under which everything that is waited for comes soon."""
UNLIMITED: dict[str, Any] = {"job_time_limit_s": 60, "visibility_timeout_s": 120}
"""Over those, where no attempt may be cut off and no message handed out again for the time that went by: a busy machine
takes the 8 s of `HURRIED` for a child's start alone."""
ENDLESS = 10_000
"""Steps: longer than any test waits."""


class Deployment:
    """What runs on one Redis database. At the end everything is stopped, and nothing may be left of it.

    `overrides` are settings by their names, here for all, in `worker` and `client` for that one. `redis` and `store`
    are proxies that it goes through.
    """

    def __init__(self, stack: Stack, settings: Settings, **overrides: Any) -> None:
        self.stack = stack
        self.settings = _with(settings, {"progress_interval_s": 0, **overrides})
        self.workers: list[Process] = []
        self._clients = ExitStack()
        # Workers that are killed leave temporary files behind.
        self._temporary_files = tempfile.TemporaryDirectory()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._clients.close()
        for worker in self.workers:
            # A clean end takes Celery two seconds, in which nothing is learnt: tests of it wait for it themselves.
            for pid in living_group(worker.pid):
                kill(pid)
        for worker in self.workers:
            worker.stop()
            print(f"--- {worker.name}\n{worker.log_text()}")  # pytest shows it where the test failed
            wait_for(partial(_gone, worker), WAIT_S, f"all processes of {worker.name} to end")
        self._temporary_files.cleanup()

    def configure(self, **overrides: Any) -> None:
        """Settings for all who are started from now on."""
        self.settings = _with(self.settings, overrides)

    def worker(
        self, name: str = "fake", *, redis: Proxy | None = None, store: Proxy | None = None, **overrides: Any
    ) -> Process:
        """Start a worker and wait until it is ready for jobs."""
        worker = self.start(name, redis=redis, store=store, **overrides)
        worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
        return worker

    def until_ready(self) -> None:
        """Return when all that were started are ready for jobs."""
        for worker in self.workers:
            worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)

    def start(
        self,
        name: str,
        *,
        app: str = FAKE_WORKER,
        queues: str = "",
        python_path: Path | None = None,
        redis: Proxy | None = None,
        store: Proxy | None = None,
        within: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        **overrides: Any,
    ) -> Process:
        """Start a worker and wait for nothing.

        `app` is its module, modules in `python_path` come before all others; `within` is the command that starts it,
        `env` is set besides. `queues` are those that it takes from, by commas; left out: all.
        """
        settings = through(_with(self.settings, overrides), redis, store)
        root = Path(__file__).parents[2]
        path = os.pathsep.join(str(part) for part in (python_path, root) if part)
        variables = {**environment(settings), "PYTHONPATH": path, "TMPDIR": self._temporary_files.name, **(env or {})}
        worker = self.stack.process(name, [*within, *command(name, app, queues)], env=variables)
        self.workers.append(worker)
        return worker

    def keeper(self, env: Mapping[str, str] | None = None) -> Process:
        """Start a keeper by itself."""
        command = [sys.executable, "-m", "stylequeue.cli", "keeper"]
        keeper = self.stack.process("keeper", command, env={**environment(self.settings), **(env or {})})
        self.workers.append(keeper)
        keeper.wait_for_line("keeping house", WAIT_S)
        return keeper

    def client(self, *, redis: Proxy | None = None, store: Proxy | None = None, **overrides: Any) -> StyleQueue:
        """A producer's client, which is closed at the end."""
        return self._clients.enter_context(
            StyleQueue(through(as_role(_with(self.settings, overrides), "producer"), redis, store))
        )

    @cached_property
    def queue(self) -> StyleQueue:
        """A client that no fault reaches, and by which tests look into everything."""
        return self._clients.enter_context(StyleQueue(self.settings))

    @cached_property
    def photograph(self) -> ImageRef:
        """A content picture in the store, 96 x 64 px."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "photograph.jpg"
            path.write_bytes(pictures.jpeg())
            return self.queue.upload(path)

    def job(self, steps: int = ENDLESS, **fields: Any) -> Job:
        """A job for the fake painter, which takes 10 ms a step. Different steps are different pictures."""
        image = self.photograph.model_dump()
        recipe = {"method": "optimize", "size": 64, "steps": steps}
        return make_job(**{"content": image, "styles": [{"image": image}], "recipe": recipe, **fields})

    def until_painting(self, job: Job, *, attempt: int = 1) -> None:
        """Return when this attempt of the job has made a step."""
        for event in self.queue.watch(job.id, timeout_s=WAIT_S):
            if isinstance(event, Progress) and event.data.step and event.data.attempt == attempt:
                return
        raise AssertionError(f"job {job.id} ended before attempt {attempt} made a step")

    def until_told(self, job: Job) -> None:
        """Return when all that is told of the job's picture is, and so its worker is idle."""
        beside = partial(self.queue._store.exists, job.output.bucket, event_key(job.output_key))
        wait_for(beside, WAIT_S, f"all of job {job.id} to be told")

    @contextmanager
    def elsewhere(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Iterator[Future[T]]:
        """Run a call in another thread, which has ended when the block has."""
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(call, *args, **kwargs)

    def check(self, *jobs: Job) -> None:
        """All invariants; `jobs` are all that were submitted, and done with."""
        check(self.queue, [job.id for job in jobs], visibility_timeout_s=self.settings.visibility_timeout_s)

    def move(self, name: str) -> bytes:
        """What a move of the ledger (`claim`, `finish`, ...) looks like on its way to Redis: a pattern for a proxy."""
        text = script(name)
        self.queue._ledger.redis.script_load(text)  # else its first call would only be told to send the text along
        return hashlib.sha1(text.encode()).hexdigest().encode()


def _with(settings: Settings, overrides: dict[str, Any]) -> Settings:
    # Checked, as the environment's are: a misspelt or impossible one fails here and not in a worker's log.
    own = {name: getattr(settings, name) for name in settings.model_fields_set}
    return Settings(**{**own, **overrides})


def through(settings: Settings, redis: Proxy | None, store: Proxy | None) -> Settings:
    places: dict[str, Any] = {}
    if redis:
        url = settings.redis_url.get_secret_value()
        places["redis_url"] = SecretStr(url.replace(f":{urlsplit(url).port}/", f":{redis.port}/"))
    if store:
        places["s3_endpoint_url"] = f"http://127.0.0.1:{store.port}"
    return settings.model_copy(update=places)


def _gone(worker: Process) -> bool:
    return not living_group(worker.pid)
