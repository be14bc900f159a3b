"""Prometheus itself scrapes a keeper and a gateway."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from stylequeue.client import StyleQueue
from stylequeue.local import Stack, environment
from stylequeue.local.server import HOST, free_ports
from stylequeue.settings import Settings
from tests.support.gate import ServedGate
from tests.support.processes import needed, wait_for

WAIT_S = 60


@contextmanager
def prometheus(directory: Path, jobs: list[dict[str, Any]]) -> Iterator[Callable[[str], list[Any]]]:
    """Scrapes these, and answers queries."""
    [port] = free_ports(1)
    config = directory / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    command = [needed("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
    log = (directory / "prometheus.log").open("w")
    process = subprocess.Popen([*command, f"--web.listen-address={HOST}:{port}"], stdout=log, stderr=log)

    def query(what: str) -> list[Any]:
        url = f"http://{HOST}:{port}/api/v1/query?{urllib.parse.urlencode({'query': what})}"
        try:
            with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
                return list(json.load(answer)["data"]["result"])
        except OSError:
            return []

    try:
        yield query
    finally:
        process.terminate()
        process.wait(WAIT_S)
        log.close()
        print((directory / "prometheus.log").read_text())


@pytest.mark.slow
def test_prometheus_scrapes_keeper_and_gateway(
    busy: StyleQueue, operated: Settings, stack: Stack, tmp_path: Path
) -> None:
    needed("prometheus")
    [port] = free_ports(1)
    # As operators run it. Its own rounds would send what is due.
    slow = operated.model_copy(update={"keeper_interval_s": 3600, "deliver": False})
    command = [sys.executable, "-m", "stylequeue.cli", "keeper", "--metrics-port", str(port)]
    keeper = stack.process("keeper", command, env=environment(slow))
    with ServedGate(operated, tmp_path / "keys.json") as gate:
        key = gate.key("monitor")
        jobs: list[dict[str, Any]] = [
            {"job_name": "keeper", "static_configs": [{"targets": [f"{HOST}:{port}"]}]},
            {
                "job_name": "gateway",
                "static_configs": [{"targets": [f"{HOST}:{gate.port}"]}],
                "authorization": {"credentials": key},
            },
            {
                "job_name": "stranger",
                "metrics_path": "/metrics",
                "static_configs": [{"targets": [f"{HOST}:{gate.port}"]}],
            },
        ]
        try:
            with prometheus(tmp_path, jobs) as query:
                wait_for(lambda: len(query("up == 1")) == 2, WAIT_S, "both to be scraped")
                [stranger] = wait_for(lambda: query("up == 0"), WAIT_S, "who has no key to be refused")
                assert stranger["metric"]["job"] == "stranger"
                wait_for(lambda: query("stylequeue_queue_load"), WAIT_S, "values")
                [load] = query('max by (queue) (stylequeue_queue_load{queue="bulk"})')
                assert load["value"][1] == "1"
                ended = query("max by (queue, state, code) (stylequeue_jobs_ended_total)")
                assert [(found["metric"]["code"], found["value"][1]) for found in ended] == [("image_empty", "2")]
                assert len(query("stylequeue_job_wait_seconds_count")) == 2
                [p99] = query("histogram_quantile(0.99, max by (le, queue) (stylequeue_job_wait_seconds_bucket))")
                assert float(p99["value"][1]) < WAIT_S
        finally:
            keeper.stop()
    assert "invalid" not in (tmp_path / "prometheus.log").read_text()
