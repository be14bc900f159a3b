"""Rules of buckets that the store itself keeps: which browsers send and fetch pictures, which uploads go when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..contract.errors import Code, StyleQueueError
from ..settings import Settings
from .s3 import S3

_DAY_S = 24 * 3600
_ID = "stylequeue-uploads"
_NONE_THERE = (Code.OBJECT_NOT_FOUND, Code.STORE_REFUSED)
"""What stores say where a bucket has no such rule."""


class UploadRules:
    """Those of one deployment. Raises as the store does."""

    def __init__(self, settings: Settings, s3: S3) -> None:
        self._settings = settings
        self._s3 = s3
        self.keeps_days = math.ceil(settings.job_deadline_s / _DAY_S) + 1
        """For which an upload stays: a job that names it on its first day may wait until its deadline."""

    @property
    def cors(self) -> dict[str, Any]:
        """The rule by which browsers send and fetch pictures."""
        return {
            "ID": _ID,
            "AllowedOrigins": list(self._settings.browser_origins),
            "AllowedMethods": ["GET", "HEAD", "POST", "PUT"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 3600,
        }

    @property
    def lifecycle(self) -> dict[str, Any]:
        """The rule by which uploads go."""
        return {
            "ID": _ID,
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "Expiration": {"Days": self.keeps_days},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }

    def lacking_cors(self) -> list[str]:
        """The buckets that do not let pages of `browser_origins` send and fetch pictures."""
        return [bucket for bucket in self._settings.buckets if not self._has_cors(bucket)]

    def _has_cors(self, bucket: str) -> bool:
        wanted = self.cors
        return any(
            {*wanted["AllowedOrigins"]} <= {*rule.get("AllowedOrigins", ())}
            and {*wanted["AllowedMethods"]} <= {*rule.get("AllowedMethods", ())}
            for rule in self._rules(bucket, "cors")
        )

    def has_lifecycle(self) -> bool:
        """Whether all that is uploaded goes by itself, and no sooner than a job may want it."""
        rules = self._rules(self._settings.upload_bucket, "lifecycle_configuration")
        ends = [rule.get("Expiration", {}) for rule in rules if rule.get("Status") == "Enabled" and _is_of_all(rule)]
        # The soonest counts; by a date all that lies there goes at once.
        days = [end.get("Days", 0) for end in ends if {"Days", "Date"} & end.keys()]
        return bool(days) and min(days) >= self.keeps_days

    def set_cors(self) -> None:
        """Add the rule to those that each bucket has, in place of an older one of ours: a page fetches from all."""
        for bucket in self._settings.buckets:
            self._set(bucket, "cors", "CORSConfiguration", {"CORSRules": [*self._others(bucket, "cors"), self.cors]})

    def set_lifecycle(self) -> None:
        """Likewise, in the upload bucket."""
        bucket, what = self._settings.upload_bucket, "lifecycle_configuration"
        self._set(bucket, what, "LifecycleConfiguration", {"Rules": [*self._others(bucket, what), self.lifecycle]})

    def _set(self, bucket: str, what: str, name: str, rules: Mapping[str, Any]) -> None:
        self._s3.call(f"put_bucket_{what}", own=True, Bucket=bucket, **{name: rules})

    def _others(self, bucket: str, what: str) -> list[Mapping[str, Any]]:
        return [rule for rule in self._rules(bucket, what) if rule.get("ID") != _ID]

    def _rules(self, bucket: str, what: str) -> list[Mapping[str, Any]]:
        try:
            found = self._s3.call(f"get_bucket_{what}", own=True, Bucket=bucket)
        except StyleQueueError as error:
            if error.code in _NONE_THERE:
                return []
            raise
        return list(found.get("CORSRules", found.get("Rules", ())))


def _is_of_all(rule: Mapping[str, Any]) -> bool:
    """Whether a rule of a lifecycle is of every object: uploads lie anywhere in their bucket, and have no tags."""
    return not rule.get("Prefix") and not any(rule.get("Filter", {}).values())
