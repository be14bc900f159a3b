"""Topics, queues and buses of AWS's, and the schedule that is the webhooks' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from stylequeue.client import StyleQueue
from stylequeue.delivery.schedule import judge
from stylequeue.delivery.sinks import Sinks
from stylequeue.operator_file import Endpoint
from stylequeue.settings import Settings
from stylequeue.testing import JobEvents, make_job
from tests.delivery.test_deliverer import ended, id_of, until
from tests.support.deliveries import Operator, delivering

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning"),
]

REGION = "eu-west-1"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Clients of a cloud that is not there, by their services."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody's")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield lambda service: boto3.client(service, region_name=REGION)


def event(labels: dict[str, str] | None = None) -> str:
    return JobEvents(make_job(labels=labels or {})).succeeded().model_dump_json()


def send(fields: dict[str, Any], text: str, sinks: Sinks | None = None) -> Any:
    endpoint = Endpoint.model_validate({"region": REGION, **fields})
    return (sinks or Sinks()).send(endpoint, id_of(text), text)


def messages(aws: Any, url: str) -> list[dict[str, Any]]:
    found = aws("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]
    )
    return list(found.get("Messages", []))


def test_a_queue_has_the_event_as_it_is_stored(aws: Any) -> None:
    url = aws("sqs").create_queue(QueueName="q")["QueueUrl"]
    text = event({"user": "é"})
    assert send({"sqs": url}, text).status == 200
    [message] = messages(aws, url)
    assert message["Body"] == text
    assert message["MessageAttributes"]["type"]["StringValue"] == json.loads(text)["type"]


def test_a_queue_that_keeps_order_has_each_once(aws: Any) -> None:
    url = aws("sqs").create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    text = event()
    for _ in range(2):
        assert send({"sqs": url}, text).status == 200
    [message] = messages(aws, url)
    assert message["Attributes"]["MessageGroupId"] == json.loads(text)["subject"]
    assert message["Attributes"]["MessageDeduplicationId"] == id_of(text)


def test_a_topic_tells_those_who_listen(aws: Any) -> None:
    url = aws("sqs").create_queue(QueueName="q")["QueueUrl"]
    arn = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = aws("sns").create_topic(Name="t")["TopicArn"]
    subscribed = {
        "RawMessageDelivery": "true",
        "FilterPolicy": json.dumps({"type": ["io.stylequeue.job.succeeded.v1"]}),
    }
    aws("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=subscribed)
    text = event()
    assert send({"sns": topic}, text).status == 200
    failed = JobEvents(make_job()).failed().model_dump_json()
    assert send({"sns": topic}, failed).status == 200
    assert [message["Body"] for message in messages(aws, url)] == [text]


def test_a_bus_has_source_type_and_detail(aws: Any) -> None:
    url = aws("sqs").create_queue(QueueName="q")["QueueUrl"]
    arn = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events = aws("events")
    events.create_event_bus(Name="bus")
    events.put_rule(Name="r", EventBusName="bus", EventPattern=json.dumps({"source": ["stylequeue.default"]}))
    events.put_targets(Rule="r", EventBusName="bus", Targets=[{"Id": "1", "Arn": arn}])
    text = event()
    assert send({"eventbridge": "bus"}, text).status == 200
    [message] = messages(aws, url)
    told = json.loads(message["Body"])
    assert (told["detail-type"], told["source"]) == (json.loads(text)["type"], "stylequeue.default")
    assert told["detail"] == json.loads(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"sqs": f"https://sqs.{REGION}.amazonaws.com/123456789012/nowhere"},
        {"sns": f"arn:aws:sns:{REGION}:123456789012:nowhere"},
    ],
    ids=str,
)
def test_one_that_is_not_there_is_tried_again_by_the_schedule(aws: Any, fields: dict[str, Any]) -> None:
    answer = send(fields, event())
    assert answer.status is not None
    assert answer.status >= 400
    assert answer.said
    assert judge(answer, tries=0, jitter=1).delay_s == 5


def test_no_service_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody's")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    answer = send({"sqs": f"https://sqs.{REGION}.amazonaws.com/1/q"}, event())
    assert answer.status is None
    assert answer.said


def test_one_that_has_too_much_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    class Throttling:
        def send_message(self, **_: Any) -> Any:
            error = {"Code": "ThrottlingException", "Message": "slow down"}
            answer: Any = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(answer, "SendMessage")

    sinks = Sinks()
    monkeypatch.setattr(sinks, "_client", lambda _: Throttling())
    answer = send({"sqs": "https://sqs.eu-west-1.amazonaws.com/1/q"}, event(), sinks)
    assert answer.status == 429
    assert judge(answer, tries=0, jitter=1).hold_s == 5


def test_a_deliverer_sends_there(aws: Any, settings: Settings, tmp_path: Path) -> None:
    url = aws("sqs").create_queue(QueueName="q")["QueueUrl"]
    operator = Operator(settings, tmp_path, crm={"sqs": url, "region": REGION})
    with StyleQueue(operator.settings) as queue, delivering(operator.settings):
        text = ended(queue)
        until(lambda: queue.groups() and queue.groups()[0].lag == 0, "the outbox to be read")
        found: list[dict[str, Any]] = []
        until(lambda: found.extend(messages(aws, url)) or found, "the message")  # type: ignore[func-returns-value]
    assert found[0]["Body"] == text
