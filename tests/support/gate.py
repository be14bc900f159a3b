"""A gateway in this process, asked as its callers ask it."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2
from fastapi import FastAPI

from stylequeue.gateway import keys
from stylequeue.gateway.app import create_app
from stylequeue.gateway.keys import Role
from stylequeue.gateway.server import server_of
from stylequeue.gateway.state import Gateway
from stylequeue.local.server import HOST, free_ports
from stylequeue.settings import Settings
from tests.support.gateway_process import unread
from tests.support.processes import wait_for
from tests.support.roles import as_role

WAIT_S = 60


@contextmanager
def uncollected() -> Iterator[None]:
    """While the block runs, what is left to the garbage collector stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Gate:
    """A gateway whose event loop runs in a thread of its own; several threads may ask at once."""

    def __init__(self, settings: Settings, keys_file: Path) -> None:
        self.keys_file, self.settings = keys_file, settings
        self.admin = self.key("admin")
        """A key that may do all."""
        settings = as_role(settings.model_copy(update={"keys_file": keys_file}), "gateway")
        self.app: FastAPI = create_app(settings)
        self.state: Gateway = self.app.state.gateway
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False)
        self._http = httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=WAIT_S)

    def key(self, role: Role, tenant: str | None = None, **fields: Any) -> str:
        """A new key."""
        scope = keys.scope_of_tenants(self.settings) if tenant else None
        text, key = keys.make(role=role, tenant=tenant, **{"scope": scope, **fields})
        keys.add(self.keys_file, key)
        return text

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._http.aclose())
        self.run(self.state.close())
        left = self.run(self._tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        assert not left, left

    async def _tasks(self) -> list[str]:
        """What is still being done when all is over: nothing."""
        await asyncio.sleep(0)
        return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    def waiting(self) -> list[str]:
        """What is being done in the event loop now, but for the one that listens for all who wait."""
        found: list[str] = self.run(self._tasks())
        return [task for task in found if "Ticks" not in task]

    def run(self, coroutine: Any) -> Any:
        """What a coroutine returns, in the gateway's event loop."""
        return self.begin(coroutine).result(WAIT_S)

    def begin(self, coroutine: Any) -> Future[Any]:
        """The same, to be waited for."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def ask(
        self, method: str, path: str, *, key: str | None = "", headers: Mapping[str, str] | None = None, **more: Any
    ) -> Any:
        """One request, with the operator's key unless another is given, or None."""
        bearer = {} if key is None else {"Authorization": f"Bearer {key or self.admin}"}
        return self.run(self._http.request(method, path, headers={**bearer, **(headers or {})}, **more))

    @contextmanager
    def stalled(self, path: str) -> Iterator[None]:
        """One request whose caller, while the block runs, takes nothing behind what comes first, and then leaves."""
        path, _, query = path.partition("?")
        bearer = [(b"authorization", f"Bearer {self.admin}".encode())]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": bearer}
        has_gone, has_begun = asyncio.Event(), threading.Event()

        async def receive() -> dict[str, str]:
            await has_gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                has_begun.set()
                await asyncio.Event().wait()

        asked = self.begin(self.app({**scope, "asgi": {"version": "3.0"}, "root_path": ""}, receive, send))
        assert has_begun.wait(WAIT_S)
        yield
        self._loop.call_soon_threadsafe(has_gone.set)
        asked.result(WAIT_S)

    def get(self, path: str, **more: Any) -> Any:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> Any:
        return self.ask("POST", path, **more)


class ServedGate(Gate):
    """The same behind a port, as its process serves it: what is streamed can be read while it comes."""

    def __init__(self, settings: Settings, keys_file: Path, *, port: int | None = None) -> None:
        super().__init__(settings, keys_file)
        self.port = free_ports(1)[0] if port is None else port

    def __enter__(self) -> Self:
        super().__enter__()
        self._server = server_of(self.app, host=HOST, port=self.port)
        self._serving = self.begin(self._server.serve())
        wait_for(lambda: self._server.started, WAIT_S, "the gateway to listen")
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()
        self.served()
        super().__exit__(*details)

    def unread(self, path: str) -> socket.socket:
        """A connection whose client has asked for a stream and reads none of it."""
        return unread(self.port, self.admin, path)

    def connections(self) -> list[Any]:
        """The server's protocol of each connection."""
        return list(self._server.server_state.connections)

    def served(self) -> None:
        """Return when nobody is served any more."""
        self._serving.result(WAIT_S)

    def stop(self) -> None:
        """As its process does when it is told to."""
        self.run(self._stop())

    async def _stop(self) -> None:
        self.state.stopping.set()
        self._server.should_exit = True

    @contextmanager
    def stream(self, path: str, *, key: str = "", headers: Mapping[str, str] | None = None) -> Iterator[Any]:
        """An answer that has begun, with its `status_code`, `headers` and `iter_lines()`."""
        bearer = {"Authorization": f"Bearer {key or self.admin}"}
        with (
            httpx2.Client(base_url=f"http://{HOST}:{self.port}", timeout=WAIT_S) as http,
            http.stream("GET", path, headers={**bearer, **(headers or {})}) as response,
        ):
            yield response
