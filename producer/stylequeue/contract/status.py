"""What is known of a job, of many, and of what was buried: as the client answers when asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, Field

from .base import Told
from .errors import StyleQueueError
from .events import Progress, SucceededData, TerminalEvent, UnknownEvent
from .text import Line

_T = TypeVar("_T")

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
TERMINAL_STATES: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "expired"})


class Standing(Told):
    """Where an open job stands among others, and about when it is done."""

    ahead: int = Field(ge=0, description="Jobs of its queue that wait and came before it; 0 while it is painted.")
    workers: int = Field(ge=0, description="Live workers that can paint it and take from its queue.")
    eta_s: float | None = Field(
        default=None,
        ge=0,
        description="Seconds until it is done, about; null: no live worker can say, for none has painted the like.",
    )


class Estimate(Told):
    """What a job would take if it were submitted now."""

    paint_s: float | None = Field(
        ge=0, description="Seconds of painting, about; null: no live worker can say, for none has painted the like."
    )
    wait_s: float | None = Field(ge=0, description="Seconds before a worker begins with it; null likewise.")
    peak_bytes: int = Field(ge=0, description="Memory that the painting takes beside what a worker has loaded.")
    tiles: int = Field(ge=1, description="Into how many the picture is cut to fit into the worker's memory.")
    workers: int = Field(ge=0, description="Live workers that can paint it and take from its queue.")


class QueueLoad(Told):
    """How much of a queue's work there is."""

    queue: str
    waiting: int = Field(ge=0, description="Jobs that a worker could take now.")
    due: int = Field(ge=0, description="Jobs that are to begin later: they were put off, or their next attempt is.")
    parked: int = Field(
        ge=0, description="Jobs that wait for another job's picture, or for a worker that has their network."
    )
    running: int = Field(ge=0, description="Jobs that workers have.")
    load: int = Field(
        ge=0, description="What workers are wanted for: waiting and running; of a paused queue, running alone."
    )
    oldest_s: float | None = Field(
        default=None,
        ge=0,
        description="Seconds since the oldest that waits was accepted; null: none waits.",
    )
    workers: int = Field(ge=0, description="Live workers that take from it.")
    rate_per_min: float = Field(ge=0, description="Jobs that ended in the last five minutes, by the minute.")
    eta_s: float | None = Field(
        default=None,
        ge=0,
        description="Seconds until a worker comes to a job that is handed in now, about; null: no live worker can say.",
    )
    paused: bool = Field(default=False, description="No worker takes from it until it is resumed.")


class JobStatus(Told):
    """What is known of a job."""

    id: str
    state: JobState | str = Field(description="A newer service may know more states than these.")
    run: int = Field(description="Which life of the job, from 1.")
    attempt: int = Field(description="Which try within the run, from 1; 0: no worker has had it.")
    sequence: int = Field(default=0, description="Of its newest event; grows with every one.")
    queue: str
    labels: dict[str, str] = Field(description="The job's own.")
    tenant: str | None = Field(default=None, description="Whose job it is; null: nobody's in particular.")
    notify: tuple[str, ...] = Field(default=(), description="The endpoints that its sender names, to be told of it.")
    job: dict[str, Any] | None = Field(description="The job as it was accepted; null: the message was no job.")
    created_at: AwareDatetime
    updated_at: AwareDatetime = Field(description="When it came into this state.")
    deadline_at: AwareDatetime = Field(description="An open job expires then.")
    waits_for: str | None = Field(
        default=None, description="What a queued job lacks before it can be painted, in words; null: its turn."
    )
    standing: Standing | None = Field(
        default=None, description="Where it stands; null: it has ended, or a newer producer wrote it."
    )
    worker: str | None = Field(default=None, description="The one that has it, or had it last.")
    progress: Progress | None = Field(default=None, description="The newest of the attempt, while a worker has it.")
    last_error: Line | None = Field(default=None, description="Why the attempt before this one ended.")
    outcome: TerminalEvent | UnknownEvent | None = Field(default=None, description="How it ended.")

    @property
    def ended(self) -> bool:
        """Whether the job's life is over, unless somebody runs it again."""
        return self.state in TERMINAL_STATES


class Glance(Told):
    """How far a job is."""

    id: str
    state: JobState | str = Field(description="A newer service may know more states than these.")
    sequence: int = Field(description="Of its newest event; grows with every one.")
    labels: dict[str, str] = Field(description="The job's own.")
    tenant: str | None = Field(description="Whose job it is; null: nobody's in particular.")
    progress: Progress | None = Field(description="The newest of the attempt, while a worker has it.")

    @property
    def ended(self) -> bool:
        """Whether the job's life is over, unless somebody runs it again."""
        return self.state in TERMINAL_STATES


class Page(list[_T]):
    """Some of what there is, the newest first, and where those that follow begin."""

    def __init__(self, entries: Iterable[_T] = (), *, after: str | None = None) -> None:
        super().__init__(entries)
        self.after = after
        """To be given as `after` for the next page; None: there is none."""


@dataclass(frozen=True)
class Turn:
    """How often a tenant may still ask."""

    rate_per_s: float
    burst: int
    """At once."""
    left: int
    whole_in_s: float
    """Until it may ask for `burst` at once again."""


@dataclass(frozen=True)
class Submission:
    """What became of a job that was handed in."""

    id: str
    is_new: bool
    """Whether it was not on record before, and is now."""
    error: StyleQueueError | None = None
    """Why it was refused."""


class JobResult(SucceededData):
    """What a job made, and which one it was."""

    id: str = Field(description="The job's.")


LetterKind = Literal["job", "message", "event", "delivery", "notification"]


class EventGroup(Told):
    """Consumers that share the deployment's events among them, each event to one of them."""

    name: str
    consumers: int = Field(description="That it knows by their names; one that has nothing goes after an idle day.")
    pending: int = Field(description="Events that consumers have taken and are not done with.")
    lag: int | None = Field(description="Events that none has taken; null where Redis does not say.")
    position: str = Field(description="Behind which nothing is taken.")


class DeadLetter(Told):
    """What nobody could be done with: a job, a message that was no job, an event, a delivery, a notification."""

    id: str = Field(description="The job's id, the message's task id, or an id of the letter's own.")
    kind: LetterKind | str = Field(
        description="`job`: its attempts are used up. `message`: it was no job. `event`: the consumers of a group took "
        "it again and again. `delivery`: an endpoint would not take it. `notification`: it told of no upload, or of "
        "one that was not there."
    )
    queue: str = Field(
        description="The queue the message came from; of an event its group, of a delivery its endpoint, of a "
        "notification its source."
    )
    code: str
    reason: Line = Field(description="What was wrong, or the last attempt's error.")
    attempts: int
    message: str = Field(
        description="The exact message; of a job, the job as JSON; of an event or a delivery, the event."
    )
    buried_at: AwareDatetime
