"""What both clients do with pictures, written once, as all else that they do (`asking`)."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import uuid_utils

from .access import Access
from .contract.errors import Code, InvalidJob, InvalidRequest, JobNotFound, JobOpen, Permanent
from .contract.events import StoredPicture
from .contract.job import Job
from .contract.objects import ImageRef, PictureKind, StoredObject, UploadForm, check_key, preview_key, suffix_of
from .contract.scope import Scope
from .telling import file_beside, picture_of

if TYPE_CHECKING:
    from .ledger import Record

SHELF = "shelf/"
"""The folder of styles to choose from, in the buckets that jobs read."""
MAX_LINK_S = 7 * 24 * 3600
"""As S3 has it."""


class AskingPictures:
    """A deployment as a tenant sees it: its pictures, within a scope. StyleQueue says what each method does."""

    def __init__(self, access: Access, tenant: str | None, scope: Scope | None = None) -> None:
        self._access = access
        self.tenant = tenant
        self.scope = scope

    async def upload(self, path: str | Path, *, to: ImageRef | None = None) -> ImageRef:
        if to is not None:
            if self.scope:
                self.scope.check_writing(to.bucket, to.key, tenant=self.tenant, overwrite=True)
            return await self._access.call_store(self._access.store.put_file, Path(path), to)
        upload = partial(self._access.store.upload_file, folder=self._folder if self.scope else "")
        return await self._access.call_store(upload, Path(path))

    async def upload_stream(
        self, pieces: Iterable[bytes] | AsyncIterable[bytes], *, suffix: str = "", name: str | None = None
    ) -> ImageRef:
        key = f"{self._folder}{name or f'{uuid_utils.uuid7()}{suffix}'}"
        exchange, max_bytes = self._access.store.exchange, self._access.settings.max_image_bytes
        upload = exchange.upload(check_key(key), max_bytes=max_bytes)
        try:
            async for piece in _each(pieces):
                await self._access.call_store(upload.write, piece)
            return await self._access.call_store(upload.end)
        except BaseException:
            # Under a name that was given, the same may have been sent before.
            await self._access.finally_call_store(partial(upload.drop, made=name is None))
            raise

    async def upload_form(
        self, filename: str, *, content_type: str, size_bytes: int, valid_s: int | None = None
    ) -> UploadForm:
        settings = self._access.settings
        suffix = suffix_of(filename, content_type)
        if not 0 < size_bytes <= settings.max_image_bytes:
            raise Permanent(
                Code.IMAGE_TOO_MANY_BYTES if size_bytes > 0 else Code.IMAGE_EMPTY,
                f"a picture of {size_bytes} bytes is not taken: 1 to {settings.max_image_bytes} are",
                "send another one",
            )
        key = f"{self._folder}{uuid_utils.uuid7()}{suffix}"
        form = partial(
            self._access.store.exchange.form,
            content_type=content_type,
            size_bytes=size_bytes,
            valid_s=_checked(settings.link_ttl_s if valid_s is None else valid_s),
        )
        return await self._access.call_store(form, key)

    async def shelf(self) -> list[StoredObject]:
        settings = self._access.settings
        found: list[StoredObject] = []
        for bucket in settings.read_buckets:
            if bucket != settings.upload_bucket:
                found += await self._access.call_store(self._access.store.exchange.pictures, bucket, SHELF)
        return [one for one in found if not self.scope or self.scope.holds(one.bucket, one.key, tenant=self.tenant)]

    async def discard(self, image: ImageRef) -> None:
        await self._access.call_store(self._access.store.exchange.delete, image)

    @property
    def _folder(self) -> str:
        """Where in the upload bucket a tenant's pictures lie."""
        return f"{self.tenant}/" if self.tenant else ""

    async def download(self, picture: StoredPicture | ImageRef | str, path: str | Path) -> None:
        if isinstance(picture, str):
            picture = await self._picture(picture, "downloaded")
        self._check_reach(picture)
        version_id = picture.version_id if isinstance(picture, ImageRef) else None

        def fetch(picture: StoredPicture | ImageRef) -> None:
            self._access.store.download(
                picture.bucket, picture.key, Path(path), version_id=version_id, etag=picture.etag
            )

        await self._access.call_store(fetch, picture)

    async def link(
        self,
        picture: StoredPicture | StoredObject | ImageRef | str,
        *,
        valid_s: int = 3600,
        filename: str | None = None,
    ) -> str:
        _checked(valid_s)
        if isinstance(picture, str):
            picture = await self._picture(picture, "linked")
        if not isinstance(picture, StoredObject):
            self._check_reach(picture)
        sign = partial(
            self._access.store.exchange.link,
            version_id=None if isinstance(picture, StoredPicture) else picture.version_id,
            valid_s=valid_s,
            filename=filename,
        )
        return await self._access.call_store(sign, picture.bucket, picture.key)

    async def look(self, job_id: str, kind: PictureKind = "result", *, number: int = 1) -> StoredObject:
        exchange, settings = self._access.store.exchange, self._access.settings
        if kind == "preview":
            await self._record(job_id)
            return await self._access.call_store(exchange.look, settings.work_bucket, preview_key(job_id))
        if kind == "content" or kind == "style":
            image = _named(await self._record(job_id), kind, number)
            if image.bucket not in settings.read_buckets:
                raise _none_of(job_id, kind)
            self._check_reading(image)
            look = partial(exchange.look, version_id=image.version_id, etag=image.etag)
            return await self._access.call_store(look, image.bucket, image.key)
        record = await self._ended(job_id, "looked at")
        picture = picture_of(job_id, record.outcome)
        file = picture if kind == "result" else file_beside(record.outcome, kind)
        if file is None:
            raise Permanent(
                Code.OBJECT_NOT_FOUND, f"job {job_id!r} has no {kind}", f"set output.{kind} of a job to have one made"
            )
        look = partial(exchange.look, etag=file.etag)
        return await self._access.call_store(look, file.bucket, file.key)

    async def read(
        self, there: StoredObject, *, first: int = 0, last: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        last = there.size_bytes - 1 if last is None else last
        pieces = self._access.store.exchange.read(there, first=first, last=last)
        # Whoever is cancelled leaves a thread behind that still reads.
        reading = threading.Lock()

        def read() -> bytes | None:
            with reading:
                return next(pieces, None)

        def close() -> None:
            with reading:
                pieces.close()

        try:
            while (piece := await self._access.call_store(read)) is not None:
                yield piece
        finally:
            await self._access.finally_call_store(close)

    def _check_reach(self, picture: StoredPicture | ImageRef) -> None:
        """Return if this client's scope holds it. Raises Permanent with `bucket_not_allowed`."""
        if self.scope and not self.scope.holds(picture.bucket, picture.key, tenant=self.tenant):
            self.scope.check_reading(picture.bucket, picture.key, tenant=self.tenant)

    def _check_reading(self, image: ImageRef) -> None:
        """Return if a job of this client's may name it. Raises Permanent with `bucket_not_allowed`."""
        if self.scope:
            self.scope.check_image(image, tenant=self.tenant)

    async def _record(self, job_id: str) -> Record:
        """The record of a job that this client may know of. Raises JobNotFound."""
        record = await self._access.asked.record(job_id)
        if self.tenant not in (None, record.tenant):
            raise JobNotFound(job_id)
        return record

    async def _check_owner(self, job_id: str) -> None:
        # An id stays its tenant's, also once its job is deleted: what follows can meet no other's.
        if self.tenant is not None:
            await self._record(job_id)

    async def _picture(self, job_id: str, wanted: str) -> StoredPicture:
        return picture_of(job_id, (await self._ended(job_id, wanted)).outcome)

    async def _ended(self, job_id: str, wanted: str) -> Record:
        record = await self._record(job_id)
        if not record.outcome:
            raise JobOpen(job_id, record.state, wanted)
        return record


def _named(record: Record, kind: Literal["content", "style"], number: int) -> ImageRef:
    """One of the pictures that a job is painted from. Raises Permanent with `object_not_found`."""
    try:
        job = Job.model_validate_json(record.job)
    except InvalidJob:  # no job, or another version's
        raise _none_of(record.id, kind) from None
    images = [job.content] if kind == "content" else [style.image for style in job.styles]
    if not 1 <= number <= len(images):
        raise _none_of(record.id, kind)
    return images[number - 1]


def _none_of(job_id: str, kind: PictureKind) -> Permanent:
    return Permanent(Code.OBJECT_NOT_FOUND, f"job {job_id!r} has no such {kind} to be seen", "ask for another")


async def _each(pieces: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    if isinstance(pieces, AsyncIterable):
        async for piece in pieces:
            yield piece
    else:
        for piece in pieces:
            yield piece


def _checked(valid_s: int) -> int:
    if not (isinstance(valid_s, int) and 1 <= valid_s <= MAX_LINK_S):
        raise InvalidRequest(f"valid_s {valid_s} is out of range", f"S3 allows 1 to {MAX_LINK_S} seconds")
    return valid_s
