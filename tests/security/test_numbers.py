"""Numbers at their edges, wherever somebody may write one: settings, Celery's headers, what a client is asked."""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylequeue.client import StyleQueue
from stylequeue.connection import celery_options, connect
from stylequeue.contract.errors import InvalidJob, InvalidRequest, InvalidSettings, StyleQueueError, WaitTimeout
from stylequeue.contract.job import TASK_NAME, Job, parse_job
from stylequeue.contract.objects import ImageRef
from stylequeue.ledger import Ledger, Timing
from stylequeue.setting_values import MAX_DEADLINE_S
from stylequeue.settings import Settings
from stylequeue.store import Store
from stylequeue_worker.process.message import Refused, read_message
from stylequeue_worker.work.stylist import retry_delay_s
from tests.support.jobs import job_fields, make_job
from tests.support.limits import limits
from tests.support.messages import encoded, message

SMALLEST, GREATEST = 5e-324, 1.7976931348623157e308
NO_NUMBERS = (math.nan, math.inf, -math.inf)
FAR = (GREATEST, -GREATEST, 1e308, SMALLEST, -SMALLEST, -0.0, 10**400, -(10**400), 2**63, 2**64, 1e22)

NUMBERS = {
    name: field
    for name, field in Settings.model_fields.items()
    if {int, float} & {*getattr(field.annotation, "__args__", ()), field.annotation}
}
"""The settings that are numbers."""


def of_one(name: str, value: float) -> Settings:
    """Settings with one number as it is, and with what has to fit to it."""
    fits: dict[str, Any] = {}
    match name:
        case "lease_s":
            fits = {"heartbeat_s": max(0.001, value / 4)}
        case "heartbeat_s":
            fits = {"lease_s": min(value * 3, MAX_DEADLINE_S)}
        case "job_time_limit_s":
            fits = {"visibility_timeout_s": max(value * 2, 1)}
        case "visibility_timeout_s":
            fits = {"job_time_limit_s": max(value // 2, 1)}
    return Settings.model_validate({name: value, **fits})


# Settings


def test_each_number_has_its_limits() -> None:
    assert len(NUMBERS) > 20
    for name, field in NUMBERS.items():
        low, high = limits(field.annotation, tuple(field.metadata))
        assert 0 <= low < high < 2**53, f"{name}: more is no whole number to Redis's scripts"


@pytest.mark.parametrize("name", NUMBERS)
def test_no_setting_is_beyond_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"STYLEQUEUE_{name.upper()}"
    may_be_nought = limits(NUMBERS[name].annotation, tuple(NUMBERS[name].metadata))[0] == 0
    for value in (*NO_NUMBERS, *FAR, -1):
        if may_be_nought and value in (SMALLEST, -0.0):
            assert getattr(of_one(name, value), name) == value
            continue
        with pytest.raises(InvalidSettings, match=variable):
            Settings.model_validate({name: value})
    for text in ("nan", "inf", "-inf", "1e999", "-1", "0x10", "1e308", "٣e400", "1_0e300"):
        monkeypatch.setenv(variable, text)
        with pytest.raises(InvalidSettings, match=variable):
            Settings.load()


@pytest.mark.parametrize("name", NUMBERS)
def test_at_its_limits_and_just_inside_a_setting_works(name: str) -> None:
    field = NUMBERS[name]
    low, high = limits(field.annotation, tuple(field.metadata))
    inside = (math.nextafter(low, 1), math.nextafter(high, 0)) if isinstance(low, float) else (low + 1, high - 1)
    for value in (low, high, *inside):
        alone = {
            "heartbeat_s": value > MAX_DEADLINE_S / 3,
            "lease_s": value < 0.003,
            "visibility_timeout_s": value < 2,
        }
        if alone.get(name):
            with pytest.raises(InvalidSettings, match=r"must be at least (three times|twice)"):
                of_one(name, value)
            continue
        settings = of_one(name, value)
        move = Ledger(settings)._moves.accept(make_job(), task_id="a", tenant=None)
        assert all(0 <= one < 2**53 for one in json.loads(move.args[0]).values() if isinstance(one, int))
        assert int(settings.lease_s * 1000) > 0
        assert celery_options(settings)
        connect(settings).close()
        Store(settings)._client.close()
        assert 0 <= retry_delay_s(settings, 10**6) <= settings.retry_delay_max_s
        threading.Event().wait(min(settings.keeper_interval_s, 0.001))
        assert settings.redis_timeout_s < threading.TIMEOUT_MAX


@pytest.mark.parametrize("end", [0, 1])
def test_with_all_of_them_at_their_limits_jobs_are_recorded(settings: Settings, end: int) -> None:
    extremes = {name: limits(field.annotation, tuple(field.metadata))[end] for name, field in NUMBERS.items()}
    fits: dict[str, float] = {"job_time_limit_s": 1, "visibility_timeout_s": 2} if end == 0 else {}
    fits |= {"heartbeat_s": extremes["lease_s"] / 3} if end else {"lease_s": 0.003}
    changes = {**extremes, **fits, "redis_timeout_s": 5}
    with StyleQueue(Settings.model_validate({**settings.model_dump(), **changes})) as queue:
        job = make_job()
        queue.submit(job)
        claimed = queue._ledger.claim(job, task_id=job.id, worker="tester")
        assert claimed.verdict == "yours"
        assert queue._ledger.put_back(claimed.record, error="harm", delay_s=0) in ("queued", "failed", "lost")
        queue._ledger.overdue()
        queue.cancel(job.id)


# What a client is asked


def test_arguments(settings: Settings) -> None:
    with StyleQueue(settings) as queue:
        job = queue.submit(make_job())
        with pytest.raises(InvalidRequest):
            queue.wait(job, timeout_s=math.nan)
        for short in (-math.inf, -GREATEST, -1, -0.0, 0, SMALLEST, 0.001):
            with pytest.raises(WaitTimeout):
                queue.wait(job, timeout_s=short)
        for long in (math.inf, GREATEST, 10**300):
            assert next(queue.watch(job, timeout_s=long)).kind == "accepted"
        picture = ImageRef(bucket="results", key="a")
        calls: list[Callable[[Any], object]] = [
            lambda number: queue.jobs(limit=number),
            lambda number: queue.dead_letters(limit=number),
            lambda number: queue.link(picture, valid_s=number),
        ]
        for number in (*NO_NUMBERS, *FAR, 0, -1, 1.5):
            for call in calls:
                with pytest.raises(InvalidRequest):
                    call(number)
        for after in ("", "-", "1", "1-", "-1-1", "1e3-a", "nan-a", "9" * 17 + "-a", "٣-a"):
            with pytest.raises(InvalidRequest):
                queue.jobs(after=after)
        for after in ("", "-", "nan", "1e3", "-1", "9" * 17, "1-" + "9" * 17, "٣"):
            with pytest.raises(InvalidRequest):
                next(queue.events(after=after, follow=False))
        assert queue.jobs(after="9" * 16 + "-a")
        assert queue.jobs(after="0-a") == []


# Celery's headers


def taken(**headers: Any) -> Any:
    """What the inspection makes of them: a task, or None where it refuses."""
    whole = message(task=TASK_NAME, headers=headers, body=encoded([[], {"job": {}}, {}]))
    try:
        return read_message(json.dumps(whole).encode(), {TASK_NAME})
    except Refused:
        return None


MOMENTS = st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC).isoformat())


@given(
    st.lists(
        st.none() | st.sampled_from([*NO_NUMBERS, *FAR, 0, 1, -1, True]) | st.floats() | st.integers(), max_size=3
    ),
    st.none()
    | MOMENTS
    | st.sampled_from([*NO_NUMBERS, *FAR, "nan", "1e308", "99999-01-01", "0001-01-01T00:00:00+23:59"]),
)
def test_whatever_limits_and_moments_a_header_names(limits_s: list[Any], moment: Any) -> None:
    """Refused, or numbers that the ledger can keep."""
    from stylequeue.ledger.moves import _fields
    from stylequeue_worker.process.app import timing_of

    for headers in ({"timelimit": limits_s}, {"eta": moment}, {"expires": moment}, {"retries": moment}):
        if (task := taken(**headers)) is None:
            continue
        timing: Timing = timing_of(task.headers)
        fields = _fields(make_job(), str(uuid.uuid4()), "", timing)
        json.dumps(fields, allow_nan=False)
        for name, value in fields.items():
            assert isinstance(value, str) or abs(value) < 2**53 or name == "time_limit_s"
        limit_s = fields.get("time_limit_s", 1)
        assert isinstance(limit_s, int | float)
        assert 0 < limit_s < math.inf


@given(st.datetimes() | st.sampled_from([*NO_NUMBERS, *FAR, "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]))
def test_whatever_deadline_a_job_names(moment: Any) -> None:
    from stylequeue.ledger.moves import _fields

    try:
        job: Job = parse_job(
            job_fields(deadline=moment.replace(tzinfo=UTC) if isinstance(moment, datetime) else moment), default_id="a"
        )
    except InvalidJob:
        return
    try:
        assert parse_job(json.loads(job.canonical_json()), default_id="b") == job
        json.dumps(_fields(job, "a"), allow_nan=False)
    except StyleQueueError:
        pytest.fail("what is taken must travel")


@pytest.mark.parametrize(
    ("limit_s", "verdict"), [(SMALLEST, "yours"), (GREATEST, "yours"), (1e22, "yours"), (0.1, "yours"), (3, "yours")]
)
def test_a_time_limit_comes_back_from_the_ledger_as_a_number(settings: Settings, limit_s: float, verdict: str) -> None:
    ledger, job = Ledger(settings), make_job()
    claimed = ledger.claim(job, task_id=job.id, worker="tester", timing=Timing(time_limit_s=limit_s))
    assert claimed.verdict == verdict
    found = claimed.record.time_limit_s
    assert found is not None
    assert math.isclose(found, limit_s, rel_tol=1e-12) or (limit_s == SMALLEST and 0 <= found < 1e-300)
    ledger.close()
