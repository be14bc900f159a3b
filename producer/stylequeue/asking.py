"""What both clients do, written once: as coroutines, which block where `Access` does."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from .asking_events import AskingEvents
from .asking_fleet import AskingFleet
from .asking_uploads import AskingUploads
from .contract.base import QUEUES, QueueName
from .contract.cost import job_megapixel_steps
from .contract.errors import (
    Code,
    InvalidJob,
    InvalidRequest,
    JobConflict,
    JobNotFound,
    JobsRefused,
    Permanent,
    QueueFull,
    RateLimited,
    StyleQueueError,
    TooManyOpenJobs,
    Unavailable,
)
from .contract.job import MAX_STYLES, Job, queue_of
from .contract.recipe import FastRecipe, OptimizeRecipe, resolve
from .contract.status import DeadLetter, Estimate, JobState, JobStatus, Page, Submission, Turn
from .operator_file import Template, TenantLimits
from .setting_values import MAX_DEADLINE_S
from .tracing import submitting

_SENT_AT_ONCE = 1000
"""Jobs recorded and sent in one go: workers begin with the first while the last are still to come."""


class Asking(AskingEvents, AskingUploads, AskingFleet):
    """A deployment as a tenant sees it, or as nobody in particular does. StyleQueue says what each method does."""

    async def job(self, fields: Mapping[str, Any], *, template: str | None = None) -> Job:
        found = self._access.operator_file.now.template(template) if template is not None else Template()
        filled = found.fill(fields)
        if self.scope:
            # Before it is looked at as a job: whoever names another's object is told that, however it is written.
            self.scope.check_named(filled, tenant=self.tenant)
        return found.whole(filled, bucket=self._access.settings.output_bucket, tenant=self.tenant)

    async def submit(
        self, job: Job | Mapping[str, Any], *, template: str | None = None, notify: Sequence[str] = ()
    ) -> str:
        if isinstance(job, Mapping):
            job = await self.job(job, template=template)
        elif template is not None:
            raise InvalidRequest("a whole job takes nothing from a template", "give its fields instead")
        try:
            return (await self.submit_many([job], notify=notify))[0]
        except JobsRefused as refused:
            raise refused.exceptions[0] from None

    async def submit_many(self, jobs: Iterable[Job], *, notify: Sequence[str] = ()) -> list[str]:
        submissions = await self.submit_each(jobs, notify=notify)
        if refused := {submission.id: submission.error for submission in submissions if submission.error}:
            raise JobsRefused(refused)
        return [submission.id for submission in submissions]

    async def submit_each(
        self, jobs: Iterable[Job], *, notify: Sequence[str] = (), again: bool = True
    ) -> list[Submission]:
        jobs = list(jobs)
        named = self._access.operator_file.now.named(notify, tenant=self.tenant) if notify else ()
        for job in jobs:
            if not isinstance(job, Job):
                raise InvalidJob(f"{type(job).__name__} is no Job", "make one: Job(content=..., ...), or Job(**fields)")
        submissions: list[Submission] = []
        for start in range(0, len(jobs), _SENT_AT_ONCE):
            submissions += await self._submit(jobs[start : start + _SENT_AT_ONCE], named, again)
        return submissions

    async def _submit(self, jobs: Sequence[Job], named: Sequence[str], again: bool) -> list[Submission]:
        limits = self._limits
        errors = [_too_late(job) or self._out_of_scope(job) or _too_costly(job, limits) for job in jobs]
        fit = [job for job, error in zip(jobs, errors, strict=True) if not error]
        accept = partial(
            self._access.asked.accept,
            tenant=self.tenant,
            scope=self.scope,
            notify=named,
            max_open_jobs=limits.open_jobs,
            once=not again,
        )
        submissions: list[Submission] = []
        unsent, forgotten = [], []
        with submitting([job.id for job in fit]) as traceparents:
            answers = zip(await accept(fit, traceparents=traceparents) if fit else (), traceparents, strict=True)
            # Record first, message second: a message lost on the way is found by comparing the two.
            for job, error in zip(jobs, errors, strict=True):
                if error:
                    submissions.append(Submission(job.id, is_new=False, error=error))
                    continue
                answer, traceparent = next(answers)
                if answer.state == "queued" and (answer.verdict == "new" or (again and answer.verdict == "known")):
                    # One that waits is sent again: its first message may never have left. Workers drop doubles.
                    unsent.append((job, traceparent))
                if answer.gave_way:
                    forgotten.append(job.id)
                refused = self._refusal(job, answer.verdict)
                submissions.append(Submission(job.id, is_new=answer.verdict == "new", error=refused))
            if unsent:
                await self._access.call(self._access.send, unsent, forgotten)
        return submissions

    def _refusal(self, job: Job, verdict: str) -> StyleQueueError | None:
        """Why the ledger did not take a job."""
        match verdict:
            case "conflict":
                return JobConflict(job.id)
            case "full":
                return QueueFull(job.queue_name, self._access.settings.max_open_jobs)
            case "too_many":
                return TooManyOpenJobs(self._limits.open_jobs or 0)
        return None

    @property
    def _limits(self) -> TenantLimits:
        """The tenant's, as the operator's file has them."""
        return self._access.operator_file.now.tenants.get(self.tenant or "", TenantLimits())

    def _out_of_scope(self, job: Job) -> StyleQueueError | None:
        """The error of a job that names what this client's may not read or write."""
        try:
            if self.scope:
                self.scope.check(job, tenant=self.tenant)
        except Permanent as error:
            return error
        return None

    async def status(self, job_id: str) -> JobStatus:
        return await self._access.asked.status(await self._record(job_id))

    async def statuses(self, job_ids: Sequence[str]) -> list[JobStatus | None]:
        found = await self._access.asked.statuses(job_ids)
        return [one if one and self.tenant in (None, one.tenant) else None for one in found]

    async def estimate(
        self,
        recipe: OptimizeRecipe | FastRecipe | None = None,
        *,
        content_px: tuple[int, int] | None = None,
        styles: int = 1,
        masks: int = 0,
        queue: QueueName | None = None,
    ) -> Estimate:
        recipe = recipe or OptimizeRecipe()
        asked = partial(self._access.asked.estimate, recipe, styles=styles, masks=masks)
        if content_px is not None and min(content_px) < 1:
            raise InvalidRequest(f"content_px {content_px} is no width and height", "give both in pixels, or none")
        if not (1 <= styles <= MAX_STYLES and 0 <= masks <= styles + 1):
            raise InvalidRequest(f"{styles} styles, {masks} masks", f"1 to {MAX_STYLES}; one for each, one to keep")
        if queue not in (None, *QUEUES):
            raise InvalidRequest(f"there is no queue {queue!r}", f"one of {', '.join(QUEUES)}")
        return await asked(queue=queue or queue_of(recipe), content=content_px and (content_px[1], content_px[0]))

    async def jobs(
        self,
        *,
        state: JobState | None = None,
        label: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        after: str | None = None,
        limit: int = 100,
        is_bounded: bool = False,
    ) -> Page[JobStatus]:
        return await self._access.asked.jobs(
            tenant=self.tenant,
            state=state,
            label=label,
            created_after=created_after,
            created_before=created_before,
            after=after,
            limit=limit,
            is_bounded=is_bounded,
        )

    async def take_turn(self, count: int = 1) -> Turn | None:
        limits = self._limits
        if self.tenant is None or limits.rate_per_s is None:
            return None
        rate_per_s, burst = limits.rate_per_s, limits.burst or math.ceil(limits.rate_per_s)
        answer = await self._access.asked.throttle(self.tenant, rate_per_s=rate_per_s, burst=burst, count=count)
        turn = Turn(rate_per_s, burst, answer.left, answer.whole_in_s)
        if not answer.allowed:
            raise RateLimited(turn, count, answer.again_in_s)
        return turn

    async def cancel(self, job_id: str, *, keep: bool = False) -> str:
        await self._check_owner(job_id)
        answer = await self._access.asked.cancel(job_id, keep=keep)
        record = await self._access.asked.record(job_id)
        if answer.verdict == "cancelled":
            with suppress(Unavailable):
                await self._access.call(self._access.tell_senders, record, answer.event)
                # What attempts left in the store a keeper takes away.
                if not record.attempt:
                    await self._access.asked.told(job_id)
        return record.state

    async def retry(self, job_id: str) -> None:
        record = await self._record(job_id)
        if record.job and record.ended and record.state != "succeeded":
            # The old result first: later, it could be the new one.
            await self._access.call(self._access.forget_results, record)
        await self._access.asked.replay(job_id, max_open_jobs=self._limits.open_jobs)
        if not record.ended:
            # It waits for its next run already, as a retry leaves it that broke off: its message may never have left.
            await self._access.asked.make_due([job_id])
        await self._access.call(self._access.send_due)

    async def delete(self, job_id: str) -> None:
        record = await self._ended(job_id, "deleted")
        # Objects first: a record without objects can be deleted again, objects without a record cannot be found.
        await self._access.call_store(self._access.forget_pictures, record)
        await self._access.asked.delete(job_id)

    async def dead_letters(self, *, after: str | None = None, limit: int = 100) -> Page[DeadLetter]:
        return await self._access.asked.dead_letters(tenant=self.tenant, after=after, limit=limit)

    async def dead_letter(self, letter_id: str) -> DeadLetter:
        await self._check_owner(letter_id)
        return await self._access.asked.dead_letter(letter_id)

    async def replay(self, letter_id: str) -> None:
        letter = await self.dead_letter(letter_id)
        if letter.kind in ("event", "delivery", "notification"):
            await self._access.asked.replay_letter(letter)
            return
        # A message can come from a list that only its sender knows.
        queue = letter.queue if letter.queue in QUEUES else "paint"
        try:
            record = await self._access.asked.record(letter_id)
        except JobNotFound:
            record = None
        if record and record.job:
            await self.retry(letter_id)
            return
        await self._access.call(self._access.send_again, letter, queue, record.task_id if record else None)
        # Sent first, forgotten second: nothing is lost in between. One that is on record stays a letter until a worker
        # has the message: it then is a job, or a letter again.
        if not record:
            await self._access.asked.delete(letter_id)

    async def drop(self, letter_id: str) -> None:
        await self.dead_letter(letter_id)
        await self._access.asked.delete(letter_id)

    async def readiness(self) -> dict[str, str]:
        async def reason(look: Awaitable[None]) -> str:
            try:
                await look
            except StyleQueueError as error:
                return error.message
            return ""

        bucket = self._access.settings.upload_bucket
        found = {
            "redis": await reason(self._access.asked.ping()),
            "store": await reason(self._access.call_store(self._access.check_bucket, bucket)),
        }
        return {where: why for where, why in found.items() if why}


def _too_late(job: Job) -> StyleQueueError | None:
    """The error of a job whose deadline is too far ahead. Jobs themselves have no clock to check it by."""
    if job.deadline is None or job.deadline <= datetime.now(UTC) + timedelta(seconds=MAX_DEADLINE_S):
        return None
    return InvalidJob(f"deadline: more than {MAX_DEADLINE_S // (24 * 3600)} days ahead", "give a nearer one, or none")


def _too_costly(job: Job, limits: TenantLimits) -> StyleQueueError | None:
    """The error of a job that takes more painting than one of its tenant's may."""
    most = limits.job_megapixel_steps
    if most is None or (takes := job_megapixel_steps(resolve(job.recipe), len(job.styles))) <= most:
        return None
    # Rounded away from each other: what is refused is more than what is allowed.
    return Permanent(
        Code.JOB_TOO_COSTLY,
        f"the job takes {math.ceil(takes * 10) / 10:g} megapixel-steps, one of its tenant's may take {most:g}",
        "a smaller `size`, fewer `steps` or fewer styles take less; the operator's file sets the limit",
    )
