"""The demo: two sample pictures, painted fast and painted well, on real parts."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from ..cli import console
from ..cli.progress import follow
from ..client import StyleQueue
from ..contract.errors import Code, Unavailable
from ..contract.events import AnyEvent
from ..contract.job import Job, Output, Style
from ..contract.objects import ImageRef
from ..contract.recipe import FastRecipe, OptimizeRecipe, Recipe
from ..settings import Settings
from .stack import Stack

CONTENT = "astronaut.jpg"
STYLE = "waves.jpg"
FAST = FastRecipe(size=512)
PAINTED = OptimizeRecipe(size=320)
_TIDYING_S = 3
"""For the making of a network to remove what it has begun, where it is broken off."""
_TAIL_LINES = 15


def run_demo(directory: Path, *, size_px: int | None = None, steps: int | None = None) -> None:
    """Paint the samples by both methods and leave pictures, contact sheet and events in `directory`.

    `size_px` and `steps` replace those of the painted job.
    """
    settings = Settings.load()
    directory.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    painted = PAINTED.model_copy(update={"size": size_px or PAINTED.size, "steps": steps or PAINTED.steps})
    samples = files(__package__) / "samples"
    for sample, name in ((CONTENT, "content.jpg"), (STYLE, "style.jpg")):
        with as_file(samples / sample) as path:
            shutil.copyfile(path, directory / name)

    with _timed("make the networks", seconds):
        make_models()
    with _timed("start Valkey and SeaweedFS", seconds):
        stack = Stack(settings=settings).start()
    try:
        with _timed("start a worker", seconds):
            stack.worker()
        with StyleQueue(stack.settings) as queue:
            with _timed("fast job", seconds):
                events = _paint(queue, directory, FAST, "fast.jpg", label="fast")
            with _timed("painted job", seconds):
                events += _paint(queue, directory, painted, "result.jpg", label="paint", report="report.png")
        (directory / "events.jsonl").write_text("".join(event.model_dump_json() + "\n" for event in events))
    finally:
        with _timed("stop everything", seconds):
            stack.stop()

    console.tell("")
    for part, took_s in seconds.items():
        console.tell(f"  {took_s:6.1f} s  {part}")
    for name in ("content.jpg", "style.jpg", "fast.jpg", "result.jpg", "report.png", "events.jsonl"):
        print(directory / name)
    console.tell(
        "\n`stylequeue up` starts all of it to stay: a page to paint at in a browser, an address for programs (HTTP), "
        "and this command. Whatever is dropped into a folder is painted by these two lines, each in its own terminal:\n"
        f"  {command_line()} up --watch uploads/in/ --style {directory / 'style.jpg'}\n"
        f"  {command_line()} upload {directory / 'content.jpg'} s3://uploads/in/"
    )


def command_line() -> str:
    """How a shell finds `stylequeue`."""
    return "stylequeue" if shutil.which("stylequeue") else str(Path(sys.executable).with_name("stylequeue"))


def make_models() -> None:
    """Put into the model directory what the demo paints with, unless it is there. Needs no internet.

    Raises Unavailable, with the end of what the making printed, where it fails.
    """
    command = [sys.executable, "-m", "stylequeue_worker.models", "pull", "vgg16", "fast"]
    # What TensorFlow prints on its way is no news.
    making = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")  # noqa: S603 - our own module
    try:
        said, _ = making.communicate()
    except BaseException:
        making.send_signal(signal.SIGINT)  # so that it removes what it has begun
        try:
            making.wait(_TIDYING_S)
        except subprocess.TimeoutExpired:
            making.kill()
        raise
    if making.returncode:
        tail = "\n".join(said.splitlines()[-_TAIL_LINES:])
        raise Unavailable(
            Code.LOCAL_STACK_FAILED, "the networks could not be made", f"the end of what it said:\n{tail}"
        )


def _paint(
    queue: StyleQueue, directory: Path, recipe: Recipe, name: str, *, label: str, report: str | None = None
) -> list[AnyEvent]:
    content, style = (queue.upload(directory / picture) for picture in ("content.jpg", "style.jpg"))
    job = Job(
        content=content,
        styles=(Style(image=style),),
        output=Output(bucket=queue.settings.output_bucket, report=report is not None),
        recipe=recipe,
    )
    queue.submit(job)
    events = list(follow(queue.watch(job.id), label=label, quiet=False))
    done = queue.wait(job.id)
    queue.download(done.output, directory / name)
    if report and done.report_key:
        queue.download(ImageRef(bucket=done.output.bucket, key=done.report_key), directory / report)
    return events


@contextmanager
def _timed(part: str, seconds: dict[str, float]) -> Iterator[None]:
    console.tell(f"# {part} ...")
    began_at = time.monotonic()
    yield
    seconds[part] = time.monotonic() - began_at
