"""JSON that callers send, read as what it says and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response, params
from fastapi.routing import APIRoute

from ..contract.codes import Code
from ..contract.plain_json import read_json
from .access import check_key
from .problems import Refused


class StrictRoute(APIRoute):
    """A route whose body is plain JSON, if it has one: no name twice, no NaN, not too deep, and of that type.

    A stranger's is not read.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's, of a request that is read so."""
        handle = super().get_route_handler()
        if self.body_field is None or isinstance(self.body_field.field_info, params.Form):
            return handle

        async def read_first(request: Request) -> Response:
            await check_key(request)
            request = _StrictRequest(request.scope, request.receive)
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if await request.body():
                if kind != "application/json":
                    what = "the body is of a type that is not read here"
                    raise Refused(Code.MEDIA_TYPE_UNSUPPORTED, what, "send application/json")
                try:
                    await request.json()
                except ValueError as error:
                    raise Refused(Code.INVALID_REQUEST, f"the body is no plain JSON: {error}") from None
            return await handle(request)

        return read_first


class _StrictRequest(Request):
    _value: Any = None
    _is_read = False

    async def json(self) -> Any:
        if not self._is_read:
            self._value, self._is_read = read_json(await self.body()), True
        return self._value
