"""Which folders of which buckets a job may read and write, where that is less than what workers may."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import AfterValidator, Field

from .base import Contract
from .errors import Code, Permanent
from .job import Job
from .objects import ImageRef, check_key

MAX_FOLDERS = 32
_TENANT = "{tenant}"
_DEPTH = 3
"""At which a job's fields name objects, at most."""


def _check_folder(folder: str) -> str:
    """`folder`, if it names a bucket, or a folder in one, with all that lies below. Raises ValueError."""
    path = folder.removesuffix("/*")
    if path == folder or "*" in path:
        raise ValueError("is no folder with all in it: write bucket/* or bucket/folder/*")
    if set(re.findall(r"{[^}]*}|[{}]", path)) - {_TENANT}:
        raise ValueError(f"has another placeholder than {_TENANT}")
    check_key(path)
    return folder


Folder = Annotated[str, AfterValidator(_check_folder)]
"""`bucket/*`, `bucket/folder/*`: all that lies there; `{tenant}` stands for the tenant's name."""
Folders = Annotated[tuple[Folder, ...], Field(max_length=MAX_FOLDERS)]


class Scope(Contract):
    """What a job may read and write in the store. Folders with `{tenant}` in them are the tenant's own."""

    read: Folders = Field(description="Where its pictures may lie: content, styles, masks, keep_mask, init_image.")
    write: Folders = Field(description="Where its picture, and what lies beside it, may go.")

    def check(self, job: Job, *, tenant: str | None) -> None:
        """Return if the job keeps within. Raises Permanent with `bucket_not_allowed`."""
        for image in job.images:
            self.check_image(image, tenant=tenant)
        output = job.output
        for key in (job.output_key, *job.side_keys):
            self.check_writing(output.bucket, key, tenant=tenant, overwrite=output.overwrite)

    def check_named(self, fields: Mapping[str, Any], *, tenant: str | None) -> None:
        """The same of a job's fields that are no job yet, and may never be one: of each object that they name."""
        for name, value in fields.items():
            folders, wanted = (self.write, "write") if name == "output" else (self.read, "read")
            for bucket, key in _named(value):
                _check(folders, bucket, key, tenant, own=False, wanted=wanted)

    def check_image(self, image: ImageRef, *, tenant: str | None) -> None:
        """Return if a job may name it; a version only in the tenant's own folders: it may be one that was replaced
        because others were to see it no longer. Raises as `check`.
        """
        _check(self.read, image.bucket, image.key, tenant, own=image.version_id is not None, wanted="read")

    def check_reading(self, bucket: str, key: str, *, tenant: str | None) -> None:
        """Return if that object may be read. Raises as `check`."""
        _check(self.read, bucket, key, tenant, own=False, wanted="read")

    def check_writing(self, bucket: str, key: str, *, tenant: str | None, overwrite: bool = False) -> None:
        """Return if something may be put there; to `overwrite`, only in the tenant's own folders. Raises as `check`."""
        _check(self.write, bucket, key, tenant, own=overwrite, wanted="write")

    def holds(self, bucket: str, key: str, *, tenant: str | None) -> bool:
        """Whether that object may be seen: what may be written may be read back."""
        return any(_within(folder, bucket, key, tenant) for folder in (*self.read, *self.write))


def _check(folders: Sequence[str], bucket: str, key: str, tenant: str | None, *, own: bool, wanted: str) -> None:
    allowed = [folder for folder in folders if tenant is None or not own or _TENANT in folder]
    if not any(_within(folder, bucket, key, tenant) for folder in allowed):
        by_key = any(_within(folder, bucket, key, tenant) for folder in folders)
        what = {"read": "read a version by its id", "write": "overwrite"}[wanted] if by_key else wanted
        raise Permanent(
            Code.BUCKET_NOT_ALLOWED,
            f"the job may not {what} in that folder of bucket {bucket!r}",
            f"it may {what} in: {', '.join(_filled(folder, tenant) for folder in allowed) or 'none'}",
        )


def _named(value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Bucket and key of each object that JSON names."""
    if isinstance(value, Mapping):
        if isinstance(bucket := value.get("bucket"), str) and isinstance(key := value.get("key"), str):
            yield bucket, key
        value = list(value.values())
    if isinstance(value, list) and depth < _DEPTH:
        for part in value:
            yield from _named(part, depth + 1)


def _within(folder: str, bucket: str, key: str, tenant: str | None) -> bool:
    """Whether an object lies there, however it is read: as it is, and by whoever undoes percent signs and dots, which
    may lead out of the bucket, too.
    """
    if tenant is None and _TENANT in folder:
        return False
    path = _filled(folder, tenant).removesuffix("*")
    whole = f"{bucket}/{key}"
    return all(spelling.startswith(path) for spelling in (whole, normalised(whole)))


def _filled(folder: str, tenant: str | None) -> str:
    return folder.replace(_TENANT, tenant or _TENANT)


def normalised(path: str) -> str:
    """Bucket and key as the most lenient store would have them: percent-decoded until nothing is left to decode, `..`
    resolved.
    """
    while (decoded := unquote(path)) != path:
        path = decoded
    return posixpath.normpath("/" + path.replace("\\", "/")).lstrip("/")
