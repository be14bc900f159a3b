"""What is counted, and that the counts are those of the jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stylequeue.awaiting import run
from stylequeue.contract.job import Job
from stylequeue.ledger import Ledger, Timing, names
from stylequeue.ledger.census import Counts, count
from stylequeue.ledger.deliveries import Deliveries, ForEndpoint
from stylequeue.ledger.histograms import BOUNDS, Observation
from tests.support.jobs import make_job
from tests.support.ledger import FAILED, claim, lose_lease


def census(ledger: Ledger, *endpoints: str) -> Counts:
    return run(count(ledger.asked, endpoints=endpoints))


def counts(ledger: Ledger, queue: str = "paint") -> dict[str, int]:
    found = census(ledger).queues[queue]
    return {name: getattr(found, name) for name in ("waiting", "due", "parked", "running", "load")}


def put_off(ledger: Ledger, job: Job, *, by_s: float) -> None:
    """Its next attempt is due so much later."""
    record = claim(ledger, job).record
    ledger.put_back(record, error="harm", delay_s=by_s)


def test_an_empty_deployment(ledger: Ledger) -> None:
    found = census(ledger)
    assert set(found.queues) == {"fast", "paint", "bulk"}
    for queue in found.queues.values():
        assert (queue.load, queue.oldest_s, queue.paused_s, queue.rate_per_min) == (0, None, None, 0)
    assert (found.counters, found.histograms, found.endpoints) == ({}, [], {})


def test_each_open_job_is_one_of_four(ledger: Ledger) -> None:
    waiting, running, parked, late, lacking = (make_job() for _ in range(5))
    ledger.accept([make_job(queue="bulk"), waiting, running, parked, late, lacking])
    for job in (running, parked):
        fence = claim(ledger, job).record.fence
        ledger.reserve(job.id, fence=fence, fingerprint="f")
    put_off(ledger, late, by_s=100)
    ledger.claim(lacking, task_id=lacking.id, worker="poor@here", lacks=("vgg19",))
    assert counts(ledger) == {"waiting": 1, "due": 1, "parked": 2, "running": 1, "load": 2}
    assert counts(ledger, "bulk") == {"waiting": 1, "due": 0, "parked": 0, "running": 0, "load": 1}
    # Whose time has come waits, though its message is not sent yet.
    ledger.make_due([late.id])
    assert counts(ledger) == {"waiting": 2, "due": 0, "parked": 2, "running": 1, "load": 3}


def test_one_that_is_to_begin_later_by_celerys_means(ledger: Ledger) -> None:
    job = make_job()
    timing = Timing(not_before=datetime.now(UTC) + timedelta(hours=1))
    assert ledger.claim(job, task_id=job.id, worker="tester", timing=timing).verdict == "early"
    assert counts(ledger) == {"waiting": 0, "due": 1, "parked": 0, "running": 0, "load": 0}


def test_the_oldest_that_waits_is_no_job_that_stands_in_its_way(ledger: Ledger) -> None:
    others = [make_job() for _ in range(150)]
    ledger.accept(others)
    for job in others[:120]:
        put_off(ledger, job, by_s=1000)
    claim(ledger, others[120])
    now_ms = datetime.now(UTC).timestamp() * 1000
    for number, job in enumerate(others):
        for key in (names.queue_key("paint"), names.ready_key("paint")):
            ledger.redis.zadd(key, {job.id: now_ms - 500_000 + number * 1000}, xx=True)
    oldest_s = census(ledger).queues["paint"].oldest_s
    assert oldest_s is not None
    assert 379 - 1 <= oldest_s <= 379 + 30
    for job in others[121:]:
        claim(ledger, job)
    assert census(ledger).queues["paint"].oldest_s is None


def test_what_a_version_left_that_knows_nothing_of_the_counts_a_keeper_counts(ledger: Ledger) -> None:
    """It moves jobs by the other indexes alone."""
    oldest, parked, later = make_job(), [f"parked-{n}" for n in range(1500)], [f"later-{n}" for n in range(1500)]
    taken, due = make_job(), [f"due-{n}" for n in range(1500)]
    ledger.accept([oldest, taken])
    now_ms = datetime.now(UTC).timestamp() * 1000
    ahead = {job_id: now_ms - 900_000 + n for n, job_id in enumerate([*parked, *later])}
    behind = {job_id: now_ms + n for n, job_id in enumerate(due)}
    of_another_version: dict[str, dict[str, float]] = {
        names.queue_key("paint"): {**ahead, **behind, oldest.id: now_ms - 500_000},
        names.WAITING_KEY: dict.fromkeys(parked, now_ms),
        names.DUE_KEY: {**dict.fromkeys(later, now_ms + 3_600_000), **dict.fromkeys(due, now_ms - 1000)},
        names.state_key("queued"): {**ahead, **behind},
        names.state_key("running"): {taken.id: now_ms},
    }
    for key, jobs in of_another_version.items():
        ledger.redis.zadd(key, jobs)
    ledger.redis.zrem(names.state_key("queued"), taken.id)
    ledger.overdue()
    found = census(ledger).queues["paint"]
    assert (found.waiting, found.parked, found.due, found.running) == (1 + 1500, 1500, 1500, 1)
    assert found.oldest_s is not None
    assert 499 <= found.oldest_s <= 499 + 300
    assert set(ledger.queued_task_ids(10)) == {oldest.id}, "alone has a message"
    # They have no records.
    for key in (*of_another_version, names.ready_key("paint"), names.due_key("paint")):
        ledger.redis.zrem(key, *ahead, *behind)


def test_what_happened_to_jobs_is_counted_once(ledger: Ledger) -> None:
    taken, failed = make_job(queue="bulk"), make_job()
    ledger.accept([taken, failed])
    claim(ledger, taken)
    fence = claim(ledger, failed).record.fence
    seen = [Observation("stage_s", "paint", 3.0), Observation("steps_per_s", "vgg19", 7.0)]
    for _ in range(2):  # as a call is sent again whose answer was lost
        ledger.finish(failed.id, fence=fence, data=FAILED, observed=seen)
    found = census(ledger)
    assert found.of("jobs_accepted") == {("bulk",): 1, ("paint",): 1}
    assert found.of("attempts") == {("bulk",): 1, ("paint",): 1}
    assert found.of("jobs_ended") == {("paint", "failed", "image_empty"): 1}
    assert found.queues["paint"].rate_per_min > 0
    assert found.queues["bulk"].rate_per_min == 0
    measured = {(seen.name, seen.label): seen for seen in found.histograms}
    assert set(measured) == {("wait_s", "bulk"), ("wait_s", "paint"), ("stage_s", "paint"), ("steps_per_s", "vgg19")}
    assert {name: sum(seen.buckets) for name, seen in measured.items()} == dict.fromkeys(measured, 1)
    assert measured["stage_s", "paint"].buckets.index(1) == BOUNDS["stage_s"].index(5)
    assert measured["stage_s", "paint"].total == 3.0
    assert measured["steps_per_s", "vgg19"].buckets.index(1) == BOUNDS["steps_per_s"].index(10)


def test_values_over_all_bounds_and_on_them(ledger: Ledger) -> None:
    job = make_job()
    seen = [Observation("stage_s", "store", value) for value in (BOUNDS["stage_s"][0], BOUNDS["stage_s"][-1], 1e9)]
    ledger.finish(job.id, fence=claim(ledger, job).record.fence, data=FAILED, observed=seen)
    [found] = [seen for seen in census(ledger).histograms if seen.name == "stage_s"]
    assert [n for n, count in enumerate(found.buckets) if count] == [0, len(found.buckets) - 2, len(found.buckets) - 1]


def test_only_the_first_attempt_ends_the_wait(ledger: Ledger) -> None:
    job = make_job()
    for _ in range(3):
        ledger.put_back(claim(ledger, job).record, error="harm", charged=False)
    [found] = [seen for seen in census(ledger).histograms if seen.name == "wait_s"]
    assert sum(found.buckets) == 1
    assert census(ledger).of("attempts") == {("paint",): 3}


def test_writes_by_whoever_lost_the_job_are_counted(ledger: Ledger) -> None:
    job = make_job()
    first = claim(ledger, job).record
    lose_lease(ledger, job)
    claim(ledger, job)
    assert census(ledger).of("stale_writes") == {}
    ledger.heartbeat(job.id, fence=first.fence)
    ledger.put_back(first, error="harm")
    # What a keeper looks at again is nobody's write.
    ledger.put_back(first, error="harm", late=True)
    assert census(ledger).of("stale_writes") == {(): 2}


def test_dead_letters_by_kind(ledger: Ledger) -> None:
    ledger.refuse("task-1", queue="paint", message="{}", data=FAILED)
    found = census(ledger)
    assert found.of("dead_letters") == {("message",): 1}
    assert (found.dead_letters, found.untold) == (1, 1)
    assert found.dead_letters_bytes > 0
    ledger.delete("task-1")
    found = census(ledger)
    assert (found.dead_letters, found.of("dead_letters")) == (0, {("message",): 1}), "what was counted stays"


def test_what_has_not_arrived(ledger: Ledger) -> None:
    deliveries = Deliveries(ledger)
    events = [ForEndpoint("crm", f"e{n}", "{}", "t", "j", 2**50, named=True) for n in range(3)]
    deliveries.deliver(events)
    ledger.redis.zadd(names.deliveries_key("crm"), {"e1": datetime.now(UTC).timestamp() * 1000 - 90_000})
    found = census(ledger, "crm", "gone").endpoints
    assert (found["crm"].waiting, found["gone"].waiting) == (3, 0)
    assert found["gone"].oldest_s is None
    assert found["crm"].oldest_s is not None
    assert 89 < found["crm"].oldest_s < 120
    deliveries.take("crm", token="t")
    assert census(ledger, "crm").endpoints["crm"].waiting == 3, "what is being sent has not arrived either"
