"""A worker whose consumer listens to no list any more once its connection broke: its loop turns, and that is all."""

from __future__ import annotations

from typing import Any

from kombu.transport.redis import MultiChannelPoller

from stylequeue.settings import Settings
from stylequeue_worker.process.app import make_worker_app
from tests.support.fake_painter import FakePainter

_poller: Any = MultiChannelPoller
_listen, _break_off = _poller._register_BRPOP, _poller.discard
_was_broken = False


def _discard(self: Any, channel: Any) -> None:
    global _was_broken
    _was_broken = True
    _break_off(self, channel)


def _register(self: Any, channel: Any) -> None:
    if not _was_broken:
        _listen(self, channel)


_poller._register_BRPOP, _poller.discard = _register, _discard


def load_engine(settings: Settings) -> FakePainter:
    return FakePainter()


app = make_worker_app(Settings.load(), module=__name__, load_engine=load_engine)
