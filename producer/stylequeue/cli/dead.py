"""`stylequeue dead`: jobs whose attempts are used up, and what was no job, or could not be delivered."""

from __future__ import annotations

from typing import Annotated

import typer

from . import console, deployment
from .options import AfterOption, JsonOption, LimitOption

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Jobs whose attempts are used up, and bad messages."
)

LetterId = Annotated[str, typer.Argument(metavar="LETTER", help="Id of the dead letter.")]


@app.command("list")
def list_letters(limit: LimitOption = 20, after: AfterOption = None, as_json: JsonOption = False) -> None:
    """List the dead letters, the newest first."""
    with deployment.client(as_json=as_json) as client:
        letters = client.dead_letters(after=after, limit=limit)
        if letters.after:
            console.note(f"there are more: --after {letters.after}", as_json=as_json)
        if as_json:
            console.show_json([letter.model_dump(mode="json") for letter in letters])
            return
        for letter in letters:
            when = f"{letter.buried_at:%Y-%m-%d %H:%M:%S}"
            about = f"{letter.queue}  attempts {letter.attempts}  [{letter.code}] {letter.reason}"
            console.show(f"{letter.id}  {when}  {about}")
        if not letters:
            console.tell("no dead letters")


@app.command()
def show(letter_id: LetterId, as_json: JsonOption = False) -> None:
    """Show a dead letter: why it is one, and its message."""
    with deployment.client(as_json=as_json) as client:
        letter = client.dead_letter(letter_id)
        if as_json:
            console.show_json(letter.model_dump(mode="json"))
            return
        when = f"{letter.buried_at:%Y-%m-%d %H:%M:%S} UTC"
        console.show(f"{letter.id}  queue {letter.queue}, attempts {letter.attempts}, {when}")
        console.show(f"[{letter.code}] {letter.reason}")
        console.show(letter.message)


@app.command()
def replay(letter_id: LetterId, as_json: JsonOption = False) -> None:
    """Give a dead letter another life: a job its next run, a message its place; all else goes once more."""
    with deployment.client(as_json=as_json) as client:
        client.replay(letter_id)
        console.show_json({"id": letter_id, "state": "queued"}) if as_json else console.show(f"{letter_id}  queued")


@app.command()
def drop(letter_id: LetterId, as_json: JsonOption = False) -> None:
    """Forget a dead letter."""
    with deployment.client(as_json=as_json) as client:
        client.drop(letter_id)
        console.show_json({"id": letter_id, "state": "dropped"}) if as_json else console.show(f"{letter_id}  dropped")
