"""Which endpoints a job's sender names: on its record, and beside its events on the deployment's stream."""

from __future__ import annotations

from typing import Any

from stylequeue.ledger import Ledger
from stylequeue.ledger.names import EVENTS_KEY
from tests.support.jobs import make_job
from tests.support.ledger import FAILED, claim


def beside(ledger: Ledger) -> list[dict[str, str]]:
    """What stands beside each event, the oldest first."""
    entries: Any = ledger.redis.xrange(EVENTS_KEY)
    return [{name: value for name, value in fields.items() if name != "event"} for _, fields in entries]


def test_names_stay_on_the_record_and_stand_beside_each_event(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job], tenant="acme", notify=["crm", "audit"])
    taken = claim(ledger, job)
    assert taken.record.notify == ("crm", "audit")
    assert taken.record.status.notify == ("crm", "audit")
    ledger.finish(job.id, fence=taken.record.fence, data=FAILED)
    assert beside(ledger) == [{"tenant": "acme", "notify": '["crm", "audit"]'}] * 3
    # They are no part of the job, which older workers read, nor of what is told.
    assert "crm" not in taken.record.job
    assert all("crm" not in event.model_dump_json() for event in ledger.job_events(job.id))


def test_who_names_none_has_none(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    assert ledger.record(job.id).notify == ()
    assert beside(ledger) == [{}]


def test_the_first_sender_of_a_job_names_them(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job], notify=["crm"])
    [again] = ledger.accept([job], notify=["audit"])
    assert again.verdict == "known"
    assert ledger.record(job.id).notify == ("crm",)
