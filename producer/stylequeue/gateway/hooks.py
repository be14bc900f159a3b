"""Endpoints that events are delivered to: how they fare, and what did not arrive."""

from __future__ import annotations

import logging
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Path, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ..contract.base import ID_PATTERN, MAX_ID_CHARS, MAX_TENANT_CHARS
from ..contract.codes import Code
from ..contract.delivery import Attempt, Delivery, EndpointStatus
from ..contract.errors import FileUnusable
from ..delivery.hooks import Hooks
from .access import Admin
from .problems import Refused, document
from .reading import StrictRoute
from .state import GatewayState

log = logging.getLogger(__name__)

MAX_PAGE = 100
"""Deliveries in one answer."""

router = APIRouter(prefix="/v1/admin/hooks", tags=["hooks"], responses=document(), route_class=StrictRoute)


async def _hooks(gateway: GatewayState, caller: Admin) -> Hooks:
    return gateway.hooks.for_tenant(caller.tenant)


TheirHooks = Annotated[Hooks, Depends(_hooks)]
"""Of a route: the endpoints that its caller may look after. A tenant's are those of its own."""
Name = Annotated[
    str, Path(pattern=ID_PATTERN, max_length=MAX_TENANT_CHARS, description="The endpoint's, in the operator's file.")
]
EventId = Annotated[str, Path(pattern=ID_PATTERN, max_length=MAX_ID_CHARS, description="The event's.")]


class EndpointList(BaseModel):
    """All there are."""

    endpoints: list[EndpointStatus]


class DeliveryPage(BaseModel):
    """Some of the deliveries to an endpoint, the newest first."""

    deliveries: list[Delivery]
    cursor: str | None = Field(description="To be given for those that follow; null: there are none.")


class Replay(BaseModel):
    """What is to be sent once more."""

    model_config = ConfigDict(extra="forbid")

    event: str | None = Field(
        default=None, pattern=ID_PATTERN, max_length=MAX_ID_CHARS, description="Id of one event, arrived or not."
    )
    since: AwareDatetime | None = Field(default=None, description="All events since then that did not arrive.")

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if (self.event is None) == (self.since is None):
            raise ValueError("give either an event or since")
        return self


class Replayed(BaseModel):
    """How much is sent."""

    count: int


class Secret(BaseModel):
    """What messages are signed with first from now on."""

    secret: str = Field(description="As Standard Webhooks writes it; shown this once.")


@router.get("", operation_id="list_hooks")
def list_hooks(hooks: TheirHooks) -> EndpointList:
    """List the endpoints, and how each fares."""
    return EndpointList(endpoints=hooks.all())


@router.get("/{name}", operation_id="get_hook")
def get_hook(hooks: TheirHooks, name: Name) -> EndpointStatus:
    """Look at one endpoint."""
    return hooks.status(name)


@router.get("/{name}/deliveries", operation_id="list_deliveries")
def list_deliveries(
    hooks: TheirHooks,
    name: Name,
    state: Literal["pending", "delivered", "given_up"] | None = None,
    cursor: Annotated[str | None, Query(max_length=200, description="Of a page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
) -> DeliveryPage:
    """List what was sent to an endpoint in the last 7 days, or waits to be, with each attempt."""
    page = hooks.deliveries(name, state=state, after=cursor, limit=limit)
    return DeliveryPage(deliveries=page, cursor=page.after)


@router.get("/{name}/deliveries/{event_id}", operation_id="get_delivery")
def get_delivery(hooks: TheirHooks, name: Name, event_id: EventId) -> Delivery:
    """Look at one delivery."""
    return hooks.delivery(name, event_id)


@router.post("/{name}/test", operation_id="test_hook")
def test_hook(hooks: TheirHooks, name: Name) -> Attempt:
    """Send an endpoint an event of type `io.stylequeue.endpoint.test.v1`, now and once, and say what came of it."""
    return hooks.test(name)


@router.post("/{name}/replay", operation_id="replay_hook", status_code=202)
def replay_hook(hooks: TheirHooks, name: Name, what: Replay) -> Replayed:
    """Send one event once more, or all that did not arrive since a moment."""
    if what.event is not None:
        return Replayed(count=len(hooks.replay(what.event, name)))
    assert what.since is not None  # noqa: S101  # it is one of them
    return Replayed(count=hooks.replay_since(what.since, name)[name])


@router.post("/{name}/enable", operation_id="enable_hook", status_code=202)
def enable_hook(hooks: TheirHooks, name: Name) -> Replayed:
    """Send to an endpoint again that was disabled, or is left alone for a while: at once what waits for it."""
    return Replayed(count=hooks.enable(name))


@router.post("/{name}/rotate", operation_id="rotate_hook")
def rotate_hook(hooks: TheirHooks, name: Name) -> Secret:
    """Make a webhook a new secret; messages are signed with the one before as well.

    It goes into the operator's file: 409 `file_unusable` where the gateway may not write that.
    """
    try:
        return Secret(secret=hooks.rotate(name))
    except FileUnusable as error:
        # Where it lies is the operator's to know.
        log.warning("the secret of endpoint %s stays: %s", name, error)
        detail, hint = (
            "the gateway may not write the operator's file",
            "whoever may edits it, or runs the command there",
        )
        raise Refused(Code.FILE_UNUSABLE, detail, hint) from None
