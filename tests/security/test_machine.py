"""What another user of the machine may try: at the embedded servers, at files, at the list of processes."""

from __future__ import annotations

import ast
import os
import re
import socket
import ssl
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest

from stylequeue.cli.deployment import up_file, variables_of_up
from stylequeue.contract.errors import Code, Unavailable
from stylequeue.local import Stack
from stylequeue.local import seaweedfs as seaweedfs_module
from stylequeue.local.announce import announced
from stylequeue.local.certificate import new_certificate
from stylequeue.local.private import private_directory, write_private
from stylequeue.local.seaweedfs import SeaweedFS, find_weed
from stylequeue.local.server import GRPC_OFFSET, HOST
from stylequeue.settings import Settings
from stylequeue_worker.process.stopping import Stopping
from stylequeue_worker.work.lease import STOP_FILE_VARIABLE

ROOT = Path(__file__).parents[2]
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""How a gRPC client begins: the preface, and a SETTINGS frame without settings."""
SETTINGS_FRAME = 4
PICTURE = b"a picture of somebody else" * 1000
TIMEOUT_S = 5


# The embedded servers


def listening(pid: int) -> list[int]:
    """The TCP ports of a process."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            sockets |= set(re.findall(r"socket:\[(\d+)\]", str(descriptor.readlink())))
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return sorted({int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in sockets})


def speaks_grpc(connection: socket.socket) -> bool:
    """Whether a server of gRPC answers, instead of hanging up."""
    try:
        connection.sendall(HTTP_2)
        answer = connection.recv(9)
    except OSError:  # of TLS as well
        return False
    return len(answer) == 9 and answer[3] == SETTINGS_FRAME


def test_a_stranger_hears_nothing_from_the_inner_ports(stack: Stack, tmp_path: Path) -> None:
    ports = listening(stack.seaweedfs.process.pid)
    inner = [port for port in ports if port - GRPC_OFFSET in ports]
    assert len(inner) == 5, "master, volume, filer, s3, admin"
    for port in ports:
        with socket.create_connection((HOST, port), TIMEOUT_S) as plain:
            assert not speaks_grpc(plain), port
    own = tmp_path / "of-the-stranger.pem"
    own.write_text(new_certificate("seaweedfs"))
    for certificate in (None, own):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        if certificate:
            context.load_cert_chain(certificate)
        for port in inner:
            with (
                suppress(OSError),
                socket.create_connection((HOST, port), TIMEOUT_S) as plain,
                context.wrap_socket(plain) as encrypted,
            ):
                assert not speaks_grpc(encrypted), f"{port} with {certificate}"


def shell(stack: Stack, command: str) -> str:
    """What SeaweedFS's own tool says to whoever may read its directory."""
    ports = listening(stack.seaweedfs.process.pid)
    [master] = [flag for flag in options(stack) if flag.startswith("-master.port=")]
    [filer] = [flag for flag in options(stack) if flag.startswith("-filer.port=")]
    addresses = [f"{HOST}:{flag.partition('=')[2]}" for flag in (master, filer)]
    assert all(int(address.partition(":")[2]) in ports for address in addresses)
    line = [str(find_weed()), "shell", "-master", addresses[0], "-filer", addresses[1]]
    done = subprocess.run(
        line,
        cwd=stack.seaweedfs.directory,
        input=command,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def options(stack: Stack) -> list[str]:
    return Path(f"/proc/{stack.seaweedfs.process.pid}/cmdline").read_text().split("\0")


def answer(method: str, address: str, body: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(address, body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_stranger_who_knows_where_an_object_lies_does_not_get_it(stack: Stack) -> None:
    """By the HTTP ports of SeaweedFS's parts, which S3's keys do not guard."""
    settings = stack.settings
    assert settings.s3_access_key
    assert settings.s3_secret_key
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
    )
    client.put_object(Bucket="uploads", Key="of/somebody.jpg", Body=PICTURE)
    told = shell(stack, "fs.meta.cat /buckets/uploads/of/somebody.jpg\n")
    [place, *_] = re.findall(r'"fileId":\s*"(\d+,\w+)"', told)
    paths = (place, "buckets/uploads/of/somebody.jpg", "uploads/of/somebody.jpg", "dir/assign", "")
    ports = listening(stack.seaweedfs.process.pid)
    http = [port for port in ports if port - GRPC_OFFSET not in ports]
    assert len(http) == 5, "master, volume, filer, s3, admin"
    for port in http:
        for path in paths:
            for method, body in (("GET", None), ("POST", b"other"), ("PUT", b"other"), ("DELETE", None)):
                with suppress(OSError):
                    status, said = answer(method, f"http://{HOST}:{port}/{path}", body)
                    assert PICTURE[:26] not in said, f"{method} {port}/{path}"
                    assert status >= 400 or not path, f"{method} {port}/{path}: {status}"
    assert client.get_object(Bucket="uploads", Key="of/somebody.jpg")["Body"].read() == PICTURE


@pytest.mark.parametrize("action", ["ListUsers", "CreateUser", "CreateAccessKey", "AssumeRole", "GetCallerIdentity"])
def test_the_keys_of_s3_are_not_to_be_had_from_s3(stack: Stack, action: str) -> None:
    """Its port serves the API for users and keys as well, unless that is switched off."""
    form = f"Action={action}&Version=2010-05-08&UserName=stylequeue&RoleArn=arn:aws:iam::0:role/a&RoleSessionName=a"
    status, _ = answer("POST", stack.seaweedfs.endpoint_url, form.encode())
    assert 400 <= status < 500


def test_a_seaweedfs_that_goes_on_without_certificates_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(seaweedfs_module, "_toml", lambda _: "")
    server = SeaweedFS(tmp_path, ["results"])
    with pytest.raises(Unavailable, match="answers anybody on its inner port"):
        server.wait_ready()
    assert not server.process.running


# Files


def open_to_others(path: Path) -> int:
    return path.lstat().st_mode & 0o077


@pytest.fixture
def careless() -> Iterator[None]:
    """A user whose files are everybody's unless a program says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("careless")
def test_nobody_else_may_enter_or_read_what_a_stack_writes(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "by" / "it"
    with Stack(directory, Settings()) as stack:
        sleeper = stack.process("sleeper", ["sh", "-c", "echo said; touch made; sleep 600"])
        sleeper.wait_for_line("said", TIMEOUT_S)
        files = [directory, *directory.rglob("*")]
        assert {"lock", "valkey.conf", "s3.json", "security.toml", "sleeper.log", "s3.sock"} <= {f.name for f in files}
        flags = dict(flag.split("=", 1) for flag in options(stack) if ".port=" in flag)
        grpc = [int(port) + GRPC_OFFSET for port in flags.values()]
        elsewhere = [file for port in grpc for file in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]
        assert len(elsewhere) == 5
        assert [file for file in [*files, *elsewhere] if not file.is_symlink() and open_to_others(file)] == []


def test_an_existing_directory_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in (0o755, 0o750, 0o711, 0o702, 0o770):
        open_one = tmp_path / f"{mode:o}"
        open_one.mkdir()
        open_one.chmod(mode)
        with pytest.raises(Unavailable, match="other users of this machine") as caught:
            private_directory(open_one)
        assert "chmod 700" in caught.value.hint
        assert stat.S_IMODE(open_one.stat().st_mode) == mode, "it is not ours to change"
    link = tmp_path / "link"
    link.symlink_to(private_directory(tmp_path / "elsewhere"))
    with pytest.raises(Unavailable, match="is a link"):
        private_directory(link)
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="is no directory"):
        private_directory(tmp_path / "file")
    everybodys = tmp_path / "everybodys"
    everybodys.mkdir()
    everybodys.chmod(0o777)
    with pytest.raises(Unavailable, match="may be replaced"):
        private_directory(everybodys / "down" / "there")
    (everybodys / "target").mkdir(mode=0o755)
    (tmp_path / "way").symlink_to(everybodys / "target")
    with pytest.raises(Unavailable, match=f"everybody may write to {everybodys}"):
        private_directory(tmp_path / "way" / "there")
    everybodys.chmod(0o1777)
    private_directory(everybodys / "down" / "there")
    private_directory(tmp_path / "way" / "there")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(Unavailable, match="belongs to another user"):
        private_directory(tmp_path / "elsewhere")
    # Links of root's are the system's own.
    links_owner = user + 2
    lstat = Path.lstat

    def theirs(path: Path) -> os.stat_result:
        status = lstat(path)
        owner = links_owner if stat.S_ISLNK(status.st_mode) else user + 1
        return os.stat_result((*status[:4], owner, *status[5:]))

    monkeypatch.setattr(Path, "lstat", theirs)
    with pytest.raises(Unavailable, match=r"the link .*way is another user's"):
        private_directory(tmp_path / "way" / "there")
    links_owner = 0
    private_directory(tmp_path / "way" / "there")


@pytest.mark.parametrize("inside", [".", "valkey", "seaweedfs"])
def test_a_stack_does_not_start_in_a_directory_of_others(tmp_path: Path, inside: str) -> None:
    directory = tmp_path / "data"
    (directory / inside).mkdir(mode=0o700, parents=True)
    directory.chmod(0o700)
    (directory / inside).chmod(0o750)
    with pytest.raises(Unavailable, match="other users of this machine") as caught, Stack(directory, Settings()):
        pass
    assert caught.value.code == Code.LOCAL_STACK_FAILED


def test_a_private_file_is_new_and_never_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written into a file that was there, or that a link leads to; nothing is closed after it was open."""
    other = tmp_path / "of another"
    other.write_text("as it was")
    link, hard = tmp_path / "link", tmp_path / "hard"
    link.symlink_to(other)
    hard.hardlink_to(other)
    monkeypatch.setattr(os, "chmod", pytest.fail)
    monkeypatch.setattr(os, "fchmod", pytest.fail)
    before = os.umask(0)
    try:
        for path in (link, hard, tmp_path / "new"):
            assert write_private(path, "secret").read_text() == "secret"
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert other.read_text() == "as it was"


def test_a_lock_is_not_written_through_a_link(tmp_path: Path) -> None:
    other = tmp_path / "of another"
    other.write_text("as it was")
    directory = private_directory(tmp_path / "data")
    (directory / "lock").symlink_to(other)
    with pytest.raises(Unavailable, match="cannot be used"), Stack(directory, Settings()):
        pass
    assert other.read_text() == "as it was"


def test_what_another_user_announces_is_not_followed(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that leads the command, and its keys, to servers of somebody else."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with announced(stack.env) as why_not:
        assert why_not == ""
        assert variables_of_up() == stack.env
        for mode in (0o666, 0o620, 0o602, 0o644):
            up_file().chmod(mode)
            assert variables_of_up() == {}
        up_file().chmod(0o600)
        user = os.geteuid()
        with monkeypatch.context() as as_another:
            as_another.setattr(os, "geteuid", lambda: user + 1)
            assert variables_of_up() == {}
    up_file().parent.chmod(0o777)
    with announced(stack.env) as why_not:
        assert "other users" in why_not
    assert not up_file().exists()


PRIVATE = {"mkdtemp", "mkstemp", "TemporaryDirectory", "TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile"}
"""What `tempfile` makes new, for this user alone."""


@pytest.mark.parametrize("room", ["producer", "worker", "scripts"])
def test_nothing_of_ours_lies_under_a_name_that_others_know(room: str) -> None:
    """In a directory that all share, somebody else could have made it first. SeaweedFS's sockets are its own choice."""
    seen = 0
    for module in sorted((ROOT / room).rglob("*.py")):
        tree = ast.parse(module.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tempfile":
                seen += 1
                assert node.attr in PRIVATE, f"{module}:{node.lineno}"
            if isinstance(node, ast.ImportFrom):
                assert node.module != "tempfile", f"{module}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and module.name != "seaweedfs.py":
                assert not re.match(r"/(var/)?tmp|/dev/shm", node.value), f"{module}:{node.lineno}"
    assert seen


def test_a_worker_s_word_to_its_child_is_nobody_else_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever could make the file would stop the worker."""
    monkeypatch.setenv(STOP_FILE_VARIABLE, "")
    before = os.umask(0)
    try:
        stopping = Stopping(1, lambda: None)
        stopping.prepare()
        stop_file = Path(os.environ[STOP_FILE_VARIABLE])
        assert stat.S_IMODE(stop_file.parent.stat().st_mode) == 0o700
        assert not stop_file.exists()
    finally:
        os.umask(before)
        stopping.clear_up()
