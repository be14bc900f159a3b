"""Housekeeping: puts lost jobs back, ends overdue ones, sends messages that are due or went missing, tells of ends.

One runs in every worker's parent, and `stylequeue keeper` runs one by itself, so that lost jobs are found while all
workers are down. Many at once do no harm: every move is one script, and what two of them send twice is dropped.
"""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from . import attempts, logs
from .broker.app import make_app
from .broker.lists import ON_ITS_WAY_S, Lists
from .broker.messages import Messages
from .connection import celery_asked
from .contract.errors import Code, JobNotFound, Permanent, Preempted, StyleQueueError, Unavailable
from .ledger import Ledger, Overdue, mark_secrets
from .settings import Settings
from .store import Store, heeding
from .telling import Teller
from .tracing import exporting

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

_JITTER = 0.3
"""Share by which rounds vary, so that many keepers do not march in step."""
_RECONCILE_EVERY = 5
"""Rounds: comparing ledger and broker costs more than the rest."""
_COMPARE_EVERY = 150
"""Rounds between two comparisons of every single message: about 5 minutes."""
_COMPARE_AT_ONCE = 100_000
"""Queued jobs: a full queue."""
_COMPARED_WITHIN_S = 60.0
"""Until another keeper takes one that compares for dead."""
_COMPARING_SHARE = 0.05
"""Of the time, for comparing messages; of a full queue, that takes seconds."""
_REST_S = 300.0
"""The longest without a comparison."""
_TELL_AT_ONCE = 20
"""Jobs of a round."""


class Keeper:
    """Does one deployment's housekeeping. Not safe to share between threads."""

    def __init__(self, settings: Settings, app: Celery | None = None, ledger: Ledger | None = None) -> None:
        self._settings = settings
        app = app or make_app(settings)
        self._ledger = ledger or Ledger(settings)
        self._messages = Messages(app, self._ledger)
        self._teller = Teller(app, self._ledger, Store(settings, partial(mark_secrets, self._ledger)))
        self._lists = Lists(self._ledger.redis)
        self._rounds = 0
        self._missing: set[str] = set()
        self._redis_was_away = False
        self._check: Callable[[], None] = lambda: None
        """Raises where this keeper is to stop."""
        self._leases_hold_until = 0.0
        """By the monotonic clock."""

    def run(self, stop: threading.Event) -> None:
        """Round after round until `stop`. Trouble is logged, never raised: the next round may go better."""

        def check() -> None:
            if stop.is_set():
                raise Preempted

        self._check = check
        while not stop.wait(self._settings.keeper_interval_s * random.uniform(1 - _JITTER, 1 + _JITTER)):
            try:
                with celery_asked(self._settings), heeding(check):
                    self.round()
            except StyleQueueError as error:
                log.warning("round skipped: %s", error)
            except Exception:
                log.exception("round broken off")

    def round(self) -> None:
        """One round."""
        overdue = self._overdue()
        if time.monotonic() >= self._leases_hold_until:
            for job_id in overdue.lease_ran_out:
                self._see_to(self._reap, job_id)
        for job_id in overdue.deadline_passed:
            self._see_to(self._expire, job_id)
        if sent := self._messages.send_due():
            log.info("%d messages that were due are sent", sent)
        self._rounds += 1
        if self._rounds % _RECONCILE_EVERY == 0:
            self.reconcile(thoroughly=self._rounds % _COMPARE_EVERY == 0)
        # Last, and at most so many: this alone needs the store, which may be away, or closed to us in some places.
        untold = overdue.untold
        for job_id in random.sample(untold, min(len(untold), _TELL_AT_ONCE)):
            if not self._see_to(self._tell, job_id):
                break

    def reconcile(self, *, thoroughly: bool = True) -> None:
        """Compare ledger and broker: a queued job whose message is absent twice in a row gets a fresh one.

        Unless `thoroughly`, only where there are fewer messages than jobs that should have one. That is cheap and
        nearly always enough: but messages of jobs that have ended since may make up for one that is lost. Of many
        keepers one compares, and rests for long where that takes long.
        """
        # Some are claimed while a deep queue is compared: who still missed those would never rest.
        self._missing = {*self._ledger.still_queued([*self._missing])}
        if not thoroughly and not self._missing and not self._are_fewer_messages():
            return
        if not self._ledger.may_compare(_COMPARED_WITHIN_S) and not self._missing:
            return
        began_s = time.monotonic()
        try:
            self._compare()
        finally:
            self._ledger.compared(min((time.monotonic() - began_s) / _COMPARING_SHARE, _REST_S))
        self._messages.send_due()

    def _are_fewer_messages(self) -> bool:
        # The messages first: a job that is claimed between the two is not missed.
        about = self._lists.about()
        return self._ledger.messages_expected(claimed_within_s=ON_ITS_WAY_S) > about

    def _compare(self) -> None:
        queued = self._ledger.queued_task_ids(_COMPARE_AT_ONCE)
        missed = self._lists.missed(filter(None, queued.values()), self._check)
        absent = {job_id for job_id, task_id in queued.items() if task_id in missed or not task_id}
        for job_id in sorted(absent & self._missing):
            log.warning("job=%s its message is lost, a fresh one is due", job_id)
        self._ledger.make_due(sorted(absent & self._missing))
        self._missing = absent - self._missing

    def _overdue(self) -> Overdue:
        try:
            overdue = self._ledger.overdue()
        except Unavailable:
            self._redis_was_away = True
            raise
        if self._redis_was_away:
            # No holder could renew its lease: all have another one's time to say that they live.
            self._redis_was_away = False
            self._leases_hold_until = time.monotonic() + self._settings.lease_s
        return overdue

    def _see_to(self, what: Callable[[str], None], job_id: str) -> bool:
        """One job's trouble is not the others'. False: there was some."""
        self._check()
        try:
            with logs.about(job_id), celery_asked(self._settings):
                what(job_id)
        except Exception as error:
            log.warning("job=%s left for the next round: %s", job_id, error)
            return False
        return True

    def _reap(self, job_id: str) -> None:
        try:
            record = self._ledger.record(job_id)
        except JobNotFound:
            return
        # Whoever sent the job may read it, and no tenant is told the names of workers.
        error = f"[{Code.LEASE_RAN_OUT}] its worker was not heard of for {self._settings.lease_s:g} s"
        verdict = self._ledger.put_back(record, error=error, late=True)
        if verdict != "lost":
            attempts.lost(record, error)
            log.warning("job=%s %s (%s): %s", job_id, error, record.worker, verdict)
        if verdict in ("cancelled", "failed"):
            self._tell_senders(job_id)

    def _expire(self, job_id: str) -> None:
        if self._ledger.expire(job_id).verdict == "expired":
            log.info("job=%s its deadline passed", job_id)
            self._tell_senders(job_id)

    def _tell_senders(self, job_id: str) -> None:
        self._teller.tell_senders(self._ledger.record(job_id), self._ledger.outcome(job_id))

    def _tell(self, job_id: str) -> None:
        try:
            record, event = self._ledger.record(job_id), self._ledger.outcome(job_id)
        except JobNotFound:
            self._ledger.told(job_id)
            return
        try:
            self._teller.tell(record, event)
        except Permanent as error:
            # Nobody ever will.
            log.error("job=%s the event beside its picture cannot be stored: %s", job_id, error)
            self._ledger.told(job_id)


def main(settings: Settings, beside: Sequence[Callable[[threading.Event], None]] = ()) -> None:
    """Keep house until SIGTERM or SIGINT, and meanwhile run what is to run `beside`, each until its event is set."""
    logs.configure(settings.log_level)
    exporting.set_up("keeper", settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    others = [threading.Thread(target=run, args=(stop,)) for run in beside]
    for other in others:
        other.start()
    log.info("keeping house of deployment %s", settings.deployment)
    Keeper(settings).run(stop)
    for other in others:
        other.join()
    exporting.flush()
