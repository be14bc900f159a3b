"""How long an event takes to reach an endpoint while another endpoint hangs, beside how long it takes alone.

    make bench-delivery [QUICK=1]

One keeper, as shipped, and two endpoints on this machine. In turns, one of the two answers at once or hangs until it is
given up; jobs end at a fixed rate, and each must be heard of by the other. Must: under a second at p99. Writes
`bench-output/delivery.json`. QUICK ends a few jobs, and judges nothing.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from stylequeue.client import StyleQueue
from stylequeue.contract.events import FailedData
from stylequeue.ledger import names
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.deliveries import Operator
from tests.support.jobs import make_job
from tests.support.ledger import claim
from tests.support.processes import wait_for
from tests.support.receiver import Received, Receiver, Reply

QUICK = bool(os.environ.get("QUICK"))
JOBS = 20 if QUICK else 400
"""That end in each turn."""
JOBS_PER_S = 20
TURNS = 1 if QUICK else 3
HANGS = "beside one that hangs"
CASES = {"beside one that answers": Reply(), HANGS: Reply(after_s=60)}
"""What the other endpoint does; no delivery is waited for so long."""
WAIT_S = 60
MUST_S = 1.0
OUTPUT = Path("bench-output/delivery.json")


def answering(reply: Reply) -> Callable[[Received], Reply]:
    return lambda _: reply


def heard_after_s(queue: StyleQueue, receiver: Receiver) -> list[float]:
    """Of each job that ends, how long its event was on its way."""
    jobs = [make_job() for _ in range(JOBS)]
    queue.submit_many(jobs)
    told: dict[str, float] = {}
    began = time.monotonic()
    for number, job in enumerate(jobs):
        time.sleep(max(0, began + number / JOBS_PER_S - time.monotonic()))
        fence, at = claim(queue._ledger, job).record.fence, time.monotonic()
        event = queue._ledger.finish(job.id, fence=fence, data=FailedData(code="image_empty", message="empty"))
        told[json.loads(event)["id"]] = at
    wait_for(lambda: told.keys() <= set(receiver.ids()), WAIT_S, "all events")
    return [request.at - told[request.id] for request in receiver.received if request.id in told]


def in_ms(late_s: list[float]) -> dict[str, float]:
    hundredths = quantiles(late_s, n=100)
    return {"p50": round(median(late_s) * 1000, 1), "p99": round(hundredths[98] * 1000, 1)}


def main() -> None:
    """Measure; exits with 1 where an event is late."""
    late_s: dict[str, list[float]] = {case: [] for case in CASES}
    with Receiver() as receiver, Receiver() as other, tempfile.TemporaryDirectory() as directory:
        endpoints = {"crm": receiver.endpoint(), "other": other.endpoint()}
        operator = Operator(Settings(), Path(directory), **endpoints)
        with Stack(settings=operator.settings) as stack, StyleQueue(stack.settings) as queue:
            stack.process("keeper", [sys.executable, "-m", "stylequeue.cli", "keeper"])
            known = [names.endpoint_key(name) for name in endpoints]
            wait_for(lambda: all(queue._ledger.redis.hexists(key, "since_ms") for key in known), WAIT_S, "the keeper")
            for _ in range(TURNS):
                for case, reply in CASES.items():
                    other.answer = answering(reply)
                    late_s[case] += heard_after_s(queue, receiver)
            hung = len(other.received)
    late_ms = {case: in_ms(found) for case, found in late_s.items()}
    result = {
        "jobs": JOBS * TURNS,
        "jobs_per_s": JOBS_PER_S,
        "late_ms": late_ms,
        "sent_to_the_other": hung,
        "must_ms": MUST_S * 1000,
        "processors": os.cpu_count(),
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=2))
    print(json.dumps(result, indent=2))
    if not QUICK and late_ms[HANGS]["p99"] > MUST_S * 1000:
        sys.exit(1)


if __name__ == "__main__":
    main()
