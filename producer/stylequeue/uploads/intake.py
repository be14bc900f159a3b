"""Where notices become jobs: each object version one for each rule that has it, however often it is told of."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

from ..aclient import AsyncStyleQueue
from ..contract.errors import (
    Code,
    InvalidJob,
    InvalidNotice,
    InvalidRequest,
    InvalidSettings,
    JobConflict,
    Permanent,
    Retryable,
    StyleQueueError,
    Unavailable,
)
from ..contract.events import UploadRefusedData
from ..contract.job import Job
from ..contract.objects import ImageRef
from ..operator_file import Source
from ..store.incoming import OURS
from . import shapes
from .notices import Notice, probe_of
from .refusals import why_no_picture
from .rules import Rules, WholeRule

log = logging.getLogger(__name__)

Verdict = Literal["recorded", "known", "conflict", "no_rule", "ours", "refused", "missing", "later"]
"""`recorded`: a job was made. `known`: it was there. `conflict`: it was, by the rule as it was then, or has been
deleted. `no_rule`: none is for it, or its source may not tell of it. `ours`: a worker of ours wrote it.
`refused`: it can be no picture, which an event tells. `missing`: it is gone. `later`: not now, for a queue is full,
say; it is to be told of again."""
_WORST_FIRST: Sequence[Verdict] = ("later", "recorded", "refused", "missing", "conflict", "known", "ours", "no_rule")
"""Where several rules have an upload, what comes first here is what it came to."""
_LOOKS_AT_ONCE = 32
LOOK_S = 8
"""At an object. Stores that bring their notices wait hardly longer for the answer."""


@dataclass(frozen=True)
class Outcome:
    """What a notice came to."""

    notice: Notice
    verdict: Verdict
    jobs: tuple[str, ...] = ()
    """The ids of those that it is: on record, or deleted since."""
    error: StyleQueueError | None = None
    """Why it was refused, is missing, or has to wait."""

    @property
    def is_settled(self) -> bool:
        """Whether its source may forget it: its job is on record, or there is none to be."""
        return self.verdict != "later"


@dataclass
class _Work:
    """One notice, as it goes through."""

    notice: Notice
    rules: list[WholeRule]
    came_to: list[Verdict] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    refusals: list[tuple[WholeRule, StyleQueueError]] = field(default_factory=list)
    """Of rules that have it, and of which it becomes no job."""
    error: StyleQueueError | None = None

    def add(self, verdict: Verdict, error: StyleQueueError | None = None) -> None:
        self.came_to.append(verdict)
        self.error = self.error or error

    def end(self, verdict: Verdict, error: StyleQueueError | None = None) -> None:
        """No rule has it any more."""
        self.rules = []
        self.add(verdict, error)

    def refuse(self, rule: WholeRule, error: StyleQueueError) -> None:
        self.refusals.append((rule, error))
        self.add("refused", error)

    @property
    def outcome(self) -> Outcome:
        found: Sequence[Verdict] = self.came_to or ["no_rule"]
        verdict = min(found, key=_WORST_FIRST.index)
        return Outcome(self.notice, verdict, tuple(self.jobs), self.error)


def _begun(notice: Notice, rules: Rules, source: Source | None) -> _Work:
    """What is to be done with it, as far as its source is to be believed."""
    if source and source.buckets is not None and notice.bucket not in source.buckets:
        return _Work(notice, [])
    if source and source.tokens and OURS.isdisjoint(notice.metadata or ()):
        # Whoever has a token may write what he likes: what the object has is looked up where it is wanted.
        notice = replace(notice, metadata=None)
    return _Work(notice, rules.candidates(notice))


class Intake:
    """Takes notices in, by the rules of the operator's file as it is now. Of one event loop; any number take at once.

    Raises InvalidSettings where the rules cannot be used as they stand when it is made; later such a change is logged,
    and what was in force stays so.
    """

    def __init__(self, queue: AsyncStyleQueue) -> None:
        self.queue = queue
        self.file = queue.operator_file
        self._operator = self.file.now
        self._rules = Rules(self._operator, queue.settings)
        self._tenants: dict[str, AsyncStyleQueue] = {}
        self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)

    @property
    def rules(self) -> Rules:
        """Those in force."""
        operator = self.file.now
        if operator is not self._operator:
            self._operator = operator
            try:
                self._rules = Rules(operator, self.queue.settings)
            except InvalidSettings as error:
                log.error("the rules in force before stay so: %s", error)
        return self._rules

    async def read(self, data: bytes | str, *, source: str) -> list[Outcome]:
        """Take in what came from a `source`, as it came. What is no notification becomes a dead letter.

        Raises as `take` does.
        """
        [outcomes] = await self.read_each([data], source=source)
        return outcomes

    async def read_each(self, texts: Sequence[bytes | str], *, source: str) -> list[list[Outcome]]:
        """The same of several, taken in together: the outcomes of each."""
        notices = [await self._notices(data, source) for data in texts]
        outcomes = iter(await self.take([notice for some in notices for notice in some]))
        return [list(islice(outcomes, len(some))) for some in notices]

    async def _notices(self, data: bytes | str, source: str) -> list[Notice]:
        try:
            return shapes.read(data, source=source)
        except InvalidNotice as error:
            text = data if isinstance(data, str) else data.decode(errors="backslashreplace")
            await self.queue.bury_notification(text, source=source, code=error.code, reason=error.message)
            log.warning("source=%s sent what is no notification, it is a dead letter: %s", source, error.message)
            await self._count(Counter({(source, "unreadable"): 1}), {})
            return []

    async def take(self, notices: Sequence[Notice]) -> list[Outcome]:
        """Record the jobs of these uploads; the outcomes are in the notices' order.

        What has an outcome that `is_settled` is done with. Raises Unavailable where Redis does not answer: nothing is
        settled then. Taking anything in again does no harm.
        """
        rules, sources = self.rules, self.file.now.sources
        work = [_begun(notice, rules, sources.get(notice.source)) for notice in notices]
        await asyncio.gather(*[self._look(one) for one in work if one.rules])
        for one in work:
            if probe := probe_of(one.notice.key):
                having = [rule.rule.name for rule in Rules.first(one.rules)]
                await self.queue.note_upload_probe(probe, source=one.notice.source, rules=having)
                one.end("ours")
        await self._submit(work)
        outcomes = [one.outcome for one in work]
        await self._tell(work)
        await self._note(outcomes)
        return outcomes

    async def _look(self, work: _Work) -> None:
        """Fill in what the notice does not know and the rules want to."""
        notice = work.notice
        if not OURS.isdisjoint(notice.metadata or ()):
            work.end("ours")
            return
        if not self._needs_look(work):
            return
        try:
            image = ImageRef(bucket=notice.bucket, key=notice.key, version_id=notice.version)
        except InvalidJob:
            return  # its job says why
        try:
            async with self._looks, asyncio.timeout(LOOK_S):
                found = await self.queue.find_upload(image)
        except StyleQueueError as error:
            await self._not_found(work, error)
            return
        except TimeoutError:
            what = f"the store has not said in {LOOK_S} s what lies there"
            work.end("later", Unavailable(Code.STORE_UNAVAILABLE, what, "it is looked at when it is told of again"))
            return
        if notice.etag not in (None, found.etag):
            hint = "what lies there now is told of by itself"
            await self._not_found(work, Permanent(Code.OBJECT_CHANGED, f"{notice.uri} was replaced", hint))
            return
        if found.is_ours:
            work.end("ours")
            return
        work.notice = replace(
            notice,
            version=notice.version or found.version_id,
            etag=found.etag,
            size_bytes=found.size_bytes,
            event_time=notice.event_time or found.written_at,
            metadata=found.metadata,
        )
        work.rules = [rule for rule in work.rules if not rule.why_not(work.notice)]

    def _needs_look(self, work: _Work) -> bool:
        notice = work.notice
        if notice.size_bytes is None or not (notice.etag or notice.version):
            return True
        # Elsewhere nothing can be ours.
        may_be_ours = notice.bucket in self.queue.settings.write_buckets
        return notice.metadata is None and (may_be_ours or any(rule.needs_metadata for rule in work.rules))

    async def _not_found(self, work: _Work, error: StyleQueueError) -> None:
        match error:
            case Permanent(code=Code.OBJECT_NOT_FOUND | Code.OBJECT_CHANGED):
                if any(rule.rule.on_missing == "dead" for rule in Rules.first(work.rules)):
                    notice = work.notice
                    await self.queue.bury_notification(
                        notice.to_json(), source=notice.source, code=error.code, reason=error.message
                    )
                work.end("missing", error)
            case Permanent() if error.code != Code.ACCESS_DENIED:
                for rule in Rules.first(work.rules):
                    work.refuse(rule, error)
                work.rules = []
            case _:
                work.end("later", error)

    async def _submit(self, work: Sequence[_Work]) -> None:
        wanted: dict[tuple[str | None, tuple[str, ...]], list[tuple[_Work, WholeRule, Job]]] = defaultdict(list)
        for one in work:
            for rule in Rules.first(one.rules):
                try:
                    wanted[rule.rule.tenant, rule.rule.notify].append((one, rule, self._job(rule, one.notice)))
                except Permanent as error:
                    one.refuse(rule, error)
        for (tenant, notify), jobs in wanted.items():
            submit_each = self._as(tenant).submit_each
            try:
                submissions = await submit_each([job for _, _, job in jobs], notify=notify, again=False)
            except InvalidRequest as error:  # the file has such an endpoint no longer, and its rules are not in force
                for one, _, _ in jobs:
                    one.add("later", error)
                continue
            for (one, rule, job), submission in zip(jobs, submissions, strict=True):
                refused = submission.error
                if refused is None or isinstance(refused, JobConflict):
                    one.jobs.append(job.id)
                    one.add("conflict" if refused else "recorded" if submission.is_new else "known", refused)
                elif isinstance(refused, Retryable):
                    one.add("later", refused)
                else:
                    one.refuse(rule, refused)

    def _job(self, rule: WholeRule, notice: Notice) -> Job:
        """Raises Permanent where there can be none."""
        if error := why_no_picture(notice, max_bytes=self.queue.settings.max_image_bytes):
            raise error
        return rule.job(notice)

    def _as(self, tenant: str | None) -> AsyncStyleQueue:
        if tenant is None:
            return self.queue
        if tenant not in self._tenants:
            self._tenants[tenant] = self.queue.for_tenant(tenant)
        return self._tenants[tenant]

    async def _tell(self, work: Sequence[_Work]) -> None:
        for notice, rule, error in ((one.notice, rule, error) for one in work for rule, error in one.refusals):
            data = UploadRefusedData(
                tenant=rule.rule.tenant,
                code=error.code,
                message=error.message,
                hint=error.hint,
                rule=rule.rule.name,
                bucket=notice.bucket,
                key=notice.key,
                version_id=notice.version,
                etag=notice.etag,
                size_bytes=notice.size_bytes,
            )
            await self.queue.tell_refused(rule.job_id(notice), data, notify=rule.rule.notify)

    async def _note(self, outcomes: Sequence[Outcome]) -> None:
        now = datetime.now(UTC)
        lags_s: defaultdict[str, list[float]] = defaultdict(list)
        for outcome in outcomes:
            if outcome.verdict == "recorded" and outcome.notice.event_time:
                late_s = (now - outcome.notice.event_time).total_seconds()
                lags_s[outcome.notice.source].append(max(late_s, 0.0))
            if outcome.verdict in ("conflict", "refused", "missing", "later"):
                log.warning(
                    "source=%s %s %s: %s",
                    outcome.notice.source,
                    outcome.verdict,
                    outcome.notice.uri,
                    outcome.error or "",
                )
        await self._count(Counter((outcome.notice.source, outcome.verdict) for outcome in outcomes), lags_s)

    async def _count(self, outcomes: Mapping[tuple[str, str], int], lags_s: Mapping[str, Sequence[float]]) -> None:
        try:
            await self.queue.count_uploads(outcomes, lags_s)
        except Unavailable as error:
            # What they came to holds all the same.
            log.warning("notices were not counted: %s", error)
