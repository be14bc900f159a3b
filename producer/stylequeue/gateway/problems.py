"""What a request is answered with that cannot be done: RFC 9457, with our own stable codes."""

from __future__ import annotations

import ast
import inspect
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ..contract import codes
from ..contract.codes import Code, status_of
from ..contract.errors import InvalidSettings, RateLimited, StyleQueueError
from .limits import headers_of

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_RETRY_S = 2
"""Before that, whatever does not answer now will hardly have come back."""
_FAULTS = 32
"""Named in one answer."""


class Fault(BaseModel):
    """One thing that is wrong in a request."""

    pointer: str = Field(description="Where, as a JSON pointer into the body; or the parameter's name.")
    detail: str


class Problem(BaseModel):
    """Why a request was not done."""

    type: str = Field(description="The address of a page about the code.")
    title: str
    status: int
    detail: str = Field(description="What happened.")
    code: str = Field(description="Stable for ever: programs compare it.")
    hint: str = Field(default="", description="What to do.")
    instance: str = Field(description="The request's id, as it stands in the gateway's log.")
    errors: list[Fault] | None = Field(default=None, description="Each fault of a request that is not as it must be.")


class Refused(StyleQueueError):
    """A request that the gateway itself will not do, with what else belongs to the answer."""

    def __init__(
        self,
        code: Code,
        message: str,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        faults: Sequence[Fault] | None = None,
    ) -> None:
        super().__init__(code, message, hint)
        self.headers = dict(headers or {})
        self.faults = faults


def title_of(code: str) -> str:
    """A code in words."""
    return code.replace("_", " ").capitalize()


def problem(
    request_id: str,
    code: str,
    detail: str,
    hint: str = "",
    *,
    faults: Sequence[Fault] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer to a request that failed with `code`."""
    body = _problem(request_id, code, detail, hint, faults)
    also = {"Retry-After": str(_RETRY_S)} if body.status == 503 else {}
    content = body.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, body.status, {**also, **(headers or {})}, media_type=MEDIA_TYPE)


def problem_of(request: Request, error: StyleQueueError) -> Problem:
    """What an error says, as a part of an answer."""
    faults = error.faults if isinstance(error, Refused) else None
    return _problem(request_id_of(request), error.code, error.message, error.hint, faults)


def _problem(request_id: str, code: str, detail: str, hint: str, faults: Sequence[Fault] | None) -> Problem:
    return Problem(
        type=f"/problems/{code}",
        title=title_of(code),
        status=status_of(code),
        detail=detail,
        code=code,
        hint=hint,
        instance=request_id,
        errors=None if faults is None else list(faults[:_FAULTS]),
    )


def handle(app: FastAPI) -> None:
    """Have whatever goes wrong in `app` answered as a problem."""
    for kind, handler in ((StyleQueueError, _ours), (RequestValidationError, _invalid), (HTTPException, _refused)):
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]  # typed as taking any exception
    app.add_exception_handler(Exception, _unexpected)


def request_id_of(request: Request) -> str:
    """The id that the request came with, or was given."""
    return str(request.scope["state"]["request_id"])


async def _ours(request: Request, error: StyleQueueError) -> JSONResponse:
    if isinstance(error, InvalidSettings):
        # Of files and endpoints that are the operator's alone.
        log.error("request=%s %s", request_id_of(request), error)
        detail, hint = "the gateway's operator has to mend its settings", "its log has more, under this request's id"
        return problem(request_id_of(request), error.code, detail, hint)
    headers, faults = (error.headers, error.faults) if isinstance(error, Refused) else (None, None)
    if isinstance(error, RateLimited):
        headers = headers_of(error)
    return problem(request_id_of(request), error.code, error.message, error.hint, faults=faults, headers=headers)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    faults = faults_of(error.errors(), error.body)
    in_body = any(fault["loc"][:1] == ("body",) for fault in error.errors())
    return problem(
        request_id_of(request),
        Code.INVALID_JOB if in_body else Code.INVALID_REQUEST,
        f"{faults[0].pointer or 'the body'}: {faults[0].detail}" + (", and more" if len(faults) > 1 else ""),
        "`errors` names each fault; /openapi.json says how a request must be",
        faults=faults,
    )


def faults_of(errors: Sequence[Any], body: object) -> list[Fault]:
    """What pydantic found wrong: in a body where the place begins so, else in a parameter."""
    return [
        Fault(
            pointer=_pointer(error["loc"][1:], body) if error["loc"][:1] == ("body",) else str(error["loc"][-1]),
            detail=str(error["msg"]).removeprefix("Value error, "),
        )
        for error in errors
    ]


def _pointer(place: Sequence[int | str], body: object) -> str:
    """A JSON pointer: pydantic's place without what tells kinds of a field apart, which is no part of the body."""
    pointer = ""
    for depth, part in enumerate(place, 1):
        if _has(body, part):
            body = body[part]  # type: ignore[index]
        elif depth < len(place) or not isinstance(body, Mapping):
            continue
        pointer += f"/{str(part).replace('~', '~0').replace('/', '~1')}"
    return pointer


def _has(body: object, part: int | str) -> bool:
    if isinstance(body, list):
        return isinstance(part, int) and part < len(body)
    return isinstance(body, Mapping) and part in body


_OF_STATUS = {
    401: Code.UNAUTHENTICATED,
    403: Code.FORBIDDEN,
    404: Code.ADDRESS_NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.BODY_TOO_LARGE,
    415: Code.MEDIA_TYPE_UNSUPPORTED,
}
_WORDS = {
    Code.ADDRESS_NOT_FOUND: ("nothing is served under this path", "/openapi.json lists what is"),
    Code.METHOD_NOT_ALLOWED: ("this path knows no such method", "the header Allow names those it knows"),
    Code.BODY_TOO_LARGE: (
        "the body has more bytes than are read here",
        "pictures go to POST /v1/uploads, not into JSON",
    ),
    Code.MEDIA_TYPE_UNSUPPORTED: ("the body is of a type that is not read here", "send Content-Type: application/json"),
}


async def _refused(request: Request, error: HTTPException) -> JSONResponse:
    """By the framework itself."""
    otherwise = Code.INVALID_REQUEST if error.status_code < 500 else Code.INTERNAL_ERROR
    code = _OF_STATUS.get(error.status_code, otherwise)
    detail, hint = _WORDS.get(code, ("the request cannot be read", "/openapi.json says how it must be"))
    return problem(request_id_of(request), code, detail, hint, headers=error.headers)


async def _unexpected(request: Request, _: Exception) -> JSONResponse:
    """A fault of ours, whose text is the log's alone."""
    detail, hint = "a fault of the gateway's own", "its log has more, under this request's id"
    return problem(request_id_of(request), Code.INTERNAL_ERROR, detail, hint)


@cache
def meanings() -> Mapping[str, str]:
    """What each code says of itself, as its module has it; "" where the name says all."""
    (definition,) = ast.parse(inspect.getsource(codes.Code)).body
    found: dict[str, str] = {}
    name = ""
    for statement in cast("ast.ClassDef", definition).body:
        match statement:
            case ast.Assign(value=ast.Constant(value=str(name))):
                found[name] = ""
            case ast.Expr(value=ast.Constant(value=str(text))) if name:
                found[name] = inspect.cleandoc(text).replace("\n", " ")
    return found


def document() -> dict[int | str, dict[str, Any]]:
    """How routes say in OpenAPI that they may answer with a problem."""
    return {"default": {"model": Problem, "description": "Why it was not done.", "content": {MEDIA_TYPE: {}}}}


def closing(error: BaseException) -> BaseException:
    """An error of ours, told on a connection on which no more is read: the body may go on."""
    if not isinstance(error, StyleQueueError) or isinstance(error, RateLimited):
        return error
    more = (error.headers, error.faults) if isinstance(error, Refused) else ({}, None)
    return Refused(Code(error.code), error.message, error.hint, {**more[0], "Connection": "close"}, more[1])
