"""What a backend uses: hand jobs in, follow them, get their pictures."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .access import Access
from .asking import Asking
from .awaiting import iterate, run
from .client_events import EventCalls
from .client_fleet import FleetCalls
from .client_uploads import UploadCalls
from .contract.base import QueueName, check_tenant
from .contract.events import StoredPicture
from .contract.job import Job
from .contract.objects import ImageRef, PictureKind, StoredObject, UploadForm
from .contract.recipe import FastRecipe, OptimizeRecipe
from .contract.scope import Scope
from .contract.status import DeadLetter, Estimate, JobState, JobStatus, Page, Submission, Turn
from .settings import Settings

if TYPE_CHECKING:
    from celery import Celery

    from .broker.messages import Messages
    from .ledger import Ledger
    from .store import Store
    from .telling import Teller


class StyleQueue(EventCalls, UploadCalls, FleetCalls):
    """A deployment of stylequeue, seen from a backend. Safe to share between threads; connects when first used.

        with StyleQueue() as queue:
            job_id = queue.submit(Job(content=..., styles=[...], output=...))
            queue.download(queue.wait(job_id).output, "picture.jpg")

    Every method raises Unavailable, in bounded time, where Redis does not answer; `upload`, `download` and `delete`
    also where the store does not, and Misconfigured where it does not let us in. The others do without the store.

    One that is bound to a `tenant` submits jobs as that tenant's and knows of no others: whatever it is asked of
    another's job raises JobNotFound, no list and no event tells of one, and no picture of one is reused. Pictures that
    are named by bucket and key are not looked at. One without a tenant submits jobs as nobody's and sees all.
    """

    def __init__(
        self, settings: Settings | None = None, *, tenant: str | None = None, scope: Scope | None = None
    ) -> None:
        self.settings = settings or Settings.load()
        self.tenant = None if tenant is None else check_tenant(tenant)
        self.scope = scope
        self._bind(Access(self.settings), is_its_own=True)

    def _bind(self, access: Access, *, is_its_own: bool) -> None:
        self._access, self._owns_access = access, is_its_own
        self._asking = Asking(access, self.tenant, self.scope)

    def for_tenant(self, tenant: str, *, scope: Scope | None = None) -> StyleQueue:
        """The deployment as `tenant` sees it, over the connections of this client, which closes them.

        A tenant's name has 1 to 64 letters, digits, dots, underscores and hyphens. With a `scope`, its jobs read and
        write nothing else. Raises InvalidRequest.
        """
        # None, from somebody's table say, must not come to a client that sees all.
        bound = StyleQueue(self.settings, tenant=check_tenant(tenant), scope=scope)
        bound._bind(self._access, is_its_own=False)
        return bound

    @property
    def _ledger(self) -> Ledger:
        return self._access.ledger

    @property
    def _store(self) -> Store:
        return self._access.store

    @property
    def _app(self) -> Celery:
        return self._access.app

    @property
    def _messages(self) -> Messages:
        return self._access.messages

    @property
    def _teller(self) -> Teller:
        return self._access.teller

    def job(self, fields: Mapping[str, Any], *, template: str | None = None) -> Job:
        """A whole job of its `fields`, as its JSON has them or the contract's models, or some of them.

        What they leave out comes from the `template` of the operator's file, if one is named: styles and queue as they
        stand there; recipe, output and labels field by field, unless the recipe is of another method. Then the output's
        bucket is `output_bucket`, and its key, for a tenant, `<tenant>/<id>` with the format's suffix. Raises
        InvalidJob; InvalidRequest where there is no such template; InvalidSettings where the operator's file cannot be
        read; Permanent with `bucket_not_allowed` for what the scope does not allow.
        """
        return run(self._asking.job(fields, template=template))

    def submit(self, job: Job | Mapping[str, Any], *, template: str | None = None, notify: Sequence[str] = ()) -> str:
        """Hand a job in, or one of these fields (see `job`), and return its id.

        Submitting the same job again is harmless, and the thing to do after an Unavailable: of fields that have no
        `id`, each time another job is made. A template is resolved here: what is recorded is the whole job, and the
        same fields are another job once the template is another. Raises JobConflict where its id belongs to another
        job, QueueFull where the queue has no room, InvalidJob where its deadline is more than 30 days ahead, Permanent
        with `bucket_not_allowed` for what the scope does not allow, with `job_too_costly` for more painting than one
        job of the tenant may take; for fields also as `job` does.

        `notify` names up to four endpoints of the operator's file, which then hear of the job as their tables there
        say. A tenant names its own. Which they are is no part of the job: of one that is submitted again, the first
        ones count. Raises InvalidRequest for one that there is not.
        """
        return run(self._asking.submit(job, template=template, notify=notify))

    def submit_many(self, jobs: Iterable[Job], *, notify: Sequence[str] = ()) -> list[str]:
        """Hand jobs in, over one connection, and return their ids in order. Each of them names the same endpoints.

        Each stands alone: where some are refused, the others are submitted all the same. Then JobsRefused is raised, an
        exception group of what `submit` would raise.
        """
        return run(self._asking.submit_many(jobs, notify=notify))

    def submit_each(self, jobs: Iterable[Job], *, notify: Sequence[str] = (), again: bool = True) -> list[Submission]:
        """Hand jobs in as `submit_many` does, and return what became of each, in order: errors are not raised.

        Without `again`, which is for who submits the same many times, one that is on record already is not sent again,
        and one that was deleted is no job anew, but has the error JobConflict.
        """
        return run(self._asking.submit_each(jobs, notify=notify, again=again))

    def upload(self, path: str | Path, *, to: ImageRef | None = None) -> ImageRef:
        """Put a local picture into the upload bucket, where a job may name it. The same picture is stored once.

        With `to` it goes there instead, in the place of whatever lies there: where a rule of the operator's file is for
        it, say. Raises FileUnusable where it cannot be read or its suffix can be in no key; Permanent with
        `image_too_many_bytes` where workers would refuse it, with `bucket_not_allowed` outside the scope.
        """
        return run(self._asking.upload(path, to=to))

    def upload_stream(
        self, pieces: Iterable[bytes] | AsyncIterable[bytes], *, suffix: str = "", name: str | None = None
    ) -> ImageRef:
        """Put a picture into the upload bucket that comes piece by piece, each time under another key.

        Its `suffix` (".jpg") is the key's, a tenant's name the key's folder; in it, the picture may be given a `name`,
        and then replaces what has it. No more than a few megabytes of it are
        held; of one that breaks off nothing stays. Raises Permanent with `image_too_many_bytes` as soon as there are
        more than workers would read, with `image_empty` for none; and whatever `pieces` raises. In an event loop
        they may be awaited, too.
        """
        return run(self._asking.upload_stream(pieces, suffix=suffix, name=name))

    def upload_form(
        self, filename: str, *, content_type: str, size_bytes: int, valid_s: int | None = None
    ) -> UploadForm:
        """How somebody without keys puts a picture into the upload bucket, under a key of ours, in `valid_s` seconds.

        It is signed here for `s3_public_endpoint_url`, as `upload_method` says, for this type and size; left out,
        `valid_s` is `link_ttl_s`. Raises InvalidRequest; Permanent with `image_format_unsupported`, `image_empty` or
        `image_too_many_bytes` for what no worker would read.
        """
        form = self._asking.upload_form(filename, content_type=content_type, size_bytes=size_bytes, valid_s=valid_s)
        return run(form)

    def shelf(self) -> list[StoredObject]:
        """The styles to choose from: pictures under `shelf/` in `read_buckets` other than that of uploads."""
        return run(self._asking.shelf())

    def discard(self, image: ImageRef) -> None:
        """Delete a picture that was uploaded, and that no job names. Another one that lies there by now stays."""
        return run(self._asking.discard(image))

    def status(self, job_id: str) -> JobStatus:
        """What is known of a job. Raises JobNotFound."""
        return run(self._asking.status(job_id))

    def statuses(self, job_ids: Sequence[str]) -> list[JobStatus | None]:
        """What is known of many jobs, in order; None for one that is not on record."""
        return run(self._asking.statuses(job_ids))

    def estimate(
        self,
        recipe: OptimizeRecipe | FastRecipe | None = None,
        *,
        content_px: tuple[int, int] | None = None,
        styles: int = 1,
        masks: int = 0,
        queue: QueueName | None = None,
    ) -> Estimate:
        """What a job with this recipe would take if it were submitted now.

        `content_px`: width and height of its content picture, where they are known; else it is taken for a square.
        `styles`, `masks`: how many there are, the mask of what is kept counted. `queue`: left out, as a job's. Workers
        say how fast they are once they have painted; until then, seconds are None. Raises InvalidRequest.
        """
        return run(self._asking.estimate(recipe, content_px=content_px, styles=styles, masks=masks, queue=queue))

    def jobs(
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
        """Up to `limit` jobs (1 to 1000), the newest first: those in `state` that have all labels in `label`.

        The page's own `after`, given here, brings the next one; it is None where there is no other. Labels that
        `STYLEQUEUE_INDEXED_LABELS` names are found at once; others are looked for among all jobs on record: where few
        fit, that is some milliseconds for each thousand. `is_bounded`: no more than a thousand are looked at for one
        page, which may then be short, or empty, and yet have an `after`. Raises InvalidRequest.
        """
        return run(
            self._asking.jobs(
                state=state,
                label=label,
                created_after=created_after,
                created_before=created_before,
                after=after,
                limit=limit,
                is_bounded=is_bounded,
            )
        )

    def take_turn(self, count: int = 1) -> Turn | None:
        """Let this client's tenant ask for something, `count` times at once, and return how often it still may.

        None where the operator's file sets the tenant no rate. Whoever serves a tenant calls this before each request
        of its. Raises RateLimited.
        """
        return run(self._asking.take_turn(count))

    def download(self, picture: StoredPicture | ImageRef | str, path: str | Path) -> None:
        """Write a picture to a local file, which appears complete or not at all: one that was made, any, or a job's by
        its id.

        Raises JobNotFound; JobOpen where the job has not ended; JobFailed, JobCancelled or JobExpired where it made no
        picture; Permanent with `object_not_found` where the store has it no longer, with `object_changed` where
        something else lies in its place; FileUnusable where it cannot be written.
        """
        run(self._asking.download(picture, path))

    def link(
        self,
        picture: StoredPicture | StoredObject | ImageRef | str,
        *,
        valid_s: int = 3600,
        filename: str | None = None,
    ) -> str:
        """An address under which anybody may fetch a picture for `valid_s` seconds (at most 7 days), without keys.

        It shows what lies under the picture's key when it is fetched; browsers save it as `filename`, where that is
        given. It is signed here, for `s3_public_endpoint_url`: the store is not asked, and keys that end sooner, such
        as a role's, end it. Raises InvalidRequest, and for a job's id as `download` does.
        """
        return run(self._asking.link(picture, valid_s=valid_s, filename=filename))

    def look(self, job_id: str, kind: PictureKind = "result", *, number: int = 1) -> StoredObject:
        """What lies in the store of a job: its picture, the newest `preview` while it is painted, its `report` or its
        `thumbnail`; or what it is painted from, its `content` or, of several, the `style` of that number, from 1.

        Raises JobNotFound; for what is made of it JobOpen, JobFailed, JobCancelled or JobExpired where there is none
        yet, or none at all; Permanent with `object_not_found` where nothing lies there, with `object_changed` where
        something else does; with `bucket_not_allowed` for what this client's jobs may not read.
        """
        return run(self._asking.look(job_id, kind, number=number))

    def read(self, there: StoredObject, *, first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """Its bytes, piece by piece, from the `first` (0) to the `last`, both included.

        Raises Retryable with `object_changed` where they are others by now.
        """
        return iterate(self._asking.read(there, first=first, last=last))

    def cancel(self, job_id: str, *, keep: bool = False) -> str:
        """Stop a job and return its state now: `cancelled`, or `running` until its worker hears of it (one heartbeat).

        With `keep`, a picture that is being painted is stored as it is then, marked partial; one that waits for its
        next attempt stays `queued` until a worker stores what the last one saved of it. Where nothing is painted or
        saved, the job is cancelled. One that has ended stays as it is. Raises JobNotFound.
        """
        return run(self._asking.cancel(job_id, keep=keep))

    def retry(self, job_id: str) -> None:
        """Run a job again that ended without a picture, as its next run.

        May be called again after an Unavailable. Raises JobNotFound, JobOpen, JobSucceeded, TooManyOpenJobs.
        """
        run(self._asking.retry(job_id))

    def delete(self, job_id: str) -> None:
        """Forget an ended job: its record and events, and its objects in the store.

        What lies under the output key stays, with what lies beside it, where it is no longer this job's picture.
        Raises JobNotFound, JobOpen.
        """
        run(self._asking.delete(job_id))

    def dead_letters(self, *, after: str | None = None, limit: int = 100) -> Page[DeadLetter]:
        """Jobs whose attempts are used up, and messages that were no jobs: up to `limit` (1000), the newest first.

        The page's `after`, given again, leads to the next one. Only so many are kept, and of so many bytes
        (`STYLEQUEUE_MAX_DEAD_LETTERS`, `..._BYTES`): the oldest go first. Raises InvalidRequest.
        """
        return run(self._asking.dead_letters(after=after, limit=limit))

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """One of them, with its message. Raises JobNotFound."""
        return run(self._asking.dead_letter(letter_id))

    def replay(self, letter_id: str) -> None:
        """Give a dead letter another life: a job its next run, a message its place in the queue; an event goes back to
        its group, a delivery to its endpoint; a notification is taken up by whoever listens to uploads, and is a letter
        until then.

        May be called again after an Unavailable: a message that comes twice does no harm. Raises JobNotFound,
        DeliveryNotFound; of an event EventsLost where the stream keeps it no longer, InvalidRequest where its group is
        gone.
        """
        run(self._asking.replay(letter_id))

    def drop(self, letter_id: str) -> None:
        """Forget a dead letter, with the record of the job it was. Raises JobNotFound."""
        run(self._asking.drop(letter_id))

    def readiness(self) -> dict[str, str]:
        """What stands in the way of jobs being handed in, by where: `redis`, `store`; nothing, if all answers.

        Asks both, and raises nothing.
        """
        return run(self._asking.readiness())

    def close(self) -> None:
        """Give all connections back."""
        if self._owns_access:
            self._access.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
