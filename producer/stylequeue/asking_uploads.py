"""What both clients do with uploads that become jobs by rules, written once, as all else that they do (`asking`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from .asking_pictures import AskingPictures
from .contract.events import MAX_EVENT_BYTES, UploadRefused, UploadRefusedData, event_id, source_of
from .contract.objects import ImageRef, UploadedObject
from .contract.status import DeadLetter
from .contract.uploads import SourceCounts, UploadListing


class AskingUploads(AskingPictures):
    """A deployment as who listens to its store sees it. StyleQueue says what each method does."""

    async def find_upload(self, image: ImageRef) -> UploadedObject:
        return await self._access.call_store(self._access.store.incoming.find, image)

    async def list_uploads(
        self, bucket: str, prefix: str = "", *, after: str | None = None, by_version: bool = False
    ) -> UploadListing:
        look = partial(self._access.store.incoming.list, after=after, by_version=by_version)
        return await self._access.call_store(look, bucket, prefix)

    async def keeps_versions(self, bucket: str) -> bool:
        return await self._access.call_store(self._access.store.incoming.keeps_versions, bucket)

    async def upload_position(self, name: str) -> str | None:
        from .ledger import uploads

        return await uploads.position(self._access.asked, name)

    async def keep_upload_position(self, name: str, told: str | None) -> None:
        from .ledger import uploads

        await uploads.keep_position(self._access.asked, name, told)

    async def note_upload_probe(self, probe: str, *, source: str, rules: Sequence[str]) -> None:
        from .ledger import uploads

        await uploads.note_probe(self._access.asked, probe, source=source, rules=rules)

    async def upload_probe(self, probe: str) -> dict[str, list[str]]:
        from .ledger import uploads

        return await uploads.probe(self._access.asked, probe)

    async def say_listening(self) -> None:
        from .ledger import uploads

        await uploads.say_listening(self._access.asked)

    async def is_listening(self) -> bool:
        from .ledger import uploads

        return await uploads.is_listening(self._access.asked)

    async def notifications_wanted_again(self, limit: int = 100) -> list[DeadLetter]:
        from .ledger import notifications

        return await notifications.wanted_again(self._access.asked, limit)

    async def tell_refused(self, job_id: str, data: UploadRefusedData, *, notify: Sequence[str] = ()) -> bool:
        from .ledger import uploads

        kind: str = UploadRefused.model_fields["type"].default
        event = UploadRefused(
            id=event_id(job_id=job_id, run=0, event_type=kind),
            source=source_of(self._access.settings.deployment),
            subject=job_id,
            time=datetime.now(UTC),
            sequence=f"{1:010d}",
            data=data,
        )
        if len(event.text.encode()) > MAX_EVENT_BYTES:
            event = event.model_copy(update={"data": data.model_copy(update={"labels": {}})})
        return await uploads.tell(self._access.asked, event, notify=notify)

    async def bury_notification(self, text: str, *, source: str, code: str, reason: str) -> str:
        from .ledger import notifications

        return await notifications.bury(self._access.asked, text, source=source, code=code, reason=reason)

    async def count_uploads(
        self, outcomes: Mapping[tuple[str, str], int], lags_s: Mapping[str, Sequence[float]]
    ) -> None:
        from .ledger import uploads

        await uploads.count(self._access.asked, outcomes, lags_s)

    async def upload_counts(self) -> dict[str, SourceCounts]:
        from .ledger import uploads

        return await uploads.counts(self._access.asked)
