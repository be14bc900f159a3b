"""Which sources the operator's file names that fetch their notices themselves."""

from __future__ import annotations

from collections.abc import Sequence

from ..operator_file import Operator
from ..settings import Settings
from .listener import Fetching


def fetching(operator: Operator, settings: Settings) -> Sequence[Fetching]:
    """Each of them, to be run by a listener. Webhooks are none: what comes there is brought."""
    del operator, settings
    return ()
