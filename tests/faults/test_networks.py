"""Workers that lack a network, a device or memory: no job is lost to them, and each says what it waits for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.contract.errors import Code, ExitCode, JobExpired
from stylequeue.contract.job import Job
from stylequeue.ledger.names import worker_key
from stylequeue.local import Process, environment
from tests.support import dying_worker
from tests.support.deployment import HURRIED, WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.network_worker import BROKEN
from tests.support.processes import child_of, kill, wait_for

NETWORK_WORKER = "tests.support.network_worker"
DYING_WORKER = "tests.support.dying_worker"


@pytest.fixture
def hurried(deployment: Deployment) -> Deployment:
    deployment.configure(**HURRIED)
    return deployment


def with_networks(
    deployment: Deployment, directory: Path, *networks: str, name: str, queues: str = "paint", **files: str
) -> Process:
    """A worker that has these networks; of `files`, the content."""
    directory.mkdir()
    for network, content in {**dict.fromkeys(networks, ""), **files}.items():
        (directory / network).write_text(content)
    return deployment.start(name, app=NETWORK_WORKER, queues=queues, model_dir=directory)


def for_network(deployment: Deployment, network: str, steps: int = 2, queue: str | None = None) -> Job:
    """Different steps are different pictures."""
    recipe = {"method": "optimize", "size": 64, "steps": steps, "network": network}
    return deployment.job(recipe=recipe, queue=queue)


def painter_of(deployment: Deployment, job: Job) -> str:
    return str(deployment.queue._ledger.record(job.id).worker).partition("@")[0]


def test_58_a_worker_is_on_record_while_it_lives(hurried: Deployment) -> None:
    registry = hurried.queue._ledger.registry
    worker = hurried.worker("one", pod_name="one-of-a-deployment")
    [entry] = wait_for(registry.workers, WAIT_S, "the worker to be on record")
    assert entry.name.startswith("one@")
    assert (entry.pod, entry.job_since) == ("one-of-a-deployment", None)
    assert entry.queues == ("fast", "paint", "bulk")
    assert set(entry.networks) == {"vgg19", "vgg16", "fast"}
    assert f"{READY_FOR_JOBS}: {entry}" in worker.log_text()
    ttl_ms = int(hurried.queue._ledger.redis.pttl(worker_key(entry.name)))
    assert 0 < ttl_ms <= 3000 * HURRIED["heartbeat_s"]
    kill(child_of(worker))
    wait_for(lambda: worker.log_text().count(READY_FOR_JOBS) == 2, WAIT_S, "a new child")
    [again] = wait_for(registry.workers, WAIT_S, "the worker to be on record still")
    assert (again.name, again.started_at) == (entry.name, entry.started_at), "its child is another, it is the same"
    worker.stop()
    assert registry.workers() == [], "it says when it goes"


@pytest.mark.slow
def test_58_one_that_is_killed_is_forgotten(hurried: Deployment) -> None:
    registry = hurried.queue._ledger.registry
    worker = hurried.worker("one")
    wait_for(registry.workers, WAIT_S, "the worker to be on record")
    kill(worker.pid)
    wait_for(lambda: not registry.workers(), WAIT_S, "the worker to be forgotten")


@pytest.mark.slow  # with more jobs than the next one, which shows it as well
def test_58_the_one_that_has_the_network_paints(hurried: Deployment, tmp_path: Path) -> None:
    """Whoever takes the messages: each job is painted by the worker that can, at the first attempt."""
    with_networks(hurried, tmp_path / "poor", "vgg16", name="poor")
    with_networks(hurried, tmp_path / "rich", "vgg19", name="rich")
    hurried.until_ready()
    jobs = [for_network(hurried, network, steps) for steps in range(2, 6) for network in ("vgg19", "vgg16")]
    hurried.queue.submit_many(jobs)
    for job in jobs:
        done = hurried.queue.wait(job.id, timeout_s=WAIT_S)
        assert done.report.network == job.recipe.model_dump()["network"]
        assert painter_of(hurried, job) == ("rich" if done.report.network == "vgg19" else "poor")
        assert hurried.queue.status(job.id).attempt == 1
    hurried.check(*jobs)


def test_58_a_job_waits_for_a_worker_that_can_paint_it(hurried: Deployment, tmp_path: Path) -> None:
    """However many there are: no attempt is charged, no log flooded, and their status says what they wait for."""
    poor = with_networks(hurried, tmp_path / "poor", "vgg16", name="poor")
    hurried.until_ready()
    jobs = [for_network(hurried, "vgg19", steps) for steps in range(2, 12)]
    hurried.queue.submit_many(jobs)
    other = for_network(hurried, "vgg16")
    hurried.queue.submit(other)
    assert hurried.queue.wait(other.id, timeout_s=WAIT_S).report.network == "vgg16", "it goes on to what it can paint"
    waiting = hurried.queue.status(jobs[0].id)
    assert (waiting.state, waiting.attempt) == ("queued", 0)
    assert waiting.waits_for == "a worker with the network vgg19: none that takes from queue 'paint' has it now"
    assert hurried.queue._ledger.registry.lacking() == {("paint", ("vgg19",)): len(jobs)}
    assert poor.log_text().count("vgg19") == 1, "said once"
    with_networks(hurried, tmp_path / "rich", "vgg19", name="rich")
    hurried.until_ready()
    others = [for_network(hurried, "vgg16", steps) for steps in range(3, 7)]
    hurried.queue.submit_many(others)
    for job in (*jobs, *others):
        hurried.queue.wait(job.id, timeout_s=WAIT_S)
        painter = "rich" if job in jobs else "poor"
        assert (painter_of(hurried, job), hurried.queue.status(job.id).attempt) == (painter, 1)
    hurried.check(*jobs, other, *others)


@pytest.mark.slow
def test_58_it_waits_until_its_deadline(hurried: Deployment, tmp_path: Path) -> None:
    hurried.configure(job_deadline_s=3)
    with_networks(hurried, tmp_path / "poor", "vgg16", name="poor")
    hurried.until_ready()
    job = for_network(hurried, "vgg19")
    hurried.queue.submit(job)
    with pytest.raises(JobExpired):
        hurried.queue.wait(job.id, timeout_s=WAIT_S)
    assert hurried.queue.status(job.id).attempt == 0
    hurried.check(job)


def test_58_nobody_takes_from_its_queue(hurried: Deployment) -> None:
    job = for_network(hurried, "vgg19", queue="bulk")
    hurried.queue.submit(job)
    assert hurried.queue.status(job.id).waits_for == (
        "a worker that takes from queue 'bulk' and has the network vgg19: none takes from it now"
    )
    hurried.worker("one")
    hurried.queue.wait(job.id, timeout_s=WAIT_S)
    assert hurried.queue.status(job.id).waits_for is None


@pytest.mark.slow
def test_58_a_method_that_is_not_its_queues(hurried: Deployment, tmp_path: Path) -> None:
    """A sender may put any job on any queue: it waits for a worker that has both."""
    with_networks(hurried, tmp_path / "fast", "fast", name="fast", queues="fast")
    hurried.until_ready()
    strange, plain = for_network(hurried, "auto", queue="fast"), hurried.job(recipe={"method": "fast", "size": 64})
    hurried.queue.submit_many([strange, plain])
    assert hurried.queue.wait(plain.id, timeout_s=WAIT_S).report.network == "fast"
    assert "vgg19 or vgg16" in str(hurried.queue.status(strange.id).waits_for)
    with_networks(hurried, tmp_path / "both", "fast", "vgg16", name="both", queues="fast")
    hurried.queue.wait(strange.id, timeout_s=WAIT_S)
    assert painter_of(hurried, strange) == "both"
    hurried.check(strange, plain)


@pytest.mark.slow
def test_58_a_network_that_cannot_be_loaded(hurried: Deployment, tmp_path: Path) -> None:
    """Its worker learns of it with a job in its hands: that is put back uncharged, and the network is struck off."""
    hurried.configure(max_attempts=1)
    with_networks(hurried, tmp_path / "broken", "vgg16", name="broken", vgg19=BROKEN)
    hurried.until_ready()
    job = for_network(hurried, "vgg19")
    hurried.queue.submit(job)
    wait_for(hurried.queue._ledger.registry.lacking, WAIT_S, "the job to wait for another worker")
    status = hurried.queue.status(job.id)
    assert (status.state, status.attempt) == ("queued", 1)
    assert Code.NETWORK_UNAVAILABLE in str(status.last_error)
    registry = hurried.queue._ledger.registry
    wait_for(lambda: set(registry.workers()[0].networks) == {"vgg16"}, WAIT_S, "the network to be struck off")
    with_networks(hurried, tmp_path / "sound", "vgg19", name="sound")
    hurried.queue.wait(job.id, timeout_s=WAIT_S)
    assert painter_of(hurried, job) == "sound"
    hurried.check(job)


@pytest.mark.slow
def test_58_a_network_that_is_pulled_while_the_worker_runs(hurried: Deployment, tmp_path: Path) -> None:
    with_networks(hurried, tmp_path / "models", "vgg16", name="one")
    hurried.until_ready()
    job = for_network(hurried, "vgg19")
    hurried.queue.submit(job)
    wait_for(hurried.queue._ledger.registry.lacking, WAIT_S, "the job to wait")
    (tmp_path / "models" / "vgg19").touch()
    hurried.queue.wait(job.id, timeout_s=WAIT_S)
    hurried.check(job)


@pytest.mark.parametrize(
    ("networks", "lacking"),
    [
        ((), "fast"),
        pytest.param(("vgg16",), "fast", marks=pytest.mark.slow),
        pytest.param(("fast",), "vgg19 or vgg16", marks=pytest.mark.slow),
    ],
)
def test_58_a_worker_that_cannot_serve_its_queues_does_not_start(
    hurried: Deployment, tmp_path: Path, networks: tuple[str, ...], lacking: str
) -> None:
    job = hurried.job(2)
    hurried.queue.submit(job)
    worker = with_networks(hurried, tmp_path / "poor", *networks, name="poor", queues="")
    assert worker.wait(START_TIMEOUT_S) == ExitCode.CANNOT_SERVE
    assert READY_FOR_JOBS not in worker.log_text()
    assert f"needs {lacking}" in worker.log_text()
    assert hurried.queue._ledger.registry.workers() == []
    hurried.worker("rich")
    hurried.queue.wait(job.id, timeout_s=WAIT_S)
    assert hurried.queue.status(job.id).attempt == 1
    hurried.check(job)


def shipped(deployment: Deployment, model_dir: Path, *options: str, **env: str) -> Process:
    """The worker that ships, with the real engine."""
    env = {
        **environment(deployment.settings),
        "STYLEQUEUE_MODEL_DIR": str(model_dir),
        "KERAS_HOME": str(model_dir),
        **env,
    }
    worker = deployment.stack.process("shipped", [sys.executable, "-m", "stylequeue_worker", *options], env=env)
    deployment.workers.append(worker)
    return worker


@pytest.mark.parametrize("options", [(), ("--queues", "fast")])
def test_58_the_worker_that_ships_looks_before_it_loads(
    hurried: Deployment, tmp_path: Path, options: list[str]
) -> None:
    worker = shipped(hurried, tmp_path, *options)
    assert worker.wait(WAIT_S) == ExitCode.CANNOT_SERVE
    assert f"[{Code.NETWORK_UNAVAILABLE}]" in worker.log_text()
    assert "stylequeue models pull fast" in worker.log_text()


@pytest.mark.slow
def test_58_queues_left_out_are_those_that_it_can_serve(hurried: Deployment, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "fast").symlink_to(model_dir / "fast")
    worker = shipped(hurried, tmp_path)
    worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    assert "leaves bulk, paint alone" in worker.log_text()
    [entry] = wait_for(hurried.queue._ledger.registry.workers, WAIT_S, "the worker to be on record")
    assert entry.queues == ("fast",)
    assert set(entry.networks) == {"fast"}
    assert entry.tensorflow.startswith("2.")
    job = hurried.job(recipe={"method": "fast", "size": 64})
    hurried.queue.submit(job)
    assert hurried.queue.wait(job.id, timeout_s=WAIT_S).report.network_digest == entry.networks["fast"]


@pytest.mark.slow
def test_58_a_gpu_that_is_not_there(hurried: Deployment, model_dir: Path) -> None:
    worker = shipped(hurried, model_dir, "--gpu", "7")
    assert worker.wait(START_TIMEOUT_S) == ExitCode.CANNOT_SERVE
    assert f"[{Code.DEVICE_UNAVAILABLE}] there is no GPU 7 on this machine; there is " in worker.log_text()
    assert READY_FOR_JOBS not in worker.log_text()


@pytest.mark.slow
def test_58_a_hub_handle_that_leads_nowhere(hurried: Deployment, model_dir: Path, tmp_path: Path) -> None:
    handle = str(tmp_path / "absent")
    worker = shipped(hurried, model_dir, "--queues", "fast", STYLEQUEUE_HUB_HANDLE=handle)
    assert worker.wait(START_TIMEOUT_S) == ExitCode.CANNOT_SERVE
    assert handle in worker.log_text()
    assert READY_FOR_JOBS not in worker.log_text()


def test_58_what_is_no_gpu_is_refused(hurried: Deployment, tmp_path: Path) -> None:
    worker = shipped(hurried, tmp_path, "--gpu", "0,1")
    assert worker.wait(WAIT_S) == ExitCode.BAD_INPUT
    assert "is not one GPU" in worker.log_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code"),
    [
        (dying_worker.IS_KILLED, ExitCode.CANNOT_SERVE),
        (dying_worker.EXITS, ExitCode.JOB_FAILED),
        (dying_worker.RAISES, ExitCode.JOB_FAILED),
    ],
)
def test_58_a_child_that_never_gets_ready(hurried: Deployment, how: str, code: int) -> None:
    """The worker ends, and not as if all were well."""
    job = hurried.job(2)
    hurried.queue.submit(job)
    worker = hurried.start("dying", app=DYING_WORKER, env={dying_worker.HOW_VARIABLE: how})
    assert worker.wait(START_TIMEOUT_S) == code
    hurried.worker("sound")
    hurried.queue.wait(job.id, timeout_s=WAIT_S)
    hurried.check(job)


@pytest.mark.slow
def test_58_one_whose_network_is_another_than_the_rests_does_not_start(hurried: Deployment, tmp_path: Path) -> None:
    """Until those are drained: it paints other pictures."""
    with_networks(hurried, tmp_path / "one", "vgg16", name="one")
    hurried.until_ready()
    [one] = wait_for(hurried.queue._ledger.registry.workers, WAIT_S, "the worker to be on record")
    # Whose word holds for a while.
    registry = hurried.client(heartbeat_s=WAIT_S, lease_s=3 * WAIT_S)._ledger.registry
    registry.register(one.model_copy(update={"name": "other@h", "networks": {"vgg16": "f" * 64}}))
    hurried.queue.drain(one.name)
    odd = with_networks(hurried, tmp_path / "odd", "vgg16", name="odd")
    assert odd.wait(WAIT_S) == ExitCode.CANNOT_SERVE
    assert "it would paint other pictures than the rest" in odd.log_text()
    hurried.queue.drain("other@h")
    with_networks(hurried, tmp_path / "again", "vgg16", name="again").wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
