"""What the doctor finds where something is wrong, or missing; test_up has it look at a deployment that is well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pydantic import SecretStr
from redis import Redis

from stylequeue import __version__, doctor
from stylequeue.contract.delivery import Attempt
from stylequeue.contract.errors import ExitCode
from stylequeue.contract.job import Job
from stylequeue.finding import Finding, exit_code
from stylequeue.ledger import Ledger
from stylequeue.ledger.deliveries import Deliveries, ForEndpoint
from stylequeue.local import Stack, environment
from stylequeue.local.valkey import Valkey
from stylequeue.settings import Settings
from stylequeue.store import Store
from tests.ledger.test_registry import live_worker
from tests.support.deliveries import Operator
from tests.support.jobs import make_job
from tests.support.roles import as_role

NETWORKS = {"vgg19": "a" * 64, "fast": "b" * 64}
ALL_QUEUES = ("fast", "paint", "bulk")


@pytest.fixture(autouse=True)
def no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine paints nothing: what the doctor would say of it takes TensorFlow's loading."""
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)


@pytest.fixture(scope="module", autouse=True)
def uploads_go(stack: Stack) -> None:
    """The buckets are everybody's; this rule is what an operator would have set."""
    store = Store(stack.settings)
    store.upload_rules.set_lifecycle()
    store.close()


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """In which workers live for longer than a test takes."""
    ledger = Ledger(settings.model_copy(update={"heartbeat_s": 100}))
    yield ledger
    ledger.close()


@pytest.fixture
def staffed(settings: Settings, ledger: Ledger) -> Settings:
    """A deployment with a worker that takes from all queues and has what they need."""
    ledger.registry.register(live_worker(queues=ALL_QUEUES, networks=NETWORKS, version=__version__))
    return settings


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[Valkey]:
    """A server to be set up badly."""
    valkey = Valkey(None)
    try:
        valkey.wait_ready()
        yield valkey
    finally:
        valkey.stop()


def findings(settings: Settings, **changes: Any) -> dict[str, Finding]:
    """By what was looked at; each that is not well says what to do, and only what is bad has an exit code."""
    found = list(doctor.examine(lambda: as_role(settings.model_copy(update=changes), "operator")))
    for finding in found:
        assert bool(finding.hint) is not finding.ok
        assert bool(finding.exit_code) is (finding.state == "bad")
    assert len({finding.what for finding in found}) == len(found), "no two of one name"
    return {finding.what: finding for finding in found}


def bad(settings: Settings, **changes: Any) -> dict[str, int]:
    """The exit codes of what is not as it should be."""
    return {what: f.exit_code for what, f in findings(settings, **changes).items() if f.state == "bad"}


def warned(settings: Settings, **changes: Any) -> set[str]:
    return {what for what, finding in findings(settings, **changes).items() if finding.state == "warning"}


def test_all_is_well(staffed: Settings) -> None:
    found = findings(staffed)
    assert all(finding.ok for finding in found.values()), found
    assert exit_code(list(found.values())) == ExitCode.DONE
    assert set(found) == {
        "versions",
        "settings",
        "marks",
        "operator file",
        "redis",
        "redis memory",
        "redis disk",
        "worker one@here",
        "queue fast",
        "queue paint",
        "queue bulk",
        "bucket results",
        "bucket styles",
        "bucket uploads",
        "upload lifecycle",
        "upload cors",
        "bucket work",
        "conditional writes",
    }


def test_marks_by_a_secret_of_redis_s_are_a_warning(staffed: Settings) -> None:
    secrets = (SecretStr("n" * 32), SecretStr("o" * 32))
    assert "2 are believed" in findings(staffed.model_copy(update={"mark_secrets": secrets}))["marks"].found
    found = findings(staffed.model_copy(update={"mark_secrets": ()}))
    assert found["marks"].state == "warning"
    assert "STYLEQUEUE_MARK_SECRETS" in found["marks"].hint
    assert exit_code(list(found.values())) == ExitCode.DONE


def test_versions(staffed: Settings, ledger: Ledger) -> None:
    worker = live_worker(queues=ALL_QUEUES, networks=NETWORKS, version=__version__, python="3.1", tensorflow="2.2")
    ledger.registry.register(worker)
    found = findings(staffed)
    for part in (f"stylequeue {__version__}", "Python 3.", "celery 5.", "redis 8."):
        assert part in found["versions"].found
    assert "Valkey 9." in found["redis"].found
    assert "Python 3.1, TensorFlow 2.2" in found["worker one@here"].found


def test_settings_that_cannot_be() -> None:
    done = run_doctor({"STYLEQUEUE_READ_BUCKET": '["pictures"]'}, "--json")
    assert done.returncode == ExitCode.BAD_INPUT
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert set(found) == {"versions", "settings"}, "nothing else can be looked at"
    assert "STYLEQUEUE_READ_BUCKET" in found["settings"]["found"]
    assert "STYLEQUEUE_READ_BUCKETS" in found["settings"]["hint"]


def test_nobody_works(settings: Settings) -> None:
    assert bad(settings) == {"workers": ExitCode.NOT_REACHABLE}
    assert warned(settings) == {"queue fast", "queue paint", "queue bulk"}


def test_queues_that_nobody_takes_from(settings: Settings, ledger: Ledger) -> None:
    ledger.registry.register(live_worker(queues=("paint",), networks=NETWORKS, version=__version__))
    assert warned(settings) == {"queue fast", "queue bulk"}
    assert bad(settings) == {}
    ledger.accept([make_job(queue="bulk")])
    assert bad(settings) == {"queue bulk": ExitCode.NOT_REACHABLE}
    assert "1 open job" in findings(settings)["queue bulk"].found
    assert "--queues bulk" in findings(settings)["queue bulk"].hint


def test_workers_without_what_their_queues_need(settings: Settings, ledger: Ledger) -> None:
    ledger.registry.register(live_worker(queues=ALL_QUEUES, networks={"vgg19": "a"}, version=__version__))
    assert bad(settings) == {"worker one@here": ExitCode.CANNOT_SERVE}
    assert "fast: fast" in findings(settings)["worker one@here"].hint


def waiting_for(ledger: Ledger, network: str) -> Job:
    job = make_job(recipe={"method": "optimize", "network": network})
    ledger.claim(job, task_id=job.id, worker="one@here", lacks=(network,))
    return job


def test_jobs_that_no_worker_can_paint(staffed: Settings, ledger: Ledger) -> None:
    waiting_for(ledger, "vgg16")
    waiting_for(ledger, "vgg16")
    assert bad(staffed) == {"jobs on paint": ExitCode.CANNOT_SERVE}
    found = findings(staffed)["jobs on paint"]
    assert found.found.startswith("2 jobs wait for a worker with the network vgg16")
    assert "models pull vgg16" in found.hint
    waiting_for(ledger, "vgg19")
    assert "vgg19" not in findings(staffed)["jobs on paint"].found, "a live worker has it, and will wake it"


def test_messages_that_went_to_no_queue(staffed: Settings) -> None:
    assert not warned(staffed)
    with Celery(broker=staffed.redis_url.get_secret_value()) as plain:
        plain.send_task("stylequeue.stylize", kwargs={"job": {}})
        assert warned(staffed) == {"list celery"}
        assert findings(staffed)["list celery"].found.startswith("1 messages")
        plain.control.purge()


def test_weights_that_are_not_the_same_everywhere(staffed: Settings, ledger: Ledger) -> None:
    other = live_worker("two@there", queues=("paint",), networks={"vgg19": "c" * 64}, version=__version__)
    ledger.registry.register(other)
    assert warned(staffed) == {"network vgg19"}
    found = findings(staffed)["network vgg19"].found
    assert "aaaaaaaaaaaa on one@here" in found
    assert "cccccccccccc on two@there" in found


def test_a_worker_of_another_version(staffed: Settings, ledger: Ledger) -> None:
    ledger.registry.register(live_worker(queues=ALL_QUEUES, networks=NETWORKS, version="0.0.1"))
    assert warned(staffed) == {"worker one@here"}


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("upload_bucket", "clients upload into it"),
        ("output_bucket", "the command's pictures go into it"),
        ("work_bucket", "workers keep checkpoints in it"),
        ("read_buckets", "workers read it"),
        ("write_buckets", "workers write pictures into it"),
    ],
)
def test_each_bucket_that_is_not_there(staffed: Settings, role: str, words: str) -> None:
    value = ("results", "nowhere") if role.endswith("s") else "nowhere"
    found = findings(staffed, **{role: value})
    assert found["bucket nowhere"].state == "bad"
    assert found["bucket nowhere"].found.endswith(f"; {words}")
    assert f"named by STYLEQUEUE_{role.upper()}" in found["bucket nowhere"].hint
    assert found["bucket nowhere"].exit_code == ExitCode.BAD_INPUT
    others = {what for what, finding in found.items() if finding.state == "bad"} - {"bucket nowhere"}
    assert others == ({"conditional writes"} if role == "write_buckets" else set())


def test_keys_that_the_store_does_not_know(staffed: Settings) -> None:
    found = findings(staffed, s3_secret_key=SecretStr("wrong"))
    for bucket in staffed.buckets:
        assert found[f"bucket {bucket}"].state == "bad"


def test_no_redis(settings: Settings) -> None:
    assert bad(settings, redis_url=SecretStr("redis://127.0.0.1:1/0")) == {"redis": ExitCode.NOT_REACHABLE}


def test_a_wrong_password(settings: Settings) -> None:
    right = settings.redis_url.get_secret_value()
    wrong = right.replace(settings.redis.password or "", "wrong-one")
    found = findings(settings, redis_url=SecretStr(wrong))["redis"]
    assert (found.state, found.exit_code) == ("bad", ExitCode.NOT_REACHABLE)
    assert "does not accept this password" in found.found
    assert "wrong-one" not in found.found + found.hint
    without = right.replace(f":{settings.redis.password}@", "")
    assert "wants a password" in findings(settings, redis_url=SecretStr(without))["redis"].found


def test_no_store(staffed: Settings) -> None:
    found = bad(staffed, s3_endpoint_url="http://127.0.0.1:1", s3_attempts=1)
    assert {"conditional writes", "bucket results"} <= set(found)
    assert set(found.values()) == {ExitCode.NOT_REACHABLE}


def test_redis_that_forgets(settings: Settings, own_valkey: Valkey) -> None:
    there = {"redis_url": SecretStr(own_valkey.url())}
    with Redis.from_url(own_valkey.url()) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
        found = findings(settings, **there)
        assert (found["redis memory"].state, found["redis disk"].state) == ("bad", "bad")
        assert "allkeys-lru" in found["redis memory"].found
        assert found["redis memory"].exit_code == found["redis disk"].exit_code == ExitCode.BAD_INPUT
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "yes")
        found = findings(settings, **there)
        assert (found["redis memory"].state, found["redis disk"].state) == ("ok", "ok")


@pytest.mark.parametrize(
    ("forbidden", "states"),
    [
        (["-config"], ("ok", "ok")),
        (["-info"], ("ok", "ok")),
        (["-config", "-info"], ("warning", "warning")),
    ],
)
def test_redis_that_does_not_say(
    settings: Settings, own_valkey: Valkey, forbidden: list[str], states: tuple[str, str]
) -> None:
    """Managed services forbid the question: what is not known is not well."""
    with Redis.from_url(own_valkey.url()) as client:
        client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "&*", "+@all", *forbidden)
    url = own_valkey.url().replace(f":{own_valkey.password}@", "limited:pw@")
    found = findings(settings, redis_url=SecretStr(url))
    assert (found["redis memory"].state, found["redis disk"].state) == states


def run_doctor(env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """The command, without what TensorFlow would say of this machine."""
    code = "import stylequeue.doctor as d; d.find_spec = lambda _: None; from stylequeue.cli import main; main()"
    command = [sys.executable, "-c", code, "doctor", *options]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)


def test_the_command_ends_with_the_worst_that_is_bad(staffed: Settings) -> None:
    well = run_doctor(environment(as_role(staffed, "operator")))
    assert well.returncode == ExitCode.DONE, well.stdout + well.stderr
    assert {line[:6] for line in well.stdout.splitlines()} == {"ok    "}
    ill = run_doctor({**environment(as_role(staffed, "operator")), "STYLEQUEUE_WORK_BUCKET": "nowhere"})
    assert ill.returncode == ExitCode.BAD_INPUT
    assert [line.split()[1:3] for line in ill.stdout.splitlines() if line.startswith("BAD")] == [["bucket", "nowhere"]]


def test_for_machines(staffed: Settings, ledger: Ledger) -> None:
    ledger.registry.register(live_worker(queues=("paint",), networks=NETWORKS, version=__version__))
    done = run_doctor(environment(as_role(staffed, "operator")), "--json")
    assert done.returncode == ExitCode.DONE, "what is only warned of is no failure"
    found = {finding.pop("what"): finding for finding in json.loads(done.stdout)}
    assert found["queue paint"] == {
        "state": "ok",
        "ok": True,
        "found": "1 worker, 0 open jobs",
        "hint": "",
        "exit_code": 0,
    }
    assert (found["queue fast"]["state"], found["queue fast"]["ok"]) == ("warning", False)


def test_an_operator_file_that_cannot_be_read(staffed: Settings, tmp_path: Path) -> None:
    file = tmp_path / "operator.toml"
    file.write_text('[template.wave]\nstyles = ["s3://styles/wave.jpg"]\n')
    assert findings(staffed, operator_file=file)["operator file"].found == "1 template, 0 endpoints, 0 tenants"
    file.write_text("\n[templates.wave]\n")
    assert bad(staffed, operator_file=file) == {"operator file": ExitCode.BAD_INPUT}
    assert "line 2" in findings(staffed, operator_file=file)["operator file"].found


# The upload bucket's rules


def test_the_upload_bucket_gets_the_rules_that_it_lacks(staffed: Settings) -> None:
    page = "https://shop.example"
    settings = staffed.model_copy(update={"browser_origins": (page,)})
    store = Store(settings)
    store._client.delete_bucket_lifecycle(Bucket="uploads")
    store._client.delete_bucket_cors(Bucket="uploads")
    others = {"ID": "another's", "AllowedOrigins": ["https://other.example"], "AllowedMethods": ["GET"]}
    store._client.put_bucket_cors(Bucket="uploads", CORSConfiguration={"CORSRules": [others]})  # type: ignore[list-item]
    try:
        assert {"upload lifecycle", "upload cors"} <= warned(settings)
        of_some = {**store.upload_rules.lifecycle, "ID": "tmp", "Filter": {"Prefix": "tmp/"}}
        store._client.put_bucket_lifecycle_configuration(
            Bucket="uploads",
            LifecycleConfiguration={"Rules": [of_some]},  # type: ignore[list-item]
        )
        assert "upload lifecycle" in warned(settings)
        found = {finding.what: finding for finding in doctor.examine(lambda: settings, fix=True)}
        assert found["upload lifecycle"].ok, found["upload lifecycle"]
        assert found["upload cors"].ok
        assert not {"upload lifecycle", "upload cors"} & warned(settings)
        rules = store._client.get_bucket_cors(Bucket="uploads")["CORSRules"]
        assert [rule["ID"] for rule in rules] == ["another's", "stylequeue-uploads"]
        assert not warned(settings, browser_origins=()) & {"upload cors"}
        assert "upload cors" in warned(settings, browser_origins=(page, "https://third.example"))
        assert "upload lifecycle" in warned(settings, job_deadline_s=20 * 24 * 3600)
        assert preflight(settings, page) == 200
        assert preflight(settings, "https://foreign.example") == 403
        store._client.delete_bucket_cors(Bucket="results")
        [finding] = [one for one in doctor.examine(lambda: settings) if one.what == "upload cors"]
        assert (finding.ok, finding.found.split(":")[0]) == (False, "results"), finding
    finally:
        store.upload_rules.set_lifecycle()
        for bucket in settings.buckets:
            store._client.delete_bucket_cors(Bucket=bucket)
        store.close()


def preflight(settings: Settings, origin: str) -> int:
    """The status that a browser gets that asks whether a page may send a picture."""
    request = urllib.request.Request(f"{settings.s3_endpoint_url}/uploads/a.jpg", method="OPTIONS")
    request.add_header("Origin", origin)
    request.add_header("Access-Control-Request-Method", "PUT")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_endpoints_by_how_they_fare(staffed: Settings, ledger: Ledger, tmp_path: Path) -> None:
    webhook = {"url": "https://crm.example/", "secrets": ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]}
    operator = Operator(staffed, tmp_path, fine=webhook, failing=webhook, gone=webhook)
    deliveries = Deliveries(ledger)
    for name, disable in (("failing", ""), ("gone", "it answered 410")):
        event = ForEndpoint(name, "e", "{}", "t", "j", at_ms=0, named=True)
        deliveries.deliver([event])
        deliveries.take(name, token="t")
        attempt = Attempt(at=datetime.now(UTC), status=500, took_ms=1)
        deliveries.settle(name, "e", token="t", attempt=attempt, delivered=False, delay_s=60, disable=disable)
    found = findings(operator.settings)
    assert found["endpoint fine"].found == "webhook, 0 events on their way"
    assert found["endpoint failing"].state == "warning"
    assert found["endpoint failing"].found.endswith(": 500")
    assert "hooks enable gone" in found["endpoint gone"].hint

    operator.path.write_text("[endpoint.x]\n")
    assert "line 1" in findings(operator.settings)["operator file"].found
