"""What a client does for uploads that become jobs by rules: a listener's part, and who builds one of his own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .asking import Asking
from .awaiting import run
from .contract.events import UploadRefusedData
from .contract.objects import ImageRef, UploadedObject
from .contract.status import DeadLetter
from .contract.uploads import SourceCounts, UploadListing


class UploadCalls:
    """A part of StyleQueue, which says what all of it raises."""

    _asking: Asking

    def find_upload(self, image: ImageRef) -> UploadedObject:
        """What lies in the store under this name, whoever put it there, and whatever its ETag is by now.

        Raises as `download` does: Permanent with `object_not_found`, say.
        """
        return run(self._asking.find_upload(image))

    def list_uploads(
        self, bucket: str, prefix: str = "", *, after: str | None = None, by_version: bool = False
    ) -> UploadListing:
        """Up to 1000 objects whose keys begin with `prefix`, in the order of the keys, behind the key `after`.

        `by_version`: with the ids of their newest versions, where the bucket keeps them. Raises as `download` does.
        """
        return run(self._asking.list_uploads(bucket, prefix, after=after, by_version=by_version))

    def keeps_versions(self, bucket: str) -> bool:
        """Whether a bucket keeps versions of its objects. Raises as `download` does."""
        return run(self._asking.keeps_versions(bucket))

    def upload_position(self, name: str) -> str | None:
        """How far something that looks through a bucket has got, as it said last, in the last 90 days."""
        return run(self._asking.upload_position(name))

    def keep_upload_position(self, name: str, told: str | None) -> None:
        """Say how far it has got; None: it is done."""
        run(self._asking.keep_upload_position(name, told))

    def note_upload_probe(self, probe: str, *, source: str, rules: Sequence[str]) -> None:
        """Say that a source told of a probe of `doctor uploads`, and which rules have it."""
        run(self._asking.note_upload_probe(probe, source=source, rules=rules))

    def upload_probe(self, probe: str) -> dict[str, list[str]]:
        """Which sources told of a probe, each with the rules that have it."""
        return run(self._asking.upload_probe(probe))

    def say_listening(self) -> None:
        """Say that somebody listens to uploads; it holds for half a minute."""
        run(self._asking.say_listening())

    def is_listening(self) -> bool:
        """Whether somebody listens to uploads."""
        return run(self._asking.is_listening())

    def notifications_wanted_again(self, limit: int = 100) -> list[DeadLetter]:
        """Dead letters, notifications, that somebody had replayed: to be taken in, and then dropped, by who listens."""
        return run(self._asking.notifications_wanted_again(limit))

    def tell_refused(self, job_id: str, data: UploadRefusedData, *, notify: Sequence[str] = ()) -> bool:
        """Tell of an upload that becomes no job: an event `refused`, once for each `job_id` that the job would have.

        `notify` names endpoints as in `submit`. Returns whether it was told now.
        """
        return run(self._asking.tell_refused(job_id, data, notify=notify))

    def bury_notification(self, text: str, *, source: str, code: str, reason: str) -> str:
        """Put what came from a `source` of notices among the dead letters, as it came.

        Returns the letter's id, the same for the same text.
        """
        return run(self._asking.bury_notification(text, source=source, code=code, reason=reason))

    def count_uploads(self, outcomes: Mapping[tuple[str, str], int], lags_s: Mapping[str, Sequence[float]]) -> None:
        """Add to what is counted: how many notices of a source came to what, by (source, outcome); and by source, how
        many seconds each was late.
        """
        run(self._asking.count_uploads(outcomes, lags_s))

    def upload_counts(self) -> dict[str, SourceCounts]:
        """What was counted since the deployment began, by source."""
        return run(self._asking.upload_counts())
