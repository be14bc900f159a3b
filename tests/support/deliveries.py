"""Time that goes by for deliveries, without anybody waiting."""

from __future__ import annotations

from typing import Any

from stylequeue.ledger import names


def pass_time(redis: Any, endpoint: str, seconds: float) -> None:
    """As if so much time had gone by: all moments that Redis keeps of an endpoint lie so much further back."""
    ms = int(seconds * 1000)
    for index in (names.deliveries_key, names.to_send_key, names.sending_key):
        for event_id in redis.zrange(index(endpoint), 0, -1):
            redis.zincrby(index(endpoint), -ms, event_id)
    delivery_keys = redis.keys(names.delivery_key(f"{endpoint}:*"))
    for key in (names.endpoint_key(endpoint), *delivery_keys):
        for name, value in redis.hgetall(key).items():
            if name.endswith("_ms"):
                redis.hset(key, name, int(value) - ms)


def delay_s(redis: Any, endpoint: str, event_id: str) -> float:
    """Until a delivery is sent next."""
    seconds, micros = redis.time()
    return float(redis.zscore(names.to_send_key(endpoint), event_id) / 1000 - seconds - micros / 1e6)
