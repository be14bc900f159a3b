"""Where stores bring their notices: a route for each source of the operator's file that has tokens.

A store keeps what it was not told is taken, if it keeps anything: so the answer is 2xx once all is on record, and 503
whatever else may be wrong. What is no notification is a dead letter, and taken: it would come for ever.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from ..contract.codes import Code
from ..contract.errors import StyleQueueError
from .intake import Intake

log = logging.getLogger(__name__)

_AGAIN_S = 5
_NOBODY = "no source has this token"

router = APIRouter(include_in_schema=False)


async def _intake(request: Request) -> Intake:
    found: Intake = request.app.state.intake
    return found


TheIntake = Annotated[Intake, Depends(_intake)]
"""Of a route: the process's."""


@router.head("/")
@router.head("/v1/notices/{source}")
@router.get("/v1/notices/{source}")
async def probe() -> Response:
    """Say that somebody is there: some stores ask before they send anything (RustFS at the root of the address)."""
    return Response(status_code=204)


@router.post("/v1/notices/{source}")
async def take(request: Request, source: str, intake: TheIntake) -> Response:
    """Take a notification in, of any shape."""
    if not _is_known(request, source, intake):
        problem = {"code": Code.UNAUTHENTICATED, "detail": _NOBODY, "hint": "send `Authorization: Bearer TOKEN`"}
        return JSONResponse(problem, 401, {"WWW-Authenticate": 'Bearer realm="stylequeue"', "Connection": "close"})
    try:
        outcomes = await intake.read(await request.body(), source=source)
        waiting = next((outcome.error for outcome in outcomes if not outcome.is_settled), None)
    except StyleQueueError as error:
        log.warning("source=%s is to send again: %s", source, error)
        waiting = error
    if waiting is not None:
        problem = {"code": waiting.code, "detail": waiting.message, "hint": waiting.hint}
        return JSONResponse(problem, 503, {"Retry-After": str(_AGAIN_S)})
    return JSONResponse(Counter(outcome.verdict for outcome in outcomes))


def _is_known(request: Request, source: str, intake: Intake) -> bool:
    """Whether the request bears a token of that source; how long it takes says nothing of which there are."""
    of_file = intake.file.now.sources.get(source)
    tokens = [token.get_secret_value() for token in of_file.tokens] if of_file else []
    given = list(_given(request))
    matches = [hmac.compare_digest(one.encode(), token.encode()) for one in given for token in tokens or [_NOBODY]]
    return bool(tokens) and any(matches)


def _given(request: Request) -> Iterator[str]:
    """What may be a token: each store has one place in which it can send one."""
    kind, _, rest = request.headers.get("authorization", "").partition(" ")
    match kind.lower():
        case "bearer":
            yield rest.strip()
        case "basic":
            try:
                yield base64.b64decode(rest, validate=True).decode().partition(":")[2]
            except (binascii.Error, ValueError):
                return
        case _ if kind and not rest:
            yield kind
    if (key := request.headers.get("x-api-key")) is not None:
        yield key
    if (token := request.query_params.get("token")) is not None:
        yield token
