"""The `stylequeue` command: all of its commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import console, dead, events, fleet, gateway, hooks, jobs, rules, serve
from .estimate import estimate
from .listen import listen
from .submit import submit
from .top import top
from .upload import upload

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Neural style transfer by message queue: submit a job, get a painted picture and an event.",
    epilog="Exit codes: 0 done, 1 the job failed, 2 bad input, 3 service not reachable, 4 this machine cannot serve, "
    "130 broken off. Settings are environment variables: STYLEQUEUE_REDIS_URL, STYLEQUEUE_S3_ENDPOINT_URL, ... "
    "(docs/operate.md); without them the command finds what `stylequeue up` runs.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stylequeue {__version__}")
        raise typer.Exit


@app.callback()
def _whole(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(submit)
app.command()(estimate)
app.command()(upload)
app.command("list")(jobs.list_jobs)
app.command()(jobs.status)
app.command()(jobs.watch)
app.command()(jobs.wait)
app.command()(events.events)
app.command()(jobs.download)
app.command()(jobs.cancel)
app.command()(jobs.retry)
app.command()(jobs.delete)
app.add_typer(dead.app, name="dead")
app.add_typer(hooks.app, name="hooks")
app.command()(top)
app.add_typer(fleet.workers, name="workers")
app.add_typer(fleet.queues, name="queues")
app.command()(gateway.gateway)
app.add_typer(gateway.keys, name="keys")
app.command()(listen)
app.add_typer(rules.app, name="rules")
app.command()(serve.doctor)
app.command()(serve.schema)
app.command()(serve.keeper)
app.command(context_settings=serve.PASSED_ON)(serve.probe)
app.command(context_settings=serve.PASSED_ON)(serve.worker)
app.command(context_settings=serve.PASSED_ON)(serve.models)
app.command(context_settings=serve.PASSED_ON)(serve.up)
app.command(context_settings=serve.PASSED_ON)(serve.demo)


def main() -> None:
    """Entry point."""
    console.run(app, "stylequeue")
