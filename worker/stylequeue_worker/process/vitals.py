"""How this worker is: what of it moves, what it reaches, and until when each of that may be believed.

Whatever moves says so itself, for a while: the parent's loop that it turned, its consumer that it heard from the list
of messages, the registry that Redis answered. What stands still says nothing, and what it said before runs out. That
the worker lives depends on nothing outside of it: ending one because Redis is away would only lose what its child
paints.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from stylequeue._probe import text
from stylequeue.contract.errors import StyleQueueError
from stylequeue.settings import Settings
from stylequeue.store import Store

from .health import HealthFile

BEAT_S = 5.0
"""Between two turns of the parent's loop that are noted."""
STILL_S = 60.0
"""In which its loop has turned, also between two tries to connect."""
_START_S = 300.0
"""From the process's start until its loop turns for the first time: Redis and the store are looked at before."""
DEAF_S = 15.0
"""In which Redis has answered a consumer that waits for messages: every second, if only that there is none."""
_MISSED = 3
"""Heartbeats, or looks at the store, after which what they told of is not believed any more."""
_STORE_S = 15.0
"""Between two looks whether the store answers."""

_LOOP = ("live", "its parent's loop stands still")
_STEPS = ("live", "its painting stands still, and the time limit has not ended it")
_DEAF = ("live", "it takes no messages, though Redis answers")
_STARTED = ("started", "its child is not ready: device, networks and memory are not seen to yet")
_BROKER = ("ready", "Redis does not answer")
_STORE = ("ready", "the store does not answer")
_CONSUMES = ("ready", "it takes no messages")
_STAYS = ("ready", "it is to stop")
_OPEN = ("ready", "it is drained")
_NEVER = -math.inf

log = logging.getLogger(__name__)


class Vitals:
    """Of one worker, in its parent. `clock` is the monotonic one, by which the probe reads them."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.file = HealthFile(settings.health_file)
        self._settings = settings
        self._now = clock
        self._deaf_since_s: float | None = None
        self._holds = dict.fromkeys((_LOOP, _STEPS, _DEAF, _STAYS, _OPEN), math.inf)
        self._holds |= dict.fromkeys((_STARTED, _BROKER, _STORE, _CONSUMES), _NEVER)

    def begin(self) -> None:
        """The process begins. Raises InvalidSettings where the file cannot be kept."""
        self.file.prepare()
        self._say(_LOOP, _START_S)

    def turned(self) -> None:
        """The parent's loop has turned, whatever it found; it connects, or takes messages."""
        self._say(_LOOP, STILL_S)

    def connects(self) -> None:
        """The loop has turned without its messages: Redis refused it, or is away."""
        self._deaf_since_s = None
        self._holds[_DEAF] = math.inf
        self.turned()

    def listens(self, *, heard_s: float, expects: bool) -> None:
        """The loop has turned with its connection to the list of messages, which last answered at `heard_s`.

        `expects`: it wants one; a worker that is busy, or drained, does not.
        """
        now_s = self._now()
        if not expects or now_s - heard_s < DEAF_S:
            self._deaf_since_s = None
            self._holds[_DEAF] = math.inf
            self._holds[_CONSUMES] = now_s + DEAF_S
        elif self._holds[_BROKER] < now_s:
            # Redis is away, and that is all.
            self._deaf_since_s = None
            self._holds[_DEAF] = math.inf
        else:
            self._deaf_since_s = self._deaf_since_s or now_s
            self._holds[_DEAF] = self._deaf_since_s + STILL_S
        self.turned()

    def registered(self) -> None:
        """Redis has answered."""
        self._say(_BROKER, _MISSED * self._settings.heartbeat_s + self._settings.redis_timeout_s)

    def child_said(self, *, moved_s: float | None) -> None:
        """The child was ready for its first job, and its work on one last went on at `moved_s`; None: it has none."""
        self._holds[_STARTED] = math.inf
        limit_s = self._settings.job_time_limit_s + STILL_S
        self._holds[_STEPS] = math.inf if moved_s is None else moved_s + limit_s
        self._write()

    def drained(self, *, is_drained: bool) -> None:
        """Whether it is to take no more jobs for now."""
        self._holds[_OPEN] = _NEVER if is_drained else math.inf

    def stops(self) -> None:
        """It was told to stop; the loop may end before the child has."""
        self._holds[_STAYS] = _NEVER
        self._say(_LOOP, STILL_S + self._settings.grace_s)

    def watch_store(self, stop: threading.Event) -> None:
        """Look whether the store answers, now and then until `stop`; not where nobody asks."""
        if not self.file.is_kept:
            return
        store, pause_s = Store(self._settings), 0.0
        while not stop.wait(pause_s):
            pause_s = _STORE_S
            try:
                store.check_bucket(self._settings.work_bucket)
                self._say(_STORE, _MISSED * _STORE_S)
            except StyleQueueError as error:
                log.debug("the store does not answer: %s", error)

    def _say(self, what: tuple[str, str], for_s: float) -> None:
        self._holds[what] = self._now() + for_s
        self._write()

    def _write(self) -> None:
        self.file.write(text((probe, until_s, words) for (probe, words), until_s in list(self._holds.items())))
