"""`doctor uploads` names the leg that is broken, of the way from an upload to its job."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.finding import Finding
from stylequeue.local import Stack, environment
from stylequeue.settings import Settings
from stylequeue.uploads.doctor import examine
from tests.support.cloud import REGION, Cloud, cloud
from tests.support.command import Command
from tests.support.listening import RULE, listening, operated, until

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")

LETS_S3_SEND = {
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": "*"}
    ]
}


@pytest.fixture(scope="module")
def aws() -> Iterator[Cloud]:
    with cloud() as made:
        yield made


@pytest.fixture
def url(aws: Cloud) -> str:
    url = aws.queue(Policy=json.dumps(LETS_S3_SEND))
    aws.announce(url)
    return url


@pytest.fixture
def by_queue(aws: Cloud, url: str, settings: Settings, tmp_path: Path) -> Callable[..., Settings]:
    def write(there: str = url, rules: str = RULE) -> Settings:
        return operated(
            aws.settings(settings), tmp_path, f'[source.photos]\nsqs = "{there}"\nregion = "{REGION}"\n', rules
        )

    return write


@contextmanager
def heard(settings: Settings) -> Iterator[None]:
    with listening(settings), StyleQueue(settings) as queue:
        until(queue.is_listening, "somebody listens")
        yield


def found(settings: Settings, wait_s: float = 10) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(settings, wait_s=wait_s)}


def bad(findings: dict[str, Finding]) -> set[str]:
    return {what for what, finding in findings.items() if finding.state != "ok"}


def test_all_is_well(aws: Cloud, by_queue: Callable[..., Settings]) -> None:
    settings = by_queue()
    lying = aws.keys("in/")
    with heard(settings):
        findings = found(settings)
        assert bad(findings) == set(), findings
        assert "told of by photos" in findings["rule wave"].found
    with StyleQueue(settings) as queue:
        assert queue.jobs() == [], "nothing is painted"
        assert queue.upload_counts()["photos"].outcomes == {"ours": 1}
    assert aws.keys("in/") == lying, "it is gone"


def test_nobody_listens(by_queue: Callable[..., Settings]) -> None:
    findings = found(by_queue(), wait_s=1)
    assert bad(findings) == {"listener", "rule wave"}
    assert "look at: listener" in findings["rule wave"].hint


def test_the_bucket_is_not_configured(aws: Cloud, by_queue: Callable[..., Settings]) -> None:
    settings = by_queue()
    told: dict[str, Any] = {}
    aws.client("s3").put_bucket_notification_configuration(Bucket="uploads", NotificationConfiguration=told)
    with heard(settings):
        findings = found(settings, wait_s=1)
    assert bad(findings) == {"bucket uploads", "rule wave"}
    assert "tells neither this queue nor a topic" in findings["bucket uploads"].found
    assert "look at: bucket uploads" in findings["rule wave"].hint


def test_the_bucket_tells_of_another_folder(aws: Cloud, url: str, by_queue: Callable[..., Settings]) -> None:
    settings = by_queue()
    aws.announce(url, prefix="out/")
    with heard(settings):
        findings = found(settings, wait_s=1)
    assert bad(findings) == {"bucket uploads", "rule wave"}
    assert "not of what comes under 'in/'" in findings["bucket uploads"].found


def test_the_queue_lets_nobody_send(aws: Cloud, url: str, by_queue: Callable[..., Settings]) -> None:
    settings = by_queue()
    aws.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    with heard(settings):
        assert bad(found(settings)) == {"queue policy photos"}, "moto sends all the same"


def test_the_queue_cannot_be_reached(by_queue: Callable[..., Settings], url: str) -> None:
    for there, said in (("http://127.0.0.1:1/1234/q", "does not answer"), (f"{url}-missing", "is not there")):
        settings = by_queue(there)
        with heard(settings):
            findings = found(settings, wait_s=1)
        assert bad(findings) == {"source photos", "rule wave"}
        assert said in findings["source photos"].found


def test_another_rule_has_it(by_queue: Callable[..., Settings]) -> None:
    second = '\n[[rule]]\nname = "second"\nbucket = "uploads"\nprefix = "in/deep/"\ntemplate = "wave"\n'
    settings = by_queue(rules=RULE + second)
    with heard(settings):
        findings = found(settings)
    assert bad(findings) == {"rule second"}
    assert "rule wave has it" in findings["rule second"].found


@pytest.mark.slow
def test_only_a_sweep_finds_it(settings: Settings, tmp_path: Path) -> None:
    """As where SeaweedFS's notifier has a wrong address, token or prefix: it says nothing of that to anybody."""
    webhook = f'[source.seaweedfs]\ntokens = ["{"t" * 32}"]\n'
    swept = operated(settings, tmp_path, webhook + '[source.swept]\nsweep = "s3://uploads/in/"\nevery_s = 1\n')
    with heard(swept), StyleQueue(swept) as queue:
        until(lambda: queue.upload_position("sweep:uploads/in/"), "the first sweep")
        findings = found(swept, wait_s=5)
    assert bad(findings) == {"rule wave"}
    assert "only a sweep found the probe (swept)" in findings["rule wave"].found
    assert "seaweedfs: the store's notifier (address /v1/notices/seaweedfs" in findings["rule wave"].hint


def test_a_queue_of_no_known_region(
    url: str, by_queue: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    settings = operated(by_queue(), tmp_path, f'[source.photos]\nsqs = "{url}"\n')
    finding = found(settings, wait_s=1)["source photos"]
    assert (finding.state, "does not say its region" in finding.found) == ("bad", True)
    assert "`region`" in finding.hint


def test_sweeps_that_come_later_than_a_probe_is_waited_for(settings: Settings, tmp_path: Path) -> None:
    swept = operated(settings, tmp_path, '[source.swept]\nsweep = "s3://uploads/in/"\nevery_s = 300\n')
    finding = found(swept, wait_s=1)["rule wave"]
    assert (finding.state, finding.found) == ("warning", "is not tried: sweeps come every 300 s, --wait is 1")
    often = operated(settings, tmp_path, '[source.swept]\nsweep = "s3://uploads/in/"\nevery_s = 1\n')
    assert found(often, wait_s=1)["rule wave"].state == "bad", "nobody listens"


def test_by_the_command(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    broken = operated(settings, tmp_path, "", rules='[[rule]]\nname = "x"\n')
    done = Command(environment(broken))("doctor", "uploads", "--json", exit_code=2)
    [finding] = json.loads(done.stdout)
    assert (finding["what"], finding["ok"]) == ("rules", False)
    assert "line 1" in finding["found"]
    empty = Command(environment(operated(settings, tmp_path, "")))("doctor", "uploads", exit_code=2)
    assert "0 sources" in empty.stdout
