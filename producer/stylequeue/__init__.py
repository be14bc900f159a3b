"""Neural style transfer by message queue: submit a job, get a painted picture and an event.

    from stylequeue import ImageRef, Job, Output, Style, StyleQueue

Importing this package is cheap: its names load what they need when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .client import StyleQueue as StyleQueue
    from .errors import EventsLost as EventsLost
    from .errors import InvalidJob as InvalidJob
    from .errors import JobCancelled as JobCancelled
    from .errors import JobConflict as JobConflict
    from .errors import JobEnded as JobEnded
    from .errors import JobExpired as JobExpired
    from .errors import JobFailed as JobFailed
    from .errors import JobNotFound as JobNotFound
    from .errors import JobOpen as JobOpen
    from .errors import QueueFull as QueueFull
    from .errors import StyleQueueError as StyleQueueError
    from .errors import Unavailable as Unavailable
    from .events import Accepted as Accepted
    from .events import Cancelled as Cancelled
    from .events import Expired as Expired
    from .events import Failed as Failed
    from .events import Progress as Progress
    from .events import Started as Started
    from .events import StoredPicture as StoredPicture
    from .events import Succeeded as Succeeded
    from .events import SucceededData as SucceededData
    from .job import FastRecipe as FastRecipe
    from .job import ImageRef as ImageRef
    from .job import Job as Job
    from .job import OptimizeRecipe as OptimizeRecipe
    from .job import Output as Output
    from .job import Style as Style
    from .ledger import DeadLetter as DeadLetter
    from .ledger import Record as Record
    from .settings import Settings as Settings

_HOMES = {
    "client": ["StyleQueue"],
    "errors": [
        "EventsLost",
        "InvalidJob",
        "JobCancelled",
        "JobConflict",
        "JobEnded",
        "JobExpired",
        "JobFailed",
        "JobNotFound",
        "JobOpen",
        "QueueFull",
        "StyleQueueError",
        "Unavailable",
    ],
    "events": [
        "Accepted",
        "Cancelled",
        "Expired",
        "Failed",
        "Progress",
        "Started",
        "StoredPicture",
        "Succeeded",
        "SucceededData",
    ],
    "job": ["FastRecipe", "ImageRef", "Job", "OptimizeRecipe", "Output", "Style"],
    "ledger": ["DeadLetter", "Record"],
    "settings": ["Settings"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
