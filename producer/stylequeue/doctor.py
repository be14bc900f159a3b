"""Looks at everything a deployment needs, from where it is run, and says what to do about each trouble."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sized
from contextlib import closing, contextmanager
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

from . import __version__
from .broker.app import make_app
from .broker.lists import CELERYS_DEFAULT_QUEUE, Lists
from .connection import celery_asked, redis_asked
from .contract.base import DEFAULT_QUEUE, QUEUES
from .contract.errors import Code, ExitCode, InvalidSettings, Misconfigured, Permanent, StyleQueueError, Unavailable
from .contract.recipe import networks_of_queue
from .delivery.hooks import Hooks
from .finding import Finding, finding_of, trouble_of
from .ledger import Ledger
from .ledger.registry import LiveWorker, named, not_served, waits_for
from .operator_file import OperatorFile
from .settings import Settings
from .store import Store
from .variables import variable_of

_NODE_S = 120
"""How long TensorFlow may take to say what devices it sees."""


def examine(load: Callable[[], Settings] = Settings.load, *, fix: bool = False) -> Iterator[Finding]:
    """Every finding, as it is found: of Redis, the store, the workers and, where TensorFlow is, of this machine.

    `load` gives the settings to look by; what is wrong with them is a finding too, and the last one. With `fix`, the
    upload bucket is given the rules that it lacks.
    """
    yield _versions()
    try:
        settings = load()
    except InvalidSettings as error:
        yield trouble_of("settings", error)
        return
    yield Finding("settings", "ok", f"deployment {settings.deployment!r}, Redis at {settings.redis.place}")
    yield marks(settings)
    yield _operator_file(settings)
    ledger, store = Ledger(settings), Store(settings)
    try:
        for check in (
            partial(_redis, settings),
            eviction,
            append_only,
            _workers,
            _queues,
            _networks,
            _waiting,
            partial(_astray, settings),
            partial(_endpoints, settings),
        ):
            try:
                yield from _each(check(ledger))
            except StyleQueueError as error:
                yield trouble_of("redis", error)
                break
        yield from _buckets(settings, store)
        try:
            yield conditional_writes(store)
        except StyleQueueError as error:
            yield trouble_of("conditional writes", error)
        for look in (upload_lifecycle, upload_cors):
            try:
                yield look(store, settings, fix=fix)
            except StyleQueueError as error:
                yield Finding(look.__name__.replace("_", " "), "warning", error.message, error.hint or _BY_HAND)
    finally:
        ledger.close()
        store.close()
    if find_spec("tensorflow") is not None:
        yield from _node()


def eviction(ledger: Ledger) -> Finding:
    """Whether Redis may drop keys when its memory is full: then it drops jobs."""
    policy = ledger.server().eviction_policy
    if policy is None:
        return Finding(
            "redis memory",
            "warning",
            "it does not say what it does when its memory is full",
            "see to it that maxmemory-policy is noeviction; doctor reads it where INFO or CONFIG GET is allowed",
        )
    return finding_of(
        "redis memory",
        policy == "noeviction",
        f"maxmemory-policy {policy}",
        "set maxmemory-policy noeviction: any other lets Redis drop jobs",
    )


def append_only(ledger: Ledger) -> Finding:
    """Whether Redis writes down what it is told: otherwise its end is that of all jobs since its last snapshot."""
    appends = ledger.server().appends
    if appends is None:
        return Finding(
            "redis disk",
            "warning",
            "it does not say whether it keeps an append-only file",
            "see to it that appendonly is yes; doctor reads it where INFO or CONFIG GET is allowed",
        )
    return finding_of(
        "redis disk",
        appends,
        "keeps an append-only file" if appends else "keeps no append-only file, or cannot write to it",
        "set appendonly yes and see that its disk has room: without, a crash of Redis loses jobs",
    )


def conditional_writes(store: Store) -> Finding:
    """Whether the store honours `If-None-Match: *`: without it two attempts may write over each other."""
    with _set_by("write_buckets"):
        honoured = store.honours_conditional_writes()
    return finding_of(
        "conditional writes",
        honoured,
        "honoured" if honoured else "ignored",
        "use a store that knows If-None-Match: without it two attempts at a job may write over each other",
    )


_BY_HAND = "docs/operations.md has the rule, to be set by hand"
_FIX = "`stylequeue doctor --fix` sets the rule, beside those that are there"
_LIFECYCLE_FIX = f"{_FIX}; one that lets go of all sooner is yours to remove"


def upload_lifecycle(store: Store, settings: Settings, *, fix: bool) -> Finding:
    """Whether uploads go by themselves once no job can want them any more: nobody else deletes them."""
    rules = store.upload_rules
    if not (there := rules.has_lifecycle()) and fix:
        rules.set_lifecycle()
        there = rules.has_lifecycle()
    lies, days = f"what lies in bucket {settings.upload_bucket}", f"after {rules.keeps_days} days or later"
    if there:
        return Finding("upload lifecycle", "ok", f"{lies} goes {days}")
    return Finding("upload lifecycle", "warning", f"{lies} does not all go, {days}", _LIFECYCLE_FIX)


def upload_cors(store: Store, settings: Settings, *, fix: bool) -> Finding:
    """Whether pages of `browser_origins` may send pictures to the store, and fetch them there."""
    if not settings.browser_origins:
        return Finding("upload cors", "ok", "no page is to send pictures by itself (STYLEQUEUE_BROWSER_ORIGINS)")
    rules = store.upload_rules
    if (lacking := rules.lacking_cors()) and fix:
        rules.set_cors()
        lacking = rules.lacking_cors()
    pages = ", ".join(settings.browser_origins)
    if lacking:
        return Finding("upload cors", "warning", f"{', '.join(lacking)}: not open to pages of {pages}", _FIX)
    return Finding("upload cors", "ok", f"all buckets are open to pages of {pages}")


def work_bucket(store: Store) -> Finding:
    """Whether checkpoints and previews can be kept: without them a job that moves to another worker begins anew."""
    with _set_by("work_bucket"):
        store.check_work()
    return Finding("work bucket", "ok", "can be written, read and cleared")


def read_buckets(store: Store) -> Finding:
    """Whether there is what workers may read."""
    with _set_by("read_buckets"):
        store.check_reading()
    return Finding("read buckets", "ok", "there")


def safety(ledger: Ledger, store: Store) -> Iterator[Finding]:
    """What no worker starts without: looked at in this order, as far as one goes on. Raises as ledger and store do."""
    yield eviction(ledger)
    yield conditional_writes(store)
    yield work_bucket(store)
    yield read_buckets(store)


def marks(settings: Settings) -> Finding:
    """Whether what is stored is marked with a secret that lies nowhere else."""
    count = len(settings.mark_secrets)
    if count:
        return Finding("marks", "ok", f"with a secret of their own{f'; {count} are believed' if count > 1 else ''}")
    return Finding(
        "marks",
        "warning",
        "what is stored is marked with a secret that Redis keeps",
        "give workers and keepers STYLEQUEUE_MARK_SECRETS: whoever reads Redis could forge pictures; clients need none",
    )


def _operator_file(settings: Settings) -> Finding:
    """Whether it can be read: processes that run keep to what it said before, new ones do not start."""
    try:
        operator = OperatorFile(settings.operator_file).now
    except InvalidSettings as error:
        return trouble_of("operator file", error)
    if settings.operator_file is None:
        return Finding("operator file", "ok", "none (STYLEQUEUE_OPERATOR_FILE)")
    counted: dict[str, Sized] = {
        "template": operator.templates,
        "endpoint": operator.endpoints,
        "tenant": operator.tenants,
    }
    found = ", ".join(f"{len(named)} {what}{'' if len(named) == 1 else 's'}" for what, named in counted.items())
    return Finding("operator file", "ok", found)


def _versions() -> Finding:
    packages = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis", "boto3"))
    return Finding("versions", "ok", f"stylequeue {__version__}, Python {platform.python_version()}, {packages}")


def _redis(settings: Settings, ledger: Ledger) -> Finding:
    """Whether it answers, and lets us write: as the ledger does, and as Celery keeps results and tells of them."""
    ledger.try_out()
    app, task_id = make_app(settings), f"doctor-{uuid.uuid4()}"
    with celery_asked(settings), closing(app):
        app.backend.mark_as_done(task_id, None)
        app.backend.forget(task_id)
    return Finding("redis", "ok", f"{ledger.server().version or 'a server that does not say its version'} answers")


def _workers(ledger: Ledger) -> Iterator[Finding]:
    workers = ledger.registry.workers()
    if not workers:
        yield finding_of(
            "workers",
            False,
            "none is on record",
            "start one with `stylequeue worker`; it is on record once its models are loaded",
            ExitCode.NOT_REACHABLE,
        )
    for worker in workers:
        yield _worker(worker)


def _worker(worker: LiveWorker) -> Finding:
    made_of = {"Python": worker.python, "Celery": worker.celery, "TensorFlow": worker.tensorflow}
    runs = ", ".join(f"{name} {version}" for name, version in made_of.items() if version)
    what, found = f"worker {worker.name}", f"{worker}; {runs}"
    if lacking := not_served(worker.queues, worker.networks):
        wanted = "; ".join(f"{queue}: {' or '.join(networks_of_queue(queue))}" for queue in lacking)
        hint = f"run `stylequeue models pull` there: it takes from queues whose networks it lacks ({wanted})"
        return finding_of(what, False, found, hint, ExitCode.CANNOT_SERVE)
    if worker.version != __version__:
        return Finding(what, "warning", found, f"this is stylequeue {__version__}: upgrade workers before producers")
    return Finding(what, "ok", found)


def _queues(ledger: Ledger) -> Iterator[Finding]:
    workers = ledger.registry.workers()
    for queue in QUEUES:
        takers = sum(queue in worker.queues for worker in workers)
        open_jobs = ledger.open_jobs(queue)
        found = f"{takers} worker{'' if takers == 1 else 's'}, {open_jobs} open job{'' if open_jobs == 1 else 's'}"
        hint = f"nobody takes from it: `stylequeue worker --queues {queue}`"
        if takers:
            yield Finding(f"queue {queue}", "ok", found)
        elif open_jobs:
            yield finding_of(f"queue {queue}", False, found, hint, ExitCode.NOT_REACHABLE)
        else:
            yield Finding(f"queue {queue}", "warning", found, hint)


def _networks(ledger: Ledger) -> Iterator[Finding]:
    """Weights of one name that are not the same everywhere."""
    holders: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for worker in ledger.registry.workers():
        for network, digest in worker.networks.items():
            holders[network][digest].append(worker.name)
    for network, by_digest in sorted(holders.items()):
        if len(by_digest) > 1:
            found = "; ".join(f"{named({network: digest})} on {', '.join(who)}" for digest, who in by_digest.items())
            hint = "different weights paint different pictures: give all workers the same"
            yield Finding(f"network {network}", "warning", found, hint)


def _astray(settings: Settings, ledger: Ledger) -> Iterator[Finding]:
    """Jobs that nobody hears of: by plain Celery, to no queue of ours."""
    what = f"list {CELERYS_DEFAULT_QUEUE}"
    try:
        with redis_asked(settings):
            count = Lists(ledger.redis).astray()
    except Unavailable as error:
        if error.code != Code.BROKER_REFUSED:
            raise
        yield Finding(what, "warning", "this user of Redis may not see whether messages went astray", "an operator may")
        return
    if count:
        yield Finding(
            what,
            "warning",
            f"{count} messages lie where no worker takes them: their senders named no queue",
            f'have them sent with queue="{DEFAULT_QUEUE}"; those that lie there have to be sent again',
        )


def _waiting(ledger: Ledger) -> Iterator[Finding]:
    """Jobs that no live worker of their queue can paint."""
    workers = ledger.registry.workers()
    for (queue, needs), count in ledger.registry.lacking().items():
        if lacks := waits_for(queue, needs, workers):
            found = f"{count} job{' waits' if count == 1 else 's wait'} for {lacks}"
            hint = f"run `stylequeue models pull {needs[0]}` on a worker of queue {queue}; they go on by themselves"
            yield finding_of(f"jobs on {queue}", False, found, hint, ExitCode.CANNOT_SERVE)


def _endpoints(settings: Settings, ledger: Ledger) -> Iterator[Finding]:
    """Those of the operator's file, by how they fare."""
    try:
        statuses = Hooks(settings, ledger=ledger).all()
    except InvalidSettings:
        return  # what is wrong with the file was said
    for status in statuses:
        what, hint = f"endpoint {status.name}", f"`stylequeue hooks deliveries {status.name}` has each attempt"
        if status.disabled:
            again = f"once it is mended: `stylequeue hooks enable {status.name}`, and `replay --since`"
            yield Finding(what, "warning", f"disabled: {status.disabled}", again)
        elif status.failing_since:
            since = f"{status.failing_since:%Y-%m-%d %H:%M:%S} UTC"
            yield Finding(what, "warning", f"nothing has arrived since {since}: {status.last_error}", hint)
        else:
            yield Finding(what, "ok", f"{status.kind}, {status.waiting} events on their way")


def _buckets(settings: Settings, store: Store) -> Iterator[Finding]:
    """Each bucket by itself, with all that it is used for."""
    used_for = {
        "upload_bucket": "clients upload into it",
        "output_bucket": "the command's pictures go into it",
        "read_buckets": "workers read it",
        "write_buckets": "workers write pictures into it",
        "work_bucket": "workers keep checkpoints in it",
    }
    for bucket, names in sorted(settings.buckets.items()):
        role = ", ".join(used_for[name] for name in names)
        try:
            with _set_by(*names):
                store.check_work() if bucket == settings.work_bucket else store.check_bucket(bucket)
            yield Finding(f"bucket {bucket}", "ok", f"there; {role}")
        except StyleQueueError as error:
            trouble = trouble_of(f"bucket {bucket}", error)
            yield Finding(trouble.what, trouble.state, f"{trouble.found}; {role}", trouble.hint, trouble.exit_code)


@contextmanager
def _set_by(*names: str) -> Iterator[None]:
    """Around what depends on these settings: what the store refuses says so."""
    try:
        yield
    except (Permanent, Misconfigured) as error:
        variables = " or ".join(map(variable_of, names))
        error.hint = f"{error.hint}; it is named by {variables}" if error.hint else f"it is named by {variables}"
        raise


def _node() -> Iterator[Finding]:
    """This machine's models and devices, asked in a process of its own: it loads TensorFlow."""
    command = [sys.executable, "-m", "stylequeue_worker.probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NODE_S, check=True)  # noqa: S603
        for finding in json.loads(done.stdout):
            yield Finding(**finding)
    except (subprocess.SubprocessError, ValueError) as error:
        yield finding_of("tensorflow", False, f"does not work here: {error}", "reinstall the worker extra")


def _each(found: Finding | Iterator[Finding]) -> Iterator[Finding]:
    if isinstance(found, Finding):
        yield found
    else:
        yield from found
