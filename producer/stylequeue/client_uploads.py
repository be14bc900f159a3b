"""What a client does for uploads that become jobs by rules: a listener's part, and who builds one of his own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .asking import Asking
from .awaiting import run
from .contract.events import UploadRefusedData
from .contract.objects import ImageRef, UploadedObject
from .contract.uploads import SourceCounts


class UploadCalls:
    """A part of StyleQueue, which says what all of it raises."""

    _asking: Asking

    def find_upload(self, image: ImageRef) -> UploadedObject:
        """What lies in the store under this name, whoever put it there, and whatever its ETag is by now.

        Raises as `download` does: Permanent with `object_not_found`, say.
        """
        return run(self._asking.find_upload(image))

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
