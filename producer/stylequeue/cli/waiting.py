"""Waiting for a job's picture and fetching it: whatever breaks that off, one is told how to come back to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract.errors import FileUnusable, Interrupted, StyleQueueError, Unavailable
from ..contract.objects import ImageRef
from . import console
from .files import report_beside
from .progress import follow

if TYPE_CHECKING:
    from ..client import StyleQueue
    from ..contract.status import JobResult


def follow_to_end(
    client: StyleQueue, job_id: str, output: Path | None, *, as_json: bool, timeout_s: float | None = None
) -> None:
    """Wait for a job's end, fetch its picture where `output` says where to, and say what was made.

    Raises as `StyleQueue.wait` and `StyleQueue.download` do, Interrupted, and StyleQueueError with `file_unusable`.
    """
    with going_on(job_id, output):
        for _ in follow(client.watch(job_id, timeout_s=timeout_s), quiet=as_json):
            pass
        made = client.wait(job_id)
    if output:
        fetch(client, made, output)
    if as_json:
        console.show_json(made.model_dump(mode="json"))
    else:
        console.show(str(output or f"s3://{made.output.bucket}/{made.output.key}"))


def fetch(client: StyleQueue, made: JobResult, path: Path) -> None:
    """Write a job's picture to a file, and its contact sheet, if there is one, beside it. Raises as above."""
    hint = f"to fetch it from the store: stylequeue download {made.id} -o FILE"
    try:
        client.download(made.output, path)
        if made.report_key:
            client.download(ImageRef(bucket=made.output.bucket, key=made.report_key), report_beside(path))
    except KeyboardInterrupt:
        raise Interrupted(f"job {made.id} is done, its picture is not on this machine yet", hint) from None
    except FileUnusable as error:
        what = f"job {made.id} is done, but its picture cannot be written: {error.message}"
        raise StyleQueueError(error.code, what, hint) from None
    except Unavailable as error:
        raise Unavailable(error.code, error.message, f"{error.hint}\n{hint}") from None


@contextmanager
def going_on(job_id: str, output: Path | None = None) -> Iterator[None]:
    """While a job is waited for: whatever breaks that off says that the job goes on."""
    come_back = f"stylequeue wait {job_id}" + (f" -o {output}" if output else "")
    hint = f"to wait for its picture: {come_back}\nto stop it: stylequeue cancel {job_id}"
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"job {job_id} goes on, only this command has ended", hint) from None
    except Unavailable as error:
        raise Unavailable(error.code, f"{error.message}; job {job_id} goes on", f"{error.hint}\n{hint}") from None
