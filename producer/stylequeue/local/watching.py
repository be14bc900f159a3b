"""`up --watch`: whatever is put into a folder of the store is painted, and each picture said with a link to it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from ..cli import console
from ..client import StyleQueue
from ..contract.base import parse
from ..contract.errors import FileUnusable, InvalidRequest, StyleQueueError
from ..contract.events import AnyEvent, Failed, Succeeded, UploadRefused
from ..contract.objects import ImageRef
from ..operator_file.sources import MIN_OVERLAP_S
from ..settings import Settings
from .gateway import answers
from .private import private_directory, write_private
from .process import Process
from .server import HOST
from .stack import Stack

RULE = "watch"
_START_TIMEOUT_S = 60
_SWEEP_EVERY_S = 15
_OVERLAP_S = MIN_OVERLAP_S
"""As short as can be: after a start in another style, what is looked at again is painted in that one, too."""
_STYLE_CHARS = 8
_LINK_S = 7 * 24 * 3600


@dataclass(frozen=True)
class Watched:
    """A folder, what is painted from what lies in it, and the operator's file that says so."""

    bucket: str
    prefix: str
    """Of the keys: the folder, with a slash behind it."""
    styles: Sequence[Path]
    operator_file: Path

    @classmethod
    def of(cls, place: str, styles: Sequence[Path], directory: Path, settings: Settings) -> Watched:
        """Of `bucket/folder/`, also as `s3://bucket/folder/`. Raises InvalidRequest, InvalidJob, FileUnusable."""
        bucket, _, folder = place.removeprefix("s3://").partition("/")
        if not folder.strip("/"):
            raise InvalidRequest(f"--watch {place}: is no folder in a bucket", "write bucket/folder/")
        folder = parse(ImageRef, {"bucket": bucket, "key": folder.removesuffix("/")}).key
        if bucket not in settings.read_buckets or bucket in (settings.output_bucket, settings.work_bucket):
            there = [name for name in settings.read_buckets if name not in settings.write_buckets]
            raise InvalidRequest(f"--watch {place}: nothing is painted from there", f"one of: {', '.join(there)}")
        if not styles:
            raise InvalidRequest("--watch says from what, and nothing says in which style", "give --style FILE")
        if settings.operator_file is not None:
            raise InvalidRequest(
                "--watch is for those who have no operator's file, and STYLEQUEUE_OPERATOR_FILE is set",
                "write a rule into that file, and run `stylequeue listen`: docs/uploads.md",
            )
        for style in styles:
            if not style.is_file():
                raise FileUnusable(f"--style {style}: no such file", "name a picture file")
        return cls(bucket, f"{folder}/", styles, private_directory(directory) / "operator.toml")

    @property
    def place(self) -> str:
        """As the store's own names have it."""
        return f"{self.bucket}/{self.prefix}"

    def prepare(self, stack: Stack) -> None:
        """Put the styles into the store, and say in the operator's file what is to be done. Raises as a client does."""
        settings = stack.settings
        # Where nothing goes by itself, as uploads do.
        kept = [name for name in settings.read_buckets if name not in (settings.upload_bucket, self.bucket)]
        with StyleQueue(settings) as queue:
            styles = []
            for style in self.styles:
                key = hashlib.sha256(style.read_bytes()).hexdigest() + style.suffix.lower()
                to = parse(ImageRef, {"bucket": [*kept, settings.upload_bucket][0], "key": key})
                styles.append({"image": queue.upload(style, to=to).model_dump(mode="json", exclude_none=True)})
        names = "\n".join(style["image"]["key"] for style in styles)
        named = hashlib.sha256(names.encode()).hexdigest()[:_STYLE_CHARS]
        rule = {
            # By its styles: in others the same upload is another job, and another picture.
            "name": f"{RULE}-{named}",
            "bucket": self.bucket,
            "prefix": self.prefix,
            "styles": styles,
            "recipe": {"method": "fast"},
            "output": {"key": f"{{dir}}/{{stem}}-{{version}}-{named}.{{format}}"},
            "labels": {RULE: "up"},
            "queue": "fast",
        }
        sources = {
            stack.seaweedfs.name: {"tokens": [stack.seaweedfs.notices_token]},
            "sweep": {"sweep": f"s3://{self.place}", "every_s": _SWEEP_EVERY_S, "overlap_s": _OVERLAP_S},
        }
        write_private(self.operator_file, tomlkit.dumps({"rule": [rule], "source": sources}))

    def listen(self, stack: Stack) -> Process:
        """Start who makes jobs of what is put there. Raises Unavailable where that does not start."""
        port = stack.seaweedfs.notices_port
        command = [sys.executable, "-m", "stylequeue.cli", "listen", "--host", HOST, "--port", str(port)]
        process = stack.process("listener", command)
        process.wait_until(lambda: answers(port), _START_TIMEOUT_S)
        return process


class Pictures:
    """Says of each upload what came of it, from when this was made on."""

    def __init__(self, queue: StyleQueue) -> None:
        self._queue = queue
        self._after = queue.newest_position()

    def tell(self) -> None:
        """Say what has happened since. Where Redis or the store does not answer it is said next time."""
        try:
            for position, event in self._queue.events(after=self._after, follow=False):
                if said := self._said(event):
                    console.tell(said)
                self._after = position
        except StyleQueueError as error:
            console.tell(f"# {error}")

    def _said(self, event: AnyEvent) -> str:
        match event:
            case UploadRefused(data=data):
                return f"# s3://{data.bucket}/{data.key} is not painted: {data.message}"
            case Failed(data=data) if RULE in data.labels:
                return f"# job {event.subject} failed: {data.message}"
            case Succeeded(data=data) if RULE in data.labels:
                link = self._queue.link(data.output, valid_s=_LINK_S)
                return f"# s3://{data.output.bucket}/{data.output.key}\n{link}"
        return ""
