"""The pictures: S3, or what speaks it."""

from .marks import (
    FINGERPRINT_METADATA,
    HEIGHT_METADATA,
    JOB_METADATA,
    MARK_METADATA,
    PAINTING_METADATA,
    SHA256_METADATA,
    SIZE_METADATA,
    WIDTH_METADATA,
    Mark,
    Origin,
)
from .objects import ObjectInfo, Written
from .outputs import Place, output_exists
from .store import Store
from .watch import heeding

__all__ = [
    "FINGERPRINT_METADATA",
    "HEIGHT_METADATA",
    "JOB_METADATA",
    "MARK_METADATA",
    "PAINTING_METADATA",
    "SHA256_METADATA",
    "SIZE_METADATA",
    "WIDTH_METADATA",
    "Mark",
    "ObjectInfo",
    "Origin",
    "Place",
    "Store",
    "Written",
    "heeding",
    "output_exists",
]
