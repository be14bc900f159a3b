"""The pictures: S3, or what speaks it."""

from .store import FINGERPRINT_METADATA, ObjectInfo, Store, Written

__all__ = ["FINGERPRINT_METADATA", "ObjectInfo", "Store", "Written"]
