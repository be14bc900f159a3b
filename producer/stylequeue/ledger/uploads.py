"""Uploads as the ledger has them: what is told of those that become no job, what notices came to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..contract.events import UploadRefused
from ..contract.uploads import LAG_BOUNDS_S, Lags, SourceCounts
from . import names

if TYPE_CHECKING:
    from .aio import AsyncLedger

_POSITION_S = 90 * 24 * 3600
_PROBE_S = 3600
_LISTENER_S = 30
_LAG = "lag_ms"
_WITHIN = "within_s:"


async def tell(ledger: AsyncLedger, event: UploadRefused, *, notify: Sequence[str] = ()) -> bool:
    """Put the event on the deployment's stream, unless it was told before; whether it was told now."""
    beside = {"tenant": event.data.tenant, "notify": json.dumps(list(notify)) if notify else None}
    move = ledger._moves._move(
        "tell_upload",
        id=event.subject,
        event=event.model_dump_json(exclude_none=True),
        parse=bool,
        **{name: value for name, value in beside.items() if value},
    )
    [told] = await ledger.perform([move])
    return told


async def count(
    ledger: AsyncLedger, outcomes: Mapping[tuple[str, str], int], lags_s: Mapping[str, Sequence[float]]
) -> None:
    """Add to what was counted: how many notices of a source came to what, and how late they were."""
    more: defaultdict[str, int] = defaultdict(int)
    for (source, outcome), number in outcomes.items():
        more[f"{source} {outcome}"] += number
    for source, lags in lags_s.items():
        more[f"{source} {_LAG}"] += int(sum(lags) * 1000)
        for lag_s in lags:
            bound = next((str(bound) for bound in LAG_BOUNDS_S if lag_s <= bound), "")
            more[f"{source} {_WITHIN}{bound}"] += 1

    def add(redis: Any) -> Any:
        pipeline = redis.pipeline(transaction=True)
        for field, number in more.items():
            pipeline.hincrby(names.UPLOADS_KEY, field, number)
        return pipeline.execute()

    if more:
        await ledger._ask(add)


async def counts(ledger: AsyncLedger) -> dict[str, SourceCounts]:
    """What was counted of each source."""
    found = await ledger._ask(lambda redis: redis.hgetall(names.UPLOADS_KEY))
    outcomes: defaultdict[str, dict[str, int]] = defaultdict(dict)
    lags: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for field, number in sorted(found.items()):
        source, _, what = field.partition(" ")
        into = lags if what == _LAG or what.startswith(_WITHIN) else outcomes
        into[source][what] = int(number)
    return {
        source: SourceCounts(outcomes=outcomes[source], lags=_lags(lags[source]))
        for source in sorted({*outcomes, *lags})
    }


def _lags(found: Mapping[str, int]) -> Lags:
    within = {bound: found.get(f"{_WITHIN}{bound}", 0) for bound in (*LAG_BOUNDS_S, "")}
    up_to, total = {}, 0
    for bound, number in within.items():
        total += number
        if isinstance(bound, int):
            up_to[bound] = total
    return Lags(up_to_s=up_to, count=total, sum_s=found.get(_LAG, 0) / 1000)


async def position(ledger: AsyncLedger, name: str) -> str | None:
    """How far something has got, as was said last; None: nobody has in the last 90 days."""
    found: str | None = await ledger._ask(lambda redis: redis.get(names.position_key(name)))
    return found


async def keep_position(ledger: AsyncLedger, name: str, told: str | None) -> None:
    """Say how far something has got; None: it is done."""
    key = names.position_key(name)
    if told is None:
        await ledger._ask(lambda redis: redis.delete(key))
    else:
        await ledger._ask(lambda redis: redis.set(key, told, ex=_POSITION_S))


async def note_probe(ledger: AsyncLedger, probe: str, *, source: str, rules: Sequence[str]) -> None:
    """Say that a source told of a probe, and which rules have it."""
    key = names.upload_probe_key(probe)

    def note(redis: Any) -> Any:
        pipeline = redis.pipeline(transaction=True)
        pipeline.hset(key, source, json.dumps(list(rules)))
        pipeline.expire(key, _PROBE_S)
        return pipeline.execute()

    await ledger._ask(note)


async def probe(ledger: AsyncLedger, name: str) -> dict[str, list[str]]:
    """Which sources told of a probe, and which rules have it, by source."""
    found = await ledger._ask(lambda redis: redis.hgetall(names.upload_probe_key(name)))
    return {source: json.loads(rules) for source, rules in found.items()}


async def say_listening(ledger: AsyncLedger) -> None:
    """Say that somebody listens to uploads."""
    await ledger._ask(lambda redis: redis.set(names.LISTENER_KEY, 1, ex=_LISTENER_S))


async def is_listening(ledger: AsyncLedger) -> bool:
    """Whether somebody does, or did half a minute ago."""
    return bool(await ledger._ask(lambda redis: redis.exists(names.LISTENER_KEY)))
