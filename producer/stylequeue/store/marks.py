"""Marks: what proves that an object is this deployment's own, and what of.

Anybody who may write to a bucket can give an object any metadata. A mark is an HMAC over where the object lies, over
what our metadata says, and over its bytes' SHA-256 and size: beside another object, or on other bytes, it proves
nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..contract.base import canonical_json

MARK_METADATA = "stylequeue-mark"
"""Object metadata that holds the mark. Names of metadata are in small letters throughout, whatever a store makes of
them."""
FINGERPRINT_METADATA = "stylequeue-fingerprint"
"""The fingerprint of a picture of ours, and of what belongs to it."""
JOB_METADATA = "stylequeue-job"
"""The id of the job it was made for."""
SIZE_METADATA = "size-bytes"
SHA256_METADATA = "sha256"
WIDTH_METADATA = "width-px"
HEIGHT_METADATA = "height-px"
PAINTING_METADATA = "painting"
"""How a picture came about, as JSON."""
_SIGNED = (
    FINGERPRINT_METADATA,
    JOB_METADATA,
    SIZE_METADATA,
    SHA256_METADATA,
    WIDTH_METADATA,
    HEIGHT_METADATA,
    PAINTING_METADATA,
)
"""All that is ever believed. What else there is, a store may have added."""
_PURPOSE = "stylequeue mark 1"
"""Stands in front of what is signed: the same secret may serve something else one day."""

Secrets = Callable[[], Sequence[str]]
"""What marks are made with: the first signs, each is believed."""


@dataclass(frozen=True)
class Origin:
    """What an object of ours was made for."""

    job_id: str
    fingerprint: str


@dataclass(frozen=True)
class Mark:
    """What a mark proves of the object that bears it, if the object's bytes are those."""

    origin: Origin
    sha256: str
    size_bytes: int

    def belongs_to(self, origin: Origin) -> bool:
        """Whether it is that job's own, or was made for the same picture."""
        return self.origin.job_id == origin.job_id or self.origin.fingerprint == origin.fingerprint


class Marks:
    """Makes marks and reads them. Without a secret it makes none and believes none."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def metadata(self, bucket: str, key: str, mark: Mark, others: Mapping[str, str]) -> dict[str, str]:
        """The metadata of an object that is to lie there: what marks it, and what of `others` a mark vouches for."""
        said = {
            **{name: value for name, value in others.items() if name in _SIGNED},
            FINGERPRINT_METADATA: mark.origin.fingerprint,
            JOB_METADATA: mark.origin.job_id,
            SHA256_METADATA: mark.sha256,
            SIZE_METADATA: str(mark.size_bytes),
        }
        secrets = self._secrets()
        return {**said, MARK_METADATA: _hmac(secrets[0], bucket, key, said)} if secrets else said

    def read(self, bucket: str, key: str, metadata: Mapping[str, str]) -> Mark | None:
        """What the mark proves of the object that lies there with this metadata; None: nothing.

        Whether its bytes are those that the mark names is for the caller to see.
        """
        given = metadata.get(MARK_METADATA, "")
        if not given.isascii() or not any(
            hmac.compare_digest(_hmac(secret, bucket, key, metadata), given) for secret in self._secrets()
        ):
            return None
        return Mark(
            Origin(metadata[JOB_METADATA], metadata[FINGERPRINT_METADATA]),
            metadata[SHA256_METADATA],
            int(metadata[SIZE_METADATA]),
        )


def sha256_of(body: bytes) -> str:
    """In hex."""
    return hashlib.sha256(body).hexdigest()


def _hmac(secret: str, bucket: str, key: str, metadata: Mapping[str, str]) -> str:
    said = {name: metadata[name] for name in _SIGNED if name in metadata}
    signed = f"{_PURPOSE}\n{canonical_json([bucket, key, said])}"
    return hmac.new(secret.encode(), signed.encode(), "sha256").hexdigest()
