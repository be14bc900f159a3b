"""Neural style transfer by message queue: submit a job, get a painted picture and an event.

    from stylequeue import ImageRef, Job, Output, Style, StyleQueue

Importing this package is cheap: its names load what they need when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .client import StyleQueue as StyleQueue
    from .contract.errors import EventsLost as EventsLost
    from .contract.errors import InvalidJob as InvalidJob
    from .contract.errors import InvalidRequest as InvalidRequest
    from .contract.errors import JobCancelled as JobCancelled
    from .contract.errors import JobConflict as JobConflict
    from .contract.errors import JobEnded as JobEnded
    from .contract.errors import JobExpired as JobExpired
    from .contract.errors import JobFailed as JobFailed
    from .contract.errors import JobNotFound as JobNotFound
    from .contract.errors import JobOpen as JobOpen
    from .contract.errors import JobSucceeded as JobSucceeded
    from .contract.errors import QueueFull as QueueFull
    from .contract.errors import SchemaTooNew as SchemaTooNew
    from .contract.errors import StyleQueueError as StyleQueueError
    from .contract.errors import Unavailable as Unavailable
    from .contract.events import Accepted as Accepted
    from .contract.events import Cancelled as Cancelled
    from .contract.events import Expired as Expired
    from .contract.events import Failed as Failed
    from .contract.events import Progress as Progress
    from .contract.events import Started as Started
    from .contract.events import StoredPicture as StoredPicture
    from .contract.events import Succeeded as Succeeded
    from .contract.events import SucceededData as SucceededData
    from .contract.events import UnknownEvent as UnknownEvent
    from .contract.job import Job as Job
    from .contract.job import Output as Output
    from .contract.job import Style as Style
    from .contract.objects import ImageRef as ImageRef
    from .contract.recipe import FastRecipe as FastRecipe
    from .contract.recipe import OptimizeRecipe as OptimizeRecipe
    from .contract.status import DeadLetter as DeadLetter
    from .contract.status import JobResult as JobResult
    from .contract.status import JobState as JobState
    from .contract.status import JobStatus as JobStatus
    from .contract.status import Page as Page
    from .settings import Settings as Settings

_HOMES = {
    "client": ["StyleQueue"],
    "contract.errors": [
        "EventsLost",
        "InvalidJob",
        "InvalidRequest",
        "JobCancelled",
        "JobConflict",
        "JobEnded",
        "JobExpired",
        "JobFailed",
        "JobNotFound",
        "JobOpen",
        "JobSucceeded",
        "QueueFull",
        "SchemaTooNew",
        "StyleQueueError",
        "Unavailable",
    ],
    "contract.events": [
        "Accepted",
        "Cancelled",
        "Expired",
        "Failed",
        "Progress",
        "Started",
        "StoredPicture",
        "Succeeded",
        "SucceededData",
        "UnknownEvent",
    ],
    "contract.objects": ["ImageRef"],
    "contract.recipe": ["FastRecipe", "OptimizeRecipe"],
    "contract.job": ["Job", "Output", "Style"],
    "contract.status": ["DeadLetter", "JobResult", "JobState", "JobStatus", "Page"],
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
