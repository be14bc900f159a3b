"""Deliveries: who makes them, and time that goes by for them without anybody waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from stylequeue.delivery import deliverer
from stylequeue.delivery.deliverer import Deliverer
from stylequeue.ledger import Ledger, names
from stylequeue.operator_file import OperatorFile
from stylequeue.settings import Settings
from tests.support.processes import wait_for
from tests.support.roles import as_role

_KNOWN_S = 30
_LOOK_S = 0.1
"""It is told to stop as soon as it looks; a deployment's look once a second."""
_PASS_TIME = """
local ms, indices = tonumber(ARGV[1]), tonumber(ARGV[2])
for at, key in ipairs(KEYS) do
  if at <= indices then
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -ms, id) end
  else
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
      if string.sub(fields[i], -3) == '_ms' then redis.call('HINCRBY', key, fields[i], -ms) end
    end
  end
end
"""
"""Moments are the scores of an endpoint's indices, and what ends in `_ms` in its hashes."""


def pass_time(redis: Any, endpoint: str, seconds: float) -> None:
    """As if so much time had gone by: all moments that Redis keeps of an endpoint lie so much further back.

    At once, as time does: between two of them a deliverer would take what the first made due.
    """
    indices = [index(endpoint) for index in (names.deliveries_key, names.to_send_key, names.sending_key)]
    hashes = [names.endpoint_key(endpoint), *redis.keys(names.delivery_key(f"{endpoint}:*"))]
    redis.eval(_PASS_TIME, len(indices) + len(hashes), *indices, *hashes, int(seconds * 1000), len(indices))


def delay_s(redis: Any, endpoint: str, event_id: str) -> float:
    """Until a delivery is sent next."""
    seconds, micros = redis.time()
    return float(redis.zscore(names.to_send_key(endpoint), event_id) / 1000 - seconds - micros / 1e6)


class Operator:
    """An operator's file, and settings that lead to it."""

    def __init__(self, settings: Settings, directory: Path, **endpoints: Mapping[str, Any]) -> None:
        self.path = directory / "operator.toml"
        self.settings = settings.model_copy(update={"operator_file": self.path})
        self.write(**endpoints)

    def write(self, **endpoints: Mapping[str, Any]) -> None:
        """Have these endpoints and no others."""
        part = self.path.with_suffix(".part")
        part.write_text(tomlkit.dumps({"endpoint": endpoints}))
        part.replace(self.path)


@contextmanager
def delivering(settings: Settings, **options: Any) -> Iterator[Deliverer]:
    """A deliverer at work, in this process. It knows the endpoints: they hear of what happens from now on."""
    settings = as_role(settings, "keeper")
    ledger, stop = Ledger(settings), threading.Event()
    made = Deliverer(settings, ledger=ledger, **options)
    thread = threading.Thread(target=made.run, args=(stop,))
    known = [names.endpoint_key(name) for name in OperatorFile(settings.operator_file).now.endpoints]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deliverer, "_LOOK_S", _LOOK_S)
        thread.start()
        try:
            wait_for(lambda: all(ledger.redis.hexists(key, "since_ms") for key in known), _KNOWN_S, "it to know them")
            yield made
        finally:
            stop.set()
            thread.join()
            ledger.close()
