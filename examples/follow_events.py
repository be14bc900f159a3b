"""Hears of every job of the deployment, whoever submitted it: each event at least once, also after a restart.

python examples/follow_events.py position.txt
"""

from __future__ import annotations

import sys
from pathlib import Path

from stylequeue import AnyEvent, EventsLost, Failed, StyleQueue, Succeeded, UnknownEvent


def handle(event: AnyEvent) -> None:
    """What a backend does with what it hears. The same event may come twice: its `id` tells."""
    match event:
        case Succeeded(data=data):
            print(f"{event.subject}: s3://{data.output.bucket}/{data.output.key}", flush=True)
        case Failed(data=data):
            print(f"{event.subject}: [{data.code}] {data.message}", flush=True)
        case UnknownEvent():
            print(f"{event.subject}: {event.kind}, which only newer versions understand", flush=True)
        case _:
            print(f"{event.subject}: {event.kind}", flush=True)


def follow(queue: StyleQueue, kept: Path, *, for_ever: bool = True) -> None:
    """Handle events from where the last run ended; the file `kept` says where that was."""
    position = kept.read_text() if kept.exists() else "0"
    while True:
        try:
            for behind, event in queue.events(after=position, follow=for_ever):
                handle(event)
                # Handled first, kept second: what breaks off in between is handled again, not lost.
                kept.write_text(behind)
            return
        except EventsLost:
            # Away for too long. What became of the jobs still waited for, `queue.status` says.
            position = "0"


if __name__ == "__main__":
    with StyleQueue() as queue:
        follow(queue, Path(sys.argv[1]), for_ever="--once" not in sys.argv)
