"""Python and the scripts mean the same keys."""

from __future__ import annotations

import redis

from stylequeue.ledger import names
from stylequeue.ledger.names import KeyOfEach

NAMED = {name: value for name, value in vars(names).items() if isinstance(value, KeyOfEach) or name.endswith("_KEY")}


def test_the_scripts_keys_are_pythons(redis_url: str) -> None:
    lines = [f"{name}('x')" if isinstance(value, KeyOfEach) else name for name, value in NAMED.items()]
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        seen = client.eval(f"{names.lua()}\nreturn {{{', '.join(lines)}}}", 0)
    assert seen == [value("x") if isinstance(value, KeyOfEach) else value for value in NAMED.values()]


def test_no_two_things_share_a_key() -> None:
    keys = [value("x") if isinstance(value, KeyOfEach) else value for value in NAMED.values()]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("stylequeue:") for key in keys)
