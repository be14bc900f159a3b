"""Forms that are read as they come: what lies in a part is never held, only what was received of it last."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass

from fastapi import Request
from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..contract.codes import Code
from .problems import Refused

ANY_BYTES = 2**50
"""Of a body whose pictures are counted as they come."""
MAX_PARTS = 64
MAX_TEXT_BYTES = 16 * 1024
"""Of a part that is no file."""
_HINT = "send multipart/form-data, as `curl -F name=@file` does"


async def pieces_of(request: Request) -> AsyncGenerator[bytes, None]:
    """What comes of a body. Raises ClientDisconnect where the caller goes, or is sent away, before its end."""
    async for piece in request.stream():
        if piece:
            yield piece


@dataclass(frozen=True)
class Part:
    """One part of a form, whose bytes come when they are asked for, and are gone once the next part is."""

    name: str
    filename: str | None
    """None: it is no file."""
    pieces: AsyncIterator[bytes]

    async def text(self) -> str:
        """All of it. Raises Refused where it is too long for a field, or no UTF-8."""
        text = bytearray()
        async for piece in self.pieces:
            text += piece
            if len(text) > MAX_TEXT_BYTES:
                raise Refused(Code.BODY_TOO_LARGE, f"field {self.name!r} has over {MAX_TEXT_BYTES} bytes", _HINT)
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise Refused(Code.INVALID_REQUEST, f"field {self.name!r} is no UTF-8", _HINT) from None


class Form:
    """The parts of a request's body, one after another. Raises Refused where it is no form, or ends too early."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        kind, parameters = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not parameters.get(b"boundary"):
            raise Refused(Code.MEDIA_TYPE_UNSUPPORTED, "the body is no form", _HINT)
        self._body = body
        self._events: deque[tuple[str, bytes]] = deque()
        """What was received and not yet handed on."""
        try:
            self._parser = MultipartParser(
                parameters[b"boundary"],
                {
                    "on_header_field": lambda data, start, end: self._events.append(("field", data[start:end])),
                    "on_header_value": lambda data, start, end: self._events.append(("value", data[start:end])),
                    "on_header_end": lambda: self._events.append(("header", b"")),
                    "on_headers_finished": lambda: self._events.append(("begun", b"")),
                    "on_part_data": lambda data, start, end: self._events.append(("data", data[start:end])),
                    "on_part_end": lambda: self._events.append(("ended", b"")),
                    "on_end": lambda: self._events.append(("end", b"")),
                },
            )
        except FormParserError:  # its boundary is none
            raise Refused(Code.MEDIA_TYPE_UNSUPPORTED, "the body is no form that can be read", _HINT) from None

    async def parts(self) -> AsyncGenerator[Part, None]:
        """Each of them; what was not read of one is passed over."""
        for _ in range(MAX_PARTS):
            headers = await self._headers()
            if headers is None:
                return
            _, options = parse_options_header(headers.get(b"content-disposition", b""))
            if b"name" not in options:
                raise Refused(Code.INVALID_REQUEST, "a part of the form has no name", _HINT)
            filename = options[b"filename"].decode(errors="replace") if b"filename" in options else None
            pieces = self._pieces()
            yield Part(options[b"name"].decode(errors="replace"), filename, pieces)
            async for _ in pieces:
                pass
        raise Refused(Code.INVALID_REQUEST, f"the form has more than {MAX_PARTS} parts", _HINT)

    async def _headers(self) -> Mapping[bytes, bytes] | None:
        """Those of the next part; None: there is none."""
        headers: dict[bytes, bytes] = {}
        field = value = b""
        while True:
            match await self._event():
                case "field", text:
                    field += text
                case "value", text:
                    value += text
                case "header", _:
                    headers[field.lower()] = value
                    field = value = b""
                case "begun", _:
                    return headers
                case "end", _:
                    return None

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        while True:
            kind, data = await self._event()
            if kind == "ended":
                return
            yield data

    async def _event(self) -> tuple[str, bytes]:
        while not self._events:
            received = await anext(self._body, None)
            if received is None:
                raise Refused(Code.INVALID_REQUEST, "the form ends in the middle", "send it again")
            try:
                self._parser.write(received)
            except MultipartParseError:
                raise Refused(Code.INVALID_REQUEST, "the body is not the form that its type says", _HINT) from None
        return self._events.popleft()
