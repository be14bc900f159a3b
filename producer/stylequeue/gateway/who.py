"""Who asks, as whoever has a key may know it: what it may do decides what a page offers."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from .access import Anyone
from .keys import Role
from .problems import document
from .reading import StrictRoute

router = APIRouter(prefix="/v1", tags=["jobs"], responses=document(), route_class=StrictRoute)


class KeyView(BaseModel):
    """A key, without its secret."""

    id: str
    role: Role
    tenant: str | None = Field(description="Whose jobs it sees; null: all.")
    templates: tuple[str, ...] | None = Field(description="By which alone its jobs go; null: however they say.")
    expires_at: AwareDatetime | None


@router.get("/key", operation_id="get_key")
async def get_key(caller: Anyone) -> KeyView:
    """Say what the key that asks may do."""
    return KeyView.model_validate(caller.key, from_attributes=True)
