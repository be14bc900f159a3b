"""Which addresses webhooks may reach."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from stylequeue.delivery.addresses import METADATA, AddressRefused, resolve, why_not
from tests.support.receiver import HOST, Receiver


def answering(*answers: list[str]) -> Any:
    """A resolver that answers so, one time after another."""
    left = list(answers)

    def resolver(_: str, port: int, **__: Any) -> list[Any]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found
        ]

    return resolver


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "0177.0.0.1",
    "017700000001",
    "0177.0x0.0.1",
    "00000177.0.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "10.0.0.1",
    "10.1",
    "167772161",
    "192.168.1.1",
    "172.16.0.1",
    "172.31.255.255",
    "100.64.0.1",
    "169.254.169.254",
    "0xA9FEA9FE",
    "2852039166",
    "0251.0376.0251.0376",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.0.0.8",
    "168.63.129.16",
    "3fff::1",
    "2001:db8::1",
    "100::1",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_leads_inside(host: str) -> None:
    """By the resolver of this machine, which reads each as a client would."""
    with pytest.raises(AddressRefused):
        resolve(host, 443, allowed=[], timeout_s=10)


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "1.1.1.1", "100.63.255.255"])
def test_what_is_public_may_be_reached(address: str) -> None:
    assert why_not(ip_address(address), []) is None
    assert resolve("hook.example", 443, allowed=[], timeout_s=10, resolver=answering([address])) == [address]


def test_one_address_of_many_is_enough_to_refuse() -> None:
    for others in (["10.0.0.1"], ["::1"], ["93.184.215.14", "127.0.0.1"]):
        with pytest.raises(AddressRefused):
            resolve("x.example", 443, allowed=[], timeout_s=10, resolver=answering(["8.8.8.8", *others]))


def test_networks_are_allowed_one_by_one_but_never_a_clouds_own_addresses() -> None:
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00::/8"), ip_network("169.254.0.0/16"), ip_network("::/0")]
    assert why_not(ip_address("10.1.2.3"), allowed) is None
    assert why_not(ip_address("10.2.0.1"), allowed)
    assert why_not(ip_address("fd12::1"), allowed) is None
    for address in (*METADATA, ip_address("::ffff:169.254.169.254"), ip_address("64:ff9b::a9fe:a9fe")):
        assert why_not(address, allowed), address


@pytest.mark.parametrize("answer", [[], ["not an address"]], ids=["none", "nonsense"])
def test_a_resolver_that_answers_nothing_of_use(answer: list[str]) -> None:
    with pytest.raises(AddressRefused, match="cannot be resolved"):
        resolve("x.example", 443, allowed=[], timeout_s=10, resolver=answering(answer))


def test_a_name_that_there_is_not() -> None:
    def nowhere(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(AddressRefused, match="Name or service not known"):
        resolve("x.example", 443, allowed=[], timeout_s=10, resolver=nowhere)
    with pytest.raises(AddressRefused, match="cannot be resolved"):
        resolve("x" * 300, 443, allowed=[], timeout_s=10)


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    released = threading.Event()

    def hangs(*_: Any, **__: Any) -> Any:
        released.wait(60)
        return []

    with pytest.raises(AddressRefused, match="in time"):
        resolve("x.example", 443, allowed=[], timeout_s=0.05, resolver=hangs)
    released.set()


def test_a_name_is_resolved_once_and_what_was_looked_at_is_connected_to() -> None:
    """A resolver that changes its answer is asked no second time."""
    from stylequeue.delivery.webhooks import Webhooks
    from stylequeue.operator_file import Endpoint

    with Receiver() as receiver:
        asked = []

        def rebinding(host: str, port: int, **_: Any) -> Any:
            asked.append(host)
            return answering([HOST] if len(asked) > 1 else ["192.0.2.1"])(host, port)

        fields = receiver.endpoint(url=f"http://rebind.example:{receiver.port}/hook", allow_networks=["192.0.2.0/24"])
        answer = Webhooks(resolver=rebinding, timeout_s=0.5).send(Endpoint.model_validate(fields), "e", "{}")
        assert answer.status is None
        assert asked == ["rebind.example"]
        assert receiver.received == []
        # Inside from the first: not even tried.
        answer = Webhooks(resolver=rebinding).send(Endpoint.model_validate(fields), "e", "{}")
        assert "127.0.0.1" in answer.said
        assert receiver.received == []
