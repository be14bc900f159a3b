"""What docs/uploads.md says to write is written, and works: on moto and SeaweedFS, as far as these go."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stylequeue.cli import app
from stylequeue.client import StyleQueue
from stylequeue.local.seaweedfs import SeaweedFS
from stylequeue.operator_file import Operator
from stylequeue.settings import Settings
from stylequeue.uploads.rules import Rules
from tests.support.cloud import REGION, Cloud, cloud
from tests.support.listening import keys, listening, operated, until

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")

PAGE = (Path(__file__).parents[2] / "docs" / "uploads.md").read_text()
ACCOUNT = "123456789012"
"""Of the page, and of moto."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def documents(*having: str) -> list[dict[str, Any]]:
    """The JSON of the page that has these words."""
    return [json.loads(text) for text in blocks("json") if all(word in text for word in having)]


@pytest.mark.parametrize("text", blocks("toml"))
def test_what_the_operator_writes(text: str) -> None:
    if "[notification.webhook]" in text:
        return  # SeaweedFS's own
    operator = Operator.parse(text, name="the page")
    assert operator.sources or Rules(operator, Settings()).all


def test_what_seaweedfs_is_told(tmp_path: Path) -> None:
    [theirs] = [tomllib.loads(text)["notification"]["webhook"] for text in blocks("toml") if "[notification" in text]
    server = SeaweedFS.__new__(SeaweedFS)
    server.directory, server.announced = tmp_path, ["uploads/in/"]
    server.notices_port, server.notices_token = 8001, theirs["bearer_token"]
    server._have_uploads_announced()
    ours = tomllib.loads((tmp_path / "notification.toml").read_text())["notification"]["webhook"]
    assert theirs == {**ours, "endpoint": theirs["endpoint"]}
    assert theirs["endpoint"].endswith("/v1/notices/seaweedfs")


@pytest.mark.parametrize(
    "line", [line for text in blocks("sh") for line in text.splitlines() if line.startswith("stylequeue")]
)
def test_commands(line: str) -> None:
    _, command, *rest = shlex.split(line)
    if command == "up":
        return  # another program, by then: tests/local/test_up.py starts it so
    path = [command, rest[0]] if command in ("rules", "dead", "doctor") else [command]
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    assert [word for word in rest if word.startswith("--") and word not in shown.stdout] == []


@pytest.fixture
def aws() -> Iterator[Cloud]:
    with cloud() as made:
        yield made


def test_the_set_up_on_aws(aws: Cloud, settings: Settings, tmp_path: Path) -> None:
    """Queue, topic and bus as the page has them: each tells of its upload."""
    sqs, sns, s3, events = (aws.client(service) for service in ("sqs", "sns", "s3", "events"))
    [policy] = documents("sqs:SendMessage")
    url = sqs.create_queue(QueueName="uploads", Attributes={"Policy": json.dumps(policy)})["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:uploads"
    assert aws.arn(url) == arn == policy["Statement"][0]["Resource"]
    topic = sns.create_topic(Name="uploads")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    [pattern] = documents("Object Created")
    events.put_rule(Name="uploads", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="uploads", Targets=[{"Id": "queue", "Arn": arn}])
    [by_queue], [by_topic] = documents("QueueConfigurations"), documents("TopicConfigurations")
    assert '{"EventBridgeConfiguration": {}}' in PAGE
    told = {"queue": by_queue, "topic": by_topic, "bus": {"EventBridgeConfiguration": {}}}
    for name, configuration in told.items():
        s3.put_bucket_notification_configuration(Bucket="uploads", NotificationConfiguration=configuration)
        aws.put(f"in/{name}.jpg", name.encode())
        aws.put(f"elsewhere/{name}.jpg")
    listener = operated(aws.settings(settings), tmp_path, f'[source.photos]\nsqs = "{url}"\nregion = "{REGION}"\n')
    with StyleQueue(listener) as queue, listening(listener):
        until(lambda: not aws.left(url), "all is taken")
        assert keys(queue) == ["in/bus.jpg", "in/queue.jpg", "in/topic.jpg"]
        assert queue.upload_counts()["photos"].outcomes == {"recorded": 3}, "nothing of elsewhere was told"
