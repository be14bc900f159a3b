"""What is counted of notices of uploads, and what a look at a bucket finds."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import AwareDatetime, Field

from .base import Told

LAG_BOUNDS_S: Sequence[int] = (1, 2, 5, 15, 60, 300, 1800, 7200)
"""By which lags are counted: each bound those up to it."""


class Lags(Told):
    """How long after uploads their notices were taken up, by the store's clock and ours."""

    up_to_s: dict[int, int] = Field(default={}, description="How many took at most so many seconds, by that bound.")
    count: int = 0
    sum_s: float = 0


class SourceCounts(Told):
    """Of one source of notices."""

    outcomes: dict[str, int] = Field(
        default={},
        description="How many came to what: recorded, known, conflict, no_rule, ours, refused, missing, later, "
        "unreadable. What a sweep recorded had been missed by all others.",
    )
    lags: Lags = Lags()


class ListedUpload(Told):
    """An object as a list of its bucket has it: without its metadata."""

    bucket: str
    key: str
    version_id: str | None = Field(default=None, description="Where the bucket keeps versions: of the newest.")
    etag: str
    size_bytes: int
    written_at: AwareDatetime = Field(description="By the store's clock.")


class UploadListing(Told):
    """Some of what lies in a bucket, in the order of the keys."""

    uploads: list[ListedUpload]
    after: str | None = Field(description="The key behind which others follow; null: there are none.")
    listed_at: AwareDatetime = Field(description="By the store's clock.")
