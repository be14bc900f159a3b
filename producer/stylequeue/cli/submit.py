"""`stylequeue submit`: from pictures and options to a job, and on to its picture."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..contract.base import QueueName, parse
from ..contract.errors import Interrupted, InvalidRequest
from ..contract.job import EVERYWHERE, Job, Output
from ..contract.objects import ImageFormat, ImageRef
from ..contract.recipe import FAST_DEFAULTS, PRESETS, FastRecipe, OptimizeRecipe, ResolvedRecipe
from . import console, deployment, files
from .options import JsonOption, Options, duration_s, pair, with_options
from .waiting import follow_to_end

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_HELP = "see `stylequeue submit --help`"


def _default(field: str) -> str:
    """What a recipe option comes to that is left out, for its help: first of all, by the preset that is the default."""
    if field in ("method", "preset"):
        return ""
    recipes: list[tuple[str, ResolvedRecipe]] = [*PRESETS.items(), ("fast", FAST_DEFAULTS)]
    values = {name: getattr(recipe, field, None) for name, recipe in recipes}
    if any(isinstance(value, dict) for value in values.values()):
        return "the preset's"
    texts = {name: _text(value) for name, value in values.items()}
    texts = {name: text for name, text in texts.items() if values[name] is not None}
    usual = texts.pop(OptimizeRecipe().preset, "")
    others = ", ".join(f"{name} {text}" for name, text in texts.items() if text != usual)
    return "; ".join(filter(None, (usual, others)))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


RECIPE = Options(OptimizeRecipe, FastRecipe, defaults=_default)
OUTPUT = Options(Output, leave_out={"bucket", "key"})


@with_options(RECIPE, OUTPUT)
def submit(
    content: Annotated[str, typer.Option(metavar="PICTURE", help="A file (uploaded) or s3://bucket/key.")],
    style: Annotated[
        list[str] | None,
        typer.Option(metavar="PICTURE", help="Likewise; repeat it for several. A template may have them instead."),
    ] = None,
    weight: Annotated[
        list[float] | None, typer.Option(help="Weight of each style, in their order. [default: all equal]")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PICTURE",
            help="Where each style applies: a grey picture, white where it does, or `all`; in their order.",
        ),
    ] = None,
    keep_mask: Annotated[
        str | None,
        typer.Option(
            metavar="PICTURE",
            help="What to keep closer to the content, beside faces: a grey picture, white where it counts.",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the operator's file: fills in what is left out here."),
    ] = None,
    notify: Annotated[
        list[str] | None,
        typer.Option(metavar="ENDPOINT", help="Of the operator's file: is told how it ends; repeat it for several."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Where the picture goes: s3://bucket/key. [default: <job id> in the output bucket]"),
    ] = None,
    queue: Annotated[QueueName | None, typer.Option(help="[default: fast for --method fast, else paint]")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="Give up after: 90s, 30m, 2h, 7d, or a moment such as 2030-01-31T12:00Z.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Passed through to events; repeat it for several.")
    ] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Id of the job. [default: a new UUIDv7]")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Wait for the picture and write it there, as its suffix says."
        ),
    ] = None,
    as_json: JsonOption = False,
    **options: Any,
) -> None:
    """Submit a job; with --wait, follow it; with -o, fetch its picture."""
    with deployment.client(as_json=as_json) as client:
        styles = style or []
        if not styles and template is None:
            raise InvalidRequest("neither --style nor --template is given", _HELP)
        for flag, given in (("--weight", weight), ("--mask", mask)):
            if given and len(given) != len(styles):
                hint = f"give one {flag}{', or all,' if flag == '--mask' else ''} for each --style"
                raise InvalidRequest(f"{len(styles)} --style but {len(given)} {flag}", hint)
        target = files.address("--to", to) if to else None
        options["format"] = _format(options["format"], output, target)

        def job(picture: Callable[[str, str], ImageRef]) -> Job:
            where = {"bucket": target.bucket, "key": target.key} if target else {}
            fields: dict[str, Any] = {
                "id": job_id,
                "content": picture("--content", content),
                "styles": [
                    {
                        "image": picture("--style", source),
                        "weight": weight[number] if weight else 1.0,
                        "mask": picture("--mask", mask[number]) if mask and mask[number] != EVERYWHERE else None,
                    }
                    for number, source in enumerate(styles)
                ],
                "keep_mask": picture("--keep-mask", keep_mask) if keep_mask else None,
                "output": {**where, **OUTPUT.fields(options, picture)},
                "recipe": RECIPE.fields(options, picture),
                "queue": queue,
                "deadline": deadline and _moment(deadline),
                "labels": dict(pair("--label", text) for text in label or []),
            }
            given = {name: value for name, value in fields.items() if value not in (None, [], {})}
            if template is not None:
                return client.job(given, template=template)
            recipe = {"method": OptimizeRecipe().method, **fields["recipe"]}
            put = {"bucket": client.settings.output_bucket, **fields["output"]}
            return parse(Job, {**given, "recipe": recipe, "output": put}, in_words=in_words, hint=_HELP)

        try:
            # All that needs no upload is checked before the first one.
            checked = job(partial(files.source, client=None))
            if output:
                files.check_target(output, checked.output.format)
            client.submit_each((), notify=notify or ())
            ready = job(partial(files.source, client=client))
        except KeyboardInterrupt:
            raise Interrupted("nothing was submitted", "") from None
        try:
            client.submit(ready, notify=notify or ())
        except KeyboardInterrupt:
            raise Interrupted(
                f"job {ready.id} may have been submitted", f"see `stylequeue status {ready.id}`"
            ) from None
        if not wait and output is None:
            console.show_json({"id": ready.id}) if as_json else console.show(ready.id)
            return
        if not as_json:
            console.tell(f"job {ready.id}")
        follow_to_end(client, ready.id, output, as_json=as_json)


def _format(asked_for: ImageFormat | None, output: Path | None, target: ImageRef | None) -> ImageFormat | None:
    """The picture's format, where it is said: by --format, else by the suffix of -o or --to.

    Raises InvalidRequest where they differ.
    """
    named = {"-o": str(output) if output else "", "--to": target.key if target else ""}
    by_suffix = {flag: files.format_named(flag, name) for flag, name in named.items() if name}
    found = next((name for name in (asked_for, *by_suffix.values()) if name), None)
    for flag, wanted in by_suffix.items():
        if wanted not in (None, found):
            other = "--format" if asked_for else "-o"
            raise InvalidRequest(f"{flag} {named[flag]} is {wanted}, {other} says {found}", "make them agree")
    return found


def _moment(text: str) -> datetime:
    try:
        if (seconds := duration_s(text)) is not None:
            return datetime.now(UTC) + timedelta(seconds=seconds)
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError):
        hint = "write 30m, 2h, 7d or 2030-01-31T12:00Z"
        raise InvalidRequest(f"--deadline {text!r} is no time", hint) from None


def in_words(fault: ErrorDetails) -> str:
    """What is wrong with a job, with options in place of its fields."""
    message = fault["msg"].removeprefix("Value error, ")
    within: list[int | str] = []
    match fault["loc"]:
        case ():
            return message
        case ("recipe", _):
            return RECIPE.in_words(message)
        case ("recipe", method, str(name), *_) if fault["type"] == "extra_forbidden":
            return f"{RECIPE.flag(name)} is no option of --method {method}"
        case ("recipe", _, str(name), *within):
            flag = RECIPE.flag(name)
        case ("output", str(name), *within) if name in OUTPUT.by_name:
            flag = OUTPUT.flag(name)
        case ("output", *_):
            flag = "--to"
        case ("styles", _, "weight"):
            flag = "--weight"
        case ("styles", *_):
            flag = "--style"
        case ("labels", *within):
            flag = "--label"
        case (field, *_):
            flag = f"--{field}".replace("_", "-")
    flag = " ".join((flag, *(str(part) for part in within if part != "[key]")))
    if message.startswith("Input "):
        return f"{flag} {fault['input']} {message.removeprefix('Input ')}"
    return f"{flag}: {message}"
