"""The embedded stack: a real Redis-speaking server (Valkey) and a real object store (SeaweedFS) on this machine."""

from .process import Process
from .stack import READY_TO_PAINT, Stack, environment

__all__ = ["READY_TO_PAINT", "Process", "Stack", "environment"]
