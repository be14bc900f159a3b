"""The command `stylequeue`."""

from .command import app, main

__all__ = ["app", "main"]
