"""The record of every job and its events, in Redis: the only truth about state."""

from .aio import AsyncLedger
from .answers import ANY_TIME, ClaimAnswer, Overdue, Timing
from .ledger import Ledger
from .moves import TerminalData
from .record import Record
from .secrets import mark_secrets
from .ticks import Ticks

__all__ = [
    "ANY_TIME",
    "AsyncLedger",
    "ClaimAnswer",
    "Ledger",
    "Overdue",
    "Record",
    "TerminalData",
    "Ticks",
    "Timing",
    "mark_secrets",
]
