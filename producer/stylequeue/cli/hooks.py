"""`stylequeue hooks`: the endpoints that events are delivered to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..contract.errors import ExitCode, InvalidRequest
from . import console, deployment
from .options import AfterOption, JsonOption, LimitOption, duration_s, pair

if TYPE_CHECKING:
    from ..contract.delivery import Delivery, EndpointStatus
    from ..delivery.hooks import Hooks

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Endpoints that events are delivered to.")

Name = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Name of the endpoint in the operator's file.")]


@contextmanager
def _hooks(*, as_json: bool) -> Iterator[Hooks]:
    with console.errors_told(as_json=as_json):
        from ..delivery.hooks import Hooks

        hooks = Hooks(deployment.settings(as_json=as_json))
        try:
            yield hooks
        finally:
            hooks.close()


@app.command("list")
def list_endpoints(as_json: JsonOption = False) -> None:
    """List the endpoints, and how each fares."""
    with _hooks(as_json=as_json) as hooks:
        statuses = hooks.all()
        if as_json:
            console.show_json([status.model_dump(mode="json") for status in statuses])
            return
        for status in statuses:
            console.show(f"{status.name}  {status.kind}  {status.place}  {_in_words(status)}")
        if not statuses:
            console.tell("no endpoints")


@app.command()
def add(
    name: Name,
    url: Annotated[str | None, typer.Argument(metavar="URL", help="Of a webhook: https://...")] = None,
    sns: Annotated[str | None, typer.Option(metavar="ARN", help="A topic instead.")] = None,
    sqs: Annotated[str | None, typer.Option(metavar="URL", help="A queue instead.")] = None,
    eventbridge: Annotated[str | None, typer.Option(metavar="BUS", help="A bus instead, by its name or ARN.")] = None,
    region: Annotated[str | None, typer.Option(help="Of topic, queue or bus. [default: boto3's own]")] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="accepted, started, succeeded, failed, ...; repeat it. [default: all ends]"),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="That a job has; repeat it for several.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose jobs it hears of. [default: everybody's]")] = None,
    jobs: Annotated[
        Literal["named", "default", "all"],
        typer.Option(help="named: those that name it; default: those too that name none; all: all."),
    ] = "default",
    allow_http: Annotated[bool, typer.Option("--allow-http", help="Without TLS.")] = False,
    allow_port: Annotated[list[int] | None, typer.Option(help="Another than 443; repeat it.")] = None,
    allow_network: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="Not of the public internet: 10.1.0.0/16; repeat it.")
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates that its own must be signed by.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an endpoint into the operator's file, and print the secret by which a webhook knows our messages."""
    with _hooks(as_json=as_json) as hooks:
        fields: dict[str, Any] = {
            "url": url,
            "sns": sns,
            "sqs": sqs,
            "eventbridge": eventbridge,
            "region": region,
            "events": event,
            "labels": dict(pair("--label", text) for text in label or []),
            "tenant": tenant,
            "jobs": None if jobs == "default" else jobs,
            "allow_http": allow_http,
            "allow_ports": allow_port,
            "allow_networks": allow_network,
            "ca_file": ca_file and str(ca_file.resolve()),
        }
        secret = hooks.add(name, {field: value for field, value in fields.items() if value})
        if as_json:
            console.show_json({"name": name, "secret": secret})
            return
        console.show(secret or name)


@app.command("test")
def try_out(name: Name, as_json: JsonOption = False) -> None:
    """Send an endpoint an event of type io.stylequeue.endpoint.test.v1, now and once."""
    with _hooks(as_json=as_json) as hooks:
        attempt = hooks.test(name)
        console.show_json(attempt.model_dump(mode="json")) if as_json else console.show(f"{name}  {attempt}")
        if not attempt.delivered:
            raise typer.Exit(ExitCode.NOT_REACHABLE)


@app.command()
def deliveries(
    name: Name,
    state: Annotated[Literal["pending", "delivered", "given_up"] | None, typer.Option(help="[default: all]")] = None,
    limit: LimitOption = 20,
    after: AfterOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was sent to an endpoint in the last 7 days, or waits to be, with each attempt."""
    with _hooks(as_json=as_json) as hooks:
        page = hooks.deliveries(name, state=state, after=after, limit=limit)
        if page.after:
            console.note(f"there are more: --after {page.after}", as_json=as_json)
        if as_json:
            console.show_json([delivery.model_dump(mode="json") for delivery in page])
            return
        for delivery in page:
            _show(delivery)
        if not page:
            console.tell("no deliveries")


@app.command()
def replay(
    event_id: Annotated[str | None, typer.Argument(metavar="ID", help="Of the event.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="All that did not arrive since 90s, 30m, 12h, 2d ago.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT", help="[default: all that are to have it]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Send an event once more; or, with --since, all that did not arrive."""
    with _hooks(as_json=as_json) as hooks:
        if (event_id is None) == (since is None):
            raise InvalidRequest("give the id of an event, or --since", "see `stylequeue hooks replay --help`")
        if event_id is not None:
            counts = dict.fromkeys(hooks.replay(event_id, endpoint), 1)
        else:
            counts = hooks.replay_since(_ago(since or ""), endpoint)
        if as_json:
            console.show_json(counts)
            return
        for name, count in counts.items():
            console.show(f"{name}  {count} to be sent")


@app.command()
def enable(name: Name, as_json: JsonOption = False) -> None:
    """Send to an endpoint again that was disabled, or is left alone for a while."""
    with _hooks(as_json=as_json) as hooks:
        waiting = hooks.enable(name)
        if as_json:
            console.show_json({"name": name, "waiting": waiting})
            return
        console.show(f"{name}  {waiting} to be sent")


@app.command()
def rotate(
    name: Name,
    only_newest: Annotated[
        bool, typer.Option("--only-newest", help="Make none, and leave out the old: ends a rotation.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a webhook a new secret and print it; messages are signed with the old one as well."""
    with _hooks(as_json=as_json) as hooks:
        secret = hooks.rotate(name, only_newest=only_newest)
        console.show_json({"name": name, "secret": secret}) if as_json else console.show(secret)


def _ago(text: str) -> datetime:
    if not (seconds := duration_s(text)):
        raise InvalidRequest(f"--since {text!r} is no time", "write 90s, 30m, 12h or 2d")
    return datetime.now(UTC) - timedelta(seconds=seconds)


def _in_words(status: EndpointStatus) -> str:
    words = [f"waiting {status.waiting}"]
    if status.disabled:
        words = [f"disabled: {status.disabled}", *words]
    elif status.failing_since:
        words.append(f"nothing arrived since {status.failing_since:%Y-%m-%d %H:%M:%S}: {status.last_error}")
    if status.dropped:
        words.append(f"{status.dropped} dropped")
    return ", ".join(words)


def _show(delivery: Delivery) -> None:
    kind = delivery.type.split(".")[-2]
    again = f", again at {delivery.next_at:%Y-%m-%d %H:%M:%S}" if delivery.next_at else ""
    console.show(f"{delivery.id}  {kind} of {delivery.job}  {delivery.state}, tries {delivery.tries}{again}")
    for attempt in delivery.attempts:
        console.show(f"  {attempt.at:%Y-%m-%d %H:%M:%S}  {attempt.took_ms} ms  {attempt}")
