"""The record of every job and its events, in Redis: the only truth about state."""

from .ledger import Ledger
from .moves import ClaimAnswer, Overdue, TerminalData
from .record import TERMINAL_STATES, DeadLetter, JobState, Record

__all__ = ["TERMINAL_STATES", "ClaimAnswer", "DeadLetter", "JobState", "Ledger", "Overdue", "Record", "TerminalData"]
