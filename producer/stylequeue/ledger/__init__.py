"""The record of every job and its events, in Redis: the only truth about state."""

from .ledger import Ledger
from .moves import ClaimAnswer
from .record import TERMINAL_STATES, Record, State

__all__ = ["TERMINAL_STATES", "ClaimAnswer", "Ledger", "Record", "State"]
