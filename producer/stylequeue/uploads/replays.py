"""Notifications among the dead letters that somebody had replayed: taken in once more, as they came.

Who looks for them listens, and says so.
"""

from __future__ import annotations

import asyncio
import logging

from .intake import Intake
from .patience import Patience

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_AT_ONCE = 100


class Replays:
    """Takes them in, whatever source they came from."""

    name = "replays"

    async def run(self, intake: Intake, stopping: asyncio.Event) -> None:
        """Until `stopping`. Raises Unavailable where Redis does not answer."""
        patience = Patience(stopping)
        while not stopping.is_set():
            waits = False
            await intake.queue.say_listening()
            for letter in await intake.queue.notifications_wanted_again(_AT_ONCE):
                outcomes = await intake.read(letter.message, source=letter.queue)
                if not all(outcome.is_settled for outcome in outcomes):
                    waits = True
                # One that is no good still was buried anew, as another letter: where that is wanted it is read again.
                elif letter in await intake.queue.notifications_wanted_again(_AT_ONCE):
                    await intake.queue.drop(letter.id)
                    log.info("source=%s dead letter %s is taken in", letter.queue, letter.id)
            await (patience.pause() if waits else patience.pause(_LOOK_S))
