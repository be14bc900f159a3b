"""What Prometheus is told: that it is so, and that Prometheus takes it."""

from __future__ import annotations

import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stylequeue import metrics
from stylequeue.client import StyleQueue
from stylequeue.local.server import HOST, free_ports
from stylequeue.settings import Settings
from tests.ledger.test_registry import live_worker
from tests.support.gate import Gate
from tests.support.processes import needed, wait_for

WAIT_S = 60
OWN = "stylequeue_gateway_"
AGES = ("_seconds", "_seconds_total")
"""What grows from one look to the next."""

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def values(text: str) -> Values:
    """Each sample, by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Values, name: str, **labels: str) -> float:
    return found[f"stylequeue_{name}", frozenset(labels.items())]


def scraped(queue: StyleQueue) -> str:
    return metrics.exposition(queue.census()).decode()


def test_the_values_are_the_deployments(busy: StyleQueue) -> None:
    found = values(scraped(busy))
    expected: list[tuple[float, str, dict[str, str]]] = [
        (1, "queue_jobs", {"queue": "paint", "state": "waiting"}),
        (1, "queue_jobs", {"queue": "bulk", "state": "waiting"}),
        (0, "queue_jobs", {"queue": "fast", "state": "running"}),
        (1, "queue_load", {"queue": "bulk"}),
        (1, "queue_paused", {"queue": "fast"}),
        (1, "queue_workers", {"queue": "paint"}),
        (2, "jobs_accepted_total", {"queue": "paint"}),
        (2, "jobs_ended_total", {"queue": "paint", "state": "failed", "code": "image_empty"}),
        (3, "attempts_total", {"queue": "paint"}),
        (1, "attempts_put_back_total", {"code": "worker_lost"}),
        (1, "resumes_total", {}),
        (1, "reuses_total", {}),
        (1, "stale_writes_total", {}),
        (1, "dead_letters_total", {"kind": "message"}),
        (1, "dead_letters_kept", {}),
        (2, "job_wait_seconds_count", {"queue": "paint"}),
        (1, "stage_seconds_bucket", {"stage": "paint", "le": "5.0"}),
        (0, "stage_seconds_bucket", {"stage": "paint", "le": "2.5"}),
        (3, "stage_seconds_sum", {"stage": "paint"}),
        (7, "painting_steps_per_second_sum", {"network": "vgg19"}),
        (1, "deliveries_total", {"endpoint": "crm", "outcome": "delivered"}),
        (1, "endpoint_waiting_deliveries", {"endpoint": "crm"}),
        (3, "notifications_total", {"source": "minio", "outcome": "recorded"}),
        (1, "notification_lag_seconds_bucket", {"source": "minio", "le": "1.0"}),
        (2, "notification_lag_seconds_count", {"source": "minio"}),
        (1, "worker_busy", {"worker": "one@here"}),
        (2.5, "worker_steps_per_second", {"worker": "one@here"}),
        (0.5, "worker_gpu_utilisation_ratio", {"worker": "one@here"}),
        (1, "workers_unfit_total", {"code": "device_unavailable"}),
    ]
    assert [(value(found, name, **labels), name, labels) for _, name, labels in expected] == expected
    assert value(found, "group_lag_events", group="billing") > 0
    assert value(found, "redis_memory_bytes") > 10**5
    assert 0 <= value(found, "keeper_silent_seconds") < WAIT_S
    about = next(labels for name, labels in found if name == "stylequeue_worker_info")
    assert {("version", "1.0"), ("device", "GPU"), ("worker", "one@here")} <= about


def test_an_empty_deployment_says_the_same_metrics(operated: Settings, busy: StyleQueue) -> None:
    full = {family.name for family in text_string_to_metric_families(scraped(busy))}
    busy._ledger.redis.flushdb()
    empty = {family.name for family in text_string_to_metric_families(scraped(busy))}
    assert full == empty
    assert all(name.startswith("stylequeue_") for name in full)


def test_promtool_finds_nothing_to_mend(busy: StyleQueue) -> None:
    command = [needed("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=scraped(busy), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_workers_come_and_go_and_leave_no_series(busy: StyleQueue) -> None:
    before = values(scraped(busy)).keys()
    registry = busy._ledger.registry
    for number in range(1000):
        registry.register(live_worker(f"w{number}@here", resident_bytes=1, steps_per_s=1))
        if number == 500:
            assert len(values(scraped(busy))) > len(before) + 1000, "while they are there"
        registry.unregister(f"w{number}@here") if number % 2 else None
    with busy._ledger.redis.pipeline() as pipeline:
        # As time does.
        for number in range(1000):
            pipeline.delete(f"stylequeue:worker:w{number}@here")
        pipeline.execute()
    assert values(scraped(busy)).keys() == before


@contextmanager
def keepers(settings: Settings) -> Iterator[str]:
    """Where a keeper's are to be had."""
    [port], stop = free_ports(1), threading.Event()
    serving = threading.Thread(
        target=metrics.serve, args=(settings,), kwargs={"host": HOST, "port": port, "stop": stop}, daemon=True
    )
    serving.start()
    try:
        yield f"http://{HOST}:{port}"
    finally:
        stop.set()
        serving.join(WAIT_S)
        assert not serving.is_alive()


def fetch(url: str) -> str:
    def found() -> str | None:
        try:
            with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
                assert answer.headers["Content-Type"] == metrics.CONTENT_TYPE
                return str(answer.read().decode())
        except urllib.error.HTTPError:
            raise
        except OSError:
            return None

    return str(wait_for(found, WAIT_S, "an answer"))


def test_keeper_and_gateway_say_the_same(busy: StyleQueue, operated: Settings, tmp_path: Path) -> None:
    with keepers(operated) as url, Gate(operated, tmp_path / "keys.json") as gate:
        keeper = values(fetch(f"{url}/metrics"))
        gate.get("/v1/jobs/nothing")
        gate.get("/nowhere")
        answer = gate.get("/metrics", key=gate.key("monitor"))
        assert answer.headers["content-type"] == metrics.CONTENT_TYPE
        gateway = values(answer.text)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(f"{url}/else")
        assert gate.get("/metrics", key=gate.key("submit")).status_code == 403
    own = {what for what in gateway if what[0].startswith(OWN)}
    assert gateway.keys() - own == keeper.keys()
    still = {what for what in keeper if not what[0].endswith(AGES) and "redis_memory" not in what[0]}
    assert {what: gateway[what] for what in still} == {what: keeper[what] for what in still}
    asked = {
        dict(labels)["route"]: count for (name, labels), count in gateway.items() if name == f"{OWN}requests_total"
    }
    assert asked == {"/v1/jobs/{job_id}": 1, "other": 1}, "not by what was asked for: anybody may make that up"
    assert value(gateway, "gateway_open_streams") == 0


def test_where_redis_is_away_the_scrape_fails(operated: Settings) -> None:
    away = operated.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with keepers(
        Settings(**{**operated.model_dump(exclude={"redis_url"}), "redis_url": "redis://127.0.0.1:1/0"})
    ) as url:
        assert away
        with pytest.raises(urllib.error.HTTPError, match="503"):
            fetch(f"{url}/metrics")
        with urllib.request.urlopen(f"{url}/healthz", timeout=WAIT_S) as answer:
            assert answer.read() == b"ok\n", "the process lives"
