"""What stands between an upload and its job: each leg of the way looked at, then all of them tried with a probe."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from ..client import StyleQueue
from ..contract.errors import ExitCode, StyleQueueError
from ..finding import Finding, finding_of, trouble_of
from ..operator_file import Operator, OperatorFile, Rule, Source
from ..settings import Settings
from ..store import Store
from .notices import PROBE_PREFIX
from .rules import Rules
from .sources import fetching
from .sqs import Queue

_POLL_S = 0.2
_CREATED = ("s3:ObjectCreated:*", "s3:ObjectCreated:Put")
_MAX_PROBE_BYTES = 1024**2
_BODY = b"stylequeue doctor uploads\n"


def examine(settings: Settings, *, wait_s: float) -> Iterator[Finding]:
    """What was found of each leg; a probe is waited for for `wait_s` seconds.

    A probe is an object in the folder of each rule: it is noted, not painted, and gone at the end.
    """
    try:
        operator = OperatorFile(settings.operator_file).now
        rules = Rules(operator, settings).all
    except StyleQueueError as error:
        yield trouble_of("rules", error)
        return
    hint = "write [[rule]] and [source.NAME] into the operator's file: docs/uploads.md"
    yield finding_of("rules", bool(rules), f"{len(rules)} rules", hint)
    try:
        fetching(operator, settings)
    except StyleQueueError as error:
        yield trouble_of("sources", error)
        return
    yield finding_of("sources", bool(operator.sources), f"{len(operator.sources)} sources", hint)
    if not rules or not operator.sources:
        return
    store = Store(settings)
    with StyleQueue(settings) as queue:
        try:
            listens = queue.is_listening()
        except StyleQueueError as error:
            yield trouble_of("listener", error)
            return
        yield finding_of(
            "listener",
            listens,
            "somebody listens" if listens else "nobody listens",
            "run `stylequeue listen` with this operator's file",
            ExitCode.NOT_REACHABLE,
        )
        broken: list[str] = [] if listens else ["listener"]
        for name, source in operator.sources.items():
            for finding in _source(name, source, [rule.rule for rule in rules], store):
                broken += [] if finding.state == "ok" else [finding.what]
                yield finding
        for rule in rules:
            yield _probed(rule.rule, operator, store, queue, broken, wait_s)
    store.close()


def _source(name: str, source: Source, rules: Sequence[Rule], store: Store) -> Iterator[Finding]:
    """Of a queue: whether it is there, lets the store in, and is told by each bucket."""
    if not source.sqs:
        return
    try:
        with closing(Queue(source.sqs, source.region)) as queue:
            found = queue.attributes()
    except StyleQueueError as error:
        yield trouble_of(f"source {name}", error)
        return
    waiting = int(found.get("ApproximateNumberOfMessages", 0))
    yield Finding(f"source {name}", "ok", f"the queue answers, {waiting} messages wait")
    senders = _senders(found.get("Policy", ""))
    yield finding_of(
        f"queue policy {name}",
        bool(senders),
        f"lets {', '.join(sorted(senders))} send" if senders else "lets no service send to it",
        "allow sqs:SendMessage to s3.amazonaws.com (SNS: sns., EventBridge: events.): docs/uploads.md has the policy",
    )
    for bucket in dict.fromkeys(rule.bucket for rule in rules):
        prefixes = [rule.prefix for rule in rules if rule.bucket == bucket]
        yield _announced(bucket, prefixes, found.get("QueueArn", ""), store)


def _announced(bucket: str, prefixes: Sequence[str], arn: str, store: Store) -> Finding:
    what, hint = f"bucket {bucket}", "put the notification that docs/uploads.md has: ObjectCreated:*, with the prefix"
    try:
        told = store.incoming.announced(bucket)
    except StyleQueueError as error:
        return trouble_of(what, error)
    if "EventBridgeConfiguration" in told:
        return Finding(what, "ok", "tells EventBridge, whose rules are not looked at here")
    direct = [one for one in told.get("QueueConfigurations", ()) if one.get("QueueArn") == arn]
    rules = [*direct, *told.get("TopicConfigurations", ())]
    lacking = [prefix for prefix in prefixes if not any(_covers(one, prefix) for one in rules)]
    if not rules:
        return finding_of(what, False, "tells neither this queue nor a topic of uploads", hint)
    said = "tells this queue" if direct else "tells a topic, whose subscriptions are not looked at here"
    missed = ", ".join(map(repr, lacking))
    return finding_of(what, not lacking, f"{said}, but not of what comes under {missed}" if lacking else said, hint)


def _covers(configuration: Mapping[str, Any], prefix: str) -> bool:
    """Whether it tells of all that is put under the prefix, as far as its own prefix goes."""
    rules = configuration.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    begins = next((rule["Value"] for rule in rules if rule["Name"].lower() == "prefix"), "")
    return prefix.startswith(begins) and any(event in _CREATED for event in configuration.get("Events", ()))


def _senders(policy: str) -> set[str]:
    """Which services a queue's policy lets send to it."""
    try:
        statements = json.loads(policy)["Statement"]
    except (ValueError, KeyError, TypeError):
        return set()
    senders: set[str] = set()
    for statement in statements if isinstance(statements, list) else [statements]:
        actions = statement.get("Action", ())
        actions = [actions] if isinstance(actions, str) else actions
        allowed = {"*", "sqs:*", "sqs:sendmessage"} & {str(action).lower() for action in actions}
        if statement.get("Effect") == "Allow" and allowed:
            principal = statement.get("Principal", {})
            named: Any = (
                principal.get("Service", principal.get("AWS", ())) if isinstance(principal, dict) else principal
            )
            senders |= {named} if isinstance(named, str) else set(named)
    return senders


def _probed(
    rule: Rule, operator: Operator, store: Store, queue: StyleQueue, broken: Sequence[str], wait_s: float
) -> Finding:
    """What came of a probe that was put where the rule's uploads go."""
    what, probe = f"rule {rule.name}", uuid.uuid4().hex
    key = f"{rule.prefix}{PROBE_PREFIX}{probe}{rule.suffix[0] if rule.suffix else ''}"
    size_bytes = max(rule.min_bytes or 0, min(len(_BODY), rule.max_bytes or len(_BODY)))
    if size_bytes > _MAX_PROBE_BYTES:
        return Finding(what, "warning", "is not tried: it is for larger objects than a probe is")
    metadata = {name: "probe" if wanted == "*" else wanted for name, wanted in rule.metadata.items()}
    brought = {name for name, source in operator.sources.items() if not source.sweep}
    every_s = min((source.every_s for source in operator.sources.values() if source.sweep), default=0.0)
    if not brought and wait_s < every_s:
        found = f"is not tried: sweeps come every {every_s:g} s, --wait is {wait_s:g}"
        return Finding(what, "warning", found, "give a longer --wait, or sweep more often (`every_s`)")
    began = time.monotonic()
    try:
        store.incoming.put_probe(rule.bucket, key, _BODY.ljust(size_bytes)[:size_bytes], metadata)
        try:
            told = queue.upload_probe(probe)
            while not (brought & told.keys() or (told and not brought)) and time.monotonic() - began < wait_s:
                time.sleep(_POLL_S)
                told = queue.upload_probe(probe)
        finally:
            store.incoming.take_away(rule.bucket, key)
    except StyleQueueError as error:
        return trouble_of(what, error)
    took_s = time.monotonic() - began
    if not told:
        legs = f"look at: {', '.join(broken)}" if broken else "; ".join(_suspects(operator)) or "see the listener's log"
        return finding_of(what, False, f"nobody told of s3://{rule.bucket}/{key} within {wait_s:g} s", legs)
    having = next(iter(told.values()))
    if rule.name not in having:
        other = f"rule {', '.join(having)} has it" if having else "no rule has it"
        return finding_of(what, False, f"the probe was told of, and {other}", "`stylequeue rules test` says why")
    if brought and not brought & told.keys():
        found = f"only a sweep found the probe ({', '.join(told)}): no notification came within {wait_s:g} s"
        return finding_of(what, False, found, "; ".join(_suspects(operator)))
    return Finding(what, "ok", f"told of by {', '.join(sorted(told))} after {took_s:.1f} s")


def _suspects(operator: Operator) -> Iterator[str]:
    """Where to look for each kind of source that tells nothing, though all that can be looked at is well."""
    for name, source in operator.sources.items():
        if source.tokens:
            yield f"{name}: the store's notifier (address /v1/notices/{name}, token, prefix), and the network to it"
        elif source.sqs:
            yield f"{name}: what stands between bucket and queue"
        elif source.redis_list:
            yield f"{name}: the store's target `redis` (address, key {source.redis_list!r}, format `access`)"
