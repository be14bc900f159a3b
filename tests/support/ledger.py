"""Moves of a ledger, and what they leave."""

from __future__ import annotations

from typing import Any

from stylequeue.contract.events import FailedData
from stylequeue.contract.job import Job
from stylequeue.ledger import ClaimAnswer, Ledger
from stylequeue.ledger.names import LEASES_KEY, ended_key, record_key
from stylequeue.settings import Settings

FAILED = FailedData(code="image_empty", message="there is nothing")


def limited(settings: Settings, **limits: Any) -> Ledger:
    return Ledger(settings.model_copy(update=limits))


def claim(ledger: Ledger, job: Job) -> ClaimAnswer:
    return ledger.claim(job, task_id=job.id, worker="tester")


def lose_lease(ledger: Ledger, job: Job) -> None:
    """As if its worker had not been heard of for long enough."""
    ledger.redis.hset(record_key(job.id), "lease_until_ms", 1)
    ledger.redis.zadd(LEASES_KEY, {job.id: 1})


def types(ledger: Ledger, job: Job) -> list[str]:
    return [event.type.split(".")[-2] for event in ledger.job_events(job.id)]


def keys(ledger: Ledger) -> set[str]:
    """All but the counts of a few minutes, which go by themselves."""
    found: Any = ledger.redis.keys("*")
    return {key for key in found if not key.startswith(ended_key.before)}
