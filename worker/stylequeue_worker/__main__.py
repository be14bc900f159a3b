"""`python -m stylequeue_worker`, which `stylequeue worker` runs: one worker process, one device."""

from __future__ import annotations

import logging
import os
import re
from typing import Annotated

import typer

from stylequeue.cli import console
from stylequeue.contract.base import QUEUES
from stylequeue.contract.recipe import FAST_NETWORK
from stylequeue.ledger.registry import not_served
from stylequeue.settings import Settings

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

log = logging.getLogger("stylequeue_worker")

NO_GPU = "-1"


@app.command()
def run(
    queues: Annotated[
        str | None,
        typer.Option(
            help="Which queues to take jobs from, comma-separated. [default: all whose networks are on this disk]"
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(help=f"Which GPU to use, as nvidia-smi numbers them; {NO_GPU}: none. Left out: what is there."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of this worker; must be unique.")] = None,
) -> None:
    """Take jobs from the queues and paint them, until SIGTERM.

    Start one for each GPU, and as many as you like: nothing is shared but Redis and the store. Ends with exit code 2
    where the settings cannot be, 4 where this machine lacks the device, the network or the memory to serve.
    """
    if queues is not None and (unknown := set(queues.split(",")) - set(QUEUES)):
        raise typer.BadParameter(f"no such queue: {', '.join(sorted(unknown))}; there are {', '.join(QUEUES)}")
    if gpu is not None:
        _take_gpu(gpu)
    # Before TensorFlow is imported in the child: its own chatter is no news to an operator.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    with console.errors_told(as_json=False):
        wanted = _servable(None if queues is None else queues.split(","), Settings.load())
        from .main import app as celery_app

    celery_app.worker_main(
        [
            "worker",
            f"--queues={','.join(wanted)}",
            f"--hostname={name or f'stylequeue-{os.getpid()}'}@%h",
        ]
    )


def _take_gpu(gpu: str) -> None:
    """Let TensorFlow see this GPU alone."""
    if not re.fullmatch(r"-1|\d+|(GPU|MIG)-[\w-]+", gpu):
        raise typer.BadParameter(f"--gpu {gpu!r} is not one GPU: give its number, or {NO_GPU} for none")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    # CUDA's own order is by speed.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"


def _servable(wanted: list[str] | None, settings: Settings) -> list[str]:
    """The queues to take from: those wanted, else all that the networks on this disk can serve.

    Raises CannotServe where one that is wanted, or every one, cannot be served. Whether what lies on the disk can be
    loaded, the child finds out.
    """
    from .models import MODELS, find
    from .process.registration import require_networks

    at_hand = {name for name in MODELS if find(name, settings.models)}
    if settings.hub_handle:
        at_hand.add(FAST_NETWORK)
    if wanted is None:
        left = set(not_served(QUEUES, at_hand))
        wanted = [queue for queue in QUEUES if queue not in left]
        if left and wanted:
            log.warning("leaves %s alone: the networks for it are not on this disk", ", ".join(sorted(left)))
    require_networks(wanted or QUEUES, at_hand)
    return wanted


if __name__ == "__main__":
    console.run(app, "stylequeue worker")
