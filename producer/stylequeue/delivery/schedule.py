"""When an event is sent again, and when no more: as Standard Webhooks has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 24 * 3600

DELAYS_S: Final = (
    0,
    5,
    5 * _MINUTE_S,
    30 * _MINUTE_S,
    2 * _HOUR_S,
    5 * _HOUR_S,
    10 * _HOUR_S,
    14 * _HOUR_S,
    20 * _HOUR_S,
    24 * _HOUR_S,
)
"""Before each try, from the one before: 75 hours and 35 minutes in all."""
JITTER: Final = 0.1
"""Share by which delays vary, so that what failed together does not come together again."""
_MAX_HOLD_S: Final = _DAY_S
"""That an endpoint can ask to be left alone."""
_HOLD_S: Final = 5 * _MINUTE_S
"""At most, where it does not say for how long."""
_GONE: Final = 410
_TOO_MUCH: Final = frozenset({429, 503})
"""May say in Retry-After for how long to wait."""
_BEHIND_IT: Final = frozenset({502, 504})
"""What answers is not the receiver, but what stands in front of it."""


@dataclass(frozen=True)
class Answer:
    """What came of one try."""

    status: int | None
    """HTTP's; None: there was no answer."""
    said: str
    took_s: float
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What follows from an answer."""

    delivered: bool
    delay_s: float | None = None
    """Until the next try; None: there is none."""
    hold_s: float = 0
    """For which nothing else is sent to the endpoint."""
    disable: str = ""
    """Why nothing is sent to it any more."""


def judge(answer: Answer, *, tries: int, jitter: float) -> Verdict:
    """What follows from the answer to a try after `tries` others. `jitter` is 1 on average."""
    status = answer.status
    if status is not None and 200 <= status < 300:
        return Verdict(delivered=True)
    if status == _GONE:
        return Verdict(delivered=False, disable="it answered 410: it wants nothing more")
    delay_s = DELAYS_S[tries + 1] * jitter if tries + 1 < len(DELAYS_S) else None
    if status not in _TOO_MUCH | _BEHIND_IT:
        return Verdict(delivered=False, delay_s=delay_s)
    if status in _TOO_MUCH and answer.retry_after_s is not None:
        hold_s = min(answer.retry_after_s, _MAX_HOLD_S)
    else:
        hold_s = min(_HOLD_S if delay_s is None else delay_s, _HOLD_S)
    return Verdict(delivered=False, delay_s=None if delay_s is None else max(delay_s, hold_s), hold_s=hold_s)
