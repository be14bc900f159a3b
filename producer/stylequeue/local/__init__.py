"""The embedded stack: a real Redis-speaking server (Valkey) and a real object store (SeaweedFS) on this machine."""

from .process import Process
from .stack import Stack, environment

__all__ = ["Process", "Stack", "environment"]
