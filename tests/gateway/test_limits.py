"""What a tenant may ask for: by rate, by open jobs, and of one job; and what is said where Redis is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidSettings
from stylequeue.gateway import keys
from stylequeue.gateway.app import create_app
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.gateway.test_edge import check_problem
from tests.gateway.test_jobs import theirs
from tests.support import pictures
from tests.support.gate import Gate
from tests.support.proxy import Proxy

CRM = """
[endpoint.crm]
url = "https://crm.example/hook"
secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]
"""
FILE = """
[tenant.acme]
rate_per_s = 0.01
burst = 4
[tenant.globex]
open_jobs = 2
[tenant.initech]
job_megapixel_steps = 30
"""


@pytest.fixture
def limited(settings: Settings, tmp_path: Path) -> Settings:
    path = tmp_path / "operator.toml"
    path.write_text(FILE)
    return settings.model_copy(update={"operator_file": path})


@pytest.fixture
def gate(limited: Settings, tmp_path: Path) -> Iterator[Gate]:
    with Gate(limited, tmp_path / "keys.json") as gate:
        yield gate


def test_a_burst_then_429_that_says_when(gate: Gate, limited: Settings, tmp_path: Path) -> None:
    key = gate.key("submit", "acme")
    answers = [gate.get("/v1/jobs", key=key) for _ in range(3)]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=3", "r=2", "r=1"]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"tenant";q=4;w=400'}
    # Two gateways, and all keys of a tenant, share it.
    with Gate(limited, tmp_path / "keys.json") as other:
        assert other.get("/v1/jobs", key=gate.key("read", "acme")).status_code == 200
        refused = other.get("/v1/jobs", key=key)
    check_problem(refused, "rate_limited")
    assert 90 <= int(refused.headers["retry-after"]) <= 100
    assert refused.headers["ratelimit"].startswith('"tenant";r=0;t=')
    check_problem(gate.get("/v1/jobs", key=key), "rate_limited")
    # Others have nothing to do with it.
    for others in (gate.key("read", "globex"), ""):
        answer = gate.get("/v1/jobs", key=others)
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers


def test_a_batch_is_paid_for_by_the_job(gate: Gate, queue: StyleQueue) -> None:
    key = gate.key("submit", "acme")
    problem = check_problem(gate.post("/v1/jobs:batch", json={"jobs": [theirs()] * 6}, key=key), "rate_limited")
    assert "at most 4" in problem["hint"]
    assert queue.jobs() == []
    # That request itself is paid for.
    assert gate.post("/v1/jobs:batch", json={"jobs": [theirs()] * 3}, key=key).status_code == 200
    check_problem(gate.get("/v1/jobs", key=key), "rate_limited")


def test_open_jobs(gate: Gate) -> None:
    key = gate.key("submit", "globex")
    body = theirs("globex")
    first = gate.post("/v1/jobs", json=body, key=key).json()["id"]
    verdicts = gate.post("/v1/jobs:batch", json={"jobs": [body] * 2}, key=key).json()["jobs"]
    assert [one["verdict"] for one in verdicts] == ["new", "refused"]
    assert verdicts[1]["problem"]["code"] == "too_many_open_jobs"
    check_problem(gate.post("/v1/jobs", json=body, key=key), "too_many_open_jobs")
    assert gate.post(f"/v1/jobs/{first}/cancel", key=key).status_code == 200
    assert gate.post("/v1/jobs", json=body, key=key).status_code == 202
    check_problem(gate.post(f"/v1/jobs/{first}/retry", key=key), "too_many_open_jobs")
    assert gate.get(f"/v1/jobs/{first}", key=key).json()["state"] == "cancelled"
    assert gate.post(f"/v1/jobs/{first}/retry").status_code == 202, "the operator may"


def test_what_one_job_may_cost(gate: Gate, queue: StyleQueue) -> None:
    key = gate.key("submit", "initech")
    small = theirs("initech", recipe={"method": "optimize", "size": 256})
    large = theirs("initech", recipe={"method": "optimize", "size": 2048})
    problem = check_problem(gate.post("/v1/jobs", json=large, key=key), "job_too_costly")
    assert "may take 30" in problem["detail"]
    check_problem(gate.ask("PUT", "/v1/jobs/mine", json=large, key=key), "job_too_costly")
    form = [(name, ("a.jpg", pictures.jpeg())) for name in ("content", "style")]
    recipe = {"method": "optimize", "size": "2048"}
    check_problem(gate.post("/v1/paint", files=form, data=recipe, key=key), "job_too_costly")
    assert queue.jobs() == []
    verdicts = gate.post("/v1/jobs:batch", json={"jobs": [large, small]}, key=key).json()["jobs"]
    assert [one["verdict"] for one in verdicts] == ["refused", "new"]
    assert verdicts[0]["problem"]["code"] == "job_too_costly"
    assert gate.post("/v1/jobs", json=theirs("acme", recipe=large["recipe"]), key=gate.key("submit", "acme")).is_success


def test_where_redis_is_away_nobody_is_let_in_unlimited(stack: Stack, limited: Settings, tmp_path: Path) -> None:
    with Proxy(HOST, stack.valkey.port) as proxy:
        url = limited.redis_url.get_secret_value().replace(f":{stack.valkey.port}/", f":{proxy.port}/")
        behind = Settings(**{**limited.model_dump(), "redis_url": url, "redis_timeout_s": 1})
        with Gate(behind, tmp_path / "keys.json") as gate:
            key = gate.key("submit", "acme")
            assert gate.get("/v1/jobs", key=key).status_code == 200
            proxy.refuse()
            answer = gate.post("/v1/jobs", json=theirs(), key=key)
            check_problem(answer, "broker_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert gate.get("/healthz", key=None).status_code == 200
            ready = gate.get("/readyz", key=None)
            assert (ready.status_code, list(ready.json()["reasons"])) == (503, ["redis"])


def test_what_is_wrong_with_the_operators_file_is_the_operators_to_know(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "operator.toml"
    file.write_text(CRM)
    with Gate(settings.model_copy(update={"operator_file": file}), tmp_path / "keys.json") as gate:
        file.write_text("[endpoint.crm]\nurl = 7\n")
        answer = gate.post("/v1/admin/hooks/crm/rotate")
    check_problem(answer, "invalid_settings")
    assert "crm" not in answer.text
    assert str(tmp_path) not in answer.text
    assert "line 2: endpoint.crm.url" in caplog.text


@pytest.mark.parametrize("broken", ["[endpoint.crm]\nurl = 7\n", "[", None], ids=["no endpoint", "no TOML", "no file"])
def test_it_does_not_start_with_an_operators_file_that_cannot_be_read(
    settings: Settings, tmp_path: Path, broken: str | None
) -> None:
    file = tmp_path / "operator.toml"
    if broken is not None:
        file.write_text(broken)
    _, key = keys.make(role="admin")
    keys.add(tmp_path / "keys.json", key)
    settings = settings.model_copy(update={"operator_file": file, "keys_file": tmp_path / "keys.json"})
    with pytest.raises(InvalidSettings, match="operator"):
        create_app(settings)


def test_what_the_file_said_at_the_start_stays_in_force(settings: Settings, tmp_path: Path) -> None:
    """Also what nobody has asked of it by then."""
    file = tmp_path / "operator.toml"
    file.write_text(CRM + "[tenant.acme]\nrate_per_s = 5\n")
    with Gate(settings.model_copy(update={"operator_file": file}), tmp_path / "keys.json") as gate:
        file.unlink()
        acmes = gate.key("read", "acme")
        assert "ratelimit" in gate.get("/v1/jobs", key=acmes).headers
        assert gate.get("/v1/admin/hooks/crm").json()["name"] == "crm"
        assert gate.get("/metrics").status_code == 200
