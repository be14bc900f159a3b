"""Holding a job: the lease, renewed from claim to commit, and word of how far its painting is."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from stylequeue import logs
from stylequeue.contract.errors import (
    Cancelled,
    Code,
    DeadlinePassed,
    LeaseLost,
    Permanent,
    Preempted,
    StyleQueueError,
)
from stylequeue.contract.events import ProgressData
from stylequeue.ledger import Ledger, Record
from stylequeue.settings import Settings

from ..engine import Step
from .activity import Activity

log = logging.getLogger(__name__)

STOP_FILE_VARIABLE = "_STYLEQUEUE_STOP_FILE"
"""Environment variable: the file that the parent process makes when the worker has to stop."""


_TRY_AGAIN_S = 0.5
"""After a heartbeat that failed, which it may do at once."""


def stop_requested() -> bool:
    """Whether this worker was told to stop."""
    stop_file = os.environ.get(STOP_FILE_VARIABLE)
    # Asked at every step: a Path would take five times as long to make as this takes.
    return stop_file is not None and os.path.exists(stop_file)  # noqa: PTH110


class Holder:
    """Keeps one job ours while the `with` block runs, in a thread that does nothing else.

    The thread renews the lease every `heartbeat_s` and publishes the newest progress every `progress_interval_s`;
    trouble with Redis is logged and tried again, the painting goes on. What the ledger answers is seen by `check`.
    """

    def __init__(self, ledger: Ledger, settings: Settings, record: Record, activity: Activity | None = None) -> None:
        self.record = record
        self._activity = activity or Activity()
        self.preview: str | None = None
        """Where the newest preview lies, for the next progress event."""
        self.left_work = False
        """Whether something of this job lies in the work bucket."""
        self._ledger = ledger
        self._heartbeat_s = settings.heartbeat_s
        self._interval_s = min(settings.progress_interval_s, settings.heartbeat_s)
        self._verdict = "go_on"
        self._number = 0
        self._began: tuple[float, float] | None = None
        """When the first step was done, by the monotonic clock, and the share of the work done then."""
        self._held_since = time.monotonic()
        self._newest: dict[str, Any] | None = None
        self._beat_at = time.monotonic()
        self._speaking = threading.Lock()
        self._done = threading.Event()
        self._log_context = logs.current()
        self._thread = threading.Thread(target=self._keep_alive, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._activity.begin(self.record.id)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        self._activity.end()

    @property
    def keep(self) -> bool:
        """Whether somebody wants the picture as it is now."""
        return self._verdict == "keep"

    def still_wanted(self) -> None:
        """Return if the job is still this attempt's, and somebody waits for it. Raises LeaseLost, Cancelled,
        DeadlinePassed.
        """
        match self._verdict:
            case "lost":
                raise LeaseLost(f"fence {self.record.fence} of job {self.record.id} is stale")
            case "cancel":
                raise Cancelled
            case "overdue":
                raise DeadlinePassed("the deadline passed before the picture was done")

    def check(self) -> None:
        """Return if the attempt should go on.

        Raises as `still_wanted` does, Preempted, or Permanent with `time_limit`, the sender's own.
        """
        self.still_wanted()
        if stop_requested() or self._verdict == "leave":
            raise Preempted
        limit_s = self.record.time_limit_s
        if limit_s is not None and time.monotonic() - self._held_since > limit_s:
            raise Permanent(
                Code.TIME_LIMIT,
                f"the attempt took longer than its sender allows: {limit_s:g} s",
                "send it with a longer time_limit, or ask for fewer steps or a smaller size",
            )

    def goes_on(self) -> None:
        """The painting goes on from another attempt's checkpoint: counted, unless Redis is away."""
        try:
            self._ledger.note("resumes")
        except StyleQueueError as error:
            log.warning("that it goes on is not counted: %s", error)

    def stage(self, stage: str) -> None:
        """A stage begins: told at once."""
        self._activity.enter(stage)
        if self._newest is not None:
            self.flush()
        self._newest = {"stage": stage}
        self.flush()
        self.check()

    def step(self, step: Step) -> None:
        """A step is done: told when it is time. Raises as `check` does."""
        now = time.monotonic()
        self._activity.make_step(step.step, step.steps)
        if self._began is None:
            self._began = now, step.done
        began_at, done_before = self._began
        gained = step.done - done_before  # nothing yet at the first step, which also took the compiling
        left_s = (now - began_at) * (1 - step.done) / gained if gained > 0 else None
        self._newest = {
            "stage": "painting",
            "step": step.step,
            "steps": step.steps,
            "size_px": step.size_px,
            "losses": dict(step.losses),
            "left_s": left_s,
        }
        self.check()

    def flush(self) -> bool:
        """Tell what is new now, and return whether that went well."""
        try:
            self._beat()
        except Exception as error:  # whatever it is, the next beat may go better
            log.warning("heartbeat failed: %s", error)
            return False
        return True

    def _beat(self) -> None:
        with self._speaking:
            newest, self._newest = self._newest, None
            data = None
            if newest is not None:
                self._number += 1
                data = ProgressData(number=self._number, preview=self.preview, **newest)
            try:
                self._verdict = self._ledger.heartbeat(self.record.id, fence=self.record.fence, data=data)
            except StyleQueueError:
                # Nothing newer may come for a while.
                self._newest = self._newest or newest
                raise
            self._beat_at = time.monotonic()

    def _keep_alive(self) -> None:
        pause_s = self._interval_s
        with logs.as_before(self._log_context):
            while not self._done.wait(pause_s or 0.001):
                pause_s = self._interval_s
                is_due = self._newest is not None or time.monotonic() - self._beat_at >= self._heartbeat_s
                if is_due and not self.flush():
                    pause_s = max(pause_s, min(_TRY_AGAIN_S, self._heartbeat_s))


class Every:
    """Calls `work` now and then in a thread of its own while the `with` block runs.

    The next call comes `interval_s` after the last one, and never so soon that the calls take more than `share` of the
    time. Trouble is logged: what is saved now and then may fail now and then.
    """

    def __init__(self, interval_s: float, work: Callable[[], None], *, name: str, share: float = 1.0) -> None:
        self._interval_s = interval_s
        self._work = work
        self._share = share
        self._name = name
        self._done = threading.Event()
        self._log_context = logs.current()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = self._interval_s
        with logs.as_before(self._log_context):
            while not self._done.wait(pause_s):
                began_at = time.monotonic()
                try:
                    self._work()
                except StyleQueueError as error:
                    log.warning("%s failed: %s", self._name, error)
                except Exception:
                    log.exception("%s failed", self._name)
                took_s = time.monotonic() - began_at
                pause_s = max(self._interval_s, took_s / self._share - took_s)
