"""`stylequeue events`: what happens to all jobs, for people and for pipes."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from ..contract.errors import InvalidRequest
from . import console, deployment
from .options import JsonOption


class EventKind(StrEnum):
    """What there is on the deployment's stream."""

    ACCEPTED = "accepted"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"


def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on for ever; without --after and --group, from now on.")
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Share events with all others of this group: each goes to one of them."),
    ] = None,
    consumer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which of the group this is; left out: this machine's name.")
    ] = None,
    kinds: Annotated[list[EventKind] | None, typer.Option("--type", help="Only these; repeat for more.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="POSITION", help="Begin behind this one, which a line before began with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the lifecycle events of all jobs, the oldest kept first: position, job, and what happened.

    With --json each is a line: the event as it was told. One of a group lets go of an event when it takes the next.
    """
    with deployment.client(as_json=as_json) as client:
        if consumer is not None and group is None:
            raise InvalidRequest("--consumer is one of a group", "name it: --group")
        if after is None:
            after = client.newest_position() if follow and group is None else "0"
        for position, event in client.events(after=after, follow=follow, group=group, consumer=consumer):
            if kinds and event.kind not in kinds:
                continue
            if as_json:
                console.show_json(json.loads(event.text))
            else:
                console.show(f"{position}  {event.subject}  {console.describe(event)}")
