"""`stylequeue estimate`: what a job would take, before it is one."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

import typer

from ..contract.base import Contract, QueueName, parse
from ..contract.errors import InvalidRequest
from ..contract.job import MAX_STYLES
from ..contract.recipe import OptimizeRecipe, Recipe
from . import console, deployment, files
from .options import JsonOption, with_options
from .submit import RECIPE, in_words


class _Asked(Contract):
    recipe: Recipe


@with_options(RECIPE)
def estimate(
    content_px: Annotated[
        str | None,
        typer.Option("--content-px", metavar="WIDTHxHEIGHT", help="Of the content picture. [default: a square]"),
    ] = None,
    styles: Annotated[int, typer.Option(min=1, max=MAX_STYLES, help="How many there are.")] = 1,
    masks: Annotated[int, typer.Option(min=0, max=MAX_STYLES + 1, help="Of styles, and of what is kept.")] = 0,
    queue: Annotated[QueueName | None, typer.Option(help="[default: fast for --method fast, else paint]")] = None,
    as_json: JsonOption = False,
    **options: Any,
) -> None:
    """Say what a job would take if it were submitted now."""
    with deployment.client(as_json=as_json) as client:
        fields = {"method": OptimizeRecipe().method, **RECIPE.fields(options, partial(files.source, client=None))}
        asked = parse(_Asked, {"recipe": fields}, in_words=in_words, hint="see `stylequeue estimate --help`")
        found = client.estimate(asked.recipe, content_px=_sides(content_px), styles=styles, masks=masks, queue=queue)
        if as_json:
            console.show_json(found.model_dump(mode="json"))
            return
        paints, waits = (
            "unknown: no worker has painted the like" if seconds is None else f"{seconds:.0f} s"
            for seconds in (found.paint_s, found.wait_s)
        )
        tiles = f", in {found.tiles} tiles" if found.tiles > 1 else ""
        console.show(f"painting  {paints}")
        console.show(f"waiting   {waits}; workers that can paint it: {found.workers}")
        console.show(f"memory    {found.peak_bytes / 1e6:.0f} MB{tiles}")


def _sides(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    if not (sides := re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text, re.ASCII)):
        raise InvalidRequest(f"--content-px {text!r} is no width and height", "write 1600x1200")
    return int(sides[1]), int(sides[2])
