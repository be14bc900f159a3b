"""The record of every job and its events, in Redis: the only truth about state."""

from .ledger import Ledger
from .moves import ANY_TIME, ClaimAnswer, Overdue, TerminalData, Timing
from .record import Record
from .secrets import mark_secrets

__all__ = ["ANY_TIME", "ClaimAnswer", "Ledger", "Overdue", "Record", "TerminalData", "Timing", "mark_secrets"]
