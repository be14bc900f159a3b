"""Endpoints of the operator's file: what is one, and who may name it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from stylequeue.contract.errors import InvalidRequest
from stylequeue.operator_file import MAX_NOTIFY, Endpoint, Operator

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


def webhook(url: str = "https://crm.example/hook", **fields: Any) -> Endpoint:
    return Endpoint.model_validate({"url": url, "secrets": [SECRET], **fields})


def test_what_is_left_out() -> None:
    endpoint = webhook()
    assert endpoint.events == ("succeeded", "failed", "cancelled", "expired")
    assert (endpoint.tenant, endpoint.labels, endpoint.jobs, endpoint.kind) == (None, {}, "default", "webhook")
    assert endpoint.keys == [b"0123456789abcdef01234567"]
    assert SECRET not in repr(endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example",
        "https://crm.example:443/hook?a=b",
        "https://xn--bcher-kva.example/",
        "https://[2001:db8::1]/hook",
        "https://192.0.2.1/",
        "https://crm.example./",
    ],
)
def test_a_url(url: str) -> None:
    assert webhook(url).place == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "crm.example/hook",
        "ftp://crm.example/",
        "file:///etc/passwd",
        "gopher://crm.example/",
        "https://",
        "https:///hook",
        "https:crm.example",
        "https://user@crm.example/",
        "https://user:password@crm.example/",
        "https://good.example@evil.example/",
        "https://good.example\\@evil.example/",
        "https://evil.example\\.good.example/",
        "https://crm.example/#here",
        "https://crm.example/#",
        "https://crm.example:/",
        "https://crm.example:99999/",
        "https://crm.example:+443/",
        "https://crm.example:443:443/",
        "https://bücher.example/",
        "https://crm。example/",
        "https://crm.example/ö",
        "https://crm.example/a b",
        "https://crm.example/\n",
        "https://crm.example\t/",
        "https://[::1/",
        "https://[::1]x/",
        "https://-crm.example/",
        "http://crm.example/",
        "https://crm.example:8443/",
        "https://crm.example:80/",
    ],
)
def test_no_url(url: str) -> None:
    with pytest.raises(ValidationError):
        webhook(url)


def test_what_has_to_be_allowed() -> None:
    assert webhook("http://crm.example/", allow_http=True).place == "http://crm.example/"
    assert webhook("https://crm.example:8443/", allow_ports=[8443])
    with pytest.raises(ValidationError, match="8443"):
        webhook("http://crm.example:8443/", allow_http=True)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
        "whsec_c2hvcnQ=",
        "whsec_" + "MDEy" * 22,
        "whsec_not base64 at all, is it?",
        "WHSEC_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
    ],
)
def test_no_secret(secret: str) -> None:
    with pytest.raises(ValidationError) as caught:
        webhook(secrets=[secret])
    assert not secret or secret == "whsec_" or secret not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://crm.example/"},
        {"url": "https://crm.example/", "secrets": [SECRET] * 5},
        {"secrets": [SECRET]},
        {"url": "https://crm.example/", "secrets": [SECRET], "sqs": "https://sqs.eu-west-1.amazonaws.com/1/q"},
        {"sqs": "https://sqs.eu-west-1.amazonaws.com/1/q", "secrets": [SECRET]},
        {"sns": "topic"},
        {"url": "https://crm.example/", "secrets": [SECRET], "events": ["progress"]},
        {"url": "https://crm.example/", "secrets": [SECRET], "events": []},
        {"url": "https://crm.example/", "secrets": [SECRET], "tenant": "a b"},
        {"url": "https://crm.example/", "secrets": [SECRET], "jobs": "none"},
        {"url": "https://crm.example/", "secrets": [SECRET], "allow_networks": ["everywhere"]},
    ],
    ids=str,
)
def test_no_endpoint(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Endpoint.model_validate(fields)


OPERATOR = Operator.parse(
    "".join(
        f'[endpoint.{name}]\nurl = "https://{name}.example/"\nsecrets = ["{SECRET}"]\n{more}'
        for name, more in {
            **dict.fromkeys(("a", "b", "c", "d", "e"), ""),
            **dict.fromkeys(("theirs", "theirs2"), 'tenant = "acme"\n'),
        }.items()
    ),
    name="the file",
)


def test_names_are_of_ones_own_endpoints() -> None:
    assert OPERATOR.named(["a", "b", "a"], tenant=None) == ("a", "b")
    assert OPERATOR.named(["theirs"], tenant="acme") == ("theirs",)
    assert OPERATOR.named([], tenant="acme") == ()


@pytest.mark.parametrize(
    ("names", "tenant"),
    [
        (["nobody"], None),
        (["theirs"], None),
        (["a"], "acme"),
        (["theirs"], "other"),
        (["theirs", "a"], "acme"),
        ([""], None),
        ("a", None),
        (list("abcde"), None),
    ],
    ids=str,
)
def test_all_others_are_refused(names: Any, tenant: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        OPERATOR.named(names, tenant=tenant)
    assert len(OPERATOR.named(list("abcd"), tenant=None)) == MAX_NOTIFY
    assert caught.value.hint


def test_one_of_anothers_is_as_one_that_there_is_not() -> None:
    said = []
    for name in ("a", "nobody"):
        with pytest.raises(InvalidRequest) as caught:
            OPERATOR.named([name], tenant="acme")
        said.append(str(caught.value).replace(repr(name), "X"))
    assert said[0] == said[1]
    assert "theirs" in said[0]
    assert "'b'" not in said[0]
