"""What a backend uses in an event loop: StyleQueue's methods, to be awaited."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .access import Access
from .asking import Asking
from .asking_events import AskingEvents
from .asking_fleet import AskingFleet
from .asking_pictures import AskingPictures
from .asking_uploads import AskingUploads
from .awaiting import cancellation_heard
from .client import StyleQueue
from .connection import connect_async
from .contract.base import check_tenant
from .contract.errors import InvalidRequest
from .contract.scope import Scope
from .settings import Settings

if TYPE_CHECKING:
    from redis.asyncio import Redis as AsyncRedis

    from .ledger import AsyncLedger
    from .operator_file import OperatorFile

_T = TypeVar("_T")

_THREADS = 8
"""In which Celery's part is done, and as many for the store's: where that hangs, jobs are handed in all the same."""
_CONNECTIONS = 32
"""To Redis, by which it is asked; however many ask, it does one thing at a time."""


class AsyncStyleQueue(Asking):
    """A deployment of stylequeue, seen from a backend that has an event loop.

        async with AsyncStyleQueue() as queue:
            job_id = await queue.submit(Job(content=..., styles=[...], output=...))
            await queue.download((await queue.wait(job_id)).output, "picture.jpg")

    It has the methods of StyleQueue, which take, return and raise the same; `watch` and `events` are asynchronous
    iterators, all others are awaited. Redis is asked in the loop; Celery's part and the store's are done in threads.

    Any number of tasks may share one, of one event loop: another loop's raise InvalidRequest until it is closed. It is
    not for several threads, nor to be carried across a fork: make one in each process. A task that is cancelled while
    it submits may have submitted; submitting the same job again does no harm.

    What `status` and `estimate` say of workers, and of how long the jobs ahead take, may be `standing_age_s` seconds
    old: for one that is asked all the time.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        tenant: str | None = None,
        scope: Scope | None = None,
        standing_age_s: float = 0,
    ) -> None:
        self.settings = settings or Settings.load()
        self._connections = AsyncAccess(self.settings, standing_age_s=standing_age_s)
        self._owns_connections = True
        super().__init__(self._connections, None if tenant is None else check_tenant(tenant), scope)

    @property
    def operator_file(self) -> OperatorFile:
        """What the operator says beside the settings, as this client and its tenants' read it."""
        return self._connections.operator_file

    def for_tenant(self, tenant: str, *, scope: Scope | None = None) -> AsyncStyleQueue:
        """The deployment as `tenant` sees it, over the connections of this client, which closes them.

        A tenant's name has 1 to 64 letters, digits, dots, underscores and hyphens. With a `scope`, its jobs read and
        write nothing else. Raises InvalidRequest.
        """
        # None, from somebody's table say, must not come to a client that sees all.
        bound = AsyncStyleQueue(self.settings, tenant=check_tenant(tenant), scope=scope)
        bound._connections = bound._access = self._connections
        bound._owns_connections = False
        return bound

    async def close(self) -> None:
        """Give all connections back."""
        if self._owns_connections:
            await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


class AsyncAccess(Access):
    """Of one event loop: Redis is awaited, and what blocks is done in threads."""

    def __init__(self, settings: Settings, *, standing_age_s: float = 0) -> None:
        super().__init__(settings)
        self._standing_age_s = standing_age_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._places = asyncio.Semaphore(_CONNECTIONS)
        self._answered_at = -math.inf
        """When Redis last did, by the loop's clock."""

    @cached_property
    def asked(self) -> AsyncLedger:
        """The record of every job, as clients ask it."""
        from .ledger import AsyncLedger, Ticks

        ticks = Ticks(self.settings, lambda: self._redis)
        return AsyncLedger(self.settings, self._ask, ticks, standing_age_s=self._standing_age_s)

    async def _ask(self, question: Callable[[AsyncRedis], Any]) -> Any:
        self._check_loop()
        await self._take_place()
        try:
            with cancellation_heard():
                answer = await question(self._redis)
            self._answered_at = asyncio.get_running_loop().time()
            return answer
        finally:
            self._places.release()

    async def _take_place(self) -> None:
        """Wait for one of the connections, for as long as any is answered."""
        from redis.exceptions import TimeoutError as RedisTimeoutError

        timeout_s = self.settings.redis_timeout_s
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._places.acquire()
                    return
            except TimeoutError as error:
                if asyncio.get_running_loop().time() - self._answered_at > timeout_s:
                    raise RedisTimeoutError("no connection is answered") from error

    async def call(self, do: Callable[..., _T], *args: Any) -> _T:
        """What `do` returns or raises, in a thread."""
        self._check_loop()
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, do, *args)

    async def call_store(self, do: Callable[..., _T], *args: Any) -> _T:
        """The same, in one of the store's."""
        self._check_loop()
        return await asyncio.get_running_loop().run_in_executor(self._store_threads, copy_context().run, do, *args)

    async def finally_call_store(self, do: Callable[[], object]) -> None:
        """Have `do` done in one of the store's threads, also for a task that is being cancelled."""
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._store_threads, do))

    def _check_loop(self) -> None:
        """What is connected belongs to one event loop. Raises InvalidRequest in another one."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise InvalidRequest(
                "this client belongs to another event loop", "make one in each loop, or await its aclose() before"
            )

    @cached_property
    def _redis(self) -> AsyncRedis:
        return connect_async(self.settings)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="stylequeue")

    @cached_property
    def _store_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="stylequeue-store")

    async def aclose(self) -> None:
        """Give all connections back; whatever is used next connects anew, in another loop if need be."""
        if asked := self.__dict__.get("asked"):
            await asked.close()
        if redis := self.__dict__.pop("_redis", None):
            await redis.aclose()
        for name in ("_threads", "_store_threads"):
            if threads := self.__dict__.pop(name, None):
                await asyncio.to_thread(threads.shutdown)
        self.close()
        self._loop = None


# Said once.
_PARTS = (AskingPictures, AskingUploads, AskingEvents, AskingFleet, Asking)
for _name, _method in {name: method for part in _PARTS for name, method in vars(part).items()}.items():
    if not _name.startswith("_"):
        _method.__doc__ = getattr(StyleQueue, _name).__doc__
