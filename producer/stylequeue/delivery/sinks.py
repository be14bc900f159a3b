"""Sends an event to a topic, a queue or a bus of AWS's, or of what speaks as it does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..contract.delivery import MAX_SAID_CHARS
from ..contract.text import printable
from .schedule import Answer
from .webhooks import CONTENT_TYPE

if TYPE_CHECKING:
    from ..operator_file import Endpoint

_CONNECT_S, _READ_S = 5, 10
_THROTTLED = ("Throttl", "RequestLimit", "TooManyRequests", "SlowDown")
"""How the codes of refusals begin that mean: not so fast."""


class Sinks:
    """Sends. Safe to share between threads. Keys come by boto3's own chain: role, profile, environment."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._making = threading.Lock()

    def send(self, endpoint: Endpoint, event_id: str, event: str) -> Answer:
        """Hand an event (JSON) to a sink, once. Never raises for what is the sink's, or the network's, fault."""
        from botocore.exceptions import BotoCoreError, ClientError

        began = time.monotonic()
        send = next(send for name, send in _SENDERS.items() if getattr(endpoint, name))
        try:
            status, said = send(self._client(endpoint), endpoint, event_id, json.loads(event), event)
        except ClientError as error:
            told = error.response.get("Error", {})
            code = str(told.get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
            status, said = (429 if code.startswith(_THROTTLED) else status), f"{code}: {told.get('Message', '')}"
        except BotoCoreError as error:
            status, said = None, str(error)
        return Answer(status, printable(said)[:MAX_SAID_CHARS], time.monotonic() - began)

    def _client(self, endpoint: Endpoint) -> Any:
        import boto3
        from botocore.config import Config

        service = {"sns": "sns", "sqs": "sqs", "eventbridge": "events"}[endpoint.kind]
        with self._making:
            if (service, endpoint.region) not in self._clients:
                config = Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries={"total_max_attempts": 1})
                session = boto3.session.Session(region_name=endpoint.region)
                self._clients[service, endpoint.region] = session.client(service, config=config)  # type: ignore[call-overload]
            return self._clients[service, endpoint.region]


def _to_sns(client: Any, endpoint: Endpoint, event_id: str, told: Mapping[str, Any], event: str) -> tuple[int, str]:
    topic = str(endpoint.sns)
    answer = client.publish(
        TopicArn=topic, Message=event, MessageAttributes=_attributes(told), **_in_order(topic, event_id, told)
    )
    return _status(answer), answer["MessageId"]


def _to_sqs(client: Any, endpoint: Endpoint, event_id: str, told: Mapping[str, Any], event: str) -> tuple[int, str]:
    queue = str(endpoint.sqs)
    answer = client.send_message(
        QueueUrl=queue, MessageBody=event, MessageAttributes=_attributes(told), **_in_order(queue, event_id, told)
    )
    return _status(answer), answer["MessageId"]


def _to_eventbridge(client: Any, endpoint: Endpoint, _: str, told: Mapping[str, Any], event: str) -> tuple[int, str]:
    entry = {
        "EventBusName": endpoint.eventbridge,
        "Source": told["source"].strip("/").replace("/", "."),
        "DetailType": told["type"],
        "Detail": event,
        "Time": told["time"],
    }
    answer = client.put_events(Entries=[entry])
    [put] = answer["Entries"]
    if answer["FailedEntryCount"]:
        code = put.get("ErrorCode", "")
        return (429 if code.startswith(_THROTTLED) else 500), f"{code}: {put.get('ErrorMessage', '')}"
    return _status(answer), put["EventId"]


_SENDERS: Mapping[str, Callable[..., tuple[int, str]]] = {
    "sns": _to_sns,
    "sqs": _to_sqs,
    "eventbridge": _to_eventbridge,
}


def _status(answer: Mapping[str, Any]) -> int:
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def _attributes(told: Mapping[str, Any]) -> dict[str, Any]:
    """What subscribers can filter by without reading the event."""
    texts = {"type": told["type"], "subject": told["subject"], "contenttype": CONTENT_TYPE}
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}


def _in_order(place: str, event_id: str, told: Mapping[str, Any]) -> dict[str, str]:
    """One job's events in their order, and each once, where the topic or queue keeps to that."""
    if not place.endswith(".fifo"):
        return {}
    return {"MessageGroupId": told["subject"], "MessageDeduplicationId": event_id}
