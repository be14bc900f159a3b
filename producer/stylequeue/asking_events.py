"""What both clients do with events, written once, as all else that they do (`asking`)."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from .asking_pictures import AskingPictures
from .contract.base import MAX_TENANT_CHARS, check_name
from .contract.errors import InvalidRequest, SchemaTooNew, WaitTimeout
from .contract.events import AnyEvent, Succeeded, TerminalEvent, read_event
from .contract.status import EventGroup, Glance, JobResult
from .setting_values import MAX_DEADLINE_S
from .telling import result_of

if TYPE_CHECKING:
    from .ledger.groups import Consumer

_RECORD_EVERY = 2
"""Looks at a job's events in which there was nothing, from one look at its record to the next."""
_LOOK_S = 2.0
"""From one look at a stream of events to the next, at most; who waits longer looks again."""
_LOOK_AGAIN_S = 10.0
"""The same for a job's own, where the last look found none; where others look for it, they do so more often."""


class AskingEvents(AskingPictures):
    """A deployment as a tenant sees it: what happens there. StyleQueue says what each method does."""

    async def watch(
        self, job_id: str, *, after: int = 0, timeout_s: float | None = None
    ) -> AsyncGenerator[AnyEvent, None]:
        if timeout_s is not None and math.isnan(timeout_s):
            raise InvalidRequest("timeout_s is no number", "give seconds, or None to wait for as long as it takes")
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        run, sequence = (await self._record(job_id)).run, after
        looks = 0
        while True:
            look_s = _LOOK_AGAIN_S if looks else _LOOK_S
            left_s = look_s if ends_at is None else ends_at - time.monotonic()
            wait_s = max(0.001, min(look_s, left_s))
            events = await self._access.asked.job_events(job_id, after=sequence, wait_s=wait_s)
            looks = 0 if events else looks + 1
            for event in events:
                sequence = int(event.sequence)
                if not after and event.data.run < run:
                    continue
                yield event
                if isinstance(event, TerminalEvent):
                    return
            if looks % _RECORD_EVERY == 1:
                # The stream may be gone with the record.
                record = await self._record(job_id)
                if record.outcome and sequence >= record.sequence:
                    # An end that only newer versions know.
                    return
            if looks and left_s <= 0:
                raise WaitTimeout(job_id, timeout_s or 0)

    async def wait(self, job_id: str, *, timeout_s: float | None = None) -> JobResult:
        async with aclosing(self.watch(job_id, timeout_s=timeout_s)) as events:
            async for event in events:
                if isinstance(event, Succeeded):
                    # What was not told of stays unset.
                    told = {name: getattr(event.data, name) for name in event.data.model_fields_set}
                    return JobResult(id=event.subject, **told)
                if isinstance(event, TerminalEvent):
                    result_of(event.model_dump_json())
        result_of((await self._record(job_id)).outcome)
        raise SchemaTooNew(job_id)

    async def glances(
        self, job_ids: Sequence[str] | None = None, *, label: Mapping[str, str] | None = None
    ) -> list[Glance]:
        asked = self._access.asked
        if job_ids is None:
            job_ids = await asked.running(tenant=self.tenant, label=label or {})
        found = await asked.glances(job_ids)
        return [one for one in found if self._may_see(one) and (label or {}).items() <= one.labels.items()]

    def _may_see(self, one: Glance) -> bool:
        return self.tenant in (None, one.tenant)

    async def events(
        self,
        *,
        after: str = "0",
        follow: bool = True,
        group: str | None = None,
        consumer: str | None = None,
        claim_after_s: float = 60,
    ) -> AsyncGenerator[tuple[str, AnyEvent], None]:
        if group is not None:
            as_one_of_them = self._consumer(group, consumer, after, claim_after_s)
            async with aclosing(self._shared_events(as_one_of_them, follow=follow)) as shared:
                async for position, event in shared:
                    yield position, event
            return
        while True:
            events = await self._access.asked.deployment_events(after=after, wait_s=_LOOK_S if follow else 0)
            for after, event in events:
                if self.tenant in (None, event.data.tenant):
                    yield after, event
            if not events and not follow:
                return

    def _consumer(self, group: str, consumer: str | None, after: str, claim_after_s: float) -> Consumer:
        check_name(group, "a group", MAX_TENANT_CHARS)
        if not 0.001 <= claim_after_s <= MAX_DEADLINE_S:
            raise InvalidRequest(
                f"claim_after_s {claim_after_s} is out of range", f"give 0.001 to {MAX_DEADLINE_S} seconds"
            )
        name = check_name(socket.gethostname() if consumer is None else consumer, "a consumer")
        return self._access.asked.consumer(self._own_groups + group, name, after=after, claim_after_s=claim_after_s)

    @property
    def _own_groups(self) -> str:
        """What the names of a tenant's groups begin with: another's of the same name is another one."""
        return "" if self.tenant is None else f"{self.tenant}/"

    async def _shared_events(self, consumer: Consumer, *, follow: bool) -> AsyncGenerator[tuple[str, AnyEvent], None]:
        while True:
            entries = await consumer.take()
            for entry in entries:
                event = read_event(entry.event)
                if self.tenant in (None, event.data.tenant):
                    yield entry.position, event
            if not entries:
                if not follow:
                    return
                await consumer.wait(_LOOK_S)

    async def groups(self) -> list[EventGroup]:
        mine = self._own_groups
        return [
            group.model_copy(update={"name": group.name.removeprefix(mine)})
            for group in await self._access.asked.event_groups()
            if group.name.startswith(mine)
        ]

    async def newest_position(self) -> str:
        return await self._access.asked.newest_position()
