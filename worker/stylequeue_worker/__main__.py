"""`python -m stylequeue_worker`, which `stylequeue worker` runs: one worker process, one device."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from stylequeue.cli import console
from stylequeue.contract.base import QUEUES

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def run(
    queues: Annotated[str, typer.Option(help="Which queues to take jobs from, comma-separated.")] = ",".join(QUEUES),
    gpu: Annotated[
        str | None, typer.Option(help="Which GPU to use, as nvidia-smi numbers them; -1: none. Left out: all.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of this worker; must be unique.")] = None,
) -> None:
    """Take jobs from the queues and paint them, until SIGTERM.

    Start one for each GPU, and as many as you like: nothing is shared but Redis and the store.
    """
    wanted = queues.split(",")
    if unknown := set(wanted) - set(QUEUES):
        raise typer.BadParameter(f"no such queue: {', '.join(sorted(unknown))}; there are {', '.join(QUEUES)}")
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    # Before TensorFlow is imported in the child: its own chatter is no news to an operator.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    with console.errors_told(as_json=False):
        from .main import app as celery_app

    celery_app.worker_main(
        [
            "worker",
            f"--queues={','.join(wanted)}",
            f"--hostname={name or f'stylequeue-{os.getpid()}'}@%h",
            "--without-gossip",
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    app(prog_name="stylequeue worker")
