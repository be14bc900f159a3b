"""The command `stylequeue`."""

from .submit import app, main

__all__ = ["app", "main"]
