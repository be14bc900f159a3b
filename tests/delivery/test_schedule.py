"""When an event is sent again, and when no more."""

from __future__ import annotations

import pytest

from stylequeue.delivery.schedule import DELAYS_S, Answer, judge

HOUR_S = 3600


def answer(status: int | None, *, retry_after_s: float | None = None) -> Answer:
    return Answer(status, "", 0.1, retry_after_s)


def test_ten_tries_in_three_days() -> None:
    assert (0, 5, 300, 1800, *(hours * HOUR_S for hours in (2, 5, 10, 14, 20, 24))) == DELAYS_S
    assert sum(DELAYS_S) == 75 * HOUR_S + 35 * 60 + 5
    delays = [judge(answer(500), tries=tries, jitter=1.0).delay_s for tries in range(10)]
    assert delays == [*DELAYS_S[1:], None]
    assert judge(answer(500), tries=1, jitter=1.1).delay_s == pytest.approx(330)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_only_these_are_success(status: int) -> None:
    assert judge(answer(status), tries=3, jitter=1).delivered


@pytest.mark.parametrize("status", [None, 100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 422, 500, 501])
def test_all_others_are_sent_again(status: int | None) -> None:
    verdict = judge(answer(status), tries=0, jitter=1)
    assert (verdict.delivered, verdict.delay_s, verdict.hold_s, verdict.disable) == (False, 5, 0, "")


def test_who_is_gone_is_sent_nothing_more() -> None:
    verdict = judge(answer(410), tries=0, jitter=1)
    assert (verdict.delivered, verdict.delay_s) == (False, None)
    assert "410" in verdict.disable


@pytest.mark.parametrize("status", [429, 503])
def test_who_asks_for_time_gets_it_for_all(status: int) -> None:
    verdict = judge(answer(status, retry_after_s=90), tries=0, jitter=1)
    assert (verdict.hold_s, verdict.delay_s) == (90, 90)
    late = judge(answer(status, retry_after_s=90), tries=2, jitter=1)
    assert (late.hold_s, late.delay_s) == (90, 1800)
    assert judge(answer(status, retry_after_s=10**6), tries=0, jitter=1).hold_s == 24 * HOUR_S
    last = judge(answer(status, retry_after_s=90), tries=9, jitter=1)
    assert (last.hold_s, last.delay_s) == (90, None)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_who_does_not_say_for_how_long_is_left_alone_for_a_while(status: int) -> None:
    assert judge(answer(status), tries=0, jitter=1).hold_s == 5
    assert judge(answer(status), tries=5, jitter=1).hold_s == 300
    assert judge(answer(status), tries=9, jitter=1).hold_s == 300


def test_only_those_two_say_for_how_long() -> None:
    assert judge(answer(502, retry_after_s=10**4), tries=0, jitter=1).hold_s == 5
    assert judge(answer(500, retry_after_s=10**4), tries=0, jitter=1).hold_s == 0
