"""Faults 1 to 14: workers that are killed, told to stop, paused, stuck, or out of what they need."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.contract.errors import Code, JobFailed
from stylequeue.contract.events import Progress
from stylequeue.contract.job import Job
from stylequeue.contract.objects import checkpoint_key, work_keys
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from stylequeue_worker.work.workbench import MAX_CHECKPOINT_BYTES
from tests.support import odd_worker
from tests.support.deployment import ENDLESS, HURRIED, ODD_WORKER, WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.processes import child_of, children_of, kill, living_group, pause, resume, wait_for, wait_gone
from tests.support.proxy import Proxy

STEPS = 150
"""Takes 1.5 s."""
CHILD_BACK_S = 5 * 10
WORKER_BACK_S = 5 * 30
ACKNOWLEDGE = b"ZREM\r\n$13\r\nunacked_index"
NOTE_AS_DELIVERED = b"ZADD\r\n$13\r\nunacked_index"
_small_numbers = itertools.count(3)


@pytest.fixture
def deployment(deployment: Deployment) -> Deployment:
    """Where nothing takes long."""
    deployment.configure(**HURRIED)
    return deployment


@pytest.fixture(scope="module")
def odd(stack: Stack, module_settings: Settings) -> Iterator[Deployment]:
    """With a worker that comes to harm, but not so that it ends."""
    with Deployment(stack, module_settings, **HURRIED) as deployment:
        deployment.start("odd", app=ODD_WORKER)
        deployment.until_ready()
        yield deployment


@pytest.fixture
def workers(deployment: Deployment) -> dict[str, Process]:
    """Two, by name."""
    workers = {name: deployment.start(name) for name in ("one", "two")}
    deployment.until_ready()
    return workers


def submit(deployment: Deployment, steps: int = STEPS, **fields: object) -> Job:
    job = deployment.job(steps, **fields)
    deployment.queue.submit(job)
    return job


def painting(deployment: Deployment, steps: int = STEPS) -> Job:
    """A job of which at least one step is made."""
    job = submit(deployment, steps)
    deployment.until_painting(job)
    return job


def holder(deployment: Deployment, workers: dict[str, Process], job: Job) -> tuple[Process, Process]:
    """The worker that has the job, and the other one."""
    name = str(deployment.queue.status(job.id).worker).partition("@")[0]
    [other] = set(workers) - {name}
    return workers[name], workers[other]


def wait_for_checkpoint(deployment: Deployment, job: Job) -> int:
    """The step that it was saved at."""
    store, key = deployment.queue._store, checkpoint_key(job.id)
    wait_for(partial(store.exists, deployment.settings.work_bucket, key), WAIT_S, "a checkpoint")
    with np.load(io.BytesIO(store.read_work(key, max_bytes=MAX_CHECKPOINT_BYTES))) as saved:
        return int(saved["step"])


def is_gone(deployment: Deployment, key: str) -> bool:
    """Whether nothing lies under this key in the work bucket."""
    return not deployment.queue._store.exists(deployment.settings.work_bucket, key)


def steps_of(deployment: Deployment, job: Job, attempt: int) -> list[int]:
    """The steps that an attempt told of."""
    progress = [event.data for event in deployment.queue.watch(job.id) if isinstance(event, Progress)]
    return [data.step for data in progress if data.attempt == attempt and data.step]


def works(deployment: Deployment) -> Job:
    """A job that comes now is done."""
    steps = next(_small_numbers)  # a picture that nobody has painted before
    job = submit(deployment, steps)
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == steps
    return job


def kill_part(worker: Process, part: str) -> None:
    child = child_of(worker)
    kill(worker.pid if part == "worker" else child)
    wait_gone(child, WAIT_S)


def test_01_killed_child(deployment: Deployment) -> None:
    """Its job is claimed again soon, and goes on from the checkpoint."""
    worker = deployment.worker(preview_interval_s=0.1)
    job = painting(deployment)
    saved_step = wait_for_checkpoint(deployment, job)
    killed_at = time.monotonic()
    kill(child_of(worker))
    deployment.until_painting(job, attempt=2)
    assert time.monotonic() - killed_at < CHILD_BACK_S
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == STEPS
    again = steps_of(deployment, job, attempt=2)
    assert again[0] > saved_step, "not from the beginning"
    assert again[-1] == STEPS
    for key in work_keys(job.id):
        # Its work is cleared away once its end is known.
        wait_for(partial(is_gone, deployment, key), WAIT_S, f"{key} cleared away")
    deployment.check(job)


@pytest.mark.slow
def test_02_killed_worker(deployment: Deployment, workers: dict[str, Process]) -> None:
    """Another one goes on with its job when the lease has run out; the broker's own timeout does not matter."""
    job = painting(deployment)
    saved_step = wait_for_checkpoint(deployment, job)
    killed, other = holder(deployment, workers, job)
    killed_at = time.monotonic()
    kill(killed.pid)
    deployment.until_painting(job, attempt=2)
    assert time.monotonic() - killed_at < WORKER_BACK_S
    assert deployment.queue._ledger.redis.hlen("unacked") == 2, "the dead worker's message is still where it was"
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    assert steps_of(deployment, job, attempt=2)[0] > saved_step
    deployment.check(job)
    assert other.running


@pytest.mark.slow
def test_02_killed_worker_and_no_other(deployment: Deployment) -> None:
    """A keeper by itself puts the job back, for whoever comes."""
    worker = deployment.worker()
    keeper = deployment.keeper()
    job = painting(deployment)
    kill(worker.pid)
    wait_for(lambda: deployment.queue.status(job.id).state == "queued", WORKER_BACK_S, "the job to be put back")
    assert "was not heard of" in str(deployment.queue.status(job.id).last_error)
    deployment.worker("next")
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)
    assert keeper.running


@pytest.mark.slow
def test_03_message_lost_on_its_way(deployment: Deployment, redis_proxy: Proxy) -> None:
    """A worker dies between taking a message and noting that it has it: a keeper misses it and sends another."""
    worker = deployment.worker(redis=redis_proxy)
    held = redis_proxy.hold(NOTE_AS_DELIVERED)
    job = submit(deployment)
    held.wait(WAIT_S)
    kill(worker.pid)
    held.drop()
    assert not deployment.queue._ledger.redis.exists("paint", "unacked"), "the broker knows nothing of it any more"
    deployment.worker("next")
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == STEPS
    assert deployment.queue.status(job.id).attempt == 1
    deployment.check(job)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["child", "worker"])
def test_04_killed_after_the_picture(deployment: Deployment, redis_proxy: Proxy, part: str) -> None:
    """The picture is stored, but not recorded."""
    worker = deployment.worker(redis=redis_proxy)
    held = redis_proxy.hold(deployment.move("finish"))
    job = submit(deployment)
    held.wait(WAIT_S)
    stored = deployment.queue._store.find(job.output.bucket, job.output_key)
    assert deployment.queue.status(job.id).state == "running"
    kill_part(worker, part)
    held.drop()
    if part == "worker":
        deployment.worker("next")
    done = deployment.queue.wait(job.id, timeout_s=WAIT_S)
    assert (done.output.etag, done.report.steps) == (stored and stored.etag, STEPS)
    assert steps_of(deployment, job, attempt=2) == [], "no second painting"
    assert deployment.queue._store.find(job.output.bucket, job.output_key) == stored
    deployment.check(job)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["child", "worker"])
def test_04_killed_after_the_record(deployment: Deployment, store_proxy: Proxy, part: str) -> None:
    """The job is recorded as done, but the event is not beside the picture, and the sender's result is not there."""
    worker = deployment.worker(store=store_proxy)
    job = deployment.job(2)
    key = f"{job.output_key}.json"
    held = store_proxy.hold(f"PUT /{job.output.bucket}/{key}".encode())
    deployment.queue.submit(job)
    held.wait(WAIT_S)
    assert deployment.queue.status(job.id).state == "succeeded"
    kill_part(worker, part)
    held.drop()
    if part == "worker":
        deployment.worker("next")
    wait_for(partial(deployment.queue._store.exists, job.output.bucket, key), WAIT_S, "the event beside the picture")
    result = deployment.queue._app.AsyncResult(job.id).get(timeout=WAIT_S)
    assert result["output"]["key"] == job.output_key
    deployment.check(job)
    assert deployment.queue.status(job.id).attempt == 1


@pytest.mark.slow
def test_04_killed_before_the_message_is_acknowledged(deployment: Deployment, redis_proxy: Proxy) -> None:
    """All is done, but the broker hands the message out again."""
    worker = deployment.worker(redis=redis_proxy)
    held = redis_proxy.hold(ACKNOWLEDGE)
    job = submit(deployment, 2)
    held.wait(WAIT_S)
    kill_part(worker, "worker")
    held.drop()
    assert deployment.queue._ledger.redis.hlen("unacked") == 1
    following = deployment.worker("next")
    deployment.check(job)
    assert deployment.queue.status(job.id).attempt == 1
    assert "the job is succeeded already" in following.log_text()


@pytest.mark.parametrize(
    "whom",
    [pytest.param("parent", marks=pytest.mark.slow), pytest.param("group", marks=pytest.mark.slow), "group twice"],
)
def test_05_told_to_stop_while_painting(deployment: Deployment, whom: str) -> None:
    worker = deployment.worker()
    job = painting(deployment)
    told_at = time.monotonic()
    for _ in range(2 if "twice" in whom else 1):
        if "group" in whom:
            os.killpg(os.getpgid(worker.pid), signal.SIGTERM)
        else:
            os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(WAIT_S) == 0
    assert time.monotonic() - told_at < deployment.settings.grace_s
    record = deployment.queue.status(job.id)
    assert (record.state, record.attempt) == ("queued", 1)
    assert Code.PREEMPTED in str(record.last_error)
    assert [event.type for event in deployment.queue._ledger.job_events(job.id) if "failed" in event.type] == []
    assert deployment.queue._ledger.redis.llen("paint") == 1, "another worker's message"
    assert deployment.queue._ledger.redis.hlen("unacked") == 0
    deployment.worker("next", max_attempts=1)
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == STEPS
    assert steps_of(deployment, job, attempt=2)[0] > steps_of(deployment, job, attempt=1)[-1], "nothing twice"
    deployment.check(job)


@pytest.mark.slow
def test_06_told_to_stop_while_downloading(deployment: Deployment, store_proxy: Proxy) -> None:
    worker = deployment.worker(store=store_proxy)
    image = deployment.photograph
    held = store_proxy.hold(f"GET /{image.bucket}/{image.key}".encode())
    job = submit(deployment)
    held.wait(WAIT_S)
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait_for_line("Warm shutdown", WAIT_S)
    held.release()
    assert worker.wait(WAIT_S) == 0
    assert deployment.queue.status(job.id).state == "queued"
    deployment.worker("next")
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)


@pytest.mark.slow
def test_06_told_to_stop_while_uploading(deployment: Deployment, store_proxy: Proxy) -> None:
    """What is done but for the upload is finished."""
    worker = deployment.worker(store=store_proxy)
    job = deployment.job(2)
    held = store_proxy.hold(f"PUT /{job.output.bucket}/{job.output_key}".encode())
    deployment.queue.submit(job)
    held.wait(WAIT_S)
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait_for_line("Warm shutdown", WAIT_S)
    held.release()
    assert worker.wait(WAIT_S) == 0
    assert deployment.queue.status(job.id).state == "succeeded"
    deployment.check(job)


@pytest.mark.slow
def test_06_told_to_stop_while_the_store_hangs(deployment: Deployment, store_proxy: Proxy) -> None:
    """The parent does not wait for ever: it puts the job back itself, and takes the child along."""
    worker = deployment.worker(store=store_proxy, grace_s=3)
    image = deployment.photograph
    held = store_proxy.hold(f"GET /{image.bucket}/{image.key}".encode())
    job = submit(deployment)
    held.wait(WAIT_S)
    told_at = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(WAIT_S) == 128 + signal.SIGKILL
    assert time.monotonic() - told_at < 5 * 3
    wait_for(lambda: not living_group(worker.pid), WAIT_S, "the child to end")
    record = deployment.queue.status(job.id)
    assert record.state == "queued"
    assert Code.PREEMPTED in str(record.last_error)
    deployment.worker("next", max_attempts=1)
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)


def test_06_told_to_stop_while_idle(deployment: Deployment) -> None:
    worker = deployment.worker()
    job = works(deployment)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(WAIT_S) == 0
    deployment.check(job)


@pytest.mark.slow
def test_06_told_to_stop_while_warming_up(deployment: Deployment, tmp_path: Path) -> None:
    """Its parent has a message already."""
    go_on = tmp_path / "go-on"
    (tmp_path / "slow_to_warm_up.py").write_text(
        "import pathlib, time\n"
        "from stylequeue.settings import Settings\n"
        "from stylequeue_worker.process.app import make_worker_app\n"
        "from tests.support.fake_painter import FakePainter\n"
        "def load_engine(settings):\n"
        f"    while not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.02)\n"
        "    return FakePainter()\n"
        "app = make_worker_app(Settings.load(), module=__name__, load_engine=load_engine)\n"
    )
    job = submit(deployment)
    worker = deployment.start("slow", app="slow_to_warm_up", python_path=tmp_path)
    wait_for(lambda: deployment.queue._ledger.redis.hlen("unacked") == 1, WAIT_S, "the message to be taken")
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait_for_line("Warm shutdown", WAIT_S)
    go_on.touch()
    assert worker.wait(WAIT_S) == 0
    assert deployment.queue.status(job.id).state == "queued"
    deployment.worker("next", max_attempts=1)
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)


def stand_still(worker: Process) -> list[int]:
    pids = living_group(worker.pid)
    for pid in pids:
        pause(pid)
    return pids


def test_07_paused_past_the_lease(deployment: Deployment, workers: dict[str, Process]) -> None:
    """The other worker's result stands; the attempt that wakes up late stops, and its worker goes on to other jobs."""
    job = painting(deployment)
    paused, other = holder(deployment, workers, job)
    pids = stand_still(paused)
    done = deployment.queue.wait(job.id, timeout_s=WAIT_S)
    for pid in pids:
        resume(pid)
    paused.wait_for_line("is stale", WAIT_S)
    other.stop()
    after = works(deployment)
    record = deployment.queue.status(job.id)
    assert record.attempt == 2
    assert record.outcome is not None
    assert dict(done) == {"id": job.id, **dict(record.outcome.data)}
    deployment.check(job, after)


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_07_paused_on_the_way_to_the_store(deployment: Deployment, store_proxy: Proxy, overwrite: bool) -> None:
    """The picture of the attempt that wakes up late does not take the place of the one that is recorded."""
    paused = deployment.start("paused", app=ODD_WORKER, store=store_proxy)
    job = deployment.job(odd_worker.PAINTS_BY_CHANCE, output={"bucket": "results", "overwrite": overwrite})
    held = store_proxy.hold(f"PUT /{job.output.bucket}/{job.output_key}".encode())
    deployment.queue.submit(job)
    held.wait(WAIT_S)
    pids = stand_still(paused)
    deployment.start("other", app=ODD_WORKER)
    done = deployment.queue.wait(job.id, timeout_s=WAIT_S)
    stored = deployment.queue._store.find(job.output.bucket, job.output_key)
    for pid in pids:
        resume(pid)
    held.release()
    paused.wait_for_line("stopped at the end", WAIT_S)
    assert deployment.queue._store.find(job.output.bucket, job.output_key) == stored
    assert stored
    assert stored.etag == done.output.etag
    assert deployment.queue.status(job.id).attempt == 2
    deployment.check(job)


@pytest.mark.slow
def test_08_too_slow(deployment: Deployment) -> None:
    """An attempt that runs into the hard time limit ends, and the sender hears why."""
    deployment.worker(max_attempts=1)
    job = submit(deployment, ENDLESS)
    with pytest.raises(JobFailed) as caught:
        deployment.queue.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
    assert Code.TIME_LIMIT in caught.value.hint
    with pytest.raises(JobFailed, match=Code.TIME_LIMIT):
        deployment.queue._app.AsyncResult(job.id).get(timeout=WAIT_S)
    deployment.check(job, works(deployment))


@pytest.mark.slow
def test_08_stuck_in_native_code(deployment: Deployment) -> None:
    """No thread of the child runs any more: the lease runs out, and the hard limit ends the child."""
    worker = deployment.start("stuck", app=ODD_WORKER, max_attempts=1)
    stuck = submit(deployment, odd_worker.HANGS)
    with pytest.raises(JobFailed) as caught:
        deployment.queue.wait(stuck.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
    after = works(deployment)
    assert len(children_of(worker)) == 2
    deployment.check(stuck, after)


@pytest.mark.slow
def test_09_picture_that_kills_its_child(deployment: Deployment) -> None:
    """A dead letter after so many attempts; its neighbours are unharmed."""
    deployment.configure(max_attempts=2)
    worker = deployment.start("poisoned", app=ODD_WORKER)
    before = submit(deployment, 2)
    poison = submit(deployment, odd_worker.KILLS_THE_CHILD, labels={"a": "b"})
    after = submit(deployment, 4)
    with pytest.raises(JobFailed) as caught:
        deployment.queue.wait(poison.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
    assert Code.WORKER_LOST in caught.value.hint
    with pytest.raises(JobFailed, match=Code.ATTEMPTS_EXHAUSTED):
        deployment.queue._app.AsyncResult(poison.id).get(timeout=WAIT_S)
    record = deployment.queue.status(poison.id)
    assert record.outcome is not None
    assert record.outcome.data.labels == {"a": "b"}
    assert record.attempt == 2
    assert [letter.id for letter in deployment.queue.dead_letters()] == [poison.id]
    for neighbour in (before, after):
        deployment.queue.wait(neighbour.id, timeout_s=WAIT_S)
    assert worker.running
    deployment.check(before, poison, after)


@pytest.mark.slow
def test_09_picture_that_kills_its_worker(deployment: Deployment) -> None:
    """Attempts count although nobody was left to count them."""
    deployment.configure(max_attempts=2)
    poison = submit(deployment, odd_worker.KILLS_THE_WORKER)
    for name in ("first", "second"):
        assert deployment.start(name, app=ODD_WORKER).wait(WAIT_S) == 128 + signal.SIGKILL
    third = deployment.start("third", app=ODD_WORKER)
    with pytest.raises(JobFailed) as caught:
        deployment.queue.wait(poison.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
    assert [letter.attempts for letter in deployment.queue.dead_letters()] == [2]
    deployment.check(poison, works(deployment))
    assert third.running


def test_10_out_of_memory(odd: Deployment) -> None:
    job = submit(odd, odd_worker.EATS_THE_MEMORY)
    with pytest.raises(JobFailed) as caught:
        odd.queue.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.OUT_OF_MEMORY
    assert "smaller size" in caught.value.hint
    after = works(odd)
    assert len(children_of(odd.workers[0])) == 1, "the same child does the next job"
    odd.check(job, after)


def test_11_not_a_number(odd: Deployment) -> None:
    job = submit(odd, odd_worker.LEAVES_THE_NUMBERS)
    with pytest.raises(JobFailed) as caught:
        odd.queue.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.NOT_FINITE
    assert not odd.queue._store.exists(job.output.bucket, job.output_key), "nothing is uploaded"
    odd.check(job, works(odd))


@pytest.mark.slow
def test_12_disk_full_while_painting(odd: Deployment) -> None:
    """Tried again: there may be room by then."""
    job = submit(odd, odd_worker.FILLS_THE_DISK)
    odd.queue.wait(job.id, timeout_s=WAIT_S)
    record = odd.queue.status(job.id)
    assert record.attempt == 2
    assert "No space left" in str(record.last_error)
    odd.check(job)


def with_temporary_files_in(directory: Path, python_path: Path) -> Path:
    """A directory that, among Python's paths, makes all programs have their temporary files there."""
    (python_path / "sitecustomize.py").write_text(f"import tempfile\ntempfile.tempdir = {str(directory)!r}\n")
    return python_path


@pytest.mark.slow
def test_12_no_directory_for_temporary_files(deployment: Deployment, tmp_path: Path) -> None:
    """A worker that could not be told to stop does not start: it is not ready, and jobs wait for one that is."""
    job = submit(deployment, 2)
    worker = deployment.start("homeless", python_path=with_temporary_files_in(tmp_path / "nowhere", tmp_path))
    assert worker.wait(START_TIMEOUT_S) != 0
    assert (
        "this worker does not start: [invalid_settings] it needs a directory for temporary files" in worker.log_text()
    )
    assert READY_FOR_JOBS not in worker.log_text()
    assert deployment.queue.status(job.id).state == "queued"
    deployment.worker("housed")
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)


@pytest.mark.slow
def test_12_disk_gone_when_told_to_stop(deployment: Deployment, tmp_path: Path) -> None:
    """The child cannot be told: the parent puts the job back for it, within the grace period."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    worker = deployment.start("cut-off", python_path=with_temporary_files_in(temporary, tmp_path), grace_s=3)
    job = painting(deployment, STEPS * 2)
    shutil.rmtree(temporary)
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait(WAIT_S)
    record = deployment.queue.status(job.id)
    assert record.state == "queued"
    assert Code.PREEMPTED in str(record.last_error)
    deployment.worker("next", max_attempts=1)
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, -1])
def test_13_clock_off_by_an_hour(deployment: Deployment, tmp_path: Path, hours: int) -> None:
    """A worker whose clock is wrong takes no job from one that has it: leases go by Redis's clock."""
    deployment.configure(job_time_limit_s=60, visibility_timeout_s=120, lease_s=5)
    right = deployment.worker("right")
    job = painting(deployment, ENDLESS)
    (tmp_path / "sitecustomize.py").write_text(
        f"import time\n_right = time.time\ntime.time = lambda: _right() + {hours} * 3600\n"
    )
    wrong = deployment.start("wrong", python_path=tmp_path)
    wrong.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    others = [works(deployment), works(deployment)]
    if hours > 0:
        # By its clock the broker's timeout has passed, and it hands the message out again: to itself, who else.
        wrong.wait_for_line("another attempt has the job", WAIT_S)
    deployment.queue.cancel(job.id, keep=True)
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    record = deployment.queue.status(job.id)
    assert (record.attempt, str(record.worker).partition("@")[0]) == (1, "right")
    right.stop()
    deployment.check(job, *others, works(deployment))


@pytest.mark.slow
def test_14_children_that_are_replaced(deployment: Deployment) -> None:
    """Each job's child makes way for a new one: nothing is lost or doubled."""
    worker = deployment.worker(child_memory_mb=1)
    jobs = [submit(deployment, steps) for steps in range(2, 8)]
    for job in jobs:
        assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == job.recipe.model_dump()["steps"]
        assert deployment.queue.status(job.id).attempt == 1
    deployment.check(*jobs)
    assert len(children_of(worker)) >= len(jobs)
