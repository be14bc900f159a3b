"""A store in which nothing lies but names: lists of very many objects as S3 answers them, and what was asked."""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

_PAGE = 1000
_WRITTEN = "2026-11-26T09:00:00.000Z"
_LIST = """<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">\
<Name>uploads</Name><EncodingType>url</EncodingType><KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys>\
<IsTruncated>{more}</IsTruncated>{entries}</ListBucketResult>"""
_ENTRY = """<Contents><Key>{key}</Key><LastModified>{at}</LastModified><ETag>&quot;e{number}&quot;</ETag>\
<Size>1000</Size></Contents>"""
_VERSIONING = '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'


class ManyObjects:
    """These keys, sorted, in every bucket."""

    def __init__(self, url: str, keys: Sequence[str]) -> None:
        self.url = url
        self.keys = keys
        self.asked: Counter[str] = Counter()
        """`list`, `versioning` and what else was asked for."""

    def answer(self, query: dict[str, list[str]]) -> str:
        if "versioning" in query:
            self.asked["versioning"] += 1
            return _VERSIONING
        self.asked["list" if "list-type" in query else "other"] += 1
        prefix, after = (query.get(name, [""])[0] for name in ("prefix", "start-after"))
        first = max(bisect.bisect_left(self.keys, prefix), bisect.bisect_right(self.keys, after) if after else 0)
        found = [key for key in self.keys[first : first + _PAGE + 1] if key.startswith(prefix)]
        entries = "".join(
            _ENTRY.format(key=quote(key), at=_WRITTEN, number=first + number)
            for number, key in enumerate(found[:_PAGE])
        )
        return _LIST.format(count=min(len(found), _PAGE), more=str(len(found) > _PAGE).lower(), entries=entries)


@contextmanager
def many_objects(keys: Sequence[str]) -> Iterator[ManyObjects]:
    """A server of them, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = store.answer(parse_qs(urlsplit(self.path).query, keep_blank_values=True)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    store = ManyObjects(f"http://127.0.0.1:{server.server_address[1]}", keys)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
