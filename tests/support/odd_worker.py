"""A worker whose painter comes to harm in a way of the job's choice: the number of steps says which."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import ResolvedOptimizeRecipe
from stylequeue.settings import Settings
from stylequeue_worker.process.app import make_worker_app
from tests.support.fake_painter import FakePainter

HANGS = 9001
"""In native code that lets no other Python thread run."""
KILLS_THE_CHILD = 9002
KILLS_THE_WORKER = 9003
EATS_THE_MEMORY = 9004
LEAVES_THE_NUMBERS = 9005
FILLS_THE_DISK = 9006
"""The first time; it paints the second time."""
PAINTS_BY_CHANCE = 9007
"""Another picture each time, after one step."""
HANGS_S = 600


class OddPainter(FakePainter):
    """Comes to harm after its first step."""

    def __init__(self) -> None:
        self.disk_was_full = False

    def paint(
        self,
        content: Any,
        _styles: Any,
        recipe: Any,
        resume: Any = None,
        start: Any = None,
        masks: Any = None,
        kept: Any = None,
    ) -> Iterator[Any]:
        import numpy as np

        oddity = recipe.steps if isinstance(recipe, ResolvedOptimizeRecipe) else 0
        for number, step in enumerate(super().paint(content, _styles, recipe, resume, start, masks, kept), 1):
            if oddity == PAINTS_BY_CHANCE:
                noise = np.random.default_rng().random(content.shape, np.float32)
                yield replace(step, picture=noise)
                return
            yield step
            if oddity == HANGS:
                ctypes.PyDLL(None).sleep(HANGS_S)
            elif oddity == KILLS_THE_CHILD:
                os.kill(os.getpid(), signal.SIGKILL)
            elif oddity == KILLS_THE_WORKER:
                os.kill(os.getppid(), signal.SIGKILL)
            elif oddity == EATS_THE_MEMORY:
                raise MemoryError
            elif oddity == LEAVES_THE_NUMBERS:
                raise Permanent(Code.NOT_FINITE, "NaN")
            elif oddity == FILLS_THE_DISK and not self.disk_was_full:
                self.disk_was_full = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            elif oddity == FILLS_THE_DISK and number == 2:
                return


def load_engine(settings: Settings) -> OddPainter:
    return OddPainter()


app = make_worker_app(Settings.load(), module=__name__, load_engine=load_engine)
