"""A deployment whose programs tell of traces: a gateway, a worker, a keeper that delivers, and who hears of it all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.client import StyleQueue
from stylequeue.contract.job import Job
from stylequeue.local import Process, Stack, environment
from stylequeue.local.server import HOST
from tests.conftest import empty_database
from tests.support.collector import Collector
from tests.support.deliveries import Operator
from tests.support.deployment import HURRIED, UNLIMITED, WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.gateway_process import Served, serve
from tests.support.processes import wait_for
from tests.support.receiver import Receiver

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""Whoever asks is being traced already."""
TRACE, PARENT = CALLER.split("-")[1:3]
PRIVATE = "not-for-traces"
"""What a job says of itself: labels, keys, the question behind an address."""


@dataclass(frozen=True)
class Traced:
    """All of it."""

    collector: Collector
    receiver: Receiver
    gateway: Served
    worker: Process
    keeper: Process
    deployment: Deployment

    @property
    def queue(self) -> StyleQueue:
        return self.deployment.queue

    def post(self, job: Job, **headers: str) -> Any:
        bearer = {"Authorization": f"Bearer {self.gateway.key}"}
        address = f"http://{HOST}:{self.gateway.port}/v1/jobs?x={PRIVATE}"
        fields = job.model_dump(mode="json", exclude_none=True)
        return httpx2.post(address, json=fields, headers={**bearer, **headers}, timeout=WAIT_S)

    def hooked(self, job_id: str) -> Any:
        """The request that told of its end."""
        told = lambda: [one for one in self.receiver.received if json.loads(one.body)["subject"] == job_id]  # noqa: E731
        [request] = wait_for(told, WAIT_S, "the webhook")
        return request


@contextmanager
def traced_deployment(stack: Stack, directory: Path, **overrides: Any) -> Iterator[Traced]:
    """Start it; `overrides` are settings."""
    with Collector() as collector, Receiver() as receiver, empty_database(stack) as settings:
        operator = Operator(settings, directory, crm=receiver.endpoint(events=["succeeded"]))
        with Deployment(stack, operator.settings, **{**HURRIED, **UNLIMITED, **overrides}) as deployment:
            worker = deployment.start("traced", env=collector.env)
            gateway = serve(stack, directory, {**environment(deployment.settings), **collector.env})
            keeper = deployment.keeper(env=collector.env)
            worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
            yield Traced(collector, receiver, gateway, worker, keeper, deployment)
            gateway.process.stop()
