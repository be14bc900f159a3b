"""Strangers' pictures cost little, reach nothing, and break nothing but the process they are decoded in."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import (
    Cancelled,
    Code,
    DeadlinePassed,
    JobCancelled,
    LeaseLost,
    Permanent,
    Preempted,
    Retryable,
    StyleQueueError,
)
from stylequeue.contract.events import Started
from stylequeue.contract.job import Job
from stylequeue.local import Process, Stack
from stylequeue_worker.pictures import decoder as decoder_module
from stylequeue_worker.pictures.decoder import Decoder
from stylequeue_worker.pictures.inputs import Role
from tests.conftest import empty_database
from tests.support import pictures
from tests.support.deployment import WAIT_S, Deployment
from tests.support.fuzzing import fuzz
from tests.support.hostile_pictures import MANY_PX, Maker, chequered_png, hostile_files, jpeg_of_scans
from tests.support.processes import kill, pause, processes_below, resume, wait_for, wait_gone
from tests.support.usage import Usage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LARGE = {
    "JPEG: as many scans as may be",
    "JPEG: hardly any data",
    "PNG: flat colour with opacity",
    "PNG: punctured",
    "PNG: a transparent colour of 16 bits",
    "PNG: grey of 16 bits",
    "PNG: one bit",
    "PNG: a row",
    "PNG: a column",
    "WebP: large",
    "WebP: a frame of many chunks",
}
"""Pictures as large as they may be: in order, but for what they show."""
FILES = dict(hostile_files())
HOSTILE = [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in FILES]
SECRET = "not-for-strangers"


@pytest.fixture
def one(decoder: Decoder) -> Decoder:
    """A decoder whose process is ready."""
    decoder.decode(pictures.jpeg())
    return decoder


def said_of(decode: Callable[[], object]) -> StyleQueueError:
    with pytest.raises(StyleQueueError) as raised:
        decode()
    return raised.value


def works(decoder: Decoder) -> bool:
    return decoder.decode(pictures.png()).shape == (64, 96, 3)


class TestWhatItCosts:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_hostile_file(self, one: Decoder, name: str) -> None:
        data = FILES[name]()
        usage = Usage(one.pid)
        with suppress(Permanent):
            one.decode(data, size=64)
        # On a busy machine a processor's second is up to twice as long.
        assert usage.cpu_s < (30 if name in LARGE else 3)
        assert usage.peak_mb < (1_000 if name in LARGE else 420)
        assert works(one)

    @pytest.mark.parametrize(
        "name", ["JPEG: tiny EXIF segments", "JPEG: thousands of scans", "PNG: tiny chunks", "PNG: a text bomb"]
    )
    def test_what_is_too_costly_has_a_code_of_its_own(self, one: Decoder, name: str) -> None:
        error = said_of(partial(one.decode, FILES[name]()))
        assert (type(error), error.code) == (Permanent, Code.IMAGE_TOO_COSTLY)
        assert error.hint

    @pytest.mark.slow
    @pytest.mark.parametrize("role", Role)
    def test_what_has_holes_at_the_largest_size(self, one: Decoder, role: Role) -> None:
        data = chequered_png(4096)
        usage = Usage(one.pid)
        one.decode(data, role, (4096, 4096) if role in (Role.MASK, Role.INIT) else 4096)
        assert usage.peak_mb < 620

    def test_one_that_takes_too_long(self) -> None:
        with Decoder(max_pixels=75_000_000, max_bytes=10_000_000, cpu_s=1) as decoder:
            assert works(decoder)
            error = said_of(partial(decoder.decode, jpeg_of_scans(98, MANY_PX), size=4096))
            assert (type(error), error.code) == (Permanent, Code.IMAGE_TOO_COSTLY)
            assert "1 processor seconds" in error.message
            assert works(decoder)

    def test_one_that_takes_too_much_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoder_module, "ROOM_BYTES", 20_000_000)
        with Decoder(max_pixels=96 * 64, max_bytes=1_000_000, cpu_s=60) as decoder:
            error = said_of(partial(decoder.decode, pictures.png(), size=4096))
            assert (type(error), error.code) == (Permanent, Code.IMAGE_TOO_COSTLY)
            assert works(decoder)

    @pytest.mark.parametrize("left_bytes", [10**8, 4 * 10**8])
    def test_one_for_which_the_machine_has_no_memory_now(
        self, one: Decoder, monkeypatch: pytest.MonkeyPatch, left_bytes: int
    ) -> None:
        monkeypatch.setattr(decoder_module, "available_bytes", lambda: left_bytes)
        error = said_of(partial(one.decode, pictures.saved(pictures.quarters(4000, 4000), "PNG")))
        assert (type(error), error.code) == (Retryable, Code.OUT_OF_MEMORY)


class TestItsEnd:
    @pytest.mark.parametrize(
        ("number", "kind", "code"),
        [
            (signal.SIGSEGV, Permanent, Code.IMAGE_CORRUPT),
            (signal.SIGABRT, Permanent, Code.IMAGE_CORRUPT),
            (signal.SIGXCPU, Permanent, Code.IMAGE_TOO_COSTLY),
            (signal.SIGKILL, Retryable, Code.WORKER_LOST),
        ],
    )
    def test_in_the_middle_of_a_picture(
        self, one: Decoder, number: signal.Signals, kind: type[StyleQueueError], code: Code
    ) -> None:
        pid = paused(one)

        def end() -> None:
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)

        error = said_of(partial(one.decode, pictures.jpeg(), check=end))
        assert (type(error), error.code) == (kind, code)
        assert works(one)
        assert one.pid != pid

    def test_between_two_pictures(self, one: Decoder) -> None:
        pid = paused(one)
        kill(pid)
        wait_gone(pid, WAIT_S)
        assert works(one)

    @pytest.mark.parametrize("error", [Cancelled(), DeadlinePassed("it passed"), Preempted(), LeaseLost("stale")])
    def test_when_the_picture_is_not_wanted_any_more(self, one: Decoder, error: StyleQueueError) -> None:
        pid = paused(one)

        def check() -> None:
            raise error

        assert said_of(partial(one.decode, pictures.jpeg(), check=check)) is error
        wait_gone(pid, WAIT_S)
        assert works(one)

    @pytest.mark.parametrize(
        "answer",
        [
            "no JSON",
            "[1]",
            "[" * 10_000,
            '{"shape": [1000000, 1000000, 3]}',
            '{"shape": [-1, -1, 3]}',
            '{"shape": [4, 4, 1]}',
            '{"shape": null}',
            '{"shape": [4, 4, 3]}',
            '{"code": "access_denied", "message": "pay here"}',
        ],
    )
    def test_by_a_picture_that_took_it_over(self, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
        def taken_over() -> subprocess.Popen[bytes]:
            program = "import os, sys; sys.stdin.readline(); print(sys.argv[1], flush=True); os.abort()"
            command = [sys.executable, "-c", program, answer]
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        monkeypatch.setattr(decoder_module, "_started", taken_over)
        with Decoder(max_pixels=10**6, max_bytes=10**6, cpu_s=1) as decoder:
            error = said_of(partial(decoder.decode, pictures.jpeg()))
        assert (type(error), error.code) == (Permanent, Code.IMAGE_CORRUPT)

    def test_with_the_worker_that_is_killed(self) -> None:
        program = """
import os, signal, sys
from stylequeue_worker.pictures.decoder import Decoder
from tests.support import pictures
decoder = Decoder(max_pixels=10**6, max_bytes=10**6, cpu_s=60)
decoder.decode(pictures.jpeg())
os.kill(decoder.pid, signal.SIGSTOP)
print(decoder.pid, flush=True)
decoder.decode(pictures.jpeg())
"""
        worker = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        assert worker.stdout
        with worker.stdout:
            pid = int(worker.stdout.readline())
            worker.kill()
            worker.wait()
        wait_gone(pid, WAIT_S)


def paused(decoder: Decoder) -> int:
    """The decoder's process, which stands still."""
    assert decoder.pid
    pause(decoder.pid)
    return decoder.pid


class TestWhatItReaches:
    def test_no_secret_is_in_its_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("STYLEQUEUE_S3_SECRET_KEY", "STYLEQUEUE_REDIS_URL", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD"):
            monkeypatch.setenv(name, SECRET)
        with Decoder(max_pixels=10**6, max_bytes=10**6, cpu_s=60) as decoder:
            assert works(decoder)
            environment = Path(f"/proc/{decoder.pid}/environ").read_bytes()
            arguments = Path(f"/proc/{decoder.pid}/cmdline").read_bytes()
        assert SECRET.encode() not in environment + arguments
        names = {entry.partition(b"=")[0] for entry in environment.split(b"\0") if entry}
        assert names <= {b"PYTHONPATH", b"OPENBLAS_NUM_THREADS", b"LD_LIBRARY_PATH", b"PYTHONHOME"}

    def test_it_inherits_no_file(self, tmp_path: Path) -> None:
        with (tmp_path / "secrets").open("w") as file, Decoder(max_pixels=10**6, max_bytes=10**6, cpu_s=60) as decoder:
            os.set_inheritable(file.fileno(), True)
            assert works(decoder)
            entries = list(Path(f"/proc/{decoder.pid}/fd").iterdir())
            assert {re.sub(r"\d", "", str(entry.readlink())) for entry in entries} == {"pipe:[]", os.devnull}

    def test_it_can_open_nothing(self, one: Decoder) -> None:
        limits = Path(f"/proc/{one.pid}/limits").read_text()
        for what in ("open files", "file size", "core file size", "processes"):
            assert re.search(rf"Max {what} +0 +0 ", limits), what
        assert re.search(r"Max cpu time +\d+ ", limits)
        assert re.search(r"Max address space +\d+ ", limits)
        assert "NoNewPrivs:\t1" in Path(f"/proc/{one.pid}/status").read_text()

    def test_the_workers_settings_are_out_of_its_reach(self) -> None:
        program = f"""
import os, socket, sys
from stylequeue_worker.pictures import decoding
decoding._confine()
for reach in (
    lambda: open("/proc/{os.getpid()}/environ"),
    lambda: open("/etc/passwd"),
    lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1]))),
):
    try:
        reach()
    except OSError as error:
        print(error.errno)
"""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
            command = [sys.executable, "-c", program, port]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["24"] * 3, "too many open files"

    def test_it_loads_no_more_than_it_needs(self, one: Decoder) -> None:
        mapped = Path(f"/proc/{one.pid}/maps").read_text()
        assert "PIL" in mapped
        assert not re.search(r"tensorflow|_ssl|hiredis|botocore", mapped)


@pytest.fixture(scope="module")
def service(stack: Stack) -> Iterator[Deployment]:
    """Two workers."""
    with empty_database(stack) as settings, Deployment(stack, settings, retry_delay_s=0.1) as deployment:
        for name in ("one", "two"):
            deployment.start(name)
        deployment.until_ready()
        yield deployment


def decoders_of(worker: Process) -> list[int]:
    """The processes of this worker in which pictures are decoded."""
    return [pid for pid in processes_below(worker.pid) if b"pictures.decoding" in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class Stuck:
    """A job whose pictures one of the workers will never have decoded."""

    def __init__(self, service: Deployment, **fields: Any) -> None:
        self.queue: StyleQueue = service.queue
        workers = {worker.name: worker for worker in service.workers if worker.running}
        for worker in workers.values():
            wait_for(partial(self._has_decoder, service, worker), WAIT_S, "a decoder")
        paused = {name: decoders_of(worker) for name, worker in workers.items()}
        for pids in paused.values():
            for pid in pids:
                pause(pid)
        self.job: Job = service.job(steps=next(_steps), **fields)
        self.queue.submit(self.job)
        wait_for(lambda: any(map(was_asked, chain(*paused.values()))), WAIT_S, "a worker to have its picture decoded")
        name = str(self.queue.status(self.job.id).worker).partition("@")[0]
        self.worker, self.decoders = workers[name], paused.pop(name)
        for pids in paused.values():
            for pid in pids:
                resume(pid)

    def _has_decoder(self, service: Deployment, worker: Process) -> bool:
        """A worker has one from its first picture on, which another worker may have taken instead."""
        if not decoders_of(worker):
            first = service.job(steps=next(_few_steps))
            self.queue.submit(first)
            self.queue.wait(first.id, timeout_s=WAIT_S)
        return bool(decoders_of(worker))


def was_asked(pid: int) -> bool:
    """Whether a decoder that stands still has something to do."""
    with Path(f"/proc/{pid}/fd/0").open("rb") as pipe:
        return any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))


_steps = iter(range(200, 300))
_few_steps = iter(range(5, 100))
"""A picture that was painted before is not decoded again."""


class TestService:
    def test_a_neighbours_job_is_done_meanwhile_and_cancelling_is_heard(self, service: Deployment) -> None:
        stuck = Stuck(service)
        neighbour = service.job(steps=3)
        service.queue.submit(neighbour)
        assert service.queue.wait(neighbour.id, timeout_s=WAIT_S).report.steps == 3
        assert not service.queue.status(stuck.job.id).ended
        service.queue.cancel(stuck.job.id)
        with pytest.raises(JobCancelled):
            service.queue.wait(stuck.job.id, timeout_s=WAIT_S)
        for pid in stuck.decoders:
            wait_gone(pid, WAIT_S)
        after = service.job(steps=4)
        service.queue.submit(after)
        service.queue.wait(after.id, timeout_s=WAIT_S)
        service.check(stuck.job, neighbour, after)

    def test_a_decoder_that_is_killed_costs_an_attempt(self, service: Deployment) -> None:
        stuck = Stuck(service)
        for pid in stuck.decoders:
            kill(pid)
        assert service.queue.wait(stuck.job.id, timeout_s=WAIT_S).report.steps
        events = service.queue._ledger.job_events(stuck.job.id)
        assert sum(isinstance(event, Started) for event in events) == 2
        service.check(stuck.job)

    @pytest.mark.slow
    def test_a_worker_that_is_told_to_stop_stops(self, stack: Stack) -> None:
        with empty_database(stack) as settings, Deployment(stack, settings, retry_delay_s=0.1) as service:
            worker = service.worker("one")
            stuck = Stuck(service)
            os.kill(worker.pid, signal.SIGTERM)
            assert worker.wait(WAIT_S) == 0
            assert service.queue.status(stuck.job.id).state == "queued"
            assert service.queue.status(stuck.job.id).attempt == 1
            for pid in stuck.decoders:
                wait_gone(pid, WAIT_S)
            service.worker("two")
            service.queue.wait(stuck.job.id, timeout_s=WAIT_S)


def test_mutated_pictures_break_nothing() -> None:
    """The quick form of `python -m tests.benchmarks.fuzz_pictures`."""
    found = [finding for finding in islice(fuzz(seed=1), 400) if finding]
    assert [finding.what for finding in found] == []


def test_the_corpus_has_each_kind(one: Decoder) -> None:
    """Lest a maker's mistake makes a test that tests nothing."""
    makers: dict[str, Maker] = FILES
    assert {name.partition(":")[0] for name in makers} == {"JPEG", "PNG", "WebP", "both"}
    assert one.decode(jpeg_of_scans(98, 64)).shape == (64, 64, 3), "so many scans are in order"
