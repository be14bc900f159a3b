"""Which addresses a webhook may reach, looked at where the socket connects.

A name is resolved once, all of its addresses are looked at, and one of those is connected to: a resolver that answers
differently the second time is never asked. However a number is spelt (decimal, octal, hexadecimal, short), it is the
resolver that reads it, and what it reads that is looked at.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Resolver: TypeAlias = Callable[..., Sequence[tuple[Any, ...]]]
"""As `socket.getaddrinfo`."""

METADATA: frozenset[Address] = frozenset(
    ip_address(text)
    for text in (
        *("169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    )
)
"""Where clouds hand out a machine's own keys: never reached, whatever is allowed."""
_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is routed; what embeds an IPv4 address elsewhere, NAT64's among it, lies outside."""
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv6Network("3fff::/20"))
"""For protocols and for documents: not every version of Python knows all of them."""
_RELAYED = (IPv6Network("2002::/16"), IPv6Network("2001::/32"), IPv4Network("192.88.99.0/24"))
"""6to4 and Teredo: somebody else decides where those lead."""


class AddressRefused(Exception):
    """The name leads where no webhook goes, or nowhere."""


def resolve(
    host: str, port: int, *, allowed: Sequence[Network], timeout_s: float, resolver: Resolver = socket.getaddrinfo
) -> list[str]:
    """The addresses of a host, each of which may be connected to. Raises AddressRefused where any may not."""
    found = _ask(resolver, host, port, timeout_s)
    for address in found:
        if why := why_not(address, allowed):
            raise AddressRefused(f"{host} leads to {address}, which is {why}")
    return [str(address) for address in found]


def why_not(address: Address, allowed: Iterable[Network]) -> str | None:
    """Why no webhook goes to an address; None: it may."""
    routed = isinstance(address, IPv4Address) or address in _UNICAST
    # What lies outside may embed an IPv4 address: v4-mapped, NAT64's.
    if address in METADATA or (not routed and IPv4Address(int(address) & 0xFFFFFFFF) in METADATA):
        return "a cloud's own, for keys"
    if any(address in network for network in allowed):
        return None
    is_special = not address.is_global or any(address in network for network in _SPECIAL)
    if not routed or address.is_multicast or address.is_reserved or is_special:
        return "no address of the public internet"
    if any(address in network for network in _RELAYED):
        return "a relay's, which leads elsewhere"
    return None


def _ask(resolver: Resolver, host: str, port: int, timeout_s: float) -> list[Address]:
    """What the resolver says, which knows no time-out of its own."""
    answers: list[Address] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            entries = resolver(host, port, type=socket.SOCK_STREAM)
            answers.extend(dict.fromkeys(ip_address(entry[4][0]) for entry in entries))
        except (OSError, ValueError) as error:  # a UnicodeError is one, of a name that is none
            errors.append(error)

    asking = threading.Thread(target=ask, daemon=True, name="stylequeue-resolver")
    asking.start()
    asking.join(timeout_s)
    if asking.is_alive():
        raise AddressRefused(f"{host} was not resolved in time")
    if errors or not answers:
        raise AddressRefused(f"{host} cannot be resolved" + (f": {errors[0]}" if errors else ""))
    return answers
