"""Whatever goes in, a picture comes out, or an error says why: all fields at their limits, odd pictures, odd sizes.

The limits are read off the contract's models, so that a field added there is tried here; one whose limits cannot be
read fails its test.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stylequeue.contract.errors import Code, InvalidJob, Permanent
from stylequeue.contract.job import Style
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, resolve
from stylequeue_worker.engine import Engine, Options
from tests.engine.conftest import Picture
from tests.support.limits import SOMEWHERE, fields_of

pytestmark = pytest.mark.usefixtures("uncompiled")

Fields: TypeAlias = dict[str, Any]

STEPS = 2
"""Painted of each recipe, however many it asks for."""
CLEAR = {Code.NOT_FINITE, Code.NETWORK_UNAVAILABLE, Code.RECIPE_UNSUPPORTED}
"""What may be said instead of a picture."""

ONE_BY_ONE = [
    pytest.param(model, {name: value}, id=f"{model.__name__} {name}={value}")
    for model in (OptimizeRecipe, FastRecipe)
    for name, values in fields_of(model).items()
    for value in values
]


def completed(model: type[OptimizeRecipe | FastRecipe], fields: Fields) -> Fields:
    """With what some values cannot be without; by the cheapest of our presets where none is named."""
    if model is FastRecipe:
        return fields
    fields = {"preset": "painterly", **fields}
    if fields.get("init") == "image":
        return {**fields, "init_image": SOMEWHERE}
    if "init_image" in fields:
        return {**fields, "init": "image"}
    if "turned_styles" in fields:
        return {**fields, "preset": "brushwork"}
    return fields


def picture(kind: str, size: tuple[int, int], photo: Picture) -> np.ndarray:
    height, width = size
    flat = np.zeros((1, height, width, 3), np.float32)
    match kind:
        case "white":
            return flat + 1
        case "grey":
            return flat + np.float32(0.5)
        case "photograph":
            return photo("chelsea", height, width)
        case "grey photograph":
            return np.repeat(photo("chelsea", height, width).mean(axis=3, keepdims=True), 3, axis=3)
        case "noise":
            return np.random.default_rng(0).uniform(size=flat.shape).astype(np.float32)
        case "one bright pixel":
            flat[0, 8, 8] = 1
    return flat


def paint(
    engine: Engine,
    content: np.ndarray,
    styles: list[tuple[np.ndarray, float]],
    recipe: OptimizeRecipe | FastRecipe,
    masks: list[np.ndarray | None] | None = None,
) -> Permanent | None:
    """What it ended with if not with a picture; all that come are finite, in [0, 1], and of the content's size."""
    steps = engine.paint(content, styles, resolve(recipe), start=content[:, ::-1], masks=masks)
    try:
        pictures = list(itertools.islice(steps, STEPS))
    except Permanent as error:
        return error
    assert pictures
    for step in pictures:
        assert step.picture.shape == content.shape
        assert step.picture.dtype == np.float32
        assert np.isfinite(step.picture).all()
        assert 0 <= step.picture.min() <= step.picture.max() <= 1
        assert all(np.isfinite(loss) for loss in step.losses.values())
    return None


@pytest.fixture(params=["engine", pytest.param("whole_engine", marks=pytest.mark.slow)])
def either_engine(request: pytest.FixtureRequest, narrowed: None) -> Engine:
    """Limits are the same for the whole network, which takes twice as long."""
    either: Engine = request.getfixturevalue(request.param)
    return either


@pytest.mark.parametrize(("model", "fields"), ONE_BY_ONE)
def test_every_field_at_its_limits(
    either_engine: Engine, photo: Picture, stripes: Picture, model: type[OptimizeRecipe | FastRecipe], fields: Fields
) -> None:
    recipe = model.model_validate(completed(model, fields))
    error = paint(either_engine, photo(height=24, width=17), [(stripes(20), 1.0)], recipe)
    of_vgg19 = fields.get("network") == "vgg19" or "conv4" in str(fields)
    assert error is None or (of_vgg19 and error.code in (Code.NETWORK_UNAVAILABLE, Code.RECIPE_UNSUPPORTED))


def test_what_a_style_has_is_tried() -> None:
    """Below: its weight and its mask at their limits, and pictures of all kinds."""
    assert set(Style.model_fields) == {"image", "weight", "mask"}


KINDS = st.sampled_from(["black", "white", "grey", "photograph", "grey photograph", "noise", "one bright pixel"])
SIDES = st.sampled_from([(16, 16), (16, 200), (200, 16), (17, 31), (40, 24)])
MASKS = st.sampled_from([None, "black", "white", "grey", "noise", "one bright pixel"])
WEIGHTS = st.sampled_from(fields_of(Style)["weight"])
RECIPES = st.one_of(
    *(
        st.tuples(
            st.just(model),
            st.fixed_dictionaries(
                {}, optional={name: st.sampled_from(values) for name, values in fields_of(model).items()}
            ),
        )
        for model in (OptimizeRecipe, OptimizeRecipe, OptimizeRecipe, FastRecipe)
    )
)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    kind=KINDS,
    size=SIDES,
    styles=st.lists(st.tuples(KINDS, SIDES, WEIGHTS, MASKS), min_size=1, max_size=3),
    chosen=RECIPES,
)
def test_any_mixture_of_limits_on_any_picture(
    either_engine: Engine,
    photo: Picture,
    kind: str,
    size: tuple[int, int],
    styles: list[tuple[str, tuple[int, int], float, str | None]],
    chosen: tuple[type[OptimizeRecipe | FastRecipe], Fields],
) -> None:
    model, fields = chosen
    try:
        recipe = model.model_validate(completed(model, fields))
    except InvalidJob:
        assume(False)
    pictures = [(picture(kind, size, photo), weight) for kind, size, weight, _ in styles]
    masks = [None if mask is None else picture(mask, size, photo)[..., :1] for *_, mask in styles]
    error = paint(either_engine, picture(kind, size, photo), pictures, recipe, masks)
    assert error is None or error.code in CLEAR


@pytest.mark.parametrize(
    ("size", "memory_budget_bytes"),
    [
        ((16, 2048), None),
        pytest.param((2048, 16), None, marks=pytest.mark.slow),
        pytest.param((640, 480), None, marks=pytest.mark.slow),
        pytest.param((300, 200), 1, marks=pytest.mark.slow),
    ],
)
def test_large_pictures(
    model_dir: Path, photo: Picture, stripes: Picture, size: tuple[int, int], memory_budget_bytes: int | None
) -> None:
    """The last in tiles, as if hardly any memory were left."""
    engine = Engine(model_dir, options=Options(memory_bytes=memory_budget_bytes))
    recipe = OptimizeRecipe(preset="painterly", steps=1, network="vgg16")
    assert paint(engine, photo("coffee", *size), [(stripes(), 1.0)], recipe) is None
