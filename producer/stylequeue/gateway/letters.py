"""Dead letters, as whoever looks after a deployment, or a tenant its own, sees them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, Field

from ..contract.status import LetterKind
from .access import Admin
from .problems import document
from .reading import StrictRoute

router = APIRouter(prefix="/v1", tags=["dead letters"], responses=document(), route_class=StrictRoute)

LetterId = Annotated[str, Path(max_length=300, description="Of the letter.")]
"""It may have a slash: of an event that a tenant's consumers could not handle it names the group, `tenant/group`."""


class LetterView(BaseModel):
    """What nobody could be done with, without its message."""

    id: str
    kind: LetterKind | str
    queue: str = Field(description="Where it came from: a queue, a group, an endpoint, a source.")
    code: str
    reason: str
    attempts: int
    buried_at: AwareDatetime


class LetterPage(BaseModel):
    """Some of them, the newest first."""

    letters: list[LetterView]
    after: str | None = Field(description="Where those that follow begin; null: there are none.")


@router.get("/admin/dead", operation_id="list_dead_letters")
async def list_dead_letters(
    caller: Admin,
    after: Annotated[str | None, Query(max_length=400, description="Of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> LetterPage:
    """List dead letters; of a tenant, those of its jobs."""
    page = await caller.queue.dead_letters(after=after, limit=limit)
    return LetterPage(
        letters=[LetterView.model_validate(letter, from_attributes=True) for letter in page], after=page.after
    )


@router.post("/admin/dead/{letter_id:path}/replay", operation_id="replay_dead_letter", status_code=204)
async def replay_dead_letter(caller: Admin, letter_id: LetterId) -> Response:
    """Give a dead letter another life: a job its next run, a message its place in the queue, and so on."""
    await caller.queue.replay(letter_id)
    return Response(status_code=204)


@router.delete("/admin/dead/{letter_id:path}", operation_id="drop_dead_letter", status_code=204)
async def drop_dead_letter(caller: Admin, letter_id: LetterId) -> Response:
    """Forget a dead letter, with the record of the job it was."""
    await caller.queue.drop(letter_id)
    return Response(status_code=204)
