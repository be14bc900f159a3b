"""A cloud that is not there: moto's server, which speaks as S3, SQS, SNS and EventBridge do."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from pydantic import SecretStr

from stylequeue.settings import Settings

REGION = "eu-west-1"
KEYS = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
BUCKETS = ("uploads", "styles", "results", "work")


class Cloud:
    """One, with buckets that tell queues of uploads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients: dict[str, Any] = {}
        self._made = 0

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = boto3.client(service, endpoint_url=self.url, region_name=REGION, **KEYS)  # type: ignore[call-overload]
        return self._clients[service]

    def settings(self, settings: Settings, **more: Any) -> Settings:
        """Those settings, with this one's store."""
        where = {
            "s3_endpoint_url": self.url,
            "s3_region": REGION,
            "s3_access_key": SecretStr(KEYS["aws_access_key_id"]),
            "s3_secret_key": SecretStr(KEYS["aws_secret_access_key"]),
            "s3_addressing": "path",
            **more,
        }
        return settings.model_copy(update=where)

    def buckets(self) -> None:
        """Make all that a deployment has."""
        for bucket in BUCKETS:
            where = {"LocationConstraint": REGION}
            self.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=where)

    def queue(self, **attributes: str) -> str:
        """A new queue's URL."""
        self._made += 1
        made = self.client("sqs").create_queue(QueueName=f"q{self._made}", Attributes=attributes)
        return str(made["QueueUrl"])

    def arn(self, url: str) -> str:
        found = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    def announce(self, url: str, *, by: str = "sqs", prefix: str = "in/") -> None:
        """Have the queue told of what is put into bucket `uploads`: by S3 itself, through SNS or EventBridge."""
        arn = self.arn(url)
        rules = {
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}},
        }
        match by:
            case "sqs":
                told: dict[str, Any] = {"QueueConfigurations": [{"QueueArn": arn, **rules}]}
            case "sns":
                topic = self.client("sns").create_topic(Name=f"t{self._made}")["TopicArn"]
                self.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
                told = {"TopicConfigurations": [{"TopicArn": topic, **rules}]}
            case _:
                pattern = {"source": ["aws.s3"], "detail-type": ["Object Created"]}
                self.client("events").put_rule(Name=f"r{self._made}", EventPattern=json.dumps(pattern))
                self.client("events").put_targets(Rule=f"r{self._made}", Targets=[{"Id": "queue", "Arn": arn}])
                told = {"EventBridgeConfiguration": {}}
        self.client("s3").put_bucket_notification_configuration(Bucket="uploads", NotificationConfiguration=told)

    def put(self, key: str, body: bytes = b"a picture", **more: Any) -> None:
        self.client("s3").put_object(Bucket="uploads", Key=key, Body=body, **more)

    def keys(self, prefix: str) -> set[str]:
        """Of what lies in the bucket of uploads."""
        listed = self.client("s3").list_objects_v2(Bucket="uploads", Prefix=prefix)
        return {there["Key"] for there in listed.get("Contents", ())}

    def send(self, url: str, texts: Sequence[str]) -> None:
        for number in range(0, len(texts), 10):
            entries = [{"Id": str(at), "MessageBody": text} for at, text in enumerate(texts[number : number + 10])]
            self.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)

    def left(self, url: str) -> int:
        """Messages of a queue that nobody has deleted."""
        # A message that is just coming back is counted neither as there nor as taken: it is at the next look.
        return max(self._left(url), self._left(url))

    def _left(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)


@contextmanager
def cloud() -> Iterator[Cloud]:
    """One that is gone at the end, with the buckets of a deployment; its keys are in the environment meanwhile."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # What one has is kept in this process, and another's as well.
        urlopen(Request(f"{url}/moto-api/reset", method="POST")).close()
        made = Cloud(url)
        made.buckets()
        with pytest.MonkeyPatch.context() as environment:
            # Whoever fetches from queues looks for keys by boto3's own chain.
            for name, value in KEYS.items():
                environment.setenv(name.upper(), value)
            environment.delenv("AWS_PROFILE", raising=False)
            yield made
    finally:
        server.stop()
