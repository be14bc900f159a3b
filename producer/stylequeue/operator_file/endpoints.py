"""Endpoints: where events are delivered, and which."""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from ..contract.job import MAX_LABELS
from .base import Name, Table

SECRET_PREFIX = "whsec_"  # noqa: S105
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
"""As Standard Webhooks has it."""
MAX_SECRETS = 4
"""Live at once: each is one more signature."""

EventKind = Literal["accepted", "started", "succeeded", "failed", "cancelled", "expired", "refused"]
_ENDS: tuple[EventKind, ...] = ("succeeded", "failed", "cancelled", "expired")
_PLACE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
"""A host and perhaps a port."""


def _check_secret(secret: SecretStr) -> SecretStr:
    key_of(secret)
    return secret


def key_of(secret: SecretStr) -> bytes:
    """What is signed with. Raises ValueError."""
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(SECRET_PREFIX) or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"is no secret: {SECRET_PREFIX} and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} random bytes in base64; "
            "`stylequeue hooks rotate` makes one"
        )
    return key


def _check_url(url: str) -> str:
    """`url`, if it is read alike by everybody. Raises ValueError."""
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError(
            "holds a blank, or a character that is none of ASCII: write it percent-encoded, a host as xn--"
        )
    address = urlsplit(url)
    if address.scheme not in ("https", "http") or "\\" in url:
        raise ValueError("is not https://host/path")
    if "@" in address.netloc:
        raise ValueError("holds an '@': what a receiver knows us by is the signature")
    if "#" in url:
        raise ValueError("has a '#', which no server is ever sent")
    place = _PLACE.fullmatch(address.netloc)
    if not place or not 0 < int(place["port"] or 1) < 2**16:
        raise ValueError("has no host, or no port, that everybody reads alike")
    return url


class Endpoint(Table):
    """Where events are delivered: a webhook, or a topic, a queue or a bus of AWS's; which events, and of which jobs."""

    url: Annotated[str, AfterValidator(_check_url)] | None = None
    secrets: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(_check_secret)], ...], Field(max_length=MAX_SECRETS)
    ] = ()
    sns: str | None = Field(default=None, pattern=r"^arn:[\w:.-]+$", description="ARN of a topic.")
    sqs: str | None = Field(default=None, pattern=r"^https?://[\w./:-]+$", description="URL of a queue.")
    eventbridge: str | None = Field(default=None, pattern=r"^[\w./:-]+$", description="Name or ARN of a bus.")
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]+$")

    events: tuple[EventKind, ...] = Field(default=_ENDS, min_length=1)
    labels: dict[str, str] = Field(default={}, max_length=MAX_LABELS, description="That a job has, all of them.")
    tenant: Name | None = Field(default=None, description="Whose jobs' events, and who may name it.")
    jobs: Literal["named", "default", "all"] = Field(
        default="default", description="Those that name it; those too that name none; all, whatever they name."
    )

    allow_http: bool = False
    allow_ports: tuple[Annotated[int, Field(ge=1, lt=2**16)], ...] = ()
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    ca_file: Path | None = Field(default=None, description="Certificates, PEM, that its own must be signed by.")

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [name for name in ("url", "sns", "sqs", "eventbridge") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("is a webhook (url), or one of sns, sqs and eventbridge")
        if (self.url is None) != (not self.secrets):
            raise ValueError("a webhook has secrets, and nothing else has")
        return self

    @model_validator(mode="after")
    def _goes_where_it_may(self) -> Self:
        if self.url:
            address = urlsplit(self.url)
            if address.scheme == "http" and not self.allow_http:
                raise ValueError("url: is not https://, which only allow_http = true allows")
            usual = 443 if address.scheme == "https" else 80
            if (port := address.port or usual) != usual and port not in self.allow_ports:
                raise ValueError(f"url: goes to port {port}, which only allow_ports = [{port}] allows")
        return self

    @property
    def kind(self) -> Literal["webhook", "sns", "sqs", "eventbridge"]:
        """What it is."""
        return "webhook" if self.url else "sns" if self.sns else "sqs" if self.sqs else "eventbridge"

    @property
    def keys(self) -> list[bytes]:
        """What its messages are signed with, each."""
        return [key_of(secret) for secret in self.secrets]

    @property
    def place(self) -> str:
        """Where it is, for a person."""
        return str(self.url or self.sns or self.sqs or self.eventbridge)
