"""Which sources the operator's file names that fetch their notices themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..operator_file import Operator, Source
from ..settings import Settings
from .listener import Fetching
from .redis_list import RedisListSource
from .replays import Replays
from .sqs import SqsSource
from .sweep import Sweep


def fetching(operator: Operator, settings: Settings) -> Sequence[Fetching]:
    """Each of them, to be run by a listener. Webhooks are none: what comes there is brought.

    Raises InvalidSettings where a sweep looks back further than jobs are remembered.
    """
    if forgetful := [name for name, source in operator.sources.items() if _looks_back_too_far(source, settings)]:
        why = f"with every_s it is not less than STYLEQUEUE_RECORD_TTL_S, {settings.record_ttl_s}: all is painted again"
        raise operator.faults([(("source", name, "overlap_s"), why) for name in forgetful])
    return [Fetching(source.name, source.run) for source in _sources(operator, settings)]


def _looks_back_too_far(source: Source, settings: Settings) -> bool:
    return bool(source.sweep) and source.overlap_s + source.every_s >= settings.record_ttl_s


def _sources(operator: Operator, settings: Settings) -> Iterator[SqsSource | RedisListSource | Sweep | Replays]:
    yield Replays()
    for name, source in operator.sources.items():
        if source.sqs:
            yield SqsSource(name, source.sqs, source.region)
        elif source.redis_list:
            yield RedisListSource(name, source.redis_list, source.redis_url, settings)
        elif source.sweep:
            yield Sweep(name, *source.place, every_s=source.every_s, overlap_s=source.overlap_s)
