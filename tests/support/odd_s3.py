"""An S3 in memory that is right but for what a test wants to be odd about it.

    with OddS3(refuse("PUT", 503, "SlowDown", times=1)) as s3:
        Store(s3.settings()).write(...)
        s3.seen                   # ["PUT /results/a", "PUT /results/a"]

What SeaweedFS never answers is answered here: refusals of other stores, answers without their headers, objects that
come out otherwise than they went in. It knows as much of S3 as `stylequeue.store` asks.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import SecretStr

from stylequeue.local.server import HOST
from stylequeue.settings import Settings

SECRET = "AWS-secret-in-body"
MARK_SECRET = "what-marks-are-made-with-in-tests"
_KEPT = ("content-type", "content-encoding", "x-amz-meta-")
"""Headers of an object, by how they begin."""


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_copy(self) -> bool:
        return "x-amz-copy-source" in self.headers

    def __str__(self) -> str:
        return f"{'COPY' if self.is_copy else self.method} {self.path}"


@dataclass
class Answered:
    """An answer. A length that is no `Content-Length` of its own is that of the body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Rest = Callable[[Asked], Answered]
Oddity = Callable[..., Answered]
"""Answers a request, or has it answered by the rest: the next oddities, and then what is right."""


class OddS3:
    """Listens until the `with` block ends. `objects` are bodies and headers by path, `/bucket/key`."""

    def __init__(self, *oddities: Oddity) -> None:
        self.oddities = list(oddities)
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.seen: list[str] = []
        self._lock = threading.RLock()
        s3 = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                query = dict(parse_qsl(url.query))
                answer = s3._answer(Asked(self.command, unquote(url.path), headers, body, query))
                self.send_response(answer.status)
                if answer.status != 204 and "Transfer-Encoding" not in answer.headers:
                    answer.headers.setdefault("Content-Length", str(len(answer.body)))
                for name, value in answer.headers.items():
                    if value:
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)
                self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_DELETE = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def settings(self, **changes: Any) -> Settings:
        """Settings that lead here; those who wait wait not long."""
        own: dict[str, Any] = {
            "s3_endpoint_url": f"http://{HOST}:{self._server.server_port}",
            "s3_access_key": SecretStr("access"),
            "s3_secret_key": SecretStr("secret"),
            "s3_addressing": "path",
            "s3_connect_timeout_s": 1,
            "s3_read_timeout_s": 2,
            "s3_attempts": 2,
            "read_buckets": ("uploads", "results"),
            "mark_secrets": (SecretStr(MARK_SECRET),),
        }
        return Settings(**{**own, **changes})

    def lay(self, path: str, body: bytes, **headers: str) -> str:
        """Put an object there, and return its ETag."""
        self.objects[path] = (body, {name.replace("_", "-"): value for name, value in headers.items()})
        return _etag(body)

    def _answer(self, asked: Asked) -> Answered:
        with self._lock:
            self.seen.append(str(asked))

            answer: Rest = self._right
            for oddity in reversed(self.oddities):
                answer = partial(oddity, rest=answer)
            return answer(asked)

    def _right(self, asked: Asked) -> Answered:
        if asked.path.count("/") == 1:
            return Answered(200, {"Content-Type": "application/xml"}, self._listed(asked))
        there = self.objects.get(asked.path)
        if not _holds(asked.headers, there and there[0], "if-"):
            return error(412 if there or "if-none-match" in asked.headers else 404, "PreconditionFailed")
        match asked.method:
            case "DELETE":
                self.objects.pop(asked.path, None)
                return Answered(204)
            case "PUT":
                return self._take(asked)
        if there is None:
            return error(404, "NoSuchKey")
        body, headers = there
        return Answered(200, {"ETag": _etag(body), **headers}, body)

    def _listed(self, asked: Asked) -> bytes:
        before, most = f"{asked.path}/{asked.query.get('prefix', '')}", int(asked.query.get("max-keys", 1000))
        keys = sorted(path.removeprefix(f"{asked.path}/") for path in self.objects if path.startswith(before))
        listed = "".join(f"<Contents><Key>{quote(key)}</Key></Contents>" for key in keys[:most])
        is_cut = str(len(keys) > most).lower()
        return (
            "<ListBucketResult><EncodingType>url</EncodingType>"
            f"<IsTruncated>{is_cut}</IsTruncated>{listed}</ListBucketResult>"
        ).encode()

    def _take(self, asked: Asked) -> Answered:
        body = asked.body
        headers = {name: value for name, value in asked.headers.items() if name.startswith(_KEPT)}
        if asked.is_copy:
            source = self.objects.get("/" + unquote(asked.headers["x-amz-copy-source"]).lstrip("/"))
            if source is None:
                return error(404, "NoSuchKey")
            if not _holds(asked.headers, source[0], "x-amz-copy-source-if-"):
                return error(412, "PreconditionFailed")
            body = source[0]
            if asked.headers.get("x-amz-metadata-directive") != "REPLACE":
                headers = source[1]
        self.objects[asked.path] = (body, headers)
        if asked.is_copy:
            copied = f"<CopyObjectResult><ETag>{_etag(body)}</ETag></CopyObjectResult>".encode()
            return Answered(200, {"Content-Type": "application/xml"}, copied)
        return Answered(200, {"ETag": _etag(body)})


def error(status: int, code: str) -> Answered:
    """A refusal."""
    body = f"<Error><Code>{code}</Code><Message>signed with {SECRET}</Message></Error>".encode()
    return Answered(status, {"Content-Type": "application/xml"}, body)


def refuse(what: str, status: int, code: str, *, times: int | None = None) -> Oddity:
    """Refuses the first so many requests, or all, that begin so: `PUT`, `COPY /results/a`."""
    left = [times]

    def oddity(asked: Asked, rest: Rest) -> Answered:
        # The answer to HEAD has no body: the code comes with the GET that asks why.
        asks_why = what.startswith("HEAD") and asked.headers.get("range") == "bytes=0-0"
        if not (str(asked).startswith(what) or asks_why) or left[0] == 0:
            return rest(asked)
        if left[0] is not None and not asks_why:
            left[0] -= 1
        return error(status, code)

    return oddity


def without(what: str, *headers: str, **others: str) -> Oddity:
    """Leaves headers out of its answers to what begins so, or has others in their place."""

    def oddity(asked: Asked, rest: Rest) -> Answered:
        answer = rest(asked)
        if str(asked).startswith(what):
            answer.headers |= dict.fromkeys(headers, "")
            answer.headers |= {name.replace("_", "-"): value for name, value in others.items()}
            if asked.is_copy and "ETag" in headers:
                answer.body = b"<CopyObjectResult></CopyObjectResult>"
        return answer

    return oddity


def careless(what: str) -> Oddity:
    """Heeds no condition of what begins so."""

    def oddity(asked: Asked, rest: Rest) -> Answered:
        return rest(_unconditional(asked) if str(asked).startswith(what) else asked)

    return oddity


def keeps_instead(kept: bytes) -> Oddity:
    """Takes what is put or copied, and has something else then."""

    def oddity(asked: Asked, rest: Rest) -> Answered:
        answer = rest(asked)
        if asked.method == "PUT" and answer.status == 200:
            rest(replace(_unconditional(asked, "x-amz-copy-source"), body=kept))
        return answer

    return oddity


def breaks_off(what: str, *, times: int) -> Oddity:
    """Answers so many times with a body that is shorter than it says."""
    left = [times]

    def oddity(asked: Asked, rest: Rest) -> Answered:
        answer = rest(asked)
        if str(asked).startswith(what) and left[0]:
            left[0] -= 1
            answer.headers["Content-Length"] = str(len(answer.body))
            answer.body = answer.body[:3]
        return answer

    return oddity


def before(what: str, happens: Callable[[], object], *, number: int | None = 1) -> Oddity:
    """Somebody else is a moment faster than the n-th request that begins so, or than each."""
    seen = [0]

    def oddity(asked: Asked, rest: Rest) -> Answered:
        if str(asked).startswith(what):
            seen[0] += 1
            if number in (None, seen[0]):
                happens()
        return rest(asked)

    return oddity


def _unconditional(asked: Asked, *names: str) -> Asked:
    kept = {name: value for name, value in asked.headers.items() if "match" not in name.lower()}
    return replace(asked, headers={name: value for name, value in kept.items() if name.lower() not in names})


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _holds(headers: Mapping[str, str], body: bytes | None, prefix: str) -> bool:
    match = headers.get(f"{prefix}match")
    if match is not None and (body is None or match != _etag(body)):
        return False
    return not (headers.get(f"{prefix}none-match") == "*" and body is not None)
