"""The names of the ledger's keys and channels in Redis: for Python as they stand here, for scripts as `lua()` has them.

`job_id`, `state` and the like are parts of a name as they are: `contract.base.ID_PATTERN` keeps them harmless.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class KeyOfEach:
    """Names a key for each of many things."""

    before: str
    after: str = ""

    def __call__(self, which: str) -> str:
        """The key of one of them."""
        return f"{self.before}{which}{self.after}"


record_key = KeyOfEach("stylequeue:job:")
"""Of a job: what is known of it (hash)."""
events_key = KeyOfEach("stylequeue:job:", ":events")
"""Of a job: its newest events (stream)."""
tasks_key = KeyOfEach("stylequeue:job:", ":tasks")
"""Of a job: Celery's ids of the messages whose senders wait, but for the first (set)."""
job_of_task_key = KeyOfEach("stylequeue:task:")
"""Of a Celery task: its job, where that has another id. Until then nobody else's message speaks for the task."""
gone_key = KeyOfEach("stylequeue:gone:")
"""Of a job that was deleted while its message may still be about: what goes on should its id come again (hash)."""
state_key = KeyOfEach("stylequeue:state:")
"""Of a state: its jobs, since when (sorted set)."""
queue_key = KeyOfEach("stylequeue:queue:")
"""Of a queue: its open jobs, since when they were created (sorted set)."""
ready_key = KeyOfEach("stylequeue:ready:")
"""Of a queue: those of its jobs that wait for a worker and have a message, by when they were created (sorted set)."""
due_key = KeyOfEach("stylequeue:due:")
"""Of a queue: those of its jobs of which a fresh message is to be sent, from when on (sorted set)."""
dead_key = KeyOfEach("stylequeue:dead:")
"""Of a dead letter: what it holds (hash)."""
tenant_key = KeyOfEach("stylequeue:tenant:", ":jobs")
"""Of a tenant: its jobs, since when (sorted set)."""
tenant_open_key = KeyOfEach("stylequeue:tenant:", ":open")
"""Of a tenant: its jobs that have not ended, since when (sorted set)."""
rate_key = KeyOfEach("stylequeue:tenant:", ":rate")
"""Of a tenant: until when what it asked for is paid off, in microseconds."""
label_key = KeyOfEach("stylequeue:label:")
"""Of a label's name and value, as `label_index` has them: the jobs that have it, since when (sorted set)."""
painting_key = KeyOfEach("stylequeue:painting:")
"""Of a fingerprint: the job that paints it now."""
waiters_key = KeyOfEach("stylequeue:waiters:")
"""Of a fingerprint: the jobs that wait for it (set)."""
painted_key = KeyOfEach("stylequeue:painted:")
"""Of a fingerprint: what was painted, for others to reuse (JSON)."""
worker_key = KeyOfEach("stylequeue:worker:")
"""Of a live worker: what it says of itself, for three heartbeats (JSON)."""
drain_key = KeyOfEach("stylequeue:drain:")
"""Of a worker that is to take no more jobs: what becomes of the one it has, `finish` or `checkpoint`."""
ended_key = KeyOfEach("stylequeue:ended:")
"""Of a queue and a minute since 1970 ("paint:29000000"): how many of its jobs ended then."""
lacking_key = KeyOfEach("stylequeue:lacking:")
"""Of a queue and of networks any of which would do ("paint:vgg19,vgg16"): the jobs that wait for a worker that takes
from the one and has one of the others, since when (sorted set)."""
refused_key = KeyOfEach("stylequeue:refused:")
"""Of the id that an upload's job would have: that it was told of that there is none."""
upload_probe_key = KeyOfEach("stylequeue:upload_probe:")
"""Of a probe that was put where uploads go: which sources told of it, and which rules have it (hash)."""
position_key = KeyOfEach("stylequeue:position:")
"""Of what looks through a bucket: how far it has got."""
endpoint_key = KeyOfEach("stylequeue:endpoint:")
"""Of an endpoint: since when it is known, and how it fares (hash)."""
delivery_key = KeyOfEach("stylequeue:delivery:")
"""Of an endpoint and an event ("crm:<id>"): what is to be sent, and what came of it (hash)."""
deliveries_key = KeyOfEach("stylequeue:endpoint:", ":deliveries")
"""Of an endpoint: the events of its deliveries, since when (sorted set)."""
to_send_key = KeyOfEach("stylequeue:endpoint:", ":to_send")
"""Of an endpoint: the events that are to be sent, from when on (sorted set)."""
sending_key = KeyOfEach("stylequeue:endpoint:", ":sending")
"""Of an endpoint: the events that somebody sends now, until when others wait for that (sorted set)."""

lifecycle_channel = KeyOfEach("stylequeue:lifecycle:")
"""Of a database, since channels know of none: where the id of each job is published that has a new lifecycle event."""
progress_channel = KeyOfEach("stylequeue:progress:")
"""The same where it has made progress."""

EVENTS_KEY = "stylequeue:events"
"""The deployment's newest lifecycle events (stream)."""
CREATED_KEY = "stylequeue:created"
"""All jobs, since when (sorted set)."""
TENANTS_KEY = "stylequeue:tenants"
"""Whose each job is that has a tenant: outlives its record, until the indexes have forgotten it (hash)."""
LABELLED_KEY = "stylequeue:labelled"
"""In which labels' indexes each job is, likewise (hash)."""
COUNTERS_KEY = "stylequeue:counters"
"""How often a job entered each state; the dead letters' bytes, and how many of them had to go; and, by names with their
labels ("jobs_ended|paint|failed|image_corrupt"), how often else something happened (hash)."""
HISTOGRAMS_KEY = "stylequeue:histograms"
"""By name, label and bucket ("stage_s|paint|3"), how often something was so much; by "...|sum", all of it (hash)."""
KEEPER_KEY = "stylequeue:keeper"
"""When a keeper made a round last."""
PAUSED_KEY = "stylequeue:paused"
"""Queues that no worker takes jobs from, since when (hash)."""
DEAD_KEY = "stylequeue:dead"
"""Dead letters, since when (sorted set)."""
DEAD_SIZES_KEY = "stylequeue:dead_sizes"
"""How many bytes each dead letter takes (hash); their sum is among the counters."""
LISTENER_KEY = "stylequeue:listener"
"""That somebody listens to uploads, for half a minute."""
NOTIFIED_AGAIN_KEY = "stylequeue:notified_again"
"""Dead letters, notifications, that somebody wants taken up again, since when (sorted set)."""
WORKERS_KEY = "stylequeue:workers"
"""Live workers, until when unless they are heard of again (sorted set)."""
DELETION_COSTS_KEY = "stylequeue:deletion_costs"
"""What Kubernetes was told of workers' pods: what stopping each costs (hash)."""
DELETION_COSTS_TURN_KEY = "stylequeue:deletion_costs:turn"
"""That somebody tells it now."""
UPLOADS_KEY = "stylequeue:uploads"
"""What notices of uploads came to, and how late they were, by source ("minio recorded", "minio lag_ms") (hash)."""
MARKS_KEY = "stylequeue:marks"
"""What marks in the store are made with, where no setting says."""
COUNTED_KEY = "stylequeue:counted"
"""That the queues' counts were made anew, for a while."""
COMPARED_KEY = "stylequeue:compared"
"""That a keeper compares every message with the jobs, or did so lately."""
SLIM_KEY = "stylequeue:slim"
"""Of a stream, while a move makes it slim."""
PROBE_KEY = "stylequeue:probe"
"""Written to see whether that can be done."""

# Sorted sets of job ids by the moment something is to be done about them.
LEASES_KEY = "stylequeue:leases"
"""Running: the lease runs out."""
DEADLINES_KEY = "stylequeue:deadlines"
"""Open: the job expires."""
DUE_KEY = "stylequeue:due"
"""Queued: a fresh message is to be sent."""
WAITING_KEY = "stylequeue:waiting"
"""Queued without a message, since when: another job paints the same picture, or no worker that looked at it can."""
UNTOLD_KEY = "stylequeue:untold"
"""Ended, since when: the store or the sender may not know of it yet."""


def label_index(tenant: str | None, name: str, value: str) -> str:
    """What `label_key` names a key for: jobs with this label, all or a tenant's. The scripts have the same."""
    return hashlib.sha1(f"{tenant or ''}\0{name}\0{value}".encode(), usedforsecurity=False).hexdigest()


def lua() -> str:
    """These names as the scripts see them: constants, and functions of one string."""
    lines = []
    for name, value in globals().items():
        if isinstance(value, KeyOfEach):
            lines.append(f"local function {name}(which) return '{value.before}' .. which .. '{value.after}' end")
        elif name.endswith("_KEY"):
            lines.append(f"local {name} = '{value}'")
    return "\n".join(lines)
