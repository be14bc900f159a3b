"""Sources: who tells of uploads, and how it is known."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from ..contract.objects import Bucket
from ..contract.text import check_text
from ..setting_values import RedisUrl
from .base import Table

MIN_TOKEN_CHARS, MAX_TOKEN_CHARS = 24, 256
MAX_TOKENS = 4
"""Live at once, while a sender changes from one to the next."""


def _check_token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if (
        not MIN_TOKEN_CHARS <= len(text) <= MAX_TOKEN_CHARS
        or not text.isascii()
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError(
            f"is no token: {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} characters of ASCII, none of them a blank; "
            "`openssl rand -hex 32` makes one"
        )
    return token


Token = Annotated[SecretStr, AfterValidator(_check_token)]


MAX_BUCKETS = 256
MAX_EVERY_S = 7 * 24 * 3600
MIN_OVERLAP_S, MAX_OVERLAP_S = 60, 7 * 24 * 3600
_PLACE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>.*)", re.DOTALL)
_OPTIONS = {"region": "sqs", "redis_url": "redis_list", "every_s": "sweep", "overlap_s": "sweep"}
"""Which kind of source each is for."""


def _check_place(place: str) -> str:
    """`place`, if it is a bucket or a folder of one. Raises ValueError."""
    if not _PLACE.fullmatch(check_text(place)):
        raise ValueError("is not s3://bucket/ or s3://bucket/folder/")
    return place


class Source(Table):
    """Who tells of uploads: a webhook, which has `tokens`; or where that is fetched: a queue of SQS's, a list in Redis,
    or a bucket that is looked through now and then.
    """

    tokens: Annotated[tuple[Token, ...], Field(max_length=MAX_TOKENS)] = Field(
        default=(), description="Whoever has one of them tells of uploads at /v1/notices/NAME."
    )
    buckets: Annotated[tuple[Bucket, ...], Field(min_length=1, max_length=MAX_BUCKETS)] | None = Field(
        default=None, description="What it may tell of; left out: of all that rules are for."
    )
    sqs: str | None = Field(default=None, pattern=r"^https?://[\w.-]+(:\d+)?/[\w./-]+$", description="URL of a queue.")
    region: str | None = Field(
        default=None, pattern=r"^[a-z0-9-]+$", description="The queue's; left out: as its URL has it."
    )
    redis_list: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="Key of a list that a store appends to (MinIO: `access`).",
    )
    redis_url: RedisUrl | None = Field(default=None, description="Where that list is; left out: in our own Redis.")
    sweep: Annotated[str, AfterValidator(_check_place)] | None = Field(
        default=None, description="What is looked through: s3://bucket/folder/."
    )
    every_s: float = Field(default=300, ge=1, le=MAX_EVERY_S, description="Between two sweeps.")
    overlap_s: float = Field(
        default=3600,
        ge=MIN_OVERLAP_S,
        le=MAX_OVERLAP_S,
        description="How far behind the last sweep one looks again; longer than an upload in parts takes.",
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        kinds = [name for name in ("tokens", "sqs", "redis_list", "sweep") if getattr(self, name)]
        if len(kinds) != 1:
            raise ValueError("a source is a webhook, which has tokens; or one of sqs, redis_list and sweep")
        if self.sweep and self.buckets is not None:
            raise ValueError("buckets: a sweep tells of the bucket that it looks through, and of no other")
        for option in sorted(self.model_fields_set & _OPTIONS.keys()):
            if _OPTIONS[option] != kinds[0]:
                raise ValueError(f"{option}: only a source with {_OPTIONS[option]} has it")
        return self

    @property
    def place(self) -> tuple[str, str]:
        """Bucket and prefix of what is swept. Only of a sweep."""
        found = _PLACE.fullmatch(self.sweep or "")
        if not found:
            raise ValueError("this source is no sweep")
        return found["bucket"], found["prefix"]
