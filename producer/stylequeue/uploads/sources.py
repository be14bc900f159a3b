"""Which sources the operator's file names that fetch their notices themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..operator_file import Operator
from ..settings import Settings
from .listener import Fetching
from .redis_list import RedisListSource
from .replays import Replays
from .sqs import SqsSource
from .sweep import Sweep


def fetching(operator: Operator, settings: Settings) -> Sequence[Fetching]:
    """Each of them, to be run by a listener. Webhooks are none: what comes there is brought."""
    return [Fetching(source.name, source.run) for source in _sources(operator, settings)]


def _sources(operator: Operator, settings: Settings) -> Iterator[SqsSource | RedisListSource | Sweep | Replays]:
    yield Replays()
    for name, source in operator.sources.items():
        if source.sqs:
            yield SqsSource(name, source.sqs, source.region)
        elif source.redis_list:
            yield RedisListSource(name, source.redis_list, source.redis_url, settings)
        elif source.sweep:
            yield Sweep(name, *source.place, every_s=source.every_s, overlap_s=source.overlap_s)
