"""Lists of jobs: found by the smallest index, page by page, however many there are."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stylequeue.awaiting import run
from stylequeue.contract.status import JobStatus, Page
from stylequeue.ledger import Ledger, listing, names
from stylequeue.settings import Settings
from tests.support.jobs import make_job

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings.model_copy(update={"indexed_labels": ("user", "kind")}))
    yield ledger
    ledger.redis.flushdb()
    ledger.close()


def page(ledger: Ledger, **asked: Any) -> Page[JobStatus]:
    return run(ledger.asked.jobs(**asked))


def walk(ledger: Ledger, **asked: Any) -> tuple[list[str], int]:
    """All ids that are found, in order, and in how many pages."""
    found: list[str] = []
    after, pages = None, 0
    while pages == 0 or after:
        some = page(ledger, after=after, is_bounded=True, **asked)
        found += [job.id for job in some]
        after, pages = some.after, pages + 1
    return found, pages


def fill(ledger: Ledger, count: int, *, tenant: str | None = None) -> list[str]:
    """Jobs as the ledger has them, a millisecond after each other, without running each through its scripts."""
    job = make_job()
    ledger.accept([job], tenant=tenant)
    like: Any = ledger.redis.hgetall(names.record_key(job.id))
    ledger.redis.flushdb()
    began_ms = int(BEGAN.timestamp() * 1000)
    ids = []
    pipeline = ledger.redis.pipeline(transaction=False)
    for number in range(count):
        job_id = f"job-{number:06}"
        user, state = f"u{number % 100}", "failed" if number % 1000 == 0 else "queued"
        created_ms = began_ms + number
        fields: dict[str, Any] = {
            "id": job_id,
            "state": state,
            "created_ms": created_ms,
            "labels": f'{{"user":"{user}"}}',
        }
        pipeline.hset(names.record_key(job_id), mapping=like | fields)
        indexes = [names.CREATED_KEY, names.state_key(state), *([names.tenant_key(tenant)] if tenant else [])]
        indexes += [names.label_key(names.label_index(whose, "user", user)) for whose in {None, tenant}]
        for index in indexes:
            # In their states since another order.
            pipeline.zadd(index, {job_id: created_ms if "state" not in index else count - number})
        ids.append(job_id)
        if number % 5000 == 4999:
            pipeline.execute()
    pipeline.execute()
    return ids[::-1]


def test_each_filter_finds_all_that_fit_in_order(ledger: Ledger) -> None:
    ids = fill(ledger, 2500, tenant="acme")
    number = {job_id: int(job_id[4:]) for job_id in ids}
    for tenant in (None, "acme"):
        assert walk(ledger, tenant=tenant, limit=100)[0] == ids
        failed = [job_id for job_id in ids if number[job_id] % 1000 == 0]
        assert walk(ledger, tenant=tenant, state="failed", limit=2) == (failed, 2)
        queued = [job_id for job_id in ids if number[job_id] % 1000]
        assert walk(ledger, tenant=tenant, state="queued", limit=100)[0] == queued
        users = [job_id for job_id in ids if number[job_id] % 100 == 7]
        assert walk(ledger, tenant=tenant, label={"user": "u7"}, limit=10) == (users, 3)
        both = [job_id for job_id in ids if number[job_id] % 1000 == 0]
        assert walk(ledger, tenant=tenant, label={"user": "u0"}, state="failed", limit=10) == (both, 1)
        assert walk(ledger, tenant=tenant, label={"user": "u0", "kind": "x"}, limit=10) == ([], 1)
        first, last = BEGAN + timedelta(milliseconds=10), BEGAN + timedelta(milliseconds=20)
        within = [job_id for job_id in ids if 10 <= number[job_id] < 20]
        assert walk(ledger, tenant=tenant, created_after=first, created_before=last, limit=3) == (within, 4)
        assert walk(ledger, tenant=tenant, created_before=BEGAN, limit=3) == ([], 1)
        few = {"state": "failed", "created_after": BEGAN + timedelta(seconds=1), "limit": 3}
        assert walk(ledger, tenant=tenant, **few)[0] == failed[:2]
    assert walk(ledger, tenant="another", limit=10) == ([], 1)
    assert walk(ledger, tenant="another", label={"user": "u7"}, limit=10) == ([], 1)


def test_a_bounded_page_looks_at_a_thousand_and_says_where_it_was(ledger: Ledger) -> None:
    ids = fill(ledger, 2500)
    wanted = {"label": {"user": "u7", "number": "none"}}  # by one there is no index
    found, pages = walk(Ledger(ledger.settings.model_copy(update={"indexed_labels": ()})), **wanted, limit=10)
    assert (found, pages) == ([], 3)
    assert page(ledger, **wanted).after is None
    assert len(page(ledger, state="queued", limit=1000)) == 1000
    assert ids


def test_jobs_that_arrive_shift_no_page(ledger: Ledger) -> None:
    ids = fill(ledger, 1000)
    found: list[str] = []
    after = None
    while True:
        some = page(ledger, after=after, limit=30, is_bounded=True)
        found += [job.id for job in some]
        if (after := some.after) is None:
            break
        ledger.accept([make_job() for _ in range(random.randint(10, 40))])
    assert found == ids


@pytest.mark.slow
def test_any_page_of_a_hundred_thousand_jobs_is_quick(ledger: Ledger) -> None:
    """The processor's time of this process, which a busy machine does not lengthen; Redis's own part is far less."""
    ids = fill(ledger, 100_000, tenant="acme")
    asked: list[dict[str, Any]] = [
        {},
        {"tenant": "acme"},
        {"state": "failed"},
        {"state": "queued"},
        {"tenant": "acme", "label": {"user": "u7"}},
        {"label": {"user": "u0"}, "state": "failed"},
        {"created_before": BEGAN + timedelta(seconds=50)},
        {"after": f"{int(BEGAN.timestamp() * 1000) + 100}-job-000100"},
    ]
    for wanted in asked:
        page(ledger, **wanted, limit=20, is_bounded=True)
        took_ms = []
        for _ in range(5):
            began = time.process_time()
            assert len(page(ledger, **wanted, limit=20, is_bounded=True)) == 20
            took_ms.append((time.process_time() - began) * 1000)
        print(f"{min(took_ms):.1f} ms of the processor: {wanted}")
        assert min(took_ms) < 20, wanted
    assert len(ids) == 100_000
    assert listing.MAX_PAGE == 1000
