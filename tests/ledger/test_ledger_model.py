"""The ledger against a plain model of it, through whatever moves come, in whatever order."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from stylequeue.contract.errors import JobOpen, LeaseLost
from stylequeue.contract.events import CancelledData, FailedData, ProgressData
from stylequeue.contract.job import Job
from stylequeue.contract.recipe import Needs
from stylequeue.ledger import Ledger, names
from stylequeue.ledger.names import (
    CREATED_KEY,
    DEADLINES_KEY,
    DUE_KEY,
    LEASES_KEY,
    TENANTS_KEY,
    WAITING_KEY,
    due_key,
    lacking_key,
    painting_key,
    queue_key,
    ready_key,
    record_key,
    state_key,
    tenant_key,
    waiters_key,
)
from stylequeue.ledger.registry import lacking
from stylequeue.settings import Settings
from tests.ledger.model import MAX_ATTEMPTS, Claim, Known, Model, State
from tests.ledger.test_registry import live_worker
from tests.support.jobs import make_job

JOBS = 3
NEEDS = ("vgg19", "vgg16")
FINGERPRINTS = ("sunflowers", "sunflowers", "waves")
"""The first is wanted most."""
RARELY = st.sampled_from([False, False, False, True])
"""What ends jobs would else leave none to go on with."""
TENANTS = (None, "acme", "globex")
ENDS = ("succeeded", "failed", "cancelled", "expired")
FAILED = FailedData(code="image_empty", message="there is nothing")
LATER_S = 1000
"""Longer than a test takes."""


class LedgerMachine(RuleBasedStateMachine):
    """Makes a move of the ledger and the same of the model, and compares the answers; then everything else."""

    deployment: ClassVar[Settings]
    jobs: Bundle[Job] = Bundle("jobs")
    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(self.deployment)
        self.redis: Any = self.ledger.redis
        self.redis.flushdb()
        self.model = Model(lambda job_id: self.redis.zscore(names.WAITING_KEY, job_id) is not None)
        self.numbers = itertools.count(1)

    def teardown(self) -> None:
        self.ledger.close()

    def key(self, job: Job) -> str:
        return record_key(job.id)

    def known(self, job: Job) -> Known | None:
        return self.model.jobs.get(job.id)

    @initialize(target=jobs)
    def hand_in(self) -> Any:
        """One of the jobs is not handed in at first: it may come by plain Celery."""
        made = [make_job(id=f"job-{number}") for number in range(JOBS)]
        for job, tenant in zip(made[1:], TENANTS, strict=False):
            self.accept(job, other=False, tenant=tenant)
        return multiple(*made)

    # What producers do

    @rule(job=jobs, other=st.booleans(), tenant=st.sampled_from(TENANTS))
    def accept(self, job: Job, other: bool, tenant: str | None) -> None:
        known = self.known(job)
        owner = known or self.model.deleted.get(job.id)
        if known and other:
            job = job.model_copy(update={"labels": {"an": "other"}})
        [answer] = self.ledger.accept([job], tenant=tenant)
        if (known and other) or (owner and owner.tenant != tenant):
            assert answer.verdict == "conflict"
            return
        assert (answer.verdict, answer.state) == (("known", known.state) if known else ("new", "queued"))
        self.model.create(job.id, tenant)

    @rule(job=jobs, keep=st.booleans(), sure=RARELY)
    def cancel(self, job: Job, keep: bool, sure: bool) -> None:
        known = self.known(job)
        if known is None or not sure:
            return
        verdict = self.ledger.cancel(job.id, keep=keep).verdict
        something_to_keep = keep and known.attempt > 0 and not known.waits_for
        if known.state == "queued" and not something_to_keep:
            assert verdict == "cancelled"
            self.model.end(job.id, "cancelled")
        elif known.state in ("queued", "running"):
            assert verdict == "asked"
            if known.state == "queued":
                known.early, known.due, known.lacks = False, True, False
            if known.wanted != "cancel":
                known.wanted = "keep" if keep else "cancel"
        else:
            assert verdict == "ended"

    @rule(job=jobs)
    def replay(self, job: Job) -> None:
        known = self.known(job)
        if known is None:
            return
        if known.state == "queued" and known.run > 1 and known.attempt == 0:
            self.ledger.replay(job.id)  # has not begun yet
            return
        if known.state not in ENDS:
            with pytest.raises(JobOpen):
                self.ledger.replay(job.id)
            return
        self.ledger.replay(job.id)
        self.model.jobs[job.id] = Known(
            tenant=known.tenant,
            run=known.run + 1,
            fence=known.fence,
            fingerprint=known.fingerprint,
            sequence=known.sequence,
            due=True,
        )

    @rule(job=jobs, sure=RARELY)
    def delete(self, job: Job, sure: bool) -> None:
        known = self.known(job)
        if known is None or not sure:
            return
        if known.state not in ENDS:
            with pytest.raises(JobOpen):
                self.ledger.delete(job.id)
            return
        self.ledger.delete(job.id)
        self.model.deleted[job.id] = self.model.jobs.pop(job.id)
        self.model.painted = {mark: painter for mark, painter in self.model.painted.items() if painter != job.id}

    # What workers do

    @rule(target=claims, job=jobs)
    def only_claim(self, job: Job) -> Any:
        return _as_many(self.claim(job))

    @rule(job=jobs)
    def claim_without_its_network(self, job: Job) -> None:
        self.claim(job, lacks=NEEDS)

    @rule(able=st.booleans())
    def a_worker_is_heard_of(self, able: bool) -> None:
        waiting = [known for known in self.model.jobs.values() if known.lacks]
        woken = self.ledger.registry.register(live_worker(networks={NEEDS[0]: "a"} if able else {})).woken
        assert woken == (len(waiting) if able else 0)
        for known in waiting if able else ():
            known.lacks, known.due = False, True

    def claim(self, job: Job, lacks: Needs = ()) -> Claim | None:
        answer = self.ledger.claim(job, task_id=job.id, worker="anybody", lacks=lacks)
        if job.id in self.model.deleted:
            assert answer.verdict == "gone"
            return None
        # One that came by plain Celery gets its record here.
        known = self.model.create(job.id)
        if known.state in ENDS:
            assert answer.verdict == "ended"
        elif known.state == "running" and not known.lease_lost:
            assert answer.verdict == "held"
        elif known.late:
            assert (answer.verdict, answer.record.state) == ("ended", "expired")
            self.model.end(job.id, "expired")
        elif known.state == "running" and known.wanted == "cancel":
            assert (answer.verdict, answer.record.state) == ("ended", "cancelled")
            self.model.end(job.id, "cancelled")
        elif known.state == "queued" and known.early:
            assert answer.verdict == "early"
        elif known.exhausted:
            assert (answer.verdict, answer.record.state) == ("ended", "failed")
            self.model.end(job.id, "failed")
        elif lacks:
            assert (answer.verdict, answer.record.state) == ("lacking", "queued")
            if known.state == "running":
                self.model.queue(job.id, charged=True, early=False)
            known.waits_for, known.lacks, known.due, known.early = None, True, False, False
            self.model.pass_on(job.id, 1)
        else:
            assert answer.verdict == "yours"
            self.model.release(job.id)
            known.state, known.lease_lost, known.due, known.early = "running", False, False, False
            known.waits_for = known.fingerprint = None
            known.lacks = False
            known.fence += 1
            known.attempt += 1
            return Claim(job, known.fence)
        return None

    @rule(claim=claims, news=st.booleans())
    def heartbeat(self, claim: Claim, news: bool) -> None:
        data = ProgressData(number=next(self.numbers), stage="painting") if news else None
        answer = self.ledger.heartbeat(claim.job.id, fence=claim.fence, data=data)
        if not self.model.holds(claim):
            assert answer == "lost"
            return
        known = self.model.jobs[claim.job.id]
        known.lease_lost = False
        assert answer == ("overdue" if known.late else known.wanted)

    # Twice: so that pictures are waited for often enough.
    @rule(target=claims, job=jobs, fingerprint=st.sampled_from(FINGERPRINTS))
    def claim_and_reserve_again(self, job: Job, fingerprint: str) -> Any:
        return _as_many(self.claim_and_reserve(job, fingerprint))

    @rule(target=claims, job=jobs, fingerprint=st.sampled_from(FINGERPRINTS))
    def claim_and_reserve_once(self, job: Job, fingerprint: str) -> Any:
        return _as_many(self.claim_and_reserve(job, fingerprint))

    def claim_and_reserve(self, job: Job, fingerprint: str) -> Claim | None:
        """As a worker does."""
        claim = self.claim(job)
        if claim:
            self.reserve(claim, fingerprint, forget=False)
        return claim

    @rule(claim=claims, fingerprint=st.sampled_from(FINGERPRINTS), forget=st.booleans())
    def reserve(self, claim: Claim, fingerprint: str, forget: bool) -> None:
        job_id = claim.job.id
        if not self.model.holds(claim):
            with pytest.raises(LeaseLost):
                self.ledger.reserve(job_id, fence=claim.fence, fingerprint=fingerprint, forget=forget)
            return
        known = self.model.jobs[job_id]
        if known.fingerprint is not None:
            return  # a holder asks once, before it paints
        verdict = self.ledger.reserve(job_id, fence=claim.fence, fingerprint=fingerprint, forget=forget).verdict
        if forget:
            self.model.painted.pop(fingerprint, None)
        if known.woken_for != fingerprint:
            self.model.pass_on(job_id, 1)
        elif fingerprint in self.model.painted:
            self.model.pass_on(job_id, 2)
        else:
            known.woken_for = None
        if fingerprint in self.model.painted:
            assert verdict == "reuse"
        elif fingerprint in self.model.painting:
            assert verdict == "wait"
            self.model.queue(job_id, charged=False, early=False)
            known.due, known.waits_for = False, fingerprint
        else:
            assert verdict == "paint"
            known.fingerprint = fingerprint
            self.model.painting[fingerprint] = job_id

    @rule(claim=claims, charged=st.booleans(), delay_s=st.sampled_from([0, LATER_S]), late=st.booleans())
    def put_back(self, claim: Claim, charged: bool, delay_s: float, late: bool) -> None:
        job_id = claim.job.id
        known = self.known(claim.job)
        if known is None:
            return
        record = self.ledger.record(job_id).model_copy(update={"fence": claim.fence})
        answer = self.ledger.put_back(record, error="harm", delay_s=delay_s, charged=charged, late=late)
        if not self.model.holds(claim) or (late and not known.lease_lost):
            assert answer == "lost"
        elif known.wanted == "cancel":
            assert answer == "cancelled"
            self.model.end(job_id, "cancelled")
        elif charged and known.exhausted:
            assert answer == "failed"
            self.model.end(job_id, "failed")
        else:
            assert answer == "queued"
            self.model.queue(job_id, charged=charged, early=delay_s > 0)

    @rule(claim=claims, cancelled=st.booleans(), sure=RARELY)
    def finish(self, claim: Claim, cancelled: bool, sure: bool) -> None:
        if not sure:
            return
        job_id, data = claim.job.id, CancelledData.by_request() if cancelled else FAILED
        state: State = "cancelled" if cancelled else "failed"
        painted = "" if cancelled else json.dumps({"job_id": job_id})
        if not self.model.holds(claim):
            # Told apart by the fence alone: the very call that ended the job is answered again.
            known = self.known(claim.job)
            if known and known.fence == claim.fence and known.state == state:
                return
            with pytest.raises(LeaseLost):
                self.ledger.finish(job_id, fence=claim.fence, data=data, painted=painted)
            return
        first = self.ledger.finish(job_id, fence=claim.fence, data=data, painted=painted)
        assert self.ledger.finish(job_id, fence=claim.fence, data=data, painted=painted) == first
        known = self.model.jobs[job_id]
        if known.fingerprint and painted:
            self.model.painted[known.fingerprint] = job_id
        self.model.end(job_id, state)

    # What time does, and the keeper

    @rule(job=jobs, what=st.sampled_from(["the lease", "the delay", "the delay", "the deadline"]), sure=RARELY)
    def time_passes(self, job: Job, what: str, sure: bool) -> None:
        known = self.known(job)
        if known is None:
            return
        if what == "the lease" and known.state == "running":
            self.redis.hset(self.key(job), "lease_until_ms", 1)
            self.redis.zadd(LEASES_KEY, {job.id: 1})
            known.lease_lost = True
        elif what == "the delay" and known.early:
            self.redis.hset(self.key(job), "not_before_ms", 1)
            self.redis.zadd(DUE_KEY, {job.id: 1})
            known.early, known.due = False, True
        elif what == "the deadline" and known.state not in ENDS and sure:
            self.redis.hset(self.key(job), "deadline_ms", 1)
            self.redis.zadd(DEADLINES_KEY, {job.id: 1})
            known.late = True

    @rule(job=jobs)
    def expire(self, job: Job) -> None:
        known = self.known(job)
        if known is None:
            return
        verdict = self.ledger.expire(job.id).verdict
        if known.state in ENDS:
            assert verdict == "ended"
        elif not known.late:
            assert verdict == "open"
        else:
            assert verdict == "expired"
            self.model.end(job.id, "expired")

    @rule()
    def take_due(self) -> None:
        due = {job_id for job_id, known in self.model.jobs.items() if known.due}
        assert {message.job_id for message in self.ledger.take_due()} == due
        for job_id in due:
            self.model.jobs[job_id].due = False

    # What must be true at any moment

    @invariant()
    def the_ledger_is_as_the_model(self) -> None:
        for job_id, known in self.model.jobs.items():
            record = self.ledger.record(job_id)
            found = (record.state, record.tenant, record.run, record.fence, record.attempt)
            assert found == (known.state, known.tenant, known.run, known.fence, known.attempt), job_id
            assert record.ended == bool(record.outcome)
            assert record.sequence >= known.sequence, "the sequence never goes back"
            known.sequence = record.sequence

    @invariant()
    def each_job_is_in_the_indexes_of_its_state(self) -> None:
        jobs = self.model.jobs
        still_open = {job for job, known in jobs.items() if known.state not in ENDS}
        expected = {
            **{
                state_key(state): {job for job, known in jobs.items() if known.state == state}
                for state in ("queued", "running", *ENDS)
            },
            LEASES_KEY: {job for job, known in jobs.items() if known.state == "running"},
            DEADLINES_KEY: still_open,
            queue_key("paint"): still_open,
            DUE_KEY: {job for job, known in jobs.items() if known.due or known.early},
            due_key("paint"): {job for job, known in jobs.items() if known.due or known.early},
            ready_key("paint"): {job for job, known in jobs.items() if known.state == "queued" and known.has_message},
            WAITING_KEY: {job for job, known in jobs.items() if known.waits_for or known.lacks},
            lacking_key(lacking("paint", NEEDS)): {job for job, known in jobs.items() if known.lacks},
            CREATED_KEY: set(jobs),
            **{
                tenant_key(tenant): {job for job, known in jobs.items() if known.tenant == tenant}
                for tenant in filter(None, TENANTS)
            },
        }
        with self.redis.pipeline(transaction=False) as pipeline:
            for key in expected:
                pipeline.zrange(key, 0, -1)
            found = dict(zip(expected, map(set, pipeline.execute()), strict=True))
        assert found == expected
        assert self.redis.hgetall(TENANTS_KEY) == {job: known.tenant for job, known in jobs.items() if known.tenant}

    @invariant()
    def attempts_stay_within_the_limit(self) -> None:
        for known in self.model.jobs.values():
            assert known.attempt - known.spared <= MAX_ATTEMPTS

    @invariant()
    def whoever_waits_waits_for_somebody(self) -> None:
        for job_id in self.redis.zrange(WAITING_KEY, 0, -1):
            if self.model.jobs[job_id].lacks:
                continue
            waits_for = str(self.model.jobs[job_id].waits_for)
            holder = str(self.redis.get(painting_key(waits_for)))
            painted = self.redis.hget(record_key(holder), "state") == "running"
            # Or for one that was woken for it, and wakes the next.
            assert painted or any(known.woken_for == waits_for for known in self.model.jobs.values())
            assert self.redis.sismember(waiters_key(waits_for), job_id)


def _as_many(claim: Claim | None) -> Any:
    return multiple(claim) if claim else multiple()


@pytest.mark.timeout(400)  # where it fails, a short example is searched for, for 300 s at most
def test_whatever_happens_the_ledger_is_as_its_model(settings: Settings) -> None:
    class Machine(LedgerMachine):
        deployment = settings.model_copy(update={"max_attempts": MAX_ATTEMPTS})

    run_state_machine_as_test(
        Machine,
        settings=hypothesis.settings(
            max_examples=40, stateful_step_count=50, deadline=None, database=None, derandomize="CI" in os.environ
        ),
    )
