"""What marks in the store are made with."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any

from ..connection import redis_asked
from . import names

if TYPE_CHECKING:
    from .ledger import Ledger


def mark_secrets(ledger: Ledger) -> list[str]:
    """The settings' secrets; without, one that the first who asks makes and Redis keeps, the same for all.

    Asked anew each time: should Redis lose it, all have the same one again. Raises Unavailable.
    """
    if secrets := ledger.settings.mark_secrets_in_clear():
        return secrets
    with redis_asked(ledger.settings):
        kept: Any = ledger.redis.get(names.MARKS_KEY)
        if not kept:
            made = token_hex(32)
            ledger.redis.set(names.MARKS_KEY, made, nx=True)
            kept = ledger.redis.get(names.MARKS_KEY) or made
    return [kept]
