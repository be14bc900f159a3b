"""What Prometheus scrapes of a deployment: read from the ledger at each scrape, by whichever process is asked.

So nothing piles up here, workers need no port, one that is gone is gone from the next scrape on, and counters outlive
all processes. Any number of exporters say the same; what is each process's own is set apart (`gateway_...`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, get_args

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .client import StyleQueue
from .contract.errors import Code, StyleQueueError
from .contract.status import LetterKind
from .settings import Settings

if TYPE_CHECKING:
    from .ledger.census import Census, Counts
    from .ledger.histograms import Histogram

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_SERIES = 200
"""Of what callers name: groups of consumers, sources of notices. Those over it are left out."""
_PREFIX = "stylequeue_"
_OVER_ALL = "+Inf"
_UNFIT = (Code.DEVICE_UNAVAILABLE, Code.INSUFFICIENT_MEMORY, Code.NETWORK_UNAVAILABLE)
_OF_THE_STORE = (Code.STORE_UNAVAILABLE, Code.STORE_REFUSED, Code.ACCESS_DENIED)

log = logging.getLogger(__name__)


def exposition(census: Census, beside: Iterable[Metric] = ()) -> bytes:
    """A census as Prometheus reads it, and what the process that is asked has `beside` it."""
    found = [*families(census), *beside]

    class Collector:
        def collect(self) -> list[Metric]:
            return found

    return generate_latest(Collector())


def families(census: Census) -> Iterator[Metric]:
    """All metrics of the deployment, the same ones whatever there is."""
    yield from _queues(census)
    yield from _jobs(census.counts)
    yield from _letters_and_deliveries(census.counts)
    yield from _events_and_uploads(census)
    yield from _workers(census)
    yield from _service(census)


def counter(name: str, help_text: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    """A counter with a value for each of some labels' values."""
    family = CounterMetricFamily(_PREFIX + name, help_text, labels=labels)
    for of, value in sorted(values.items()):
        family.add_metric([str(label) for label in of], value)
    return family


def gauge(name: str, help_text: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    """A gauge likewise."""
    family = GaugeMetricFamily(_PREFIX + name, help_text, labels=labels)
    for of, value in sorted(values.items()):
        family.add_metric([str(label) for label in of], value)
    return family


def _queues(census: Census) -> Iterator[Metric]:
    queues = census.counts.queues
    states = ("waiting", "due", "parked", "running")
    jobs = {(name, state): getattr(queue, state) for name, queue in queues.items() for state in states}
    yield gauge("queue_jobs", "Open jobs, by what they do: due ones are to begin later.", ["queue", "state"], jobs)
    load = {(name,): queue.load for name, queue in queues.items()}
    yield gauge("queue_load", "Jobs that workers are wanted for.", ["queue"], load)
    oldest = {(name,): queue.oldest_s or 0 for name, queue in queues.items()}
    yield gauge("queue_oldest_seconds", "Since the oldest job that waits was accepted; 0: none.", ["queue"], oldest)
    paused = {(name,): queue.paused_s is not None for name, queue in queues.items()}
    yield gauge("queue_paused", "Whether no worker takes from it.", ["queue"], paused)
    takers = {
        (name,): sum(name in worker.queues and worker.draining is None for worker in census.workers) for name in queues
    }
    yield gauge("queue_workers", "Live workers that take from it.", ["queue"], takers)


def _jobs(counts: Counts) -> Iterator[Metric]:
    yield counter("jobs_accepted", "Jobs that were accepted.", ["queue"], counts.of("jobs_accepted"))
    ended = counts.of("jobs_ended")
    yield counter("jobs_ended", "Jobs that ended, with the code of why.", ["queue", "state", "code"], ended)
    yield counter("attempts", "Attempts that began.", ["queue"], counts.of("attempts"))
    yield counter(
        "attempts_put_back", "Attempts that gave their job back, by why: none for another's picture.", ["code"],
        _always(counts.of("put_backs"), *_OF_THE_STORE),
    )  # fmt: skip
    yield counter("resumes", "Attempts that went on from a checkpoint.", [], _always(counts.of("resumes")))
    yield counter("reuses", "Pictures that had been painted for another job.", [], _always(counts.of("reuses")))
    yield counter(
        "stale_writes", "Writes by who had lost the job, all refused.", [], _always(counts.of("stale_writes"))
    )
    yield gauge("jobs_untold", "Ended jobs of which their senders may not know yet.", [], {(): counts.untold})
    measured = [
        ("wait_s", "job_wait_seconds", "From when a job could begin to its first attempt.", "queue"),
        ("stage_s", "stage_seconds", "Of each stage of making a picture.", "stage"),
        ("steps_per_s", "painting_steps_per_second", "Of whole paintings.", "network"),
    ]
    for name, metric, help_text, label in measured:
        yield _histogram(metric, help_text, label, [seen for seen in counts.histograms if seen.name == name])


def _letters_and_deliveries(counts: Counts) -> Iterator[Metric]:
    buried = _always(counts.of("dead_letters"), *get_args(LetterKind))
    yield counter("dead_letters", "What was buried.", ["kind"], buried)
    dropped = {(): counts.counters.get(("dead_letters_dropped",), 0)}
    yield counter("dead_letters_dropped", "Dead letters that had to go, for there were too many.", [], dropped)
    yield gauge("dead_letters_kept", "Dead letters that there are.", [], {(): counts.dead_letters})
    yield gauge("dead_letters_kept_bytes", "What they take.", [], {(): counts.dead_letters_bytes})
    yield counter(
        "deliveries", "Tries to send an event to an endpoint.", ["endpoint", "outcome"], counts.of("deliveries")
    )
    endpoints = counts.endpoints.items()
    waiting = {(name,): endpoint.waiting for name, endpoint in endpoints}
    yield gauge("endpoint_waiting_deliveries", "Events that have not arrived.", ["endpoint"], waiting)
    oldest = {(name,): endpoint.oldest_s or 0 for name, endpoint in endpoints}
    yield gauge("endpoint_oldest_undelivered_seconds", "Since the oldest of them was to be sent.", ["endpoint"], oldest)
    disabled = {(name,): endpoint.is_disabled for name, endpoint in endpoints}
    yield gauge("endpoint_disabled", "Whether nothing is sent to it.", ["endpoint"], disabled)


def _events_and_uploads(census: Census) -> Iterator[Metric]:
    behind = sorted(census.groups, key=lambda group: -(group.lag or 0))[:MAX_SERIES]
    lag = {(group.name,): group.lag for group in behind if group.lag is not None}
    yield gauge("group_lag_events", "Events that no consumer of a group has taken.", ["group"], lag)
    pending = {(group.name,): group.pending for group in behind}
    yield gauge("group_pending_events", "Events that its consumers are not done with.", ["group"], pending)
    sources = dict(list(census.uploads.items())[:MAX_SERIES])
    outcomes = {
        (name, outcome): number for name, source in sources.items() for outcome, number in source.outcomes.items()
    }
    yield counter("notifications", "Notices of uploads, by what they came to.", ["source", "outcome"], outcomes)
    lags = HistogramMetricFamily(
        f"{_PREFIX}notification_lag_seconds", "From an upload to its notice.", labels=["source"]
    )
    for name, source in sources.items():
        buckets = [(str(float(bound)), float(number)) for bound, number in source.lags.up_to_s.items()]
        lags.add_metric([name], [*buckets, (_OVER_ALL, float(source.lags.count))], source.lags.sum_s)
    yield lags


def _workers(census: Census) -> Iterator[Metric]:
    workers = census.workers
    info = InfoMetricFamily(f"{_PREFIX}worker", "Of a live worker.", labels=["worker"])
    for worker in workers:
        about = {name: getattr(worker, name) for name in ("host", "version", "device", "precision")}
        info.add_metric([worker.name], {**about, "queues": ",".join(worker.queues)})
    yield info
    busy = {(worker.name,): worker.job is not None for worker in workers}
    yield gauge("worker_busy", "Whether it has a job.", ["worker"], busy)
    drained = {(worker.name,): worker.draining is not None for worker in workers}
    yield gauge("worker_draining", "Whether it is to take no more jobs.", ["worker"], drained)
    measured = [
        ("steps_per_s", "worker_steps_per_second", "Of its painting, now."),
        ("resident_bytes", "worker_resident_bytes", "What its painting process holds."),
        ("gpu_memory_bytes", "worker_gpu_memory_bytes", "What of its GPU's memory is taken, by whomever."),
        ("gpu_utilisation", "worker_gpu_utilisation_ratio", "How much of the time its GPU computes."),
    ]
    for name, metric, help_text in measured:
        known = {(worker.name,): value for worker in workers if (value := getattr(worker, name)) is not None}
        yield gauge(metric, help_text, ["worker"], known)
    unfit = _always(census.counts.of("unfit"), *_UNFIT)
    yield counter(
        "workers_unfit", "Workers that ended at their start, for their machine cannot serve.", ["code"], unfit
    )


def _service(census: Census) -> Iterator[Metric]:
    keeper = {} if census.counts.keeper_s is None else {(): census.counts.keeper_s}
    yield gauge("keeper_silent_seconds", "Since a keeper made a round.", [], keeper)
    memory = census.memory
    yield gauge("redis_memory_bytes", "What Redis takes.", [], {(): memory.used_bytes} if memory else {})
    limit = {(): memory.limit_bytes} if memory and memory.limit_bytes else {}
    yield gauge("redis_memory_limit_bytes", "What it may take, where that is limited.", [], limit)


def _always(values: Mapping[tuple[str, ...], int], *labels: str) -> Mapping[tuple[str, ...], int]:
    """With these labels from the first scrape on: what begins with 1 never rose."""
    there: list[tuple[str, ...]] = [(label,) for label in labels]
    return dict.fromkeys(there or [()], 0) | dict(values)


def _histogram(name: str, help_text: str, label: str, found: Sequence[Histogram]) -> Metric:
    from .ledger.histograms import BOUNDS

    family = HistogramMetricFamily(_PREFIX + name, help_text, labels=[label])
    for seen in found:
        up_to, buckets = 0, []
        for bound, number in zip([*map(str, map(float, BOUNDS[seen.name])), _OVER_ALL], seen.buckets, strict=True):
            up_to += number
            buckets.append((bound, float(up_to)))
        family.add_metric([seen.label], buckets, seen.total)
    return family


def serve(settings: Settings, *, host: str, port: int, stop: threading.Event) -> None:
    """Answer `GET /metrics`, and `GET /healthz`, until `stop`. Raises OSError where the address is taken."""
    with StyleQueue(settings) as queue, _Server((host, port), queue) as server:
        log.info("metrics at http://%s:%d/metrics", host, server.server_port)
        serving = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        serving.start()
        stop.wait()
        server.shutdown()
        serving.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], queue: StyleQueue) -> None:
        self.queue = queue
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "stylequeue", ""
    timeout = 10
    """Seconds, for a request to come."""

    def do_GET(self) -> None:
        if self.path == "/healthz":  # whether the process lives; nothing else is looked at
            self._answer(200, "text/plain", b"ok\n")
            return
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, "text/plain", b"there is /metrics\n")
            return
        began_s = time.monotonic()
        try:
            body = exposition(self.server.queue.census())
        except StyleQueueError as error:
            log.warning("not scraped: %s", error)
            self._answer(503, "text/plain", f"{error.message}\n".encode())
            return
        log.debug("scraped in %.0f ms", (time.monotonic() - began_s) * 1000)
        self._answer(200, CONTENT_TYPE, body)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)
