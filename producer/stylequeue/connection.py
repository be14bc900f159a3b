"""How everything of ours connects to Redis, and what it says when that fails.

Ledger, messages and results go by three libraries, which take their options from here: one address, one set of
certificates, one time limit. And whatever these raise is read in one place: that Redis does not answer, or what it
answered.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from .contract.errors import Code, InvalidRequest, Unavailable
from .settings import Settings

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

PUBLISH_TRIES = 3

Ask = Callable[[Callable[[Any], Any]], Awaitable[Any]]
"""Calls what it is given with a redis-py client, of either kind, and brings what Redis answers."""


def connect(settings: Settings) -> Redis:
    """redis-py's client, which connects when first used; everything that is called with it may be repeated."""
    from redis import Redis, sentinel
    from redis.retry import Retry

    return cast("Redis", _connect(settings, Redis, sentinel.Sentinel, Retry))


def connect_async(settings: Settings) -> AsyncRedis:
    """The same for one event loop."""
    from redis.asyncio import Redis, sentinel
    from redis.asyncio.retry import Retry

    return cast("AsyncRedis", _connect(settings, Redis, sentinel.Sentinel, Retry))


def _connect(settings: Settings, redis: Any, sentinel: Any, retry: Any) -> object:
    from redis.backoff import ExponentialWithJitterBackoff

    address = settings.redis
    options: dict[str, Any] = {
        **_sockets(settings),
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "decode_responses": True,
        "health_check_interval": _health_check_interval_s(settings),
        # Once: it tries again within its tries, and four attempts to connect are as long as anybody should wait.
        "retry": retry(ExponentialWithJitterBackoff(base=0.05, cap=1), retries=1),
    }
    if address.is_sentinel:
        sentinels = sentinel(list(address.hosts), sentinel_kwargs=_sentinels(settings), **options)
        return sentinels.master_for(settings.redis_sentinel_master)
    ((host, port),) = address.hosts
    return redis(host=host, port=port, ssl=address.is_tls, **options, **(_tls(settings) if address.is_tls else {}))


def celery_options(settings: Settings) -> dict[str, Any]:
    """Celery's settings for the same connection: of its messages and of its results."""
    address, sockets = settings.redis, _sockets(settings)
    health_check_interval_s = _health_check_interval_s(settings)
    transport: dict[str, Any] = {
        **sockets,
        "health_check_interval": health_check_interval_s,
        "max_retries": PUBLISH_TRIES,
        "interval_start": 0.1,
        "interval_max": 1,
    }
    options: dict[str, Any] = {
        "broker_url": address.url,
        "broker_connection_timeout": settings.redis_timeout_s,
        "broker_transport_options": transport,
        **{f"redis_{name}": value for name, value in sockets.items()},
        "redis_retry_on_timeout": True,
        "redis_backend_health_check_interval": health_check_interval_s,
    }
    if address.is_tls:
        options |= {"broker_use_ssl": _tls(settings), "redis_backend_use_ssl": _tls(settings)}
    if address.is_sentinel:
        sentinel = {"master_name": settings.redis_sentinel_master, "sentinel_kwargs": _sentinels(settings)}
        transport |= sentinel
        options["result_backend_transport_options"] = sentinel
    return options


def _sockets(settings: Settings) -> dict[str, Any]:
    timeout_s = settings.redis_timeout_s
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "socket_keepalive": True}


def _health_check_interval_s(settings: Settings) -> int:
    return max(1, int(settings.redis_timeout_s))


def _tls(settings: Settings) -> dict[str, Any]:
    """As redis-py names what TLS needs, and Celery and kombu with it."""
    files = {
        "ssl_ca_certs": settings.redis_ca_file,
        "ssl_certfile": settings.redis_client_cert_file,
        "ssl_keyfile": settings.redis_client_key_file,
    }
    return {
        "ssl_cert_reqs": "required" if settings.redis_verify else "none",
        "ssl_check_hostname": settings.redis_verify,
        **{name: str(path) for name, path in files.items() if path},
    }


def _sentinels(settings: Settings) -> dict[str, Any]:
    """How to connect to the sentinels themselves."""
    password = settings.redis_sentinel_password
    return {**_sockets(settings), **({"password": password.get_secret_value()} if password else {})}


@contextmanager
def redis_asked(settings: Settings, *kinds: type[Exception]) -> Iterator[None]:
    """Around all that is asked of Redis: what redis-py raises, and what is one of `kinds`, becomes Unavailable."""
    from redis.exceptions import RedisError

    try:
        yield
    except UnicodeEncodeError:
        raise InvalidRequest("what is asked for holds half a character", "send text that is whole Unicode") from None
    except Exception as error:
        if not isinstance(error, (RedisError, *kinds)):
            raise
        raise trouble(settings, error) from None


@contextmanager
def celery_asked(settings: Settings) -> Iterator[None]:
    """The same around all that Celery and kombu ask of it."""
    from celery.exceptions import BackendError
    from kombu.exceptions import KombuError

    with redis_asked(settings, KombuError, BackendError, OSError):
        yield


def trouble(settings: Settings, error: BaseException) -> Unavailable:
    """What `error`, of redis-py, kombu or Celery, says of Redis, and what to do about it. Without the password.

    `broker_refused` where Redis answered, `broker_unavailable` where it did not.
    """
    for cause in _chain(error):
        if answer := _answered(cause):
            return _unavailable(settings, Code.BROKER_REFUSED, answer)
    for cause in _chain(error):
        if silence := _not_answered(settings, cause):
            return _unavailable(settings, Code.BROKER_UNAVAILABLE, silence)
    return _unavailable(settings, Code.BROKER_UNAVAILABLE, (f"does not answer: {type(error).__name__}", _START))


def _unavailable(settings: Settings, code: Code, told: tuple[str, str]) -> Unavailable:
    address = settings.redis
    what, hint = told
    if address.password:
        what = what.replace(address.password, "***")
    place = f"behind the sentinels at {address.place}" if address.is_sentinel else f"at {address.place}"
    return Unavailable(code, f"Redis {place} {what}", hint)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what it came of: libraries wrap each other's."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


_ADDRESS = "STYLEQUEUE_REDIS_URL"
_START = f"start it, or point {_ADDRESS} at it; on one machine `stylequeue up` brings its own"
_CLUSTER = "is a Redis Cluster", "take one that is not: Celery cannot use a cluster"
_SIGN_IN = f"put the right ones into {_ADDRESS}; the user must be there (ACL LIST) and be switched on"
_SAID_CHARS = 200

_BY_CODE = {
    "WRONGPASS": ("does not accept this password, or knows no such user", _SIGN_IN),
    "NOAUTH": ("wants a password, and was given none", f"write redis://:password@host into {_ADDRESS}"),
    "NOPERM": (
        "forbids this user a command, a key or a channel that is needed",
        "grant what docs/operate.md lists under Rights: keys, channels, commands",
    ),
    "OOM": (
        "is full: it holds as much as maxmemory allows",
        "raise maxmemory, or let ended jobs go sooner (STYLEQUEUE_RECORD_TTL_S)",
    ),
    "READONLY": (
        "takes no writes: it is a replica",
        f"after a failover this passes by itself; else point {_ADDRESS} at the primary",
    ),
    "LOADING": ("is still loading its data", "wait: it answers once that is done"),
    "MISCONF": ("takes no writes: it could not save to its disk", "see its log; its disk may be full or read-only"),
    "MASTERDOWN": ("is a replica that has lost its primary", f"wait, or point {_ADDRESS} at the primary"),
    "NOREPLICAS": ("takes no writes: too few replicas follow it", "connect them, or lower min-replicas-to-write"),
    "BUSY": ("is held up by a script", "wait; `SCRIPT KILL` ends it"),
    "DENIED": ("is in protected mode", "set a password there (requirepass), and give it here"),
    "UNBLOCKED": (
        "has just become a replica",
        f"after a failover this passes by itself; else point {_ADDRESS} at the primary",
    ),
    **dict.fromkeys(("CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "CROSSSLOT"), _CLUSTER),
}
"""What an answer of Redis that begins with this word means, and what to do."""
_BY_TEXT = {
    "invalid password": _BY_CODE["WRONGPASS"],
    "without any password configured": ("has no password, but was given one", f"leave it out of {_ADDRESS}"),
    "DB index is out of range": (
        "has no database of this number",
        f"write a lower one at the end of {_ADDRESS}, or raise `databases` there",
    ),
    "SELECT is not allowed in cluster mode": _CLUSTER,
    "max number of clients reached": ("has as many clients as it may", "raise maxclients there, or run fewer"),
    "ACL failure in script": _BY_CODE["NOPERM"],
    "unknown command": (
        "does not know a command that is needed",
        "take Redis 6.2, Valkey 7.2 or later, with no command renamed",
    ),
}
"""The same for answers that begin with nothing but ERR."""


def _answered(error: BaseException) -> tuple[str, str] | None:
    from redis.exceptions import AuthenticationError, ResponseError

    # In front of it stands the command, with what was to be written.
    said = str(error).rpartition("of pipeline caused error: ")[2]
    # redis-py takes the first word off the answers it has a class for.
    code = getattr(error, "status_code", None) or said.partition(" ")[0]
    if code in _BY_CODE:
        return _BY_CODE[code]
    if isinstance(error, (ResponseError, AuthenticationError)) or code == "ERR":
        known = (told for text, told in _BY_TEXT.items() if text in said)
        return next(known, (f"refused a command: {said[:_SAID_CHARS]}", "see docs/operations.md, Redis"))
    return None


def _not_answered(settings: Settings, error: BaseException) -> tuple[str, str] | None:
    from redis.exceptions import InvalidResponse
    from redis.sentinel import MasterNotFoundError

    said = str(error)
    match error:
        case InvalidResponse():
            return "answers, but not as Redis does", f"something else listens there: check host and port in {_ADDRESS}"
        case MasterNotFoundError():
            return f"cannot be found: no sentinel answers and knows {settings.redis_sentinel_master!r}", (
                "during a failover this passes by itself; else check "
                f"{_ADDRESS}, STYLEQUEUE_REDIS_SENTINEL_MASTER and STYLEQUEUE_REDIS_SENTINEL_PASSWORD"
            )
        case ssl.SSLCertVerificationError():
            return f"shows a certificate that cannot be verified: {error.verify_message}", (
                "STYLEQUEUE_REDIS_CA_FILE names the certificates to trust; the address must name the host as it does"
            )
        case ssl.SSLError() if "WRONG_VERSION_NUMBER" in said or "record layer failure" in said:
            return _NO_TLS
        case ssl.SSLError():
            return f"breaks off TLS: {error.reason or 'the connection was closed'}", (
                "if it wants a certificate, give STYLEQUEUE_REDIS_CLIENT_CERT_FILE and STYLEQUEUE_REDIS_CLIENT_KEY_FILE"
            )
        case TimeoutError() if "handshake" in said:
            return _NO_TLS
        case socket.gaierror():
            return (
                "cannot be found: the name of this host is not known here",
                f"check {_ADDRESS} and this machine's DNS",
            )
        case ConnectionRefusedError():
            return "does not answer: nothing listens there", _START
        case TimeoutError():
            return f"does not answer within {settings.redis_timeout_s:g} s", (
                f"check {_ADDRESS}, the network, and whether Redis is overloaded"
            )
        case _ if isinstance(error, ConnectionResetError) or "Connection closed by server" in said:
            return "breaks off the connection", "it may be restarting" if settings.redis.is_tls else _TLS_ONLY
        case OSError(errno=errno, strerror=str(why)) if errno:
            return f"cannot be reached: {why}", f"check {_ADDRESS} and the network"
    return None


_NO_TLS = "does not answer in TLS", f"if it speaks none, write redis:// instead of rediss:// into {_ADDRESS}"
_TLS_ONLY = f"unless it is restarting, it speaks TLS only: write rediss:// instead of redis:// into {_ADDRESS}"
