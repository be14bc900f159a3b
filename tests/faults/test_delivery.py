"""Faults 43 to 45: receivers of webhooks and consumers of events that fail, hang, lead elsewhere or die."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.delivery.schedule import DELAYS_S, JITTER
from stylequeue.ledger.deliveries import LEASE_S, Deliveries
from stylequeue.local import Stack, environment
from stylequeue.settings import Settings
from tests.delivery.test_deliverer import CRM, ended, id_of, until
from tests.faults.conftest import Own
from tests.support.certificates import make_certificates
from tests.support.deliveries import Operator, delay_s, delivering, pass_time
from tests.support.deployment import WAIT_S, Deployment
from tests.support.jobs import make_job
from tests.support.processes import kill, wait_gone
from tests.support.receiver import HOST, Received, Receiver, Reply
from tests.support.roles import as_role, everything

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

LATE_S = 30
"""More than a busy machine is late."""


def self_signed(directory: Path) -> ssl.SSLContext:
    """What an authority that nobody knows has signed."""
    make_certificates(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    return context


@pytest.mark.slow
def test_43_receivers_that_fail_in_every_way(crew: Deployment, tmp_path: Path) -> None:
    """Each is tried anew by the schedule, under the event's one id; jobs are painted and told to others meanwhile."""
    with (
        Receiver() as fine,
        Receiver(lambda _: Reply(500)) as broken,
        Receiver(lambda _: Reply(302, {"Location": fine.url + "/elsewhere"})) as moved,
        Receiver(lambda _: Reply(410)) as gone,
        Receiver(lambda _: Reply(after_s=WAIT_S)) as slow,
        Receiver(tls=self_signed(tmp_path)) as unknown,
    ):
        failing = {
            "broken": broken.endpoint(),
            "moved": moved.endpoint(),
            "unknown": unknown.endpoint(
                url=f"https://localhost:{unknown.port}/", allow_networks=["::1/128", "127.0.0.0/8"]
            ),
            "absent": fine.endpoint(url=f"http://{HOST}:9/", allow_ports=[9]),
        }
        operator = Operator(
            crew.settings, tmp_path, fine=fine.endpoint(), slow=slow.endpoint(), gone=gone.endpoint(), **failing
        )
        queue = crew.client(operator_file=operator.path)
        redis, deliveries = everything(queue.settings), Deliveries(queue._ledger)
        with delivering(operator.settings):
            jobs = [crew.job(steps=steps) for steps in (2, 3)]
            queue.submit_many(jobs)
            assert all(queue.wait(job.id, timeout_s=WAIT_S).report.steps for job in jobs)
            until(lambda: len(fine.received) == 2, "both events where all is well")
            events = fine.ids()
            for name in failing:
                for tries in (1, 2):
                    until(lambda n=name, t=tries: _tries(deliveries, n, events) == [t, t], f"try {tries} of {name}")  # type: ignore[misc]
                    for event in events:
                        delay = delay_s(redis, name, event)
                        assert delay <= DELAYS_S[tries] * (1 + JITTER)
                        assert delay >= DELAYS_S[tries] * (1 - JITTER) - LATE_S
                    if tries == 1:
                        pass_time(redis, name, DELAYS_S[1] * (1 + JITTER))
            until(lambda: deliveries.health("gone").disabled, "the one that is gone to be disabled")
            slow.let_go()
        assert fine.ids() == events
        assert set(broken.ids()) == set(moved.ids()) == set(slow.ids()) == set(events)
        assert unknown.received == []
        said = {name: deliveries.delivery(name, events[0]).attempts[0] for name in failing}
        assert (said["broken"].status, said["moved"].status, said["unknown"].status) == (500, 302, None)
        assert "certificate" in said["unknown"].said
    crew.check(*jobs)


def _tries(deliveries: Deliveries, endpoint: str, events: list[str]) -> list[int]:
    return [deliveries.delivery(endpoint, event).tries for event in events]


@pytest.mark.slow
def test_43_a_keeper_that_is_killed_between_sending_and_marking(
    deployment: Deployment, settings: Settings, tmp_path: Path
) -> None:
    """The event comes twice, under one id."""
    keepers: list[Any] = []

    def kill_it_first(_: Received) -> Reply:
        if len(keepers) == 1 and keepers[0].running:
            kill(keepers[0].pid)
            wait_gone(keepers[0].pid, WAIT_S)
        return Reply()

    with Receiver(kill_it_first) as receiver:
        operator = Operator(settings, tmp_path, crm=receiver.endpoint())
        deployment.configure(operator_file=operator.path)
        keepers.append(deployment.keeper())
        with StyleQueue(operator.settings) as queue:
            event = ended(queue)
            until(lambda: receiver.received, "the event")
            wait_gone(keepers[0].pid, WAIT_S)
            deliveries = Deliveries(queue._ledger)
            assert deliveries.delivery(CRM, id_of(event)).state == "pending"
            pass_time(queue._ledger.redis, CRM, LEASE_S + 1)
            keepers.append(deployment.keeper())
            until(lambda: deliveries.delivery(CRM, id_of(event)).state == "delivered", "its mark")
    assert receiver.ids() == [id_of(event)] * 2
    assert {request.body for request in receiver.received} == {event.encode()}


@pytest.mark.slow
def test_43_a_keeper_that_is_not_to_deliver(deployment: Deployment, settings: Settings, tmp_path: Path) -> None:
    with Receiver() as receiver:
        operator = Operator(settings, tmp_path, crm=receiver.endpoint())
        deployment.configure(operator_file=operator.path, deliver=False)
        keeper = deployment.keeper()
        with StyleQueue(operator.settings) as queue:
            event = ended(queue)
            keeper.stop()
            assert receiver.received == []
            assert queue.groups() == []
            # Nothing is lost: whoever delivers later tells those that the job names.
            with delivering(operator.settings):
                until(lambda: receiver.received, "the event")
    assert receiver.ids() == [id_of(event)]


@pytest.mark.slow
def test_43_redis_restarts_while_events_wait(own: Own, tmp_path: Path) -> None:
    with Receiver(lambda _: Reply(503)) as receiver:
        operator = Operator(own.deployment.settings, tmp_path, crm=receiver.endpoint())
        with StyleQueue(operator.settings) as queue, delivering(operator.settings):
            waits = ended(queue)
            deliveries = Deliveries(queue._ledger)
            until(lambda: receiver.received and deliveries.health(CRM).sending == 0, "a try")
            own.valkey.restart()
            since = ended(queue)
            receiver.answer = lambda _: Reply()
            pass_time(queue._ledger.redis, CRM, 60)
            both = {id_of(waits), id_of(since)}
            until(lambda: both <= {request.id for request in receiver.received[1:]}, "both to arrive")
            until(lambda: deliveries.health(CRM).sending == 0, "the marks")
            assert {deliveries.delivery(CRM, id_of(event)).state for event in (waits, since)} == {"delivered"}


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
    ],
)
def test_44_an_endpoint_that_leads_inside(settings: Settings, tmp_path: Path, url: str) -> None:
    with Receiver() as receiver:
        fields = receiver.endpoint(url=url.format(port=receiver.port), allow_networks=[])
        operator = Operator(settings, tmp_path, crm=fields)
        with StyleQueue(operator.settings) as queue, delivering(operator.settings):
            event = ended(queue)
            deliveries = Deliveries(queue._ledger)
            until(lambda: deliveries.list(CRM) and deliveries.list(CRM)[0].tries == 1, "a try")
            [attempt] = deliveries.delivery(CRM, id_of(event)).attempts
        assert attempt.status is None
        assert "leads to" in attempt.said
        assert receiver.received == []


CONSUMER = """
import sys, time
from stylequeue import StyleQueue
with StyleQueue() as queue:
    for position, event in queue.events(group="crm", consumer=sys.argv[1]):
        print(event.subject, flush=True)
        time.sleep(600)
"""


def test_45_a_consumer_that_is_killed_while_it_handles(stack: Stack, settings: Settings) -> None:
    """Another has the event it held, and those behind it."""
    own = as_role(settings, "producer")
    with StyleQueue(own) as queue:
        ids = queue.submit_many([make_job() for _ in range(3)])
        command = [sys.executable, "-c", CONSUMER, "one"]
        with subprocess.Popen(command, env=environment(own), stdout=subprocess.PIPE, text=True) as consumer:
            assert consumer.stdout is not None
            assert consumer.stdout.readline().strip() == ids[0]
            consumer.kill()
        told = queue.events(group="crm", consumer="two", claim_after_s=0.001, follow=False)
        assert sorted(event.subject for _, event in told) == sorted(ids)
        [group] = queue.groups()
        assert (group.pending, group.lag) == (0, 0)


def test_45_a_consumer_comes_back_under_its_name(stack: Stack, settings: Settings) -> None:
    with StyleQueue(settings) as queue:
        ids = queue.submit_many([make_job() for _ in range(2)])
        first = queue.events(group="crm", consumer="one", follow=False)
        assert next(first)[1].subject == ids[0]
        del first
        told = queue.events(group="crm", consumer="one", follow=False)
        assert [event.subject for _, event in told] == ids
