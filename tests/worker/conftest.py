"""Fixtures of the worker's tests."""

from tests.support.models import model_dir

__all__ = ["model_dir"]
