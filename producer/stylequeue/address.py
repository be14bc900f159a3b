"""Addresses of servers, read once and strictly.

Three libraries take Redis's address: redis-py for the ledger, kombu for the messages, Celery for the results. Each
would read a doubtful one in its own way (a database that is no number, a parameter, a `;` in a password), and jobs
would be recorded here and sent there. So an address is read here, what is doubtful is refused, and each library gets
the parts, or an address that is put together anew from them.

No error repeats what it refuses: there may be a password in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import quote, unquote

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379
_MAX_PORT = 65535

_ENCODED = r"%[0-9A-Fa-f]{2}"
_USER_INFO = re.compile(rf"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|{_ENCODED})*")
"""As RFC 3986 has it."""
_HOST_AND_PORT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*))(?::(?P<port>[0-9]{1,5}))?"
)
_DATABASE = re.compile(r"0|[1-9][0-9]{0,5}")
_PRINTABLE = re.compile(r"[!-~]*")
_DNS_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")

_FORM = "write redis://[[user]:password@]host[:port][/database], rediss:// for TLS"
_ENCODE = "any of : / ? # [ ] @ % in a user name or password is percent-encoded (%2F for /)"


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is, and as whom to sign in: `redis://`, `rediss://` (TLS), or `sentinel://` with several hosts."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    """Host, without the brackets of IPv6, and port: one, or those of the sentinels."""
    username: str | None
    password: str | None = field(repr=False)
    database: int

    @classmethod
    def parse(cls, text: str) -> RedisAddress:
        """Raises ValueError with what is wrong and what to write."""
        scheme, separator, rest = text.partition("://")
        if scheme not in ("redis", "rediss", "sentinel") or not separator:
            raise ValueError(f"begins with none of redis://, rediss:// (TLS) and sentinel://; {_FORM}")
        if not _PRINTABLE.fullmatch(text):
            raise ValueError(f"holds a blank, or a character that is none of ASCII; {_ENCODE}")
        if "?" in rest or "#" in rest:
            raise ValueError(
                "holds a '?' or '#': it takes no parameters, what TLS needs has settings of its own "
                f"(STYLEQUEUE_REDIS_CA_FILE, ...); {_ENCODE}"
            )
        if "://" in rest:
            raise ValueError("is several addresses; sentinels are written sentinel://host1:port,host2:port,host3:port")
        authority, _, database = rest.partition("/")
        user_info, at, places = authority.rpartition("@")
        if "@" in database:
            raise ValueError(f"holds a '/' before the '@'; {_ENCODE}")
        if database and not _DATABASE.fullmatch(database):
            raise ValueError("its database is not a plain number; what follows the host is /0, /1, ..., or nothing")
        username, password = _credentials(user_info) if at else (None, None)
        default_port = _SENTINEL_PORT if scheme == "sentinel" else _REDIS_PORT
        hosts = tuple(_host_and_port(place, default_port) for place in places.split(","))
        if len(hosts) > 1 and scheme != "sentinel":
            raise ValueError("names several hosts, which only sentinel:// does: Redis Cluster is not supported")
        return cls(scheme, hosts, username, password, int(database or 0))

    @property
    def is_tls(self) -> bool:
        """Whether all that is said is encrypted."""
        return self.scheme == "rediss"

    @property
    def is_sentinel(self) -> bool:
        """Whether the hosts are sentinels, who know where Redis is."""
        return self.scheme == "sentinel"

    @property
    def place(self) -> str:
        """Host and port, for messages: without what is secret."""
        return ",".join(f"{_bracketed(host)}:{port}" for host, port in self.hosts)

    @property
    def url(self) -> str:
        """The address with its password, in the one form that kombu and Celery read as it is meant."""
        user = quote(self.username or "", safe="")
        signed = f"{user}:{quote(self.password, safe='')}@" if self.password else ""
        # Several are what Celery calls them: whole addresses, one after the other.
        return ";".join(
            f"{self.scheme}://{signed}{_bracketed(host)}:{port}/{self.database}" for host, port in self.hosts
        )


def check_http(text: str) -> str:
    """`text`, if it is `http://` or `https://`, a host and perhaps a port, without a last slash. Raises ValueError."""
    match = re.fullmatch(r"https?://(?P<place>[^/]*)/?", text)
    if not match:
        raise ValueError(
            "is not http:// or https://, a host, and perhaps a port; it takes no path and no parameters (buckets are "
            "settings of their own)"
        )
    if "@" in match["place"]:
        raise ValueError("holds an '@': keys are settings of their own, STYLEQUEUE_S3_ACCESS_KEY and ..._SECRET_KEY")
    host, _ = _host_and_port(match["place"], 0)
    if ":" not in host and not _DNS_NAME.fullmatch(host):
        raise ValueError("its host is no name that S3's libraries take: letters, digits, '-' and '.'")
    return text.removesuffix("/")


def _credentials(user_info: str) -> tuple[str | None, str]:
    if not _USER_INFO.fullmatch(user_info):
        raise ValueError(f"what stands before its '@' cannot be read; {_ENCODE}")
    username, colon, password = user_info.partition(":")
    if not colon:
        raise ValueError("has a user name but no password; a password alone is written redis://:password@host")
    if not password:
        raise ValueError("has an empty password; leave out all before the '@' where there is none")
    try:
        return unquote(username, errors="strict") or None, unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("what is percent-encoded in it is not UTF-8") from None


def _host_and_port(place: str, default_port: int) -> tuple[str, int]:
    match = _HOST_AND_PORT.fullmatch(place)
    if not match:
        raise ValueError("has no host, or one that cannot be read; IPv6 is written in brackets, as [::1]:6379")
    if match["ipv6"]:
        try:
            IPv6Address(match["ipv6"])
        except AddressValueError:
            raise ValueError("its host, in brackets, is no IPv6 address") from None
    port = int(match["port"]) if match["port"] else default_port
    if match["port"] and not 1 <= port <= _MAX_PORT:
        raise ValueError(f"its port is not between 1 and {_MAX_PORT}")
    return match["ipv6"] or match["name"], port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
