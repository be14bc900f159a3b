"""The record of every job and its events, in Redis: the only truth about state."""

from .ledger import Ledger
from .moves import ClaimAnswer, Overdue, TerminalData, Timing
from .record import Record

__all__ = ["ClaimAnswer", "Ledger", "Overdue", "Record", "TerminalData", "Timing"]
