"""What a job would take, before it is handed in."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from ..contract.base import Contract, QueueName
from ..contract.job import MAX_STYLES
from ..contract.recipe import OptimizeRecipe, Recipe
from ..contract.status import Estimate
from .access import Reader
from .problems import document
from .reading import StrictRoute

MAX_SIDE_PX = 100_000

router = APIRouter(prefix="/v1", tags=["jobs"], responses=document(), route_class=StrictRoute)


class Sides(Contract):
    """Of a picture."""

    width_px: int = Field(ge=1, le=MAX_SIDE_PX)
    height_px: int = Field(ge=1, le=MAX_SIDE_PX)


class EstimateRequest(Contract):
    """What of a job decides how long it takes."""

    recipe: Recipe = Field(default_factory=OptimizeRecipe)
    content: Sides | None = Field(default=None, description="Left out: a square.")
    styles: int = Field(default=1, ge=1, le=MAX_STYLES)
    masks: int = Field(default=0, ge=0, le=MAX_STYLES + 1, description="Of styles, and the one of what is kept.")
    queue: QueueName | None = Field(default=None, description="Left out: as a job's.")


@router.post("/estimate", operation_id="estimate_job")
async def estimate_job(caller: Reader, wanted: EstimateRequest) -> Estimate:
    """Seconds and memory that a job with this recipe would take if it were handed in now."""
    sides = (wanted.content.width_px, wanted.content.height_px) if wanted.content else None
    return await caller.queue.estimate(
        wanted.recipe, content_px=sides, styles=wanted.styles, masks=wanted.masks, queue=wanted.queue
    )
