"""Rules of the upload bucket that the store itself keeps: which browsers send pictures there, what goes when."""

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

    def has_cors(self) -> bool:
        """Whether the bucket lets pages of `browser_origins` send pictures there."""
        wanted = self.cors
        return any(
            {*wanted["AllowedOrigins"]} <= {*rule.get("AllowedOrigins", ())}
            and {*wanted["AllowedMethods"]} <= {*rule.get("AllowedMethods", ())}
            for rule in self._rules("cors")
        )

    def has_lifecycle(self) -> bool:
        """Whether what is uploaded goes by itself, and no sooner than a job may want it."""
        return any(
            rule.get("Status") == "Enabled" and rule.get("Expiration", {}).get("Days", 0) >= self.keeps_days
            for rule in self._rules("lifecycle_configuration")
        )

    def set_cors(self) -> None:
        """Add the rule to those that there are, in place of an older one of ours."""
        self._set("cors", "CORSConfiguration", {"CORSRules": [*self._others("cors"), self.cors]})

    def set_lifecycle(self) -> None:
        """Likewise."""
        rules = [*self._others("lifecycle_configuration"), self.lifecycle]
        self._set("lifecycle_configuration", "LifecycleConfiguration", {"Rules": rules})

    def _set(self, what: str, name: str, rules: Mapping[str, Any]) -> None:
        self._s3.call(f"put_bucket_{what}", own=True, Bucket=self._settings.upload_bucket, **{name: rules})

    def _others(self, what: str) -> list[Mapping[str, Any]]:
        return [rule for rule in self._rules(what) if rule.get("ID") != _ID]

    def _rules(self, what: str) -> list[Mapping[str, Any]]:
        try:
            found = self._s3.call(f"get_bucket_{what}", own=True, Bucket=self._settings.upload_bucket)
        except StyleQueueError as error:
            if error.code in _NONE_THERE:
                return []
            raise
        return list(found.get("CORSRules", found.get("Rules", ())))
