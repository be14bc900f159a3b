"""What operators do with endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import DeliveryNotFound, EndpointNotFound, InvalidRequest, InvalidSettings
from stylequeue.contract.events import UnknownEvent, read_event
from stylequeue.delivery.hooks import Hooks
from stylequeue.ledger import names
from stylequeue.ledger.names import EVENTS_KEY
from stylequeue.settings import Settings
from tests.delivery.test_deliverer import CRM, ended, id_of, until
from tests.support.deliveries import Operator, delivering
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

AN_HOUR_AGO = timedelta(hours=1)


@pytest.fixture
def hooks(operator: Operator) -> Iterator[Hooks]:
    hooks = Hooks(operator.settings)
    yield hooks
    hooks.close()


def test_each_is_listed_with_how_it_fares(operator: Operator, queue: StyleQueue, hooks: Hooks) -> None:
    [status] = hooks.all()
    assert (status.name, status.kind, status.secrets, status.waiting, status.disabled) == (CRM, "webhook", 1, 0, None)
    with delivering(operator.settings):
        event = ended(queue)
        until(lambda: hooks.status(CRM).succeeded_at, "the event to arrive")
    [delivery] = hooks.deliveries(CRM)
    assert (delivery.id, delivery.state, [attempt.status for attempt in delivery.attempts]) == (
        id_of(event),
        "delivered",
        [204],
    )
    assert hooks.delivery(CRM, id_of(event)) == delivery
    assert hooks.deliveries(CRM, state="pending") == []


def test_after_an_outage_all_that_did_not_arrive_comes_once(
    operator: Operator, queue: StyleQueue, receiver: Receiver, hooks: Hooks
) -> None:
    began = datetime.now(UTC)
    with delivering(operator.settings):
        arrived = ended(queue)
        until(lambda: hooks.status(CRM).succeeded_at, "the first to arrive")
        receiver.answer = lambda _: Reply(500)
        tried = [ended(queue) for _ in range(3)]
        until(lambda: len(receiver.received) == 4, "each to be tried")
        until(lambda: hooks.status(CRM).sending == 0, "the marks")
        receiver.answer = lambda _: Reply(410)
        gone = ended(queue)
        until(lambda: hooks.status(CRM).disabled, "it to be disabled")
        missed = [ended(queue, notify=()) for _ in range(2)]
        until(lambda: [group.lag for group in queue.groups()] == [0], "the outbox to be read")

        receiver.answer = lambda _: Reply()
        receiver.received.clear()
        assert hooks.enable(CRM) == 3
        hooks.replay_since(began)
        hooks.replay_since(began)
        until(lambda: len(receiver.received) >= 6, "all")
        until(lambda: hooks.status(CRM).waiting == hooks.status(CRM).sending == 0, "nothing to be left")
    assert sorted(receiver.ids()) == sorted(map(id_of, [*tried, gone, *missed]))
    assert id_of(arrived) not in receiver.ids()
    assert queue.dead_letters() == []
    assert hooks.replay_since(began) == {CRM: 0}


def test_what_the_stream_keeps_no_longer_is_replayed_from_its_delivery(
    operator: Operator, queue: StyleQueue, receiver: Receiver, hooks: Hooks
) -> None:
    receiver.answer = lambda _: Reply(500)
    with delivering(operator.settings):
        event = ended(queue)
        until(lambda: hooks.deliveries(CRM) and hooks.deliveries(CRM)[0].tries == 1, "a try")
    queue._ledger.redis.xtrim(EVENTS_KEY, maxlen=0)
    assert hooks.replay_since(datetime.now(UTC) - AN_HOUR_AGO) == {CRM: 1}
    assert hooks.replay_since(datetime.now(UTC) + AN_HOUR_AGO) == {CRM: 0}
    assert hooks.delivery(CRM, id_of(event)).tries == 0


def test_one_event_is_sent_once_more(operator: Operator, queue: StyleQueue, receiver: Receiver, hooks: Hooks) -> None:
    operator.write(crm=receiver.endpoint(), other=receiver.endpoint(url=receiver.url + "/other"))
    with delivering(operator.settings):
        event = id_of(ended(queue, notify=()))
        until(lambda: len(receiver.received) == 2, "both to have it")
        until(lambda: all(hooks.delivery(name, event).state == "delivered" for name in (CRM, "other")), "the marks")
        assert hooks.replay(event) == [CRM, "other"]
        until(lambda: len(receiver.received) == 4, "both to have it again")
        assert hooks.replay(event, CRM) == [CRM]
        until(lambda: len(receiver.received) == 5, "one to have it a third time")
    assert receiver.ids() == [event] * 5
    for name in (None, CRM):
        with pytest.raises(DeliveryNotFound):
            hooks.replay("nothing", name)


def test_an_endpoint_is_tried_out(hooks: Hooks, receiver: Receiver) -> None:
    attempt = hooks.test(CRM)
    assert (attempt.status, attempt.delivered) == (204, True)
    [request] = receiver.received
    told = read_event(request.body)
    assert isinstance(told, UnknownEvent)
    assert (told.type, told.subject, told.id) == ("io.stylequeue.endpoint.test.v1", CRM, request.id)
    receiver.answer = lambda _: Reply(500, body=b"no")
    assert str(hooks.test(CRM)) == "500: no"
    assert hooks.deliveries(CRM) == []


def test_one_is_added_and_delivered_to(operator: Operator, queue: StyleQueue, receiver: Receiver, hooks: Hooks) -> None:
    fields = {name: value for name, value in receiver.endpoint().items() if name != "secrets"}
    secret = hooks.add("new", {**fields, "labels": {"shop": "a"}})
    assert secret is not None
    with delivering(operator.settings):
        ended(queue, notify=(), labels={"shop": "a"})
        until(lambda: len(receiver.received) == 2, "both to have it")
        with pytest.raises(InvalidRequest, match="there is an endpoint"):
            hooks.add("new", fields)
    verified = []
    for request in receiver.received:
        try:
            verified.append(Webhook(secret).verify(request.body, dict(request.headers)))
        except Exception:
            continue
    assert len(verified) == 1


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("bad", {"url": "http://crm.example"}),
        ("bad", {"url": "https://crm.example", "events": ["progress"]}),
        ("bad", {}),
        ("a b", {"url": "https://crm.example"}),
    ],
    ids=str,
)
def test_what_is_no_endpoint_is_not_added(operator: Operator, hooks: Hooks, name: str, fields: Any) -> None:
    before = operator.path.read_text()
    with pytest.raises((InvalidRequest, InvalidSettings)):
        hooks.add(name, fields)
    assert operator.path.read_text() == before


def test_secrets_are_rotated_without_a_gap(hooks: Hooks, receiver: Receiver, operator: Operator) -> None:
    old = receiver.endpoint()["secrets"][0]
    new = hooks.rotate(CRM)
    hooks.test(CRM)
    for secret in (old, new):
        request = receiver.received[0]
        assert Webhook(secret).verify(request.body, dict(request.headers))
    assert hooks.rotate(CRM, only_newest=True) == new
    hooks.test(CRM)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(old).verify(receiver.received[1].body, dict(receiver.received[1].headers))
    operator.write(queue={"sqs": "https://sqs.eu-west-1.amazonaws.com/1/q"})
    with pytest.raises(InvalidRequest):
        hooks.rotate("queue")


def test_a_tenant_looks_after_its_own(operator: Operator, receiver: Receiver, hooks: Hooks) -> None:
    operator.write(crm=receiver.endpoint(), theirs=receiver.endpoint(tenant="acme"))
    theirs = hooks.for_tenant("acme")
    assert [status.name for status in theirs.all()] == ["theirs"]
    asked: list[Any] = [
        lambda: theirs.status(CRM),
        lambda: theirs.deliveries(CRM),
        lambda: theirs.delivery(CRM, "e"),
        lambda: theirs.test(CRM),
        lambda: theirs.replay("e", CRM),
        lambda: theirs.replay_since(datetime.now(UTC), CRM),
        lambda: theirs.enable(CRM),
        lambda: theirs.rotate(CRM),
    ]
    for ask in asked:
        with pytest.raises(EndpointNotFound):
            ask()
    assert [status.name for status in hooks.all()] == [CRM, "theirs"]
    hooks._ledger.redis.delete(names.endpoint_key("theirs"))


def test_no_secret_is_shown(operator: Operator, hooks: Hooks, receiver: Receiver) -> None:
    secret = receiver.endpoint()["secrets"][0]
    assert secret not in json.dumps([status.model_dump(mode="json") for status in hooks.all()])


def test_without_a_file_there_are_none(settings: Settings) -> None:
    hooks = Hooks(settings)
    assert hooks.all() == []
    with pytest.raises(InvalidSettings, match="OPERATOR_FILE"):
        hooks.add(CRM, {"url": "https://crm.example"})
    with pytest.raises(EndpointNotFound):
        hooks.status(CRM)
    hooks.close()
