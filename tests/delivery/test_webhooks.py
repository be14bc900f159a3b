"""Webhooks on the wire: what is sent, by what it is known, and what is made of the answer."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.v1.http import from_http
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from stylequeue.contract.events import Succeeded
from stylequeue.delivery.schedule import Answer
from stylequeue.delivery.webhooks import Webhooks
from stylequeue.operator_file import Endpoint
from stylequeue.testing import JobEvents, make_job
from tests.support.certificates import make_certificates
from tests.support.receiver import HOST, Receiver, Reply
from tests.support.tools import fetch, run

OLD, NEW = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", "whsec_YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAx"


def send(receiver: Receiver, event: str = "{}", *, timeout_s: float = 15, **fields: Any) -> Answer:
    endpoint = Endpoint.model_validate(receiver.endpoint(**fields))
    return Webhooks(timeout_s=timeout_s).send(endpoint, "event-1", event)


def event() -> Succeeded:
    events = JobEvents(make_job(labels={"user": 'é"\\'}))
    events.accepted()
    return events.succeeded()


def test_the_event_is_what_is_sent_byte_for_byte(receiver: Receiver) -> None:
    text = event().model_dump_json()
    assert send(receiver, text).status == 204
    [request] = receiver.received
    assert request.body == text.encode()
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["host"] == f"{HOST}:{receiver.port}"
    assert request.headers["user-agent"].startswith("stylequeue/")
    assert request.path == "/hook"


def test_a_receiver_with_standard_webhooks_knows_it(receiver: Receiver) -> None:
    text = event().model_dump_json()
    send(receiver, text, secrets=[NEW, OLD])
    [request] = receiver.received
    assert len(request.headers["webhook-signature"].split()) == 2
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(request.body, dict(request.headers)) == json.loads(text)
    for changed in (request.body + b" ", request.body.replace(b"succeeded", b"cancelled")):
        with pytest.raises(WebhookVerificationError):
            Webhook(OLD).verify(changed, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "QUFB" * 8).verify(request.body, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(request.body, {**request.headers, "webhook-id": "another"})


IN_NODE = """
import { readFileSync } from "node:fs";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const { secrets, stranger, body, headers } = JSON.parse(readFileSync(0));
for (const secret of secrets) console.log(new Webhook(secret).verify(body, headers).id);
for (const [secret, text] of [[stranger, body], [secrets[0], body + " "]]) {
  try {
    new Webhook(secret).verify(text, headers);
  } catch (error) {
    console.log(error instanceof WebhookVerificationError);
  }
}
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_so_does_one_in_node(receiver: Receiver, tmp_path: Path) -> None:
    told = event()
    send(receiver, told.model_dump_json(), secrets=[NEW, OLD])
    [request] = receiver.received
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "receiver.js").write_text(IN_NODE)
    fetch("standardwebhooks", tmp_path, "npm", "install", "--no-save", "standardwebhooks@1")
    stranger = "whsec_" + "QUFB" * 8
    sent = {
        "secrets": [OLD, NEW],
        "stranger": stranger,
        "body": request.body.decode(),
        "headers": dict(request.headers),
    }
    said = run(tmp_path, "node", "receiver.js", stdin=json.dumps(sent))
    assert said.split() == [told.id, told.id, "true", "true"]


def test_a_receiver_with_the_cloudevents_sdk_reads_it(receiver: Receiver) -> None:
    told = event()
    send(receiver, told.model_dump_json())
    [request] = receiver.received
    headers = dict(request.headers)
    old = from_http(headers, request.body)
    assert (old["id"], old["type"], old["subject"], old["source"]) == (told.id, told.type, told.subject, told.source)
    assert old.data["output"]["key"] == told.data.output.key
    new = from_http_event(HTTPMessage(headers=headers, body=request.body))
    assert (new.get_id(), new.get_type(), new.get_subject()) == (told.id, told.type, told.subject)
    assert new.get_extension("sequence") == told.sequence


def test_the_time_is_that_of_the_attempt(receiver: Receiver) -> None:
    before = int(time.time())
    send(receiver)
    assert before <= int(receiver.received[0].headers["webhook-timestamp"]) <= time.time()


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    with Receiver() as elsewhere:
        receiver.answer = lambda _: Reply(302, {"Location": elsewhere.url})
        assert send(receiver).status == 302
        assert elsewhere.received == []


def test_what_is_said_is_kept_in_short_and_in_one_line(receiver: Receiver) -> None:
    receiver.answer = lambda _: Reply(500, body=b"no\n\x1b[31m" + b"x" * 100_000)
    answer = send(receiver)
    assert answer.status == 500
    assert answer.said.startswith("no\\n\\x1b[31mxxx")
    assert len(answer.said) == 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("²", None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
    ],
)
def test_retry_after(receiver: Receiver, text: str, seconds: float | None) -> None:
    receiver.answer = lambda _: Reply(429, {"Retry-After": text.encode().decode("latin-1")})
    assert send(receiver).retry_after_s == seconds


def test_no_answer_is_waited_for_longer_than_the_limit(receiver: Receiver) -> None:
    receiver.answer = lambda _: Reply(after_s=30)
    began = time.monotonic()
    answer = send(receiver, timeout_s=0.2)
    assert (answer.status, answer.said) == (None, "no answer within 0.2 s")
    assert time.monotonic() - began < 10


def test_an_answer_that_comes_byte_by_byte_is_cut_off() -> None:
    """Each byte within any time-out of the socket's."""
    stop = threading.Event()
    with socket.create_server((HOST, 0)) as server:

        def drip() -> None:
            connected, _ = server.accept()
            with connected:
                try:
                    connected.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not stop.wait(0.02):
                        connected.sendall(b"x")
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        port = server.getsockname()[1]
        fields = {
            "url": f"http://{HOST}:{port}/",
            "secrets": [OLD],
            "allow_http": True,
            "allow_ports": [port],
            "allow_networks": ["127.0.0.0/8"],
        }
        began = time.monotonic()
        answer = Webhooks(timeout_s=0.5).send(Endpoint.model_validate(fields), "e", "{}")
        took_s = time.monotonic() - began
        stop.set()
        thread.join()
    assert (answer.status, answer.said) == (None, "no answer within 0.5 s")
    assert took_s < 10


def test_nobody_listens() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    fields = {"url": f"http://{HOST}:{port}/", "secrets": [OLD], "allow_http": True, "allow_ports": [port]}
    endpoint = Endpoint.model_validate({**fields, "allow_networks": ["127.0.0.0/8"]})
    assert Webhooks().send(endpoint, "e", "{}").said == "nothing listens there"


def test_an_address_inside_is_refused_unless_it_is_allowed(receiver: Receiver) -> None:
    answer = send(receiver, allow_networks=[])
    assert answer.status is None
    assert "127.0.0.1, which is no address of the public internet" in answer.said
    assert receiver.received == []
    assert send(receiver).status == 204


def test_no_proxy_of_the_environments_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert send(receiver).status == 204


def test_the_operators_own_proxy_is(receiver: Receiver) -> None:
    """It is told the name, and looks after where that leads."""
    asked = []
    with socket.create_server((HOST, 0)) as server:

        def pass_on() -> None:
            connected, _ = server.accept()
            with connected, connected.makefile("rb") as lines:
                asked.append(lines.readline())
                while lines.readline().strip():
                    pass
                connected.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with socket.create_connection((HOST, receiver.port)) as beyond:
                    request = b""
                    while b"\r\n\r\n{}" not in request:
                        request += connected.recv(65536)
                    beyond.sendall(request)
                    connected.sendall(beyond.recv(65536))

        thread = threading.Thread(target=pass_on)
        thread.start()
        endpoint = Endpoint.model_validate(
            receiver.endpoint(url=f"http://crm.example:{receiver.port}/hook", allow_networks=[])
        )
        answer = Webhooks(f"http://{HOST}:{server.getsockname()[1]}").send(endpoint, "e", "{}")
        thread.join()
    assert answer.status == 204
    assert asked == [f"CONNECT crm.example:{receiver.port} HTTP/1.1\r\n".encode()]
    assert receiver.received[0].headers["host"] == f"crm.example:{receiver.port}"


def test_a_proxy_that_refuses() -> None:
    with Receiver() as receiver:
        endpoint = Endpoint.model_validate(receiver.endpoint())
        answer = Webhooks(f"http://{HOST}:{receiver.port}").send(endpoint, "e", "{}")
    assert answer.status is None
    assert "the proxy answers 501" in answer.said


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    make_certificates(directory)
    return directory


class TestTls:
    @pytest.fixture
    def secure(self, certificates: Path) -> Iterator[Receiver]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self.names: list[str | None] = []
        context.sni_callback = lambda _, name, __: self.names.append(name)
        with Receiver(tls=context) as receiver:
            yield receiver

    def send(self, receiver: Receiver, host: str, **fields: Any) -> Answer:
        def here(_: str, port: int, **__: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port))]

        url = f"https://{host}:{receiver.port}/hook"
        endpoint = Endpoint.model_validate(receiver.endpoint(url=url, **fields))
        return Webhooks(resolver=here).send(endpoint, "event-1", "{}")

    def test_the_name_is_whose_certificate_is_looked_at(self, secure: Receiver, certificates: Path) -> None:
        assert self.send(secure, "localhost", ca_file=str(certificates / "ca.pem")).status == 204
        [request] = secure.received
        assert request.headers["host"] == f"localhost:{secure.port}"
        assert self.names == ["localhost"]

    @pytest.mark.parametrize("host", ["another.example", HOST])
    def test_anothers_certificate(self, secure: Receiver, certificates: Path, host: str) -> None:
        answer = self.send(secure, host, ca_file=str(certificates / "ca.pem"))
        assert answer.status is None
        assert "certificate cannot be verified" in answer.said
        assert secure.received == []

    def test_an_authority_that_nobody_knows(self, secure: Receiver) -> None:
        answer = self.send(secure, "localhost")
        assert "certificate cannot be verified" in answer.said
        assert secure.received == []

    def test_what_speaks_no_tls(self, receiver: Receiver) -> None:
        answer = self.send(receiver, "localhost")
        assert answer.status is None
        assert "TLS fails" in answer.said


def test_many_at_once_share_one_sender(receiver: Receiver) -> None:
    endpoint = Endpoint.model_validate(receiver.endpoint())
    webhooks = Webhooks()
    threads = [threading.Thread(target=webhooks.send, args=(endpoint, f"e{number}", "{}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receiver.ids()) == [f"e{number}" for number in range(8)]
