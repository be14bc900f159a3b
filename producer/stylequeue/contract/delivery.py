"""What is known of deliveries of events, and of the endpoints that they go to."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from .base import Told
from .text import Line

MAX_SAID_CHARS = 200
"""Kept of what an endpoint answers."""


class Attempt(Told):
    """One try at delivering an event."""

    at: AwareDatetime
    status: int | None = Field(default=None, description="What was answered; null: nothing.")
    took_ms: int
    said: Line = Field(default="", description=f"The answer's first {MAX_SAID_CHARS} characters, or why there is none.")

    @property
    def delivered(self) -> bool:
        """Whether the event arrived."""
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        return f"{self.status or 'no answer'}: {self.said}" if self.said else str(self.status or "no answer")


class Delivery(Told):
    """An event on its way to an endpoint."""

    id: str = Field(description="The event's.")
    endpoint: str
    state: Literal["pending", "delivered", "given_up"] | str
    type: str = Field(description="The event's.")
    job: str = Field(description="Id of the job that it tells of.")
    event: str = Field(description="As it is sent.", repr=False)
    made_at: AwareDatetime
    next_at: AwareDatetime | None = Field(description="When it is sent next; null: never.")
    tries: int = Field(description="Since it was made or replayed.")
    attempts: tuple[Attempt, ...] = Field(description="The oldest first.")


class EndpointHealth(Told):
    """How an endpoint fares."""

    waiting: int = Field(description="Deliveries that are to be sent, now or later.")
    sending: int = Field(description="Deliveries that are being sent.")
    dropped: int = Field(description="Deliveries that were forgotten before they were sent: there were too many.")
    succeeded_at: AwareDatetime | None = Field(description="When it took an event last.")
    failed_at: AwareDatetime | None = Field(description="When it did not, last.")
    failing_since: AwareDatetime | None = Field(description="Nothing has arrived since; null: the last one has.")
    last_error: Line | None = Field(description="What it said when it took nothing.")
    hold_until: AwareDatetime | None = Field(description="Nothing is sent before.")
    disabled: Line | None = Field(
        description="Why nothing is sent until somebody enables it; null: it is not disabled."
    )
    disabled_at: AwareDatetime | None


class EndpointStatus(EndpointHealth):
    """An endpoint of the operator's file: what it is, and how it fares."""

    name: str
    kind: str
    place: str = Field(description="A webhook's address, a topic, a queue, a bus.")
    events: tuple[str, ...] = Field(description="What it hears of.")
    labels: dict[str, str] = Field(description="Those that a job has whose events it hears of.")
    tenant: str | None = Field(description="Whose jobs' events it hears of; null: everybody's.")
    jobs: str = Field(description="`named`: those that name it. `default`: those too that name none. `all`: all.")
    secrets: int = Field(description="How many are live.")
