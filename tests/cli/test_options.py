"""Options made from the contract's models, and errors in their words."""

from __future__ import annotations

from typing import Literal

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from stylequeue.cli import app
from stylequeue.cli.options import Options, with_options
from stylequeue.cli.submit import OUTPUT, RECIPE
from stylequeue.contract.objects import ImageRef
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe

TO_BE_READ = "s3://uploads/photo.jpg"
PICTURES = ("--content", TO_BE_READ, "--style", TO_BE_READ)


class Slow(BaseModel):
    """Takes its time. And more."""

    method: Literal["slow"] = "slow"
    brush_px: int | None = Field(None, ge=1, le=64, description="Width of the brush.")
    patience_s: float = Field(2.5, gt=0, lt=9)
    layers: dict[str, float] | None = None
    paper: Literal["rough", "smooth", "image"] | None = None
    paper_image: ImageRef | None = None
    signature: ImageRef | None = None
    dry: bool = False


class Quick(BaseModel):
    """Does not."""

    method: Literal["quick"] = "quick"
    brush_px: int | None = None


NEW = Options(Slow, Quick, leave_out={"dry"}, defaults=lambda field: "thin" if field == "brush_px" else "")


@pytest.fixture
def paint() -> typer.Typer:
    """A command with options of models that nobody has told it of."""
    new = typer.Typer(rich_markup_mode=None)

    @new.command()
    @with_options(NEW)
    def paint(content: str, **options: object) -> None:
        def picture(flag: str, source: str) -> ImageRef:
            return ImageRef(bucket="uploads", key=f"{flag}={source}")

        print(NEW.fields(options, picture))

    return new


def test_every_field_is_an_option() -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["submit", "--help"]).stdout
    for name in {**OptimizeRecipe.model_fields, **FastRecipe.model_fields}.keys() - {"init_image"}:
        assert f" {RECIPE.flag(name)} " in shown
    assert RECIPE.flag("init_image") == "--init"
    flags = {option.flag for option in OUTPUT.by_name.values()}
    assert flags == {"--format", "--quality", "--overwrite", "--report", "--provenance", "--thumbnail"}


def test_names_types_choices_help_and_defaults_are_the_fields_own(paint: typer.Typer) -> None:
    lines = " ".join(CliRunner().invoke(paint, ["--help"]).stdout.split()).split(" --")
    shown = {line.split()[0]: line for line in (f"--{line}" for line in lines)}
    assert shown["--brush"] == "--brush PIXELS Width of the brush. [from 1 to 64] [default: thin]"
    assert shown["--patience"] == "--patience SECONDS [over 0 under 9] [default: 2.5]"
    assert shown["--layer"] == "--layer NAME=VALUE"
    assert shown["--paper"] == "--paper [rough|smooth|PICTURE]"
    assert shown["--signature"] == "--signature PICTURE A picture in the store."
    assert shown["--method"].endswith("slow: Takes its time. And more. quick: Does not. [default: slow]")
    assert "--dry" not in shown


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ([], {}),
        (["--brush", "3", "--patience", "4"], {"brush_px": 3, "patience_s": 4.0}),
        (["--layer", "a=1", "--layer", "b=2"], {"layers": {"a": "1", "b": "2"}}),
        (["--paper", "rough"], {"paper": "rough"}),
        (["--method", "quick"], {"method": "quick"}),
    ],
)
def test_what_is_given_becomes_fields(paint: typer.Typer, arguments: list[str], fields: dict[str, object]) -> None:
    assert CliRunner().invoke(paint, ["x", *arguments]).stdout.strip() == str(fields)


def test_a_picture_may_stand_for_a_word(paint: typer.Typer) -> None:
    said = CliRunner().invoke(paint, ["x", "--paper", "mine.jpg", "--signature", "me.png"]).stdout
    assert "'paper': 'image'" in said
    assert "key='--paper=mine.jpg'" in said
    assert "key='--signature=me.png'" in said


@pytest.mark.parametrize("arguments", [["--brush", "wide"], ["--method", "never"], ["--dry"]])
def test_what_no_field_takes_is_refused(paint: typer.Typer, arguments: list[str]) -> None:
    refused = CliRunner().invoke(paint, ["x", *arguments])
    assert refused.exit_code == 2
    assert arguments[0] in refused.stderr


# What is wrong, in the words of options


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "5"], "--size 5 should be greater than or equal to 16"),
        (["--strength", "nan"], "--strength nan should be"),
        (["--quality", "101"], "--quality 101 should be less than or equal to 100"),
        (["--time-budget", "0"], "--time-budget 0.0 should be greater than 0"),
        (["--style-layer", "block9_conv1=1"], "--style-layer block9_conv1"),
        (["--style-layer", "block1_conv1=much"], "--style-layer block1_conv1 much should be a valid number"),
        (["--style-layer", "block1_conv1"], "--style-layer 'block1_conv1' has no '='"),
        (["--method", "fast", "--steps", "5"], "--steps is no option of --method fast"),
        (["--strength", "0.3", "--content-weight", "2"], "--strength and --content-weight set the same thing"),
        (["--preset", "gatys-2016", "--strength", "0.3"], "takes no --strength"),
        (["--id", "../x"], "--id:"),
        (["--label", "=x"], "--label"),
        (["--weight", "0"], "--weight 0.0 should be"),
        (["--style", TO_BE_READ] * 8, "--style:"),
        (["--to", "results/x.png"], "--to: 'results/x.png' is no S3 address"),
        (["--to", "s3://results/x.json"], "--to:"),
        (["--deadline", "²d"], "--deadline '²d' is no time"),
        (["--deadline", "99999999999999d"], "is no time"),
        (["--init", "nowhere.jpg"], "--init nowhere.jpg: no such file"),
        (["--keep-mask", "nowhere.png"], "--keep-mask nowhere.png: no such file"),
    ],
)
def test_errors_speak_of_options(arguments: list[str], said: str) -> None:
    refused = CliRunner(env={"STYLEQUEUE_REDIS_URL": "redis://127.0.0.1:1/0"}).invoke(
        app, ["submit", *PICTURES, *arguments]
    )
    assert refused.exit_code == 2, refused.stderr
    assert said in refused.stderr
    for word in ("recipe.", "output.", "Value error", "Input", "schema"):
        assert word not in refused.stderr
