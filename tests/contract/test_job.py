from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stylequeue.contract.base import canonical_json
from stylequeue.contract.errors import Code, InvalidJob
from stylequeue.contract.job import (
    MAX_JOB_BYTES,
    MAX_STYLES,
    SCHEMA_VERSION,
    Job,
    Output,
    Style,
    fingerprint,
    parse_job,
)
from stylequeue.contract.objects import MAX_KEY_BYTES, ImageRef
from stylequeue.contract.recipe import (
    DEFAULT_PRESET,
    FAST_DEFAULTS,
    MAX_SIZE_PX,
    MIN_SIDE_PX,
    PRESETS,
    FastRecipe,
    OptimizeRecipe,
    ResolvedOptimizeRecipe,
    resolve,
)
from tests.support.jobs import job_fields, make_job


def refused(**fields: Any) -> InvalidJob:
    with pytest.raises(InvalidJob) as caught:
        make_job(**fields)
    return caught.value


def test_a_job_survives_its_own_json() -> None:
    job = make_job(labels={"user": "é"}, deadline="2030-01-01T00:00:00Z", recipe={"method": "fast", "size": 100})
    assert Job.model_validate_json(job.canonical_json()) == job
    assert Job.model_validate_json(job.canonical_json()).canonical_json() == job.canonical_json()


def test_ids_are_new_and_grow_with_time() -> None:
    ids = [make_job().id for _ in range(100)]
    assert len(set(ids)) == 100
    assert ids[0][14] == "7"
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    "fields",
    [
        {"colour": "blue"},
        {"recipe": {"method": "optimize", "stesp": 3}},
        {"recipe": {"method": "fast", "steps": 3}},
        {"recipe": {"method": "paint"}},
        {"styles": []},
        {"styles": [{"image": {"bucket": "styles", "key": "a"}}] * (MAX_STYLES + 1)},
        {"styles": [{"image": {"bucket": "styles", "key": "a"}, "weight": 0}]},
        {"output": {"bucket": "results", "format": "gif"}},
        {"output": {"bucket": "results", "quality": 101}},
        {"id": "a/b"},
        {"id": ""},
        {"queue": "celery"},
        {"deadline": "2030-01-01T00:00:00"},
        {"deadline": "0001-01-01T00:00:00+14:00"},
        {"deadline": "9999-12-31T23:59:59-14:00"},
        {"labels": {"": "x"}},
        {"labels": {str(n): "x" for n in range(17)}},
    ],
)
def test_what_breaks_the_contract_is_refused_by_name(fields: dict[str, Any]) -> None:
    error = refused(**fields)
    assert error.code == Code.INVALID_JOB
    assert next(iter(fields)) in error.message


@pytest.mark.parametrize("size", [MIN_SIDE_PX - 1, MAX_SIZE_PX + 1, "big", float("nan")])
def test_sizes_out_of_range_are_refused(size: Any) -> None:
    assert "recipe" in refused(recipe={"method": "fast", "size": size}).message


@pytest.mark.parametrize("size", [MIN_SIDE_PX, MAX_SIZE_PX])
def test_sizes_at_the_limits_are_taken(size: int) -> None:
    assert make_job(recipe={"method": "fast", "size": size}).recipe.size == size


@pytest.mark.parametrize("key", ["", "a/../b", "./a", "..", "a\nb", "a\0", "é" * (MAX_KEY_BYTES // 2 + 1)])
def test_keys_that_no_store_should_see_are_refused(key: str) -> None:
    refused(content={"bucket": "uploads", "key": key})


@pytest.mark.parametrize("key", ["a b+c%2B.jpg", "日本/ü.png", "x" * MAX_KEY_BYTES, "a..b", "...", "a/...b"])
def test_odd_but_legal_keys_are_taken_as_they_are(key: str) -> None:
    assert make_job(content={"bucket": "uploads", "key": key}).content.key == key


@pytest.mark.parametrize(
    "key", ["site/config.json", "photo.jpg.json", "photo.jpg.report.png", "photo.jpg.thumb.webp", ".json"]
)
def test_no_picture_lies_where_something_beside_a_picture_could(key: str) -> None:
    message = refused(output={"bucket": "results", "key": key}).message
    assert "output.key" in message
    assert "does not end in .json or .report.png or .thumb.webp" in message


@pytest.mark.parametrize("key", ["config.jsonl.jpg", "report.png", "json", "a.json/b.png"])
def test_keys_that_only_look_like_those_of_something_beside_a_picture_are_taken(key: str) -> None:
    assert make_job(output={"bucket": "results", "key": key}).output_key == key


def test_a_key_made_of_the_id_lies_beside_no_other_picture() -> None:
    assert ".report.png" in refused(id="photo.report", output={"bucket": "results", "format": "png"}).message
    assert make_job(id="photo.report").output_key == "photo.report.jpg"


def test_a_job_too_large_for_a_message_is_refused() -> None:
    long_key = {"bucket": "uploads", "key": "ü" * (MAX_KEY_BYTES // 2), "version_id": "v" * 1024}
    labels = {str(n): "🖼" * 256 for n in range(16)}
    error = refused(content=long_key, styles=[{"image": long_key}] * MAX_STYLES, labels=labels)
    assert str(MAX_JOB_BYTES) in error.message


@pytest.mark.parametrize(
    ("uri", "key", "version"),
    [
        ("s3://uploads/a/b.jpg", "a/b.jpg", None),
        ("s3://uploads/a%20b+c.jpg", "a b+c.jpg", None),
        ("s3://uploads/a%3Fb.jpg?versionId=12%2F3", "a?b.jpg", "12/3"),
    ],
)
def test_addresses(uri: str, key: str, version: str | None) -> None:
    assert ImageRef.from_uri(uri) == ImageRef(bucket="uploads", key=key, version_id=version)


@pytest.mark.parametrize(
    "uri", ["http://x/y", "s3://uploads", "s3://uploads/", "s3:///key", "s3://u/a?b", "a.jpg", "s3://[u/a"]
)
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(InvalidJob):
        ImageRef.from_uri(uri)


def test_a_message_without_an_id_takes_the_given_one() -> None:
    assert parse_job(job_fields(), default_id="task-1").id == "task-1"
    assert parse_job(job_fields(id="mine"), default_id="task-1").id == "mine"
    assert parse_job(job_fields(id=None), default_id="task-1").id == "task-1"


@pytest.mark.parametrize("payload", [None, [], "job", 7, {"content": None}])
def test_what_is_no_job_is_refused(payload: object) -> None:
    with pytest.raises(InvalidJob) as caught:
        parse_job(payload, default_id="task-1")
    assert caught.value.code == Code.INVALID_JOB


def test_a_newer_schema_has_a_code_of_its_own() -> None:
    with pytest.raises(InvalidJob) as caught:
        parse_job(job_fields(schema_version=SCHEMA_VERSION + 1, brush="new"), default_id="task-1")
    assert caught.value.code == Code.SCHEMA_TOO_NEW


def test_a_job_is_written_with_the_lowest_version_that_can_express_it() -> None:
    plain = parse_job(job_fields(recipe={"method": "optimize", "preset": "painterly"}), default_id="task-1")
    newer = parse_job(job_fields(recipe={"method": "optimize", "preset": "brushwork"}), default_id="task-1")
    assert json.loads(plain.canonical_json())["schema_version"] == 1
    assert json.loads(newer.canonical_json())["schema_version"] == 2
    by_default = parse_job(job_fields(recipe={"method": "optimize"}), default_id="task-1")
    assert by_default == newer, "an older worker, whose default is another, does not paint it"
    fast = parse_job(job_fields(recipe={"method": "fast"}), default_id="task-1")
    assert json.loads(fast.canonical_json())["schema_version"] == 1
    assert parse_job(json.loads(newer.canonical_json()), default_id="task-2") == newer


def test_turned_styles_are_of_presets_that_match_features() -> None:
    for preset in PRESETS:
        fields = {"recipe": {"method": "optimize", "preset": preset, "turned_styles": False}}
        if preset == "brushwork":
            assert json.loads(make_job(**fields).canonical_json())["schema_version"] == 2
        else:
            assert "turned_styles" in refused(**fields).message
        # Left out it is nowhere, so that a job has the digest that it always had.
        assert "turned_styles" not in make_job(recipe={"method": "optimize", "preset": preset}).canonical_json()


MORE: list[dict[str, Any]] = [
    {"keep_mask": {"bucket": "uploads", "key": "keep.png"}},
    {"recipe": {"method": "optimize", "keep_faces": True}},
    {"recipe": {"method": "optimize", "keep_faces": False}},
    {"recipe": {"method": "fast", "keep_faces": True}},
    {"recipe": {"method": "fast"}, "output": {"bucket": "results", "thumbnail": True}},
    {"recipe": {"method": "fast"}, "output": {"bucket": "results", "provenance": "none"}},
]


@pytest.mark.parametrize("keeps", MORE, ids=str)
def test_a_worker_of_before_refuses_a_job_that_says_more_than_it_knows(
    keeps: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = json.loads(make_job(**keeps).canonical_json())
    assert written["schema_version"] == 2
    assert parse_job(written, default_id="task-1").canonical_json() == canonical_json(written)
    monkeypatch.setattr("stylequeue.contract.job.SCHEMA_VERSION", 1)
    with pytest.raises(InvalidJob) as caught:
        parse_job(written, default_id="task-1")
    assert caught.value.code == Code.SCHEMA_TOO_NEW


def test_a_job_that_says_nothing_of_it_is_written_as_before() -> None:
    job = make_job(id="a", recipe={"method": "optimize", "preset": "painterly"})
    assert job.canonical_json() == (
        '{"content":{"bucket":"uploads","key":"content.jpg"},"id":"a","labels":{},"output":{"bucket":"results",'
        '"format":"jpeg","overwrite":false,"quality":92,"report":false},"recipe":{"method":"optimize","preset":'
        '"painterly"},"schema_version":1,"styles":[{"image":{"bucket":"styles","key":"style.jpg"},"weight":1.0}]}'
    )


@pytest.mark.parametrize(
    ("recipe", "keeps"),
    [
        ({"preset": "painterly"}, False),
        ({"preset": "brushwork"}, True),
        ({"preset": "tf-tutorial"}, False),
        ({"preset": "brushwork", "keep_faces": False}, False),
        ({"preset": "tf-tutorial", "keep_faces": True}, True),
    ],
)
def test_which_presets_keep_faces_by_themselves(recipe: dict[str, Any], keeps: bool) -> None:
    assert resolve(OptimizeRecipe.model_validate(recipe)).keep_faces is keeps
    assert resolve(FastRecipe()).keep_faces is False
    assert resolve(FastRecipe(keep_faces=True)).keep_faces is True


def test_errors_do_not_repeat_long_input() -> None:
    error = refused(recipe={"method": "x" * 10_000})
    assert len(str(error)) < 1000


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_whatever_stands_in_a_field_is_refused_or_taken(value: object) -> None:
    for name in Job.model_fields:
        job = None
        with suppress(InvalidJob):
            job = parse_job(job_fields(**{name: value}), default_id="task-1")
        assert job is None or parse_job(json.loads(job.canonical_json()), default_id="task-2") == job


# Recipes


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_every_field(preset: str) -> None:
    recipe = OptimizeRecipe.model_validate({"preset": preset})
    assert resolve(recipe) == PRESETS[recipe.preset]


def test_what_is_given_wins_over_the_preset() -> None:
    resolved = resolve(OptimizeRecipe(size=100, steps=7, network="vgg16", style_weight=2.0))
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    assert (resolved.size, resolved.steps, resolved.network, resolved.style_weight) == (100, 7, "vgg16", 2.0)
    assert resolve(FastRecipe(size=100)).size == 100
    assert resolve(FastRecipe()) == FAST_DEFAULTS


def test_content_weight_falls_as_strength_rises() -> None:
    weights = [resolve(OptimizeRecipe(strength=n / 20)).model_dump()["content_weight"] for n in range(1, 21)]
    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == 20


def test_strength_nought_takes_no_steps() -> None:
    assert resolve(OptimizeRecipe(strength=0)).model_dump()["steps"] == 0


def test_a_published_recipe_takes_no_strength() -> None:
    assert "strength" in refused(recipe={"method": "optimize", "preset": "tf-tutorial", "strength": 0.5}).message


def test_strength_and_content_weight_exclude_each_other() -> None:
    assert "one of them" in refused(recipe={"method": "optimize", "strength": 0.5, "content_weight": 1}).message
    assert resolve(OptimizeRecipe(content_weight=1)).strength is None


def test_an_image_to_start_from_is_given_with_init_image_or_not_at_all() -> None:
    start = {"bucket": "uploads", "key": "start.jpg"}
    assert "init_image" in refused(recipe={"method": "optimize", "init": "image"}).message
    assert "init_image" in refused(recipe={"method": "optimize", "init_image": start}).message
    resolved = resolve(OptimizeRecipe.model_validate({"init": "image", "init_image": start}))
    assert resolved.model_dump()["init_image"]["key"] == "start.jpg"
    assert type(resolved).model_validate_json(resolved.model_dump_json()) == resolved


@pytest.mark.parametrize("layers", [{}, {"block6_conv1": 1}, {"block1_conv3": 1}, {"block1_conv1": 0}, {"pool": 1}])
def test_layers_are_convolutions_with_weights(layers: dict[str, float]) -> None:
    for field in ("content_layers", "style_layers"):
        assert field in refused(recipe={"method": "optimize", field: layers}).message


def test_layers_that_only_vgg19_has() -> None:
    fourth = {"block3_conv4": 1.0}
    assert "vgg16" in refused(recipe={"method": "optimize", "network": "vgg16", "style_layers": fourth}).message
    assert resolve(OptimizeRecipe(network="vgg19", style_layers=fourth)).model_dump()["style_layers"] == fourth


def test_resolving_twice_changes_nothing() -> None:
    once = resolve(OptimizeRecipe(strength=0.3))
    assert type(once).model_validate_json(once.model_dump_json()) == once


# Fingerprints


GOLDEN = "870bbeb7fa5840c1142815814aacb68815f9892c461dc21b2b85e0245d1ce00b"
"""Of what `mark` makes, under the first policy of metadata."""


def mark(**changes: Any) -> str:
    job = make_job(**changes.pop("job", {}))
    parts: dict[str, Any] = {
        "content_version": "c",
        "style_versions": ("s", "t"),
        "style_weights": (1.0, 1.0),
        "recipe": resolve(job.recipe),
        "output": job.output,
        "network_digest": "n",
        "engine_version": "1",
    }
    return fingerprint(**{**parts, **changes})


def test_the_same_painting_has_the_same_fingerprint() -> None:
    assert mark() == mark()
    before = {"recipe": {"method": "optimize", "preset": "painterly"}}
    assert mark(job=before) == mark(job=before, tenant=None) == GOLDEN, "what was painted before is found"
    assert mark() == mark(style_weights=(2.0, 2.0)), "only the proportion of weights matters"
    assert mark() == mark(
        job={"labels": {"a": "b"}, "output": {"bucket": "results", "key": "elsewhere", "report": True}}
    )
    assert mark() == mark(job={"output": {"bucket": "results", "thumbnail": True, "provenance": "full"}})
    assert mark() == mark(job={"recipe": {"method": "optimize", "size": PRESETS[DEFAULT_PRESET].size}})
    assert mark() == mark(job={"recipe": {"method": "optimize", "keep_faces": True}})
    assert mark(job=before) == mark(job={"recipe": {**before["recipe"], "keep_faces": False}})


@pytest.mark.parametrize(
    "change",
    [
        {"content_version": "d"},
        {"init_version": "i"},
        {"job": {"recipe": {"method": "optimize", "seed": 3}}},
        {"style_versions": ("t", "s")},
        {"style_weights": (1.0, 2.0)},
        {"mask_versions": ("m", None)},
        {"network_digest": "m"},
        {"engine_version": "2"},
        {"tenant": "acme"},
        {"keep_version": "k"},
        {"job": {"recipe": {"method": "optimize", "keep_faces": False}}},
        {"job": {"recipe": {"method": "optimize", "steps": 3}}},
        {"job": {"recipe": {"method": "fast"}}},
        {"job": {"output": {"bucket": "results", "quality": 50}}},
        {"job": {"output": {"bucket": "results", "format": "png"}}},
        {"job": {"output": {"bucket": "results", "provenance": "none"}}},
    ],
)
def test_another_painting_has_another_fingerprint(change: dict[str, Any]) -> None:
    assert mark(**change) != mark()


def test_golden_schemas(pytestconfig: pytest.Config) -> None:
    """Regenerate with `make docs` when the contract is meant to change."""
    from stylequeue.contract.schema import text

    golden = pytestconfig.rootpath / "docs" / "schema"
    for what in ("job", "event"):
        assert (golden / f"{what}.json").read_text() == text(what)
        json.loads(text(what))


# Made in Python, not read


IMAGE = ImageRef(bucket="uploads", key="a.jpg")
STYLE = Style(image=IMAGE)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: OptimizeRecipe(size=0), "size"),
        (lambda: OptimizeRecipe(stesp=3), "stesp"),  # type: ignore[call-arg]
        (lambda: OptimizeRecipe(init="image"), "init_image"),
        (lambda: FastRecipe(strength=2), "strength"),
        (lambda: ImageRef(bucket="uploads", key=""), "key"),
        (lambda: ImageRef.model_validate({"bucket": "uploads"}), "key"),
        (lambda: ImageRef.model_validate_json("{"), "JSON"),
        (lambda: Style(image=IMAGE, weight=-1), "weight"),
        (lambda: Output(bucket="results", quality=0), "quality"),
        (lambda: Output(bucket="NO", key="a"), "bucket"),
        (lambda: Job(content=IMAGE, styles=[], output=Output(bucket="results")), "styles"),
        (lambda: Job(content=IMAGE, styles=[STYLE], output={"bucket": "results", "format": "gif"}), "output.format"),
        (lambda: Job(content=IMAGE, styles=[STYLE, {"image": {}}], output={"bucket": "results"}), "styles.1.image.key"),
        (lambda: Job(), "content"),  # type: ignore[call-arg]
    ],
)
def test_whoever_makes_what_breaks_the_contract_hears_it_from_our_tree(make: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        make()
    assert field in caught.value.message
    assert (caught.value.code, isinstance(caught.value, ValueError)) == (Code.INVALID_JOB, True)


@pytest.mark.parametrize(
    "update",
    [
        {"id": "a b/../:x"},
        {"output": None},
        {"output": {"bucket": "results", "format": "gif"}},
        {"labels": {"user": 42}},
        {"styles": []},
        {"colour": "red"},
    ],
)
def test_a_copy_with_something_else_in_it_is_looked_at(update: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob, match=next(iter(update))):
        make_job().model_copy(update=update)


def test_a_copy_is_the_same_but_for_what_is_put_in() -> None:
    job = make_job(id="first", labels={"user": "42"})
    copied = job.model_copy(update={"id": "second", "output": {"bucket": "results", "key": "b.jpg"}})
    assert copied == make_job(id="second", labels={"user": "42"}, output=Output(bucket="results", key="b.jpg"))
    assert copied.model_fields_set == job.model_fields_set
    assert OptimizeRecipe().model_copy(update={"size": 64}).model_fields_set == {"size"}
    assert job.model_copy() == job.model_copy(update={}) == job


def test_styles_may_be_any_sequence_and_stay_as_they_are() -> None:
    output = Output(bucket="results")
    styles = [STYLE]
    jobs = [Job(id="j", content=IMAGE, styles=some, output=output) for some in (styles, (STYLE,), deque(styles))]
    styles.append(STYLE)
    assert [job.styles for job in jobs] == [(STYLE,)] * 3
    assert len({job.canonical_json() for job in jobs}) == 1
    hash(jobs[0].styles)


def test_other_frameworks_still_get_pydantics_error() -> None:
    """FastAPI answers 422 for it, and 500 for any other."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(list[Job]).validate_python([{"styles": [{"image": {"bucket": "styles"}}]}])
    assert (0, "styles", 0, "image", "key") in {error["loc"] for error in caught.value.errors()}
