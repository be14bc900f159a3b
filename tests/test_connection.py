"""By what everything connects to Redis, and what is said where that fails: by the ledger, by Celery, by the doctor."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import kombu.pools
import pytest
import redis
from celery import Celery, current_app
from pydantic import SecretStr

from stylequeue import doctor
from stylequeue.broker.app import make_app
from stylequeue.client import StyleQueue
from stylequeue.connection import celery_asked, redis_asked
from stylequeue.contract.errors import Code, ExitCode, Unavailable
from stylequeue.finding import Finding
from stylequeue.ledger import Ledger
from stylequeue.local.server import HOST, free_ports
from stylequeue.settings import Settings
from tests.support.certificates import make_certificates
from tests.support.jobs import make_job
from tests.support.processes import needed, wait_for
from tests.support.redis_server import redis_server

PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def no_connection_of_another_test() -> Iterator[None]:
    """kombu keeps its connections for the whole process, whatever certificates they were made with."""
    yield
    kombu.pools.reset()


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as servers:
        yield servers


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    make_certificates(directory)
    return directory


def settings_for(url: str, **changes: Any) -> Settings:
    return Settings(redis_url=SecretStr(url), **{"redis_timeout_s": 1, **changes})


def use(settings: Settings) -> None:
    """All that a producer does with Redis."""
    with StyleQueue(settings) as queue:
        job_id = queue.submit(make_job())
        assert queue.status(job_id).state == "queued"
        assert queue.workers() == []
    app = make_app(settings)
    app.backend.mark_as_done("somebody", {"well": "done"})
    assert app.AsyncResult("somebody").get(timeout=5) == {"well": "done"}
    app.close()


def by_ledger(settings: Settings) -> None:
    ledger = Ledger(settings)
    try:
        ledger.try_out()
    finally:
        ledger.close()


def by_message(settings: Settings) -> None:
    app = make_app(settings)
    with celery_asked(settings):
        app.send_task("some.task", queue="paint", retry=False)


def by_result(settings: Settings) -> None:
    app = make_app(settings)
    with celery_asked(settings):
        app.backend.mark_as_done("somebody", None)


WAYS = (by_ledger, by_message, by_result)


def assert_told(settings: Settings, code: Code, what: str, hint: str) -> None:
    """Each way to ask Redis raises what it is, and the doctor says it."""
    for way in WAYS:
        with pytest.raises(Unavailable) as caught:
            way(settings)
        error = caught.value
        assert (error.code, error.exit_code) == (code, ExitCode.NOT_REACHABLE), way
        assert what in error.message, way
        assert hint in error.hint, way
        assert PASSWORD not in str(error)
    found = by_doctor(settings)
    assert (found.state, found.exit_code) == ("bad", ExitCode.NOT_REACHABLE)
    assert what in found.found
    assert hint in found.hint


def by_doctor(settings: Settings) -> Finding:
    return next(finding for finding in doctor.examine(lambda: settings) if finding.what == "redis")


class TestRefusals:
    """Redis answers."""

    @pytest.mark.parametrize("user", ["", "nobody"])
    def test_a_wrong_password_or_user(self, servers: ExitStack, user: str) -> None:
        port = servers.enter_context(redis_server("requirepass right"))
        settings = settings_for(f"redis://{user}:{PASSWORD}@{HOST}:{port}/0")
        assert_told(settings, Code.BROKER_REFUSED, "does not accept this password, or knows no such user", "ACL LIST")

    def test_a_user_who_is_switched_off(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server(f"user bob off >{PASSWORD} ~* &* +@all"))
        settings = settings_for(f"redis://bob:{PASSWORD}@{HOST}:{port}/0")
        assert_told(settings, Code.BROKER_REFUSED, "does not accept this password", "switched on")

    def test_no_password(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server("requirepass right"))
        settings = settings_for(f"redis://{HOST}:{port}/0")
        assert_told(settings, Code.BROKER_REFUSED, "wants a password, and was given none", "STYLEQUEUE_REDIS_URL")

    def test_a_database_that_is_not_there(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server("databases 2"))
        settings = settings_for(f"redis://{HOST}:{port}/2")
        assert_told(settings, Code.BROKER_REFUSED, "has no database of this number", "`databases`")

    def test_full(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server("maxmemory 1", "maxmemory-policy noeviction"))
        assert_told(settings_for(f"redis://{HOST}:{port}/0"), Code.BROKER_REFUSED, "is full", "maxmemory")

    def test_a_replica(self, servers: ExitStack) -> None:
        primary = servers.enter_context(redis_server("repl-diskless-sync-delay 0"))
        port = servers.enter_context(redis_server(f"replicaof {HOST} {primary}"))
        settings = settings_for(f"redis://{HOST}:{port}/0")
        wait_for(lambda: redis.Redis(HOST, port).info()["master_link_status"] == "up", 30, "the replica to follow")
        assert_told(settings, Code.BROKER_REFUSED, "takes no writes: it is a replica", "the primary")

    def test_it_becomes_a_replica_while_somebody_waits(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server())
        settings = settings_for(f"redis://{HOST}:{port}/0")
        admin = redis.Redis(HOST, port)

        def wait_for_a_message() -> None:
            with redis_asked(settings):
                redis.Redis(HOST, port).brpop(["paint"])

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait_for_a_message)
            wait_for(lambda: admin.info()["blocked_clients"] == 1, 30, "somebody to wait")
            admin.replicaof(HOST, free_ports(1)[0])
            with pytest.raises(Unavailable, match="has just become a replica") as caught:
                waiting.result(30)
        assert (caught.value.code, "the primary" in caught.value.hint) == (Code.BROKER_REFUSED, True)

    def test_a_replica_that_lost_its_primary(self, servers: ExitStack) -> None:
        nobody = free_ports(1)[0]
        port = servers.enter_context(redis_server(f"replicaof {HOST} {nobody}", "replica-serve-stale-data no"))
        settings = settings_for(f"redis://{HOST}:{port}/0")
        assert_told(settings, Code.BROKER_REFUSED, "is a replica", "the primary")

    def test_too_few_replicas(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server("min-replicas-to-write 1"))
        settings = settings_for(f"redis://{HOST}:{port}/0")
        assert_told(settings, Code.BROKER_REFUSED, "too few replicas", "min-replicas-to-write")

    def test_still_loading(self, servers: ExitStack, tmp_path: Path) -> None:
        with redis_server(directory=tmp_path) as port, redis.Redis(HOST, port) as client:
            client.mset({f"key{number}": "x" * 500 for number in range(30_000)})
            client.save()
        slowly = ("key-load-delay 1000", "loading-process-events-interval-bytes 1024")
        port = servers.enter_context(redis_server(*slowly, directory=tmp_path))
        settings = settings_for(f"redis://{HOST}:{port}/0", redis_timeout_s=5)
        assert_told(settings, Code.BROKER_REFUSED, "is still loading its data", "wait")

    def test_it_cannot_save(self, servers: ExitStack, tmp_path: Path) -> None:
        data = tmp_path / "data"
        port = servers.enter_context(redis_server("save 3600 1", directory=data))
        with redis.Redis(HOST, port) as client:
            shutil.rmtree(data)
            client.bgsave()
            wait_for(lambda: client.info()["rdb_last_bgsave_status"] == "err", 30, "saving to fail")
            assert_told(settings_for(f"redis://{HOST}:{port}/0"), Code.BROKER_REFUSED, "could not save", "disk")
            client.config_set("save", "")  # else it would not end without having saved

    @pytest.mark.parametrize(
        "rights",
        [
            "~stylequeue:job* &* +@all",  # keys
            "~* resetchannels +@all",  # channels
            "~* &* +@all -eval -evalsha -psubscribe -publish -setex",  # commands
        ],
    )
    def test_a_user_who_may_not_do_all(self, servers: ExitStack, rights: str) -> None:
        port = servers.enter_context(redis_server(f"user bob on >{PASSWORD} {rights}", "user default off"))
        settings = settings_for(f"redis://bob:{PASSWORD}@{HOST}:{port}/0")
        found = by_doctor(settings)
        assert "forbids this user a command, a key or a channel" in found.found
        assert "docs/operate.md" in found.hint

    def test_a_user_who_may_not_do_what_scripts_do(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server(f"user bob on >{PASSWORD} ~* &* +@all -hset", "user default off"))
        settings = settings_for(f"redis://bob:{PASSWORD}@{HOST}:{port}/0")
        with StyleQueue(settings) as queue, pytest.raises(Unavailable, match="forbids this user a command") as caught:
            queue.submit(make_job())
        assert (caught.value.code, "docs/operate.md" in caught.value.hint) == (Code.BROKER_REFUSED, True)

    def test_a_user_who_may_do_what_the_guide_says(self, servers: ExitStack) -> None:
        guide = (Path(__file__).parents[1] / "docs" / "operate.md").read_text()
        (line,) = [line for line in guide.splitlines() if line.startswith("ACL SETUSER stylequeue ")]
        rights = line.partition(">")[2].partition(" ")[2]
        port = servers.enter_context(redis_server(f"user bob on >{PASSWORD} {rights}", "user default off"))
        use(settings_for(f"redis://bob:{PASSWORD}@{HOST}:{port}/0"))

    def test_busy_with_a_script(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server("busy-reply-threshold 50"))
        with redis.Redis(HOST, port) as client, redis.Redis(HOST, port) as other:
            endless = threading.Thread(target=partial(_quietly, partial(client.eval, "while true do end", 0)))
            endless.start()
            try:
                wait_for(lambda: "BUSY" in _quietly(other.ping), 30, "the script to be noticed")
                assert_told(
                    settings_for(f"redis://{HOST}:{port}/0"), Code.BROKER_REFUSED, "held up by a script", "KILL"
                )
            finally:
                other.script_kill()
                endless.join()

    def test_too_many_clients(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server("maxclients 4"))
        for _ in range(4):
            wait_for(lambda: servers.enter_context(redis.Redis(HOST, port)).ping(), 30, "a place for one more client")
        settings = settings_for(f"redis://{HOST}:{port}/0")
        assert_told(settings, Code.BROKER_REFUSED, "as many clients as it may", "maxclients")

    def test_a_cluster(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server("cluster-enabled yes"))
        assert_told(settings_for(f"redis://{HOST}:{port}/0"), Code.BROKER_REFUSED, "is a Redis Cluster", "not")

    def test_protected_mode(self, servers: ExitStack) -> None:
        # Real ones refuse only those who come from other machines.
        port = servers.enter_context(saying(b"-DENIED Redis is running in protected mode because ...\r\n"))
        assert_told(
            settings_for(f"redis://{HOST}:{port}/0"), Code.BROKER_REFUSED, "is in protected mode", "requirepass"
        )

    def test_an_answer_that_nobody_knows_is_told_without_the_password(self, servers: ExitStack) -> None:
        answer = f"-ERR odd things happen to {PASSWORD} today\r\n".encode()
        port = servers.enter_context(saying(answer))
        settings = settings_for(f"redis://:{PASSWORD}@{HOST}:{port}/0")
        assert_told(settings, Code.BROKER_REFUSED, "refused a command: odd things happen to *** today", "operations")


class TestSilence:
    """Redis does not answer."""

    def test_nothing_listens(self) -> None:
        settings = settings_for(f"redis://:{PASSWORD}@{HOST}:1/0")
        assert_told(
            settings, Code.BROKER_UNAVAILABLE, f"Redis at {HOST}:1 does not answer: nothing listens", "start it"
        )

    def test_the_name_is_not_known(self) -> None:
        settings = settings_for(f"redis://:{PASSWORD}@nowhere.invalid/0")
        assert_told(settings, Code.BROKER_UNAVAILABLE, "nowhere.invalid:6379 cannot be found", "DNS")

    def test_it_is_no_redis(self, servers: ExitStack) -> None:
        port = servers.enter_context(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        settings = settings_for(f"redis://:{PASSWORD}@{HOST}:{port}/0")
        assert_told(settings, Code.BROKER_UNAVAILABLE, "answers, but not as Redis does", "something else listens there")

    def test_it_takes_too_long(self) -> None:
        with socket.create_server((HOST, 0)) as silent:
            settings = settings_for(f"redis://{HOST}:{silent.getsockname()[1]}/0", redis_timeout_s=0.2)
            assert_told(settings, Code.BROKER_UNAVAILABLE, "does not answer within 0.2 s", "network")

    def test_it_speaks_no_tls(self, servers: ExitStack) -> None:
        port = servers.enter_context(redis_server())
        settings = settings_for(f"rediss://:{PASSWORD}@localhost:{port}/0", redis_timeout_s=0.2)
        assert_told(settings, Code.BROKER_UNAVAILABLE, "does not answer in TLS", "redis:// instead of rediss://")

    def test_it_is_something_else_that_speaks_no_tls(self, servers: ExitStack) -> None:
        port = servers.enter_context(saying(b"-ERR what is this?\r\n"))
        settings = settings_for(f"rediss://:{PASSWORD}@localhost:{port}/0")
        assert_told(settings, Code.BROKER_UNAVAILABLE, "does not answer in TLS", "redis:// instead of rediss://")


class TestTls:
    """With Debian's redis-server: the one that comes with the tests knows no TLS."""

    @pytest.fixture
    def start(self, servers: ExitStack, certificates: Path) -> Callable[..., int]:
        def start(*configuration: str) -> int:
            own = [
                f"tls-cert-file {certificates}/server.pem",
                f"tls-key-file {certificates}/server.key",
                f"tls-ca-cert-file {certificates}/ca.pem",
            ]
            server = redis_server(*own, *configuration, program=needed("redis-server"), tls=True)
            return servers.enter_context(server)

        return start

    def test_all_goes_by_it(self, start: Callable[..., int], certificates: Path) -> None:
        port = start("tls-auth-clients no", f"requirepass {PASSWORD}")
        use(settings_for(f"rediss://:{PASSWORD}@localhost:{port}/0", redis_ca_file=certificates / "ca.pem"))

    def test_a_system_s_own_authorities_do_as_well(
        self, start: Callable[..., int], certificates: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What OpenSSL looks at where no file is given: the address alone is enough, as providers hand it out.
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificates}/ca.pem")
        use(settings_for(f"rediss://localhost:{start('tls-auth-clients no')}/0"))

    def test_a_client_s_certificate(self, start: Callable[..., int], certificates: Path) -> None:
        port = start("tls-auth-clients yes")
        settings = settings_for(f"rediss://localhost:{port}/0", redis_ca_file=certificates / "ca.pem")
        assert_told(settings, Code.BROKER_UNAVAILABLE, "breaks off TLS", "STYLEQUEUE_REDIS_CLIENT_CERT_FILE")
        kombu.pools.reset()
        own = {
            "redis_client_cert_file": certificates / "server.pem",
            "redis_client_key_file": certificates / "server.key",
        }
        use(settings_for(f"rediss://localhost:{port}/0", redis_ca_file=certificates / "ca.pem", **own))

    def test_a_certificate_of_nobody_we_trust(self, start: Callable[..., int]) -> None:
        port = start("tls-auth-clients no")
        settings = settings_for(f"rediss://:{PASSWORD}@localhost:{port}/0")
        assert_told(
            settings, Code.BROKER_UNAVAILABLE, "certificate that cannot be verified", "STYLEQUEUE_REDIS_CA_FILE"
        )
        kombu.pools.reset()
        use(settings_for(f"rediss://localhost:{port}/0", redis_verify=False))

    def test_a_certificate_of_another_host(self, start: Callable[..., int], certificates: Path) -> None:
        port = start("tls-auth-clients no")
        settings = settings_for(f"rediss://{HOST}:{port}/0", redis_ca_file=certificates / "ca.pem")
        assert_told(settings, Code.BROKER_UNAVAILABLE, "not valid for '127.0.0.1'", "must name the host")

    def test_it_speaks_nothing_else(self, start: Callable[..., int]) -> None:
        port = start("tls-auth-clients no")
        settings = settings_for(f"redis://:{PASSWORD}@localhost:{port}/0")
        assert_told(settings, Code.BROKER_UNAVAILABLE, "breaks off the connection", "rediss:// instead of redis://")


def test_a_job_whose_message_is_refused_is_recorded_all_the_same(servers: ExitStack) -> None:
    rights = "~stylequeue:* &* +@all"
    port = servers.enter_context(redis_server(f"user bob on >{PASSWORD} {rights}", "user default off"))
    job = make_job()
    with StyleQueue(settings_for(f"redis://bob:{PASSWORD}@{HOST}:{port}/0")) as queue:
        with pytest.raises(Unavailable, match=r"the job is recorded, but its message .* forbids this user") as caught:
            queue.submit(job)
        assert caught.value.code == Code.BROKER_REFUSED
        assert queue.status(job.id).state == "queued"


def test_celery_s_own_variables_lead_nowhere_else(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
        monkeypatch.setenv(f"CELERY_{name}", f"redis://{HOST}:1/0")
    use(settings)


def test_a_backend_s_own_celery_stays_the_current_one(settings: Settings) -> None:
    before = current_app._get_current_object()  # type: ignore[attr-defined]
    Celery("theirs").set_current()
    try:
        with StyleQueue(settings) as queue:
            queue.submit(make_job())
        assert current_app.main == "theirs"
    finally:
        before.set_current()


@contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """A server that says the same to whatever it hears; its port."""
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, suppress(ConnectionError):
                    while client.recv(4096):
                        client.sendall(answer * 8)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _quietly(call: Callable[[], object]) -> str:
    try:
        call()
    except redis.RedisError as error:
        return str(error)
    return ""
