"""`stylequeue gateway` and `stylequeue keys`: the way in by HTTP, and who may use it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..contract.base import parse
from ..contract.errors import InvalidRequest, InvalidSettings
from ..contract.scope import Scope
from ..settings import Settings
from . import console, deployment
from .options import HostOption, JsonOption, PortOption, ProxiesOption, duration_s

if TYPE_CHECKING:
    from ..gateway.keys import Key

keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who may ask the gateway.")

_FolderOption = typer.Option(metavar="BUCKET/FOLDER/*", help="Repeat for more.", show_default=False)


def gateway(
    host: HostOption = "127.0.0.1", port: PortOption = 8000, forwarded_allow_ips: ProxiesOption = "127.0.0.1"
) -> None:
    """Take jobs by HTTP, until SIGTERM (needs the extra `gateway`)."""
    with console.errors_told(as_json=False):
        deployment.needs("gateway", fastapi="FastAPI", uvicorn="uvicorn")
        from ..gateway.server import main

        main(deployment.settings(), host=host, port=port, forwarded_allow_ips=forwarded_allow_ips)


@keys.command()
def new(
    role: Annotated[
        Literal["read", "submit", "admin", "monitor"],
        typer.Option(help="read: look at jobs; submit: hand them in as well; admin: all; monitor: no job, only loads."),
    ] = "submit",
    tenant: Annotated[
        str | None, typer.Option(help="Whose jobs it sees and hands in; left out: it sees all, and they are nobody's.")
    ] = None,
    read: Annotated[list[str] | None, _FolderOption] = None,
    write: Annotated[list[str] | None, _FolderOption] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="By which alone its jobs are painted; repeat it for more. [default: any way]"
        ),
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="Ends after: 90s, 30m, 12h.")] = None,
    note: Annotated[str, typer.Option(help="What it is for, for people.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it: nobody can see it again. Two may live at once, while a client changes to the next.

    Its jobs may read pictures where --read says and put them where --write does; {tenant} stands for the tenant's name.
    Left out: a tenant's, in its own folders for uploads and results, and in all others that workers read; without a
    tenant, whatever workers may.
    """
    with console.errors_told(as_json=as_json):
        from ..gateway.keys import add, make, scope_of_tenants

        settings = deployment.settings(as_json=as_json)
        path = _file(settings)
        if (read or write) and tenant is None:
            raise InvalidRequest("--read and --write are of a tenant's keys", "give --tenant")
        usual = scope_of_tenants(settings)
        reach = {"read": read or usual.read, "write": write or usual.write}
        scope = parse(Scope, reach, hint="write bucket/folder/*") if tenant else None
        text, key = make(
            role=role,
            tenant=tenant,
            scope=scope,
            templates=template or None,
            expires_at=datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=_span_s(expires))
            if expires
            else None,
            note=note,
        )
        add(path, key)
        if as_json:
            console.show_json({"key": text, **_shown(key)})
            return
        console.note(f"key {key.id}, {_in_words(key)}", as_json=False)
        console.show(text)


@keys.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """List the keys: all but their secrets, which nobody has."""
    with console.errors_told(as_json=as_json):
        from ..gateway.keys import listed

        found = listed(_file(deployment.settings(as_json=as_json)))
        if as_json:
            console.show_json([_shown(key) for key in found])
            return
        for key in found:
            console.show(f"{key.id}  {_in_words(key)}" + (f"  # {key.note}" if key.note else ""))
        if not found:
            console.tell("no keys")


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Id of the key.")], as_json: JsonOption = False
) -> None:
    """End a key: gateways that run refuse it at once."""
    with console.errors_told(as_json=as_json):
        from ..gateway.keys import revoke as end

        key = end(_file(deployment.settings(as_json=as_json)), key_id)
        console.show_json(_shown(key)) if as_json else console.show(f"{key.id}  revoked")


def _file(settings: Settings) -> Path:
    if settings.keys_file is None:
        raise InvalidSettings("STYLEQUEUE_KEYS_FILE is not set", "name the file that keys are kept in")
    return settings.keys_file


def _span_s(text: str) -> float:
    span_s = duration_s(text)
    if not span_s:
        raise InvalidRequest(f"--expires {text!r} is no time", "write 90s, 30m or 12h")
    return span_s


def _shown(key: Key) -> dict[str, object]:
    return key.model_dump(mode="json", exclude={"sha256"})


def _in_words(key: Key) -> str:
    whose = f"of tenant {key.tenant}" if key.tenant else "of no tenant"
    ends = f", until {key.expires_at:%Y-%m-%d %H:%M:%S} UTC" if key.expires_at else ""
    is_over = "" if key.is_live(datetime.now(UTC)) else " (over)"
    reach = f"; reads {', '.join(key.scope.read)}; writes {', '.join(key.scope.write)}" if key.scope else ""
    bound = f"; by template {', '.join(key.templates)} alone" if key.templates else ""
    return f"{key.role} {whose}{ends}{is_over}{reach}{bound}"
