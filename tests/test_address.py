"""What is read strictly, and that all libraries read it as we do."""

from __future__ import annotations

from typing import Any, cast

import boto3
import pytest
from celery import Celery
from celery.backends.redis import RedisBackend
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from redis import connection

from stylequeue.address import RedisAddress, check_http


@pytest.mark.parametrize(
    ("text", "host", "port", "username", "password", "database"),
    [
        ("redis://valkey", "valkey", 6379, None, None, 0),
        ("redis://valkey/", "valkey", 6379, None, None, 0),
        ("redis://127.0.0.1:1234/7", "127.0.0.1", 1234, None, None, 7),
        ("redis://:secret@h/0", "h", 6379, None, "secret", 0),
        ("rediss://default:se%2Fcr%40e%3At%25@cache.example:6380", "cache.example", 6380, "default", "se/cr@e:t%", 0),
        ("rediss://:p%C3%A4ss:word@my_redis:6380/15", "my_redis", 6380, None, "päss:word", 15),
        ("redis://us%3Aer:a;b,c+d@[::1]:6379/2", "::1", 6379, "us:er", "a;b,c+d", 2),
        ("redis://[2001:db8::7]", "2001:db8::7", 6379, None, None, 0),
    ],
)  # fmt: skip
def test_an_address_is_read(
    text: str, host: str, port: int, username: str | None, password: str | None, database: int
) -> None:
    address = RedisAddress.parse(text)
    assert address.hosts == ((host, port),)
    assert (address.username, address.password, address.database) == (username, password, database)
    assert address.is_tls == text.startswith("rediss")


def test_sentinels_are_several() -> None:
    address = RedisAddress.parse("sentinel://:secret@one,two:26380,[::1]:26381/3")
    assert address.is_sentinel
    assert address.hosts == (("one", 26379), ("two", 26380), ("::1", 26381))
    assert address.url == (
        "sentinel://:secret@one:26379/3;sentinel://:secret@two:26380/3;sentinel://:secret@[::1]:26381/3"
    )
    assert address.place == "one:26379,two:26380,[::1]:26381"


SCHEME, DATABASE, PORT, HOST, PARAMETERS, ASCII, SEVERAL, ENCODED = (
    "begins with none of",
    "not a plain number",
    "port is not between",
    "no host|IPv6",
    "takes no parameters",
    "none of ASCII",
    "names several hosts",
    "percent-encoded",
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", SCHEME),
        ("hunter2", SCHEME),
        ("127.0.0.1:6379", SCHEME),
        ("redis:/h", SCHEME),
        ("REDIS://h/0", SCHEME),
        ("http://h/0", SCHEME),
        ("valkey://h/0", SCHEME),
        ("amqp://h", SCHEME),
        ("unix:///run/redis.sock", SCHEME),
        ("redis+socket:///run/redis.sock", SCHEME),
        (" redis://h/0", SCHEME),
        ("redis://", HOST),
        ("redis:///0", HOST),
        ("redis://:6379/0", HOST),
        ("redis://h/abc", DATABASE),
        ("redis://h/-1", DATABASE),
        ("redis://h/0/", DATABASE),
        ("redis://h/0/1", DATABASE),
        ("redis://h//0", DATABASE),
        ("redis://h/00", DATABASE),
        ("redis://h/0x1", DATABASE),
        ("redis://h/\uff11", ASCII),  # a digit, but not to a server
        ("redis://h:0/0", PORT),
        ("redis://h:65536/0", PORT),
        ("redis://h:port/0", HOST),
        ("redis://h:/0", HOST),
        ("redis://h:-1/0", HOST),
        ("redis://h:6379:6380/0", HOST),
        ("redis://::1/0", HOST),
        ("redis://[::1/0", HOST),
        ("redis://[nonsense]/0", HOST),
        ("redis://[1:2]/0", HOST),
        ("redis://[fe80::1%25eth0]/0", HOST),
        ("redis://ho st/0", ASCII),
        ("redis://h/0\n", ASCII),
        ("redis://h/0?db=1", PARAMETERS),
        ("redis://h/0?ssl_cert_reqs=none", PARAMETERS),
        ("redis://h?virtual_host=1", PARAMETERS),
        ("redis://h/0#1", PARAMETERS),
        ("redis://h1,h2/0", SEVERAL),
        ("redis://h1;redis://h2", "several addresses"),
        ("sentinel://h1;sentinel://h2", "several addresses"),
        ("sentinel://h1,/0", HOST),
        ("redis://hunter2@h/0", "a user name but no password"),
        ("redis://user:@h/0", "empty password"),
        ("redis://:@h/0", "empty password"),
        ("redis://@h/0", "a user name but no password"),
        ("redis://:hunter/2@h/0", ENCODED),
        ("redis://:12/34@h/0", ENCODED),
        ("redis://:hunter#2@h/0", ENCODED),
        ("redis://:hunter?2@h/0", ENCODED),
        ("redis://:hunter@2@h/0", ENCODED),
        ("redis://:hunter%2@h/0", ENCODED),
        ("redis://:hunter%zz@h/0", ENCODED),
        ("redis://:hunter%ff@h/0", "not UTF-8"),
        ("redis://:h\u00fcnter2@h/0", ENCODED),
        ("redis://:[hunter2]@h/0", ENCODED),
    ],
)
def test_an_address_of_another_form_is_refused_and_not_repeated(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        RedisAddress.parse(text)
    assert "hunter" not in str(caught.value)


parse_url: Any = connection.parse_url
any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
host_names = st.from_regex(r"[a-z0-9_]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True)


@given(
    host=host_names | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str),
    port=st.integers(1, 65535),
    username=st.none() | any_text,
    password=any_text,
    database=st.integers(0, 999_999),
    tls=st.booleans(),
)
def test_every_library_reads_what_we_read(
    host: str, port: int, username: str | None, password: str, database: int, tls: bool
) -> None:
    address = RedisAddress("rediss" if tls else "redis", ((host, port),), username, password, database)
    meant = (host, port, username, password, database)
    # By what we read ourselves, and by what each library makes of the address that it is given.
    assert RedisAddress.parse(address.url) == address
    redis = parse_url(address.url)
    assert (redis["host"], redis["port"], redis.get("username"), redis["password"], redis["db"]) == meant
    kombu = Connection(address.url, ssl={"ssl_cert_reqs": "required"} if tls else False)
    assert (kombu.hostname, kombu.port, kombu.userid, kombu.password, int(kombu.virtual_host)) == meant
    ssl = {"redis_backend_use_ssl": {"ssl_cert_reqs": "required"}} if tls else {}
    app = Celery(set_as_current=False)
    app.conf.update(ssl)
    celery = cast("Any", RedisBackend(url=address.url, app=app)).connparams
    assert (celery["host"], celery["port"], celery.get("username"), celery["password"], celery["db"]) == meant


@given(text=st.text("redis:/@?#[]%;,.0123456789ab -", max_size=30).map("redis://".__add__))
def test_what_is_taken_is_read_alike_however_odd_it_looks(text: str) -> None:
    try:
        address = RedisAddress.parse(text)
    except ValueError:
        return
    for form in (text, address.url):
        redis = parse_url(form)
        place = (redis["host"], redis.get("port", 6379), redis.get("db", 0), redis.get("password"))
        assert place == (*address.hosts[0], address.database, address.password)


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:8333", "https://s3.example.com", "http://[::1]:9000", "http://minio", "https://a-b.c1:443"],
)
def test_a_store_s_address_is_taken_as_boto3_takes_it(text: str) -> None:
    assert check_http(text) == text
    assert check_http(text + "/") == text
    client = boto3.client("s3", endpoint_url=text, region_name="x", aws_access_key_id="a", aws_secret_access_key="b")
    assert client.meta.endpoint_url == text
    client.close()


FORM = "is not http:// or https://"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", FORM),
        ("minio:9000", FORM),
        ("127.0.0.1:9000", FORM),
        ("//minio", FORM),
        ("s3://bucket", FORM),
        ("ftp://minio", FORM),
        ("HTTP://minio", FORM),
        ("http://", HOST),
        ("http:///", HOST),
        ("http://:9000", HOST),
        ("http://minio:0", PORT),
        ("http://minio:99999", PORT),
        ("http://minio:port", HOST),
        ("http://minio/uploads", FORM),
        ("http://minio//", FORM),
        ("http://minio?x=1", HOST),
        ("http://minio#x", HOST),
        ("http://key:hunter2@minio", "keys are settings"),
        ("http://my_minio:9000", "no name that"),  # botocore refuses it
        ("http://-minio", HOST),
        ("http://::1:9000", HOST),
        ("http://mi nio", HOST),
        ("http://minio\n", HOST),
        ("http://minio, http://other", FORM),
        ("http://m\u00ednio", HOST),
    ],
)
def test_another_store_s_address_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        check_http(text)
    assert "hunter2" not in str(caught.value)
