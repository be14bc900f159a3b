"""A template fills in what a job's sender leaves out, before the job is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stylequeue.cli import app
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidJob, InvalidRequest, JobConflict
from stylequeue.contract.job import Output
from stylequeue.contract.objects import ImageRef
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe
from stylequeue.local import environment
from stylequeue.operator_file import Operator
from stylequeue.settings import Settings
from tests.support.roles import as_role

FILE = """
[template.wave]
styles = ["s3://styles/wave.jpg", {image = "s3://styles/night.jpg", weight = 0.5}]
queue = "bulk"
labels = {shop = "cards", kind = "wave"}
recipe = {method = "optimize", preset = "brushwork", size = 768}
output = {format = "png", report = true}

[template.quick]
recipe = {method = "fast"}
output = {key = "cards/{tenant}/{id}.jpg"}
"""
CONTENT = {"bucket": "uploads", "key": "content.jpg"}
STYLES = [{"image": {"bucket": "styles", "key": "own.jpg"}}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "operator.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def queue(settings: Settings, path: Path) -> Iterator[StyleQueue]:
    with StyleQueue(settings.model_copy(update={"operator_file": path})) as queue:
        yield queue


@pytest.fixture
def wave(queue: StyleQueue) -> Any:
    return lambda **fields: queue.job({"content": CONTENT, **fields}, template="wave")


def test_what_is_left_out_comes_from_it(wave: Any) -> None:
    job = wave()
    assert [style.image.key for style in job.styles] == ["wave.jpg", "night.jpg"]
    assert [style.weight for style in job.styles] == [1, 0.5]
    assert (job.queue, job.labels, job.schema_version) == ("bulk", {"shop": "cards", "kind": "wave"}, 2)
    assert (job.recipe.preset, job.recipe.size) == ("brushwork", 768)
    assert (job.output.bucket, job.output.format, job.output.report) == ("results", "png", True)
    assert job.output_key == f"{job.id}.png"


def test_what_is_given_stands(wave: Any) -> None:
    job = wave(
        id="mine",
        styles=STYLES,
        queue="paint",
        labels={"kind": "own"},
        recipe={"size": 256},
        output={"bucket": "elsewhere", "key": "{id}.png", "report": False},
    )
    assert [style.image.key for style in job.styles] == ["own.jpg"]
    assert (job.queue, job.labels) == ("paint", {"shop": "cards", "kind": "own"})
    assert (job.recipe.preset, job.recipe.size) == ("brushwork", 256)
    assert job.output == Output(bucket="elsewhere", key="{id}.png", format="png", report=False)
    assert wave(recipe={"method": "fast"}).recipe == FastRecipe()


def test_models_of_the_contract_are_fields_too(wave: Any) -> None:
    job = wave(recipe=OptimizeRecipe(steps=9), output=Output(bucket="elsewhere"), content=ImageRef(**CONTENT))
    assert (job.recipe.preset, job.recipe.steps, job.output.bucket) == ("brushwork", 9, "elsewhere")
    assert (job.output.format, wave(recipe=FastRecipe(size=64)).recipe) == ("png", FastRecipe(size=64))


def test_without_one_the_defaults_are_the_contracts(queue: StyleQueue) -> None:
    job = queue.job({"content": CONTENT, "styles": STYLES, "recipe": {"size": 64}})
    assert job.recipe == OptimizeRecipe(size=64)
    assert job.output == Output(bucket="results")
    wrong: dict[str, Any]
    for wrong in ({"output": 7}, {"recipe": []}, {"content": None}, {"style": STYLES}):
        with pytest.raises(InvalidJob):
            queue.job({"content": CONTENT, "styles": STYLES, **wrong})


def test_a_tenants_pictures_lie_under_its_name(queue: StyleQueue) -> None:
    acme = queue.for_tenant("acme")
    job = acme.job({"content": CONTENT, "styles": STYLES, "output": {"format": "webp"}})
    assert job.output_key == f"acme/{job.id}.webp"
    job = acme.job({"content": CONTENT, "styles": STYLES}, template="quick")
    assert job.output_key == f"cards/acme/{job.id}.jpg"
    with pytest.raises(InvalidRequest, match="for tenants"):
        queue.job({"content": CONTENT, "styles": STYLES}, template="quick")


def test_the_whole_job_is_recorded(queue: StyleQueue, path: Path) -> None:
    fields = {"id": "a-card", "content": CONTENT}
    assert queue.submit(fields, template="wave") == queue.submit(fields, template="wave") == "a-card"
    job = queue.job(fields, template="wave")
    assert queue.status("a-card").job == json.loads(job.canonical_json())
    queue.submit(job)
    path.write_text(FILE.replace("768", "512"))
    with pytest.raises(JobConflict):
        queue.submit(fields, template="wave")


def test_one_that_is_not_there_is_refused(queue: StyleQueue) -> None:
    with pytest.raises(InvalidRequest, match="tide") as raised:
        queue.submit({"content": CONTENT}, template="tide")
    assert "quick, wave" in raised.value.hint
    with pytest.raises(InvalidRequest, match="whole job"):
        queue.submit(queue.job({"content": CONTENT}, template="wave"), template="wave")


def test_the_command_takes_one(settings: Settings, path: Path, queue: StyleQueue) -> None:
    env = {**environment(as_role(settings, "operator")), "STYLEQUEUE_OPERATOR_FILE": str(path)}
    content = ["submit", "--content", "s3://uploads/content.jpg", "--json"]
    done = CliRunner(env=env).invoke(app, [*content, "--template", "wave", "--size", "64", "--label", "kind=own"])
    job: Any = queue.status(json.loads(done.stdout)["id"]).job
    assert (job["recipe"]["preset"], job["recipe"]["size"]) == ("brushwork", 64)
    assert (job["labels"], job["output"]["format"]) == ({"shop": "cards", "kind": "own"}, "png")
    for mistake in (
        [],
        ["--template", "tide"],
        ["--template", "wave", "-o", str(path.with_suffix(".jpg")), "--to", "s3://a"],
    ):
        assert CliRunner(env=env).invoke(app, [*content, *mistake]).exit_code == 2
    quick = ["--style", "s3://styles/own.jpg", "--template", "quick", "--to", "s3://results/a.png"]
    done = CliRunner(env=env).invoke(app, [*content, *quick])
    job = queue.status(json.loads(done.stdout)["id"]).job
    assert (job["recipe"], job["output"]["format"]) == ({"method": "fast"}, "png")


def test_the_file_says_the_same_in_tables() -> None:
    text = '[template.a.recipe]\nmethod = "fast"\n[[template.a.styles]]\nweight = 2\n[template.a.styles.image]\n'
    operator = Operator.parse(text + 'bucket = "styles"\nkey = "wave.jpg"\n', name="the file")
    assert operator.template("a").styles[0].image == ImageRef(bucket="styles", key="wave.jpg")
