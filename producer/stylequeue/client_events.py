"""What a client does with events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .asking import Asking
from .awaiting import iterate, run
from .contract.events import AnyEvent
from .contract.status import EventGroup, Glance, JobResult


class EventCalls:
    """A part of StyleQueue, which says what all of it raises."""

    _asking: Asking

    def watch(self, job_id: str, *, after: int = 0, timeout_s: float | None = None) -> Iterator[AnyEvent]:
        """The events of the job's newest run from its first, or of any run behind sequence `after`, each as it happens;
        ends after a terminal one.

        Raises JobNotFound, InvalidRequest, and WaitTimeout when the job has not ended after `timeout_s`.
        """
        return iterate(self._asking.watch(job_id, after=after, timeout_s=timeout_s))

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> JobResult:
        """Wait for the job's end and return what it made.

        Raises JobFailed, JobCancelled or JobExpired with the code, message and hint of the terminal event; JobNotFound;
        SchemaTooNew where a newer worker made it in a way that cannot be read here; WaitTimeout when the job has not
        ended after `timeout_s`.
        """
        return run(self._asking.wait(job_id, timeout_s=timeout_s))

    def glances(self, job_ids: Sequence[str] | None = None, *, label: Mapping[str, str] | None = None) -> list[Glance]:
        """How far jobs are that have all labels in `label`: those named, without those that are not on record; or all
        that are painted now.

        Less is read for it than for `statuses`.
        """
        return run(self._asking.glances(job_ids, label=label))

    def events(
        self,
        *,
        after: str = "0",
        follow: bool = True,
        group: str | None = None,
        consumer: str | None = None,
        claim_after_s: float = 60,
    ) -> Iterator[tuple[str, AnyEvent]]:
        """Lifecycle events of all jobs (no progress), each with its position, to be given as `after` next time.

        Without `follow` it ends where the stream ends now. Raises EventsLost for a position that is kept no longer,
        InvalidRequest for what is none.

        Consumers of one `group` share the events: each goes to one of them, and Redis knows how far they are.
        `consumer` is this one's name, the same after a restart and no other's at a time; left out: the host's. An event
        is handled when the next is asked for. One that is not, because this process ends or what is done with it
        raises, comes again: to this consumer when it asks anew, or to another after `claim_after_s`, so that is to be
        longer than handling one ever takes. What was taken five times and never handled is a dead letter. A new group
        begins behind `after`. EventsLost then says in `number` how many were trimmed away unread; who asks anew goes on
        behind them.
        """
        return iterate(
            self._asking.events(after=after, follow=follow, group=group, consumer=consumer, claim_after_s=claim_after_s)
        )

    def groups(self) -> list[EventGroup]:
        """The groups of consumers, with how many events each has yet to take."""
        return run(self._asking.groups())

    def newest_position(self) -> str:
        """The newest event's position: `events` behind it yields what happens from now on."""
        return run(self._asking.newest_position())
