"""The pictures: S3, or what speaks it."""

from .objects import FINGERPRINT_METADATA, SIZE_METADATA, ObjectInfo, Written
from .store import Store, output_exists

__all__ = ["FINGERPRINT_METADATA", "SIZE_METADATA", "ObjectInfo", "Store", "Written", "output_exists"]
