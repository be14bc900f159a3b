"""Alerts and dashboard: what they name is there, Prometheus takes it, each alert fires and is silent."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, BinaryExpr, Call, MatrixSelector, ParenExpr, UnaryExpr, VectorSelector

from stylequeue import metrics
from stylequeue.client import StyleQueue
from stylequeue.gateway.edge import Traffic
from tests.support.processes import needed

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker" / "prometheus" / "alerts.yaml"
TRIED = RULES.with_name("alerts.test.yaml")
DASHBOARD = json.loads((ROOT / "docker" / "grafana" / "dashboard.json").read_text())
[GROUP] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}
[_OF_ALERTS] = re.findall(
    r"^## Alerts\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "operate.md").read_text(), re.MULTILINE | re.DOTALL
)
SECTIONS = re.findall(r"^### (.+)$", _OF_ALERTS, re.MULTILINE)


def expressions() -> Iterator[str]:
    for rule in ALERTS.values():
        yield rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def named(expression: Any, above: frozenset[str] = frozenset()) -> Iterator[tuple[str, set[str]]]:
    """Each metric that is named, with the labels that it is asked for: to match, and to be left of it."""
    match expression:
        case VectorSelector():
            assert not expression.matchers.or_matchers
            yield str(expression.name), {matcher.name for matcher in expression.matchers.matchers} | above
        case MatrixSelector():
            yield from named(expression.vector_selector, above)
        case AggregateExpr():
            left = frozenset(expression.modifier.labels if expression.modifier else ())
            yield from named(expression.expr, left | above)
        case Call():
            for argument in expression.args:
                yield from named(argument, above)
        case BinaryExpr():
            matching = expression.modifier.matching if expression.modifier else None
            on = frozenset(matching.labels if matching else ())
            for side in (expression.lhs, expression.rhs):
                yield from named(side, above | on)
        case ParenExpr() | UnaryExpr():
            yield from named(expression.expr, above)


def known(queue: StyleQueue) -> dict[str, set[str]]:
    """Each metric's labels, where all that there can be is."""
    from stylequeue.gateway.metrics import own
    from stylequeue.gateway.streams import Streams

    traffic = Traffic()
    traffic.note("GET", "/v1/jobs", 200, 0.1)
    text = metrics.exposition(queue.census(), own(traffic, Streams(None, None))).decode()  # type: ignore[arg-type]
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        found.setdefault(family.name, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    # Valkey has no limit here.
    assert not found["stylequeue_redis_memory_limit_bytes"]
    return found


def faults(texts: Iterator[str] | list[str], labels: dict[str, set[str]]) -> list[str]:
    found = []
    for text in texts:
        for name, asked in named(promql_parser.parse(text)):
            if name not in labels:
                found.append(f"{name} is no metric: {text}")
            elif strangers := asked - labels[name] - {"job", "instance"}:
                found.append(f"{name} has no label {sorted(strangers)}: {text}")
    return found


def test_what_they_name_is_there(busy: StyleQueue) -> None:
    labels = known(busy)
    assert faults(expressions(), labels) == []
    wrong = [
        "stylequeue_queue_lod > 1",
        'max(stylequeue_queue_load{que="a"})',
        "sum by (worker) (rate(stylequeue_jobs_ended_total[5m]))",
        "max(stylequeue_queue_load) and on (state) max by (queue) (stylequeue_queue_load)",
    ]
    assert all(faults([text], labels) for text in wrong), "else this finds nothing"


def test_promtool_takes_the_rules() -> None:
    done = subprocess.run(
        [needed("promtool"), "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_fires_and_is_silent_by_promtool() -> None:
    command = [needed("promtool"), "test", "rules", str(TRIED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tried: dict[str, set[bool]] = {alert: set() for alert in ALERTS}
    for test in yaml.safe_load(TRIED.read_text())["tests"]:
        for seen in test["alert_rule_test"]:
            tried[seen["alertname"]].add(bool(seen["exp_alerts"]))
    assert tried == {alert: {True, False} for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS)
def test_each_has_its_section(alert: str) -> None:
    assert alert in SECTIONS
    assert ALERTS[alert]["annotations"]["runbook_url"] == f"docs/operate.md#{alert.lower()}"
    assert ALERTS[alert]["labels"]["severity"] in ("warning", "critical")


def test_the_document_has_no_others() -> None:
    assert set(SECTIONS) == set(ALERTS)


def test_the_dashboard_is_of_one_piece() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]}
    assert len(places) == len(DASHBOARD["panels"]), "one lies over another"
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]


def test_what_several_exporters_say_is_not_summed() -> None:
    """They say the same of the deployment; each gateway speaks of its own requests alone."""
    for text in expressions():
        for summed in re.findall(r"sum(?: by \([^)]*\))? \(?(?:rate|increase)?\(?(stylequeue_\w+)", text):
            assert summed.startswith("stylequeue_gateway_"), text


def test_counters_that_alerts_watch_are_there_before_anything_happened(busy: StyleQueue) -> None:
    """What begins with 1 never rose."""
    busy._ledger.redis.flushdb()
    text = metrics.exposition(busy.census()).decode()
    for sample in (
        'dead_letters_total{kind="job"}',
        'workers_unfit_total{code="device_unavailable"}',
        'attempts_put_back_total{code="store_unavailable"}',
    ):
        assert f"stylequeue_{sample} 0.0" in text
