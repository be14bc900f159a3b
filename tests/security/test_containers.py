"""Compose's store as it is set up there, run here: what its keys can do, and what its inner ports say to others."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis
import urllib3
import yaml
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from stylequeue.contract.errors import Code, StyleQueueError
from stylequeue.local import Process, shelf
from stylequeue.local.seaweedfs import find_weed
from stylequeue.local.server import GRPC_OFFSET, HOST, free_ports
from stylequeue.local.valkey import find_valkey
from stylequeue.settings import Settings
from stylequeue.store import Store
from tests.security.test_machine import listening, speaks_grpc
from tests.support import pictures
from tests.support.processes import needed, wait_for
from tests.support.roles import RIGHTS

DOCKER = Path(__file__).parents[2] / "docker"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
ROLES = ("operator", "gateway", "listener", "worker", "keeper")
SECRETS = {role: f"of-the-{role}" for role in ROLES}
POLICIES = {path.stem: path.read_text() for path in (DOCKER.parent / "docs" / "policies").glob("*.json")}
"""By role, as AWS reads them, and SeaweedFS too."""
START_TIMEOUT_S = 30
BUCKETS = ("uploads", "styles", "results", "work")


@dataclass
class ComposedStore:
    """SeaweedFS with compose's flags and what its setup wrote, but for ports and paths."""

    process: Process
    url: str

    def client(self, access_key: str | None = None, secret_key: str | None = None) -> Any:
        unsigned = Config(signature_version=UNSIGNED) if access_key is None else None
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=unsigned,
        )

    def of(self, role: str) -> Any:
        return self.client(role, SECRETS[role])

    def settings(self, role: str) -> Settings:
        return Settings(
            s3_endpoint_url=self.url,
            s3_access_key=SecretStr(role),
            s3_secret_key=SecretStr(SECRETS[role]),
            s3_addressing="path",
        )

    def by_policy(self, role: str) -> Any:
        return self.client(f"{role}-by-policy", f"policy-of-the-{role}")

    @property
    def producer(self) -> Any:
        """Whoever hands in jobs."""
        return self.of("operator")

    @property
    def worker(self) -> Any:
        return self.of("worker")


def allow_policies(file: Path) -> None:
    """Let in, besides, one for each policy of the documents, with the rights that it gives and no others."""
    known = json.loads(file.read_text())
    for role, policy in POLICIES.items():
        keys = {"accessKey": f"{role}-by-policy", "secretKey": f"policy-of-the-{role}"}
        known["identities"].append({"name": f"{role}-by-policy", "credentials": [keys], "policyNames": [role]})
        known.setdefault("policies", []).append({"name": role, "content": policy})
    file.write_text(json.dumps(known))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedStore]:
    needed("openssl")
    directory, setup = tmp_path_factory.mktemp("seaweedfs"), tmp_path_factory.mktemp("setup")
    given = {f"{role.upper()}_S3_SECRET_KEY": secret for role, secret in SECRETS.items()}
    subprocess.run(
        ["sh", DOCKER / "store-setup.sh", setup], env={**given, "PATH": "/usr/bin:/bin"}, check=True, timeout=60
    )
    shutil.copy(setup / "security.toml", directory)  # there it is read from /etc/seaweedfs
    allow_policies(setup / "s3.json")
    parts = ("master", "volume", "filer", "s3", "admin")
    ports = dict(zip(parts, free_ports(5, offsets=(0, GRPC_OFFSET)), strict=True))
    here = {"-s3.port=8333": f"-s3.port={ports['s3']}", "-dir=/data": f"-dir={directory}", "-ip.bind=0.0.0.0": ""}
    flags = [here.get(flag, flag.replace("/etc/seaweedfs", str(setup))) for flag in SERVICES["seaweedfs"]["command"]]
    only_here = [f"-{part}.port={port}" for part, port in ports.items() if part != "s3"]
    only_here += [f"-ip.bind={HOST}", "-s3.localSocket=s3.sock", "-filer.localSocket=filer.sock"]
    sockets = [Path(f"/tmp/seaweedfs-{part}-grpc-{port + GRPC_OFFSET}.sock") for part, port in ports.items()]
    process = Process(
        "seaweedfs",
        [find_weed(), *(flag for flag in flags if flag), *only_here],
        directory=directory,
        log=directory / "log",
        env={"HOME": str(directory), "PATH": "/usr/bin:/bin"},
        remove=sockets,
    )
    store = ComposedStore(process, f"http://{HOST}:{ports['s3']}")

    def has_buckets() -> bool:
        try:
            for bucket in ("uploads", "styles", "results"):
                store.producer.list_objects_v2(Bucket=bucket)
            store.worker.list_objects_v2(Bucket="work")
        except Exception:
            return False
        return True

    try:
        wait_for(has_buckets, START_TIMEOUT_S, "compose's SeaweedFS to have its buckets")
        yield store
    finally:
        process.kill()
        process.stop()


def refused(call: Any, **arguments: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, caught.value


def test_a_worker_s_keys_do_what_a_worker_does(store: ComposedStore) -> None:
    store.producer.put_object(Bucket="uploads", Key="a.jpg", Body=b"picture")
    store.producer.put_object(Bucket="styles", Key="a.jpg", Body=b"picture")
    probes = Store(store.settings("worker"))
    probes.check_reading()
    probes.check_work()
    assert probes.honours_conditional_writes()
    worker = store.worker
    for bucket in ("uploads", "styles"):
        assert worker.get_object(Bucket=bucket, Key="a.jpg")["Body"].read() == b"picture"
    worker.put_object(Bucket="work", Key="a", Body=b"checkpoint", Metadata={"mark": "of ours"})
    worker.copy_object(Bucket="results", Key="b.jpg", CopySource={"Bucket": "work", "Key": "a"})
    worker.delete_object(Bucket="work", Key="a")


def test_a_worker_s_keys_do_no_more(store: ComposedStore) -> None:
    store.producer.put_object(Bucket="uploads", Key="b.jpg", Body=b"picture")
    worker = store.worker
    for bucket in ("uploads", "styles"):
        refused(worker.put_object, Bucket=bucket, Key="b.jpg", Body=b"other")
        refused(worker.delete_object, Bucket=bucket, Key="b.jpg")
        refused(worker.copy_object, Bucket=bucket, Key="c.jpg", CopySource={"Bucket": "uploads", "Key": "b.jpg"})
    for bucket in BUCKETS:
        refused(worker.delete_bucket, Bucket=bucket)
        refused(worker.put_bucket_policy, Bucket=bucket, Policy="{}")
    refused(worker.create_bucket, Bucket="of-the-worker")
    assert store.producer.get_object(Bucket="uploads", Key="b.jpg")["Body"].read() == b"picture"


def test_uploads_go_by_themselves_and_styles_lie_on_the_shelf(store: ComposedStore) -> None:
    role = SERVICES["shelf"]["environment"]["STYLEQUEUE_S3_ACCESS_KEY"]
    for _ in range(2):  # at each start
        shelf.set_up(store.settings(role))
        [rule] = store.producer.get_bucket_lifecycle_configuration(Bucket="uploads")["Rules"]
        assert (rule["Status"], rule["Expiration"]["Days"]) == ("Enabled", 8)
    there = store.producer.list_objects_v2(Bucket="styles", Prefix="shelf/")["Contents"]
    assert {f"shelf/{name}" for name in shelf.STYLES} <= {style["Key"] for style in there}


def test_a_producer_s_keys_reach_no_checkpoint_and_no_bucket(store: ComposedStore) -> None:
    store.worker.put_object(Bucket="work", Key="checkpoint", Body=b"of a worker")
    producer = store.producer
    refused(producer.get_object, Bucket="work", Key="checkpoint")
    refused(producer.put_object, Bucket="work", Key="checkpoint", Body=b"another")
    refused(producer.delete_object, Bucket="work", Key="checkpoint")
    refused(producer.list_objects_v2, Bucket="work")
    refused(producer.create_bucket, Bucket="of-the-producer")
    for bucket in BUCKETS:
        refused(producer.delete_bucket, Bucket=bucket)


def test_a_gateway_s_keys_do_what_callers_ask_of_it(store: ComposedStore) -> None:
    gateway, exchange = store.of("gateway"), Store(store.settings("gateway")).exchange
    form = exchange.form("form.png", content_type="image/png", size_bytes=7, valid_s=60)
    sent = urllib3.request("POST", form.url, fields={**form.fields, "file": ("form.png", b"picture")})
    assert sent.status < 300, sent.data
    assert gateway.get_object(Bucket="uploads", Key="form.png")["Body"].read() == b"picture"
    gateway.delete_object(Bucket="uploads", Key="form.png")
    exchange.put_new("uploads", "put.png", b"picture")
    store.producer.put_object(Bucket="styles", Key="shelf/a.jpg", Body=b"style")
    assert "shelf/a.jpg" in [style.key for style in exchange.pictures("styles", "shelf/")]
    store.worker.put_object(Bucket="work", Key="preview", Body=b"half a picture")
    assert gateway.get_object(Bucket="work", Key="preview")["Body"].read() == b"half a picture"
    store.worker.put_object(Bucket="results", Key="of-a-job.png", Body=b"picture")
    gateway.delete_object(Bucket="results", Key="of-a-job.png")


def test_a_gateway_s_keys_do_no_more(store: ComposedStore) -> None:
    gateway = store.of("gateway")
    refused(gateway.put_object, Bucket="styles", Key="shelf/b.jpg", Body=b"other")
    refused(gateway.put_object, Bucket="work", Key="checkpoint", Body=b"other")
    refused(gateway.delete_object, Bucket="work", Key="checkpoint")
    refused(gateway.create_bucket, Bucket="of-the-gateway")
    for bucket in BUCKETS:
        refused(gateway.delete_bucket, Bucket=bucket)


def test_a_listener_s_keys_sweep_what_was_uploaded_and_no_more(store: ComposedStore) -> None:
    store.producer.put_object(Bucket="uploads", Key="in/a.jpg", Body=b"picture")
    incoming = Store(store.settings("listener")).incoming
    by_version = incoming.keeps_versions("uploads")
    assert [found.key for found in incoming.list("uploads", "in/", after=None, by_version=by_version).uploads] == [
        "in/a.jpg"
    ]
    listener = store.of("listener")
    assert listener.head_object(Bucket="uploads", Key="in/a.jpg")["ContentLength"] == 7
    refused(listener.put_object, Bucket="uploads", Key="in/b.jpg", Body=b"picture")
    refused(listener.delete_object, Bucket="uploads", Key="in/a.jpg")
    for bucket in set(BUCKETS) - {"uploads"}:
        refused(listener.list_objects_v2, Bucket=bucket)


def test_a_keeper_s_keys_reach_nothing_that_was_handed_in(store: ComposedStore) -> None:
    keeper = store.of("keeper")
    for bucket in "results", "work":
        keeper.put_object(Bucket=bucket, Key="of-a-job", Body=b"bytes")
        keeper.delete_object(Bucket=bucket, Key="of-a-job")
    for bucket in "uploads", "styles":
        refused(keeper.list_objects_v2, Bucket=bucket)
        refused(keeper.put_object, Bucket=bucket, Key="a.jpg", Body=b"other")


MAY = {
    "producer": {"uploads": "read write list", "styles": "read list", "results": "read list", "work": ""},
    "gateway": {"uploads": "read write list delete", "styles": "read list", "results": "read list delete",
                "work": "read list delete"},
    "worker": {"uploads": "read list", "styles": "read list", "results": "read write list",
               "work": "read write list delete"},
    "keeper": {"uploads": "", "styles": "", "results": "read write list", "work": "read write list delete"},
    "listener": {"uploads": "read list", "styles": "", "results": "", "work": ""},
    "setup": {"uploads": "", "styles": "", "results": "", "work": ""},
}  # fmt: skip


@pytest.mark.parametrize("role", MAY)
def test_a_policy_gives_what_its_role_needs_and_no_more(store: ComposedStore, role: str) -> None:
    client = store.by_policy(role)
    everything: dict[str, Any] = {
        "read": lambda at: client.get_object(**at),
        "write": lambda at: client.put_object(**at, Body=b"picture"),
        "list": lambda at: client.list_objects_v2(Bucket=at["Bucket"]),
        "delete": lambda at: client.delete_object(**at),
    }
    for bucket, rights in MAY[role].items():
        at = {"Bucket": bucket, "Key": f"{role}.jpg"}
        (store.worker if bucket in ("results", "work") else store.producer).put_object(**at, Body=b"picture")
        for what, ask in everything.items():
            if what in rights.split():
                ask(at)
            else:
                refused(ask, at=at)
        refused(client.delete_bucket, Bucket=bucket)
    refused(client.create_bucket, Bucket=f"of-the-{role}")


def test_by_their_policies_a_worker_looks_around_and_a_producer_uploads(store: ComposedStore, tmp_path: Path) -> None:
    """What each does of itself, by our own code: no right is missing."""
    probes = Store(keyed(store, "worker"))
    probes.check_reading()
    probes.check_work()
    assert probes.honours_conditional_writes()
    picture = tmp_path / "photo.jpg"
    picture.write_bytes(pictures.jpeg())
    for role in ("producer", "gateway"):
        sent = Store(keyed(store, role)).upload_file(picture)
        listener = Store(keyed(store, "listener"))
        assert listener.incoming.find(sent).etag == sent.etag
        assert not listener.incoming.keeps_versions(sent.bucket)
        assert "QueueConfigurations" not in listener.incoming.announced(sent.bucket)


def test_by_its_policy_setup_sets_the_rules_and_a_worker_sets_none(store: ComposedStore) -> None:
    pages: dict[str, Any] = {"browser_origins": ("https://shop.example",)}
    longer = {"job_deadline_s": 30 * 24 * 3600}  # than what compose sets, maybe before this
    rules = Store(keyed(store, "setup").model_copy(update=pages | longer)).upload_rules
    assert not rules.has_lifecycle()
    assert set(rules.lacking_cors()) == set(BUCKETS)
    rules.set_lifecycle()
    rules.set_cors()
    assert rules.has_lifecycle()
    assert rules.lacking_cors() == []
    others = Store(keyed(store, "worker").model_copy(update=pages)).upload_rules
    for change in others.set_lifecycle, others.set_cors:
        with pytest.raises(StyleQueueError) as caught:
            change()
        assert caught.value.code == Code.ACCESS_DENIED


def keyed(store: ComposedStore, role: str) -> Settings:
    keys = {"s3_access_key": SecretStr(f"{role}-by-policy"), "s3_secret_key": SecretStr(f"policy-of-the-{role}")}
    return store.settings("worker").model_copy(update=keys)


def test_the_documents_have_a_policy_for_each() -> None:
    assert set(POLICIES) == set(MAY)


def test_without_keys_nothing(store: ComposedStore) -> None:
    store.producer.put_object(Bucket="uploads", Key="c.jpg", Body=b"picture")
    for client in (store.client(), store.client("worker", "guessed")):
        refused(client.get_object, Bucket="uploads", Key="c.jpg")
        refused(client.put_object, Bucket="uploads", Key="c.jpg", Body=b"other")
        refused(client.list_buckets)


def test_another_container_hears_nothing_from_its_inner_ports(store: ComposedStore) -> None:
    ports = listening(store.process.pid)
    assert len([port for port in ports if port - GRPC_OFFSET in ports]) == 5, "master, volume, filer, s3, admin"
    for port in ports:
        with socket.create_connection((HOST, port), 5) as connection:
            assert not speaks_grpc(connection), port
    assert "-s3.iam=false" in SERVICES["seaweedfs"]["command"]


def test_its_redis_lets_in_each_role_with_its_own_password_and_nobody_else(tmp_path: Path) -> None:
    [port] = free_ports(1)
    valkey = SERVICES["valkey"]
    # What the container is started with, here.
    script = valkey["command"][0].replace("$$", "$").replace("/users.conf", str(DOCKER / "valkey" / "users.conf"))
    script = script.replace("dir /data", f"dir {tmp_path}\nbind {HOST}\nport {port}")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "valkey-server").symlink_to(find_valkey())
    given = {name: f"password-of-{name.lower()}" for name in valkey["environment"]}
    process = Process(
        "valkey",
        [*valkey["entrypoint"], script],
        directory=tmp_path,
        log=tmp_path / "log",
        env={**given, "PATH": f"{programs}:/usr/bin:/bin"},
    )

    def client(username: str | None = None, password: str | None = None) -> redis.Redis:
        # At once: to redis-py a password that is refused is a connection that may come about later.
        return redis.Redis(host=HOST, port=port, username=username, password=password, retry=Retry(NoBackoff(), 0))

    def of(role: str, variable: str = "") -> redis.Redis:
        return client(role, given[variable or f"{role.upper()}_PASSWORD"])

    try:
        monitor = of("monitor", "VALKEYCLI_AUTH")
        wait_for(lambda: answers(monitor), START_TIMEOUT_S, "compose's Valkey to answer")
        for role in ROLES:
            with of(role) as own:
                own.set("stylequeue:a", "b")
                assert own.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
                for command in ("FLUSHALL", "CONFIG SET dir /tmp", "SHUTDOWN", "ACL LIST", "KEYS *", "REPLICAOF a 1"):
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        own.execute_command(*command.split())
        with monitor, pytest.raises(redis.exceptions.NoPermissionError):
            monitor.set("stylequeue:a", "c")
        with of("backup") as backup:
            backup.bgsave()
            backup.config_set("maxmemory", "800mb")
            with pytest.raises(redis.exceptions.NoPermissionError):
                backup.get("stylequeue:a")
        for stranger in (
            client(),
            of("gateway", "WORKER_PASSWORD"),
            *(client(name, f"{name.upper()}_PASSWORD") for name in RIGHTS),
        ):
            with stranger, pytest.raises(redis.AuthenticationError):
                stranger.get("stylequeue:a")
    finally:
        process.kill()
        process.stop()
    assert "password-of" not in (tmp_path / "log").read_text()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_change_nothing_of_its_own(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert not service.get("cap_add")


def test_stores_and_queues_are_reached_by_those_only_who_need_them() -> None:
    networks = {name: service.get("networks", service.get("network_mode")) for name, service in SERVICES.items()}
    assert networks == {
        "valkey": ["queue"],
        "seaweedfs": ["store"],
        "store-setup": "none",
        "shelf": ["store"],
        "keys": "none",
        "worker": ["queue", "store"],
        "listener": ["queue", "store"],
        "gateway": ["queue", "store", "metrics"],
        "keeper": ["queue", "store", "metrics"],
        "prometheus": ["metrics"],
        "grafana": ["metrics"],
    }
    mounted = {name: [str(volume) for volume in service.get("volumes", ())] for name, service in SERVICES.items()}
    having_keys = {name for name, volumes in mounted.items() if any(v.startswith("store-setup:") for v in volumes)}
    assert having_keys == {"store-setup", "seaweedfs"}
    assert "store-setup:/etc/seaweedfs:ro" in mounted["seaweedfs"]
    knowing_callers = {name: v for name, volumes in mounted.items() for v in volumes if v.startswith("keys:")}
    assert knowing_callers.keys() == {"keys", "gateway", "prometheus"}
    assert all(volume.endswith(":ro") for name, volume in knowing_callers.items() if name != "keys")


def test_the_image_s_networks_are_not_the_worker_s_to_write() -> None:
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    [copy] = [line for line in lines if re.match(r"COPY .*/models /models", line)]
    assert "--chown" not in copy
    assert "--chmod" not in copy
    after = lines[lines.index(copy) :]
    assert not any("/models" in line for line in after if line.startswith("RUN"))
    assert int(next(line for line in after if line.startswith("USER")).split()[1].partition(":")[0]) > 0


def test_what_holds_the_passwords_is_private_and_not_committed(tmp_path: Path) -> None:
    text = (DOCKER / "README.md").read_text()
    [command] = re.findall(r"^\(umask 077; .*?docker/\.env\)$", text, re.MULTILINE | re.DOTALL)
    needed("openssl")
    (tmp_path / "docker").mkdir()
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, timeout=60)
    made = tmp_path / "docker" / ".env"
    assert made.stat().st_mode & 0o077 == 0
    assert all(re.fullmatch(r"\w+=[0-9a-f]{48}", line) for line in made.read_text().splitlines())
    root = DOCKER.parent
    assert "docker/.env" in (root / ".gitignore").read_text().splitlines()
    assert not [line for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!docker")]


def test_nothing_is_run_as_it_is_downloaded() -> None:
    root = DOCKER.parent
    scripts = [
        *DOCKER.iterdir(),
        root / "Makefile",
        root / ".ci" / "run",
        *root.glob("scripts/*"),
        *root.glob(".github/*/*"),
    ]
    for file in scripts:
        if file.is_file():
            text = file.read_text()
            assert not re.search(r"(curl|wget)[^\n]*\|\s*(sudo\s+)?\w*sh\b", text), file
            assert not re.search(r"\b(curl|wget|pip install|fetch)\b[^\n]*http://(?!127\.0\.0\.1)", text), file
