"""What settings may be: the kinds of their values, and how far they go."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from .address import RedisAddress
from .contract.objects import Bucket
from .contract.recipe import MAX_SIZE_PX, MIN_SIDE_PX
from .contract.text import check_text
from .variables import why

DAY_S = 24 * 3600
MAX_DEADLINE_S = 30 * DAY_S
"""The furthest deadline of a job."""
MIN_SECRET_CHARS = 32
"""Of what marks are made with."""
MANY, MANY_BYTES = 10**9, 1024**4
"""The most that a number may be of what is counted: more is a mistake, and more still no number to Redis."""


def _printable(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("is empty, or holds a blank or a character that is none of ASCII")
    return secret


def _unguessable(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_SECRET_CHARS:
        raise ValueError(f"has fewer than {MIN_SECRET_CHARS} characters: whoever sees a mark could guess it")
    return secret


def _redis_address(secret: SecretStr) -> SecretStr:
    RedisAddress.parse(secret.get_secret_value())
    return secret


def _hub_handle(handle: str) -> str:
    # TensorFlow takes more: http, file systems of the network, paths from wherever the process runs.
    if not re.fullmatch(r"/.+|https://[\w.:\[\]-]+/[!-~]+", handle, re.ASCII):
        raise ValueError("is neither `https://...` nor a whole path")
    return handle


def check_certificates(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> None:
    """Return if TLS to Redis can be spoken with these files. Raises ValueError, which names their variables."""
    context = ssl.create_default_context()
    try:
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # an SSLError is one
        raise ValueError(f"STYLEQUEUE_REDIS_CA_FILE: no certificates can be read from it: {why(error)}") from None
    try:
        if cert_file:
            # Whoever starts a service is not there to be asked for a password.
            context.load_cert_chain(cert_file, key_file, password="")
    except OSError as error:
        raise ValueError(
            "STYLEQUEUE_REDIS_CLIENT_CERT_FILE, STYLEQUEUE_REDIS_CLIENT_KEY_FILE: no certificate with its key, "
            f"unencrypted, can be read from them: {why(error)}"
        ) from None


Secret = Annotated[SecretStr, AfterValidator(_printable)]
MarkSecret = Annotated[Secret, AfterValidator(_unguessable)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_address)]
HubHandle = Annotated[str, AfterValidator(_hub_handle)]
NetworkName = Annotated[str, Field(pattern=r"^(vgg19|vgg16|fast)$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PodName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
LabelName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(check_text)]
Seconds = Annotated[float, Field(ge=0.001, le=MAX_DEADLINE_S)]
"""Less than Redis's clock can tell, or more than any job lasts, is a mistake."""
SizePx = Annotated[int, Field(ge=MIN_SIDE_PX, le=MAX_SIZE_PX)]
Buckets = Annotated[Sequence[Bucket], AfterValidator(tuple), Field(min_length=1)]
