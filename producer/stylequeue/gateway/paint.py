"""A picture for a form: pictures in, a picture out, in one request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.requests import ClientDisconnect

from ..aclient import AsyncStyleQueue
from ..contract.codes import Code
from ..contract.errors import InvalidRequest, JobConflict, StyleQueueError
from ..contract.events import Succeeded
from ..contract.job import EVERYWHERE, MAX_STYLES, Job, Output
from ..contract.objects import SUFFIXES, ImageRef
from ..contract.plain_json import read_json
from ..contract.recipe import FastRecipe, OptimizeRecipe
from ..contract.status import JobStatus
from .access import Submitter
from .bodies import IDEMPOTENCY_KEY, job_id_of, job_of
from .forms import ANY_BYTES, MAX_PARTS, MAX_TEXT_BYTES, Form, Part, pieces_of
from .keys import Key
from .pictures import streamed
from .problems import Refused, closing, document
from .state import GatewayState
from .view import JobView, show
from .waiting import WaitWanted, ended_or_not

router = APIRouter(prefix="/v1", tags=["pictures"], responses=document())

_MOST = {"content": 1, "style": MAX_STYLES, "mask": MAX_STYLES, "keep_mask": 1, "init_image": 1}
"""Pictures of a form: how many of each there may be."""
_RECIPE = {*FastRecipe.model_fields, *OptimizeRecipe.model_fields} - {"init_image"}
_OUTPUT = Output.model_fields.keys() - {"bucket", "key", "overwrite"}
_JOB = {"template", "queue", "deadline"}
_LABEL = "label."
_DESCRIBED = ("init", "method", "template")
_SUFFIXES = {*SUFFIXES.values(), ".jpeg"}
_HINT = f"send files `content` and `style`, and fields of a recipe ({', '.join(sorted(_RECIPE))}) or a `template`"

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["content"],
                "properties": {
                    "content": {"type": "string", "format": "binary", "description": "The picture to be painted."},
                    "style": {
                        "type": "array",
                        "maxItems": MAX_STYLES,
                        "items": {"type": "string", "format": "binary"},
                        "description": "Pictures to paint it like; left out: the template's.",
                    },
                    "weight": {
                        "type": "array",
                        "items": {"type": "number"},
                        "description": "Of each style, in their order; left out: all alike.",
                    },
                    "mask": {
                        "type": "array",
                        "maxItems": MAX_STYLES,
                        "items": {"type": "string", "format": "binary"},
                        "description": "Where each style applies, in their order: grey pictures, white where it does; "
                        f"in place of one, the text `{EVERYWHERE}`. Left out: all apply everywhere.",
                    },
                    "keep_mask": {
                        "type": "string",
                        "format": "binary",
                        "description": "What to keep closer to the content, beside faces: a grey picture, white where "
                        "it counts.",
                    },
                    "init_image": {"type": "string", "format": "binary", "description": "What is painted over."},
                    "template": {"type": "string", "description": "Of the operator's file."},
                    "method": {"type": "string", "enum": ["fast", "optimize"], "description": "Left out: fast."},
                    "init": {"type": "string", "description": "Left out: `image` where there is an init_image."},
                    **{name: {"type": "string"} for name in sorted(_RECIPE | _OUTPUT | _JOB) if name not in _DESCRIBED},
                },
                "additionalProperties": {"type": "string", "description": "label.NAME: a label of the job."},
            }
        }
    },
}


@router.post(
    "/paint",
    operation_id="paint",
    max_body_size=ANY_BYTES,
    status_code=202,
    response_model=JobView,
    openapi_extra={"requestBody": _FORM},
    responses={
        200: {
            "description": "The picture, where it was waited for and is done; its job, for who accepts JSON alone.",
            "content": {"image/*": {}},
        },
    },
)
async def paint(
    request: Request,
    response: Response,
    gateway: GatewayState,
    caller: Submitter,
    wait: WaitWanted,
    accept: Annotated[str, Header(max_length=400)] = "*/*",
    idempotency_key: Annotated[str | None, Header(**IDEMPOTENCY_KEY)] = None,
) -> Any:
    """Paint a picture like others: the files go into the store as they come, and a job is made of them.

    With `wait`, the answer is the picture; where it is not done in time, 202 and the job. The method is `fast` unless
    the form, or the template, says another. With `Idempotency-Key`, the same form again is the same job.
    """
    _check_length(request, gateway.settings.max_image_bytes)
    job_id = None if idempotency_key is None else job_id_of(caller.tenant, idempotency_key)
    form = _Filled(caller.queue, caller.key)
    try:
        async for part in Form(request.headers.get("content-type", ""), pieces_of(request)).parts():
            await form.take(part)
        status, is_new = await form.submit(job_id)
    except ClientDisconnect:
        await form.discard()
        raise
    except BaseException as error:
        await form.discard()
        raise closing(error) from None
    status = await ended_or_not(request, gateway, caller.queue, status, wait)
    wait.applied(response)
    if not is_new and idempotency_key is not None:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/v1/jobs/{status.id}"
    if not wait.seconds or not status.ended or _wants_json(accept):
        return show(request, response, caller, status, code=200 if status.ended and wait.seconds else 202)
    if not isinstance(status.outcome, Succeeded):
        await caller.queue.wait(status.id)  # raises what became of it
    picture = streamed(caller.queue, await caller.queue.look(status.id), status.id)
    picture.headers.update(response.headers)
    return picture


def _wants_json(accept: str) -> bool:
    """Whether a caller names JSON and no image."""
    return "json" in accept and "image/" not in accept


def _check_length(request: Request, max_image_bytes: int) -> None:
    """Return unless the body says beforehand that it is too long. Raises Refused."""
    most_bytes = sum(_MOST.values()) * max_image_bytes + MAX_PARTS * MAX_TEXT_BYTES
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most_bytes:
        hint = f"a picture may have {max_image_bytes} bytes"
        raise Refused(Code.BODY_TOO_LARGE, f"the form has {length} bytes", hint, {"Connection": "close"})


class _Filled:
    """A form as far as it was read: its pictures lie in the store."""

    def __init__(self, queue: AsyncStyleQueue, key: Key) -> None:
        self._queue = queue
        self._key = key
        self._pictures: dict[str, list[ImageRef | None]] = {}
        """By their names. None: a style that has no mask, where others have."""
        self._texts: list[tuple[str, str]] = []
        self._uploaded: list[ImageRef] = []
        self._named: frozenset[str] = frozenset()
        """Keys of pictures of the job that is on record, or may be."""

    async def take(self, part: Part) -> None:
        """Read a part. Raises Refused, and as `upload_stream` does."""
        if part.name not in _MOST:
            self._texts.append((part.name, await part.text()))
            return
        images = self._pictures.setdefault(part.name, [])
        if len(images) == _MOST[part.name]:
            raise Refused(Code.INVALID_REQUEST, f"more than {_MOST[part.name]} {part.name!r}", _HINT)
        if part.filename is None:
            if part.name != "mask" or await part.text() != EVERYWHERE:
                hint = f"send it as `-F {part.name}=@photo.jpg`"
                raise Refused(Code.INVALID_REQUEST, f"{part.name!r} is no file", hint)
            images.append(None)
            return
        suffix = PurePosixPath(part.filename).suffix.lower()
        image = await self._queue.upload_stream(part.pieces, suffix=suffix if suffix in _SUFFIXES else "")
        self._uploaded.append(image)
        images.append(image)

    async def submit(self, job_id: str | None) -> tuple[JobStatus, bool]:
        """Hand in the job that it comes to, and say whether it is new. Raises as `bodies.job_of` and `submit` do."""
        job = await self._job(job_id)
        try:
            is_new = await self._hand_in(job)
        except JobConflict:
            # The same form again brings the same pictures, under keys of their own.
            if job_id is None or not await self._takes_what_was_sent_before(job_id):
                raise
            job = await self._job(job_id)
            is_new = await self._hand_in(job)
        await self.discard()
        return await self._queue.status(job.id), is_new

    async def _hand_in(self, job: Job) -> bool:
        # Where this breaks off nobody knows whether the job is on record: what it names stays.
        self._named = frozenset(image.key for image in job.images)
        (submission,) = await self._queue.submit_each([job])
        if submission.error:
            self._named = frozenset()
            raise submission.error
        return submission.is_new

    async def discard(self) -> None:
        """Leave nothing in the store but what a job names; also for a task that is being cancelled."""
        gone = [self._queue.discard(image) for image in self._uploaded if image.key not in self._named]
        if gone:
            await asyncio.shield(asyncio.gather(*gone, return_exceptions=True))

    async def _takes_what_was_sent_before(self, job_id: str) -> bool:
        """Name the pictures of the job of this id instead of those just sent, where they are the same."""
        try:
            before = Job.model_validate((await self._queue.status(job_id)).job)
        except StyleQueueError:
            return False
        lie = _pictures_of(before)
        if any(_etags(images) != _etags(lie[name]) for name, images in self._pictures.items()):
            return False
        self._pictures = {name: lie[name] for name in self._pictures}
        return True

    async def _job(self, job_id: str | None) -> Job:
        job, _ = await job_of(self._queue, self._fields(), job_id=job_id, key=self._key)
        return job

    def _fields(self) -> dict[str, Any]:
        """As a job's body has them. Raises InvalidRequest for what no form has."""
        fields = self._said()
        if "template" not in fields:
            fields["recipe"].setdefault("method", FastRecipe().method)
        if styles := self._styles():
            fields["styles"] = styles
        for name in self._pictures.keys() & {"content", "keep_mask"}:
            fields[name] = _as_json(self._pictures[name][0])
        if painted_over := self._pictures.get("init_image"):
            fields["recipe"].setdefault("init", "image")
            fields["recipe"]["init_image"] = _as_json(painted_over[0])
        return {name: value for name, value in fields.items() if value != {}}

    def _said(self) -> dict[str, Any]:
        """What the texts come to."""
        fields: dict[str, Any] = {"recipe": {}, "output": {}, "labels": {}}
        for name, text in self._texts:
            value: Any = text
            if name == "weight":
                continue
            if name in _RECIPE:
                within = fields["recipe"]
                if text.startswith("{"):
                    value = _object(name, text)
            elif name in _OUTPUT:
                within = fields["output"]
            elif name in _JOB:
                within = fields
            elif name.startswith(_LABEL):
                within, name = fields["labels"], name.removeprefix(_LABEL)
            else:
                raise InvalidRequest(f"a form has no field {name!r}", _HINT)
            if name in within:
                raise InvalidRequest(f"field {name!r} comes twice", "leave one of them out")
            within[name] = value
        return fields

    def _styles(self) -> list[dict[str, Any]]:
        styles: list[dict[str, Any]] = [{"image": _as_json(image)} for image in self._pictures.get("style", ())]
        weights = [text for name, text in self._texts if name == "weight"]
        masks = [_as_json(image) for image in self._pictures.get("mask", ())]
        for name, given in (("weight", weights), ("mask", masks)):
            if given and len(given) != len(styles):
                hint = "give one for each, or none" + f"; `{EVERYWHERE}` in place of a mask" * (name == "mask")
                raise InvalidRequest(f"{len(styles)} styles, {len(given)} parts {name!r}", hint)
            for style, value in zip(styles, given, strict=False):
                style[name] = value
        return styles


def _pictures_of(job: Job) -> dict[str, list[ImageRef | None]]:
    """By the names that a form has for them."""
    return {
        "content": [job.content],
        "style": [style.image for style in job.styles],
        "mask": [style.mask for style in job.styles],
        "keep_mask": [job.keep_mask] if job.keep_mask else [],
        "init_image": [job.init_image] if job.init_image else [],
    }


def _etags(images: Sequence[ImageRef | None]) -> list[str | None]:
    return [None if image is None else image.etag for image in images]


def _as_json(image: ImageRef | None) -> dict[str, Any] | None:
    return None if image is None else image.model_dump(exclude_none=True)


def _object(name: str, text: str) -> Any:
    try:
        return read_json(text)
    except ValueError:
        raise InvalidRequest(f"field {name!r} is no JSON", 'objects are written as {"a": 1}') from None
