"""Every option of a recipe alone and with each other: a picture comes out, and the gradient is the loss's slope.

The cases are generated from `OPTIONS`: each alone, and some with so many at once that every two of them meet. Every two
by themselves, which says which two it was, are the slow tests. The network is VGG-16 with a quarter of its channels,
uncompiled: what is tried here is how options go together, not what the whole network sees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.recipe import OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine import Engine
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import TERMS, Objective
from stylequeue_worker.engine.presets import preset_of
from stylequeue_worker.engine.terms import scene
from tests.engine.conftest import Picture

Option: TypeAlias = tuple[str, Any]
Case: TypeAlias = tuple[Option, ...]

pytestmark = pytest.mark.usefixtures("uncompiled", "narrowed")

HEIGHT_PX, WIDTH_PX, STEPS = 64, 56, 2

OF_THE_RECIPE: list[Option] = [
    ("preset", "brushwork"),
    ("preset", "tf-tutorial"),
    ("preset", "tf-keras-2018"),
    ("preset", "gatys-2016"),
    ("optimizer", "lbfgs"),
    ("optimizer", "swift"),
    ("strength", 0.9),
    ("content_weight", 3.0),
    ("variation_weight", 2.0),
    ("colours", "luminance"),
    ("colours", "match"),
    ("init", "noise"),
    ("init", "style"),
    ("init", "image"),
    ("pooling", "average"),
    ("content_layers", {"block2_conv2": 0.5, "block3_conv3": 1.0}),
    ("style_layers", {"block1_conv2": 1.0, "block3_conv2": 0.3}),
    ("time_budget_s", 1000.0),
    ("stop_when", 0.5),
]
OF_THE_PICTURES: list[Option] = [("styles", 2), ("mask", "soft"), ("kept", "soft")]
OPTIONS = [*OF_THE_RECIPE, *OF_THE_PICTURES]
TOUCH_THE_LOSS = {
    "preset",
    "variation_weight",
    "pooling",
    "content_layers",
    "style_layers",
    *(name for name, _ in OF_THE_PICTURES),
}
OF_THE_LOSS = [option for option in OPTIONS if option[0] in TOUCH_THE_LOSS]
REFUSED = ({"preset", "strength"}, {"strength", "content_weight"})


def pairs() -> Iterator[Case]:
    """Every value with every other option; where both have several, not each with each."""
    by_name = [list(values) for _, values in itertools.groupby(OPTIONS, key=lambda option: option[0])]
    for one, other in itertools.combinations(by_name, 2):
        if {one[0][0], other[0][0]} not in REFUSED:
            count = max(len(one), len(other))
            yield from itertools.islice(zip(itertools.cycle(one), itertools.cycle(other), strict=False), count)


def meetings(options: list[Option]) -> Iterator[Case]:
    """Cases of as many options as go together, in which every two that may meet do."""
    unmet = {
        frozenset({index, other})
        for index, other in itertools.combinations(range(len(options)), 2)
        if may_meet(options[index], options[other])
    }
    while unmet:
        case = sorted(min(unmet, key=sorted))
        while candidates := [
            index
            for index, option in enumerate(options)
            if index not in case and all(may_meet(option, options[chosen]) for chosen in case)
        ]:
            case.append(max(candidates, key=lambda index: sum({index, chosen} in unmet for chosen in case)))
        unmet -= {frozenset(pair) for pair in itertools.combinations(case, 2)}
        yield tuple(options[index] for index in sorted(case))


def may_meet(one: Option, other: Option) -> bool:
    return one[0] != other[0] and {one[0], other[0]} not in REFUSED


def with_pairs(options: list[Option]) -> list[Any]:
    """What is tried with these options."""
    quick: list[Case] = [*((option,) for option in options), *meetings(options)]
    slow = [case for case in pairs() if all(option in options for option in case)]
    return [*quick, *(pytest.param(case, marks=pytest.mark.slow) for case in slow if case not in quick)]


def name_of(case: Case) -> str:
    return " ".join(f"{name}={value}" for name, value in case)


def recipe_of(case: Case) -> ResolvedOptimizeRecipe:
    fields = {name: value for name, value in case if (name, value) in OF_THE_RECIPE}
    if fields.get("init") == "image":
        fields["init_image"] = {"bucket": "uploads", "key": "start.jpg"}
    recipe = resolve(
        OptimizeRecipe.model_validate({"network": "vgg16", "preset": "painterly", "steps": STEPS, **fields})
    )
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    return recipe


class Given(NamedTuple):
    """Pictures, each made once: scaling a photograph takes as long as painting some steps."""

    content: np.ndarray
    styles: list[tuple[np.ndarray, float]]
    mask: np.ndarray
    start: np.ndarray

    def styles_of(self, case: Case) -> list[tuple[np.ndarray, float]]:
        """As many as the case has, with weights that sum to 1."""
        styles = self.styles[: dict(case).get("styles", 1)]
        total = sum(weight for _, weight in styles)
        return [(style, weight / total) for style, weight in styles]

    def masks_of(self, case: Case) -> list[np.ndarray | None] | None:
        """The first style's alone, where the case has one."""
        return [self.mask, None][: dict(case).get("styles", 1)] if "mask" in dict(case) else None

    def kept_of(self, case: Case) -> np.ndarray | None:
        """From the right, while styles begin at the left."""
        return self.mask[:, :, ::-1] if "kept" in dict(case) else None


@pytest.fixture(scope="module")
def given(photo: Picture, stripes: Picture) -> Given:
    styles = [(stripes(48), 1.0), (photo("rocket", 40, 48), 2.0)]
    mask = np.tile(np.linspace(-0.5, 1.5, WIDTH_PX, dtype=np.float32).clip(0, 1)[:, None], (1, HEIGHT_PX, 1, 1))
    return Given(photo("coffee", HEIGHT_PX, WIDTH_PX), styles, mask, photo("chelsea", 40))


@pytest.mark.parametrize("case", with_pairs(OPTIONS), ids=name_of)
def test_a_picture_comes_out(engine: Engine, given: Given, case: Case) -> None:
    recipe = recipe_of(case)
    styles, masks = given.styles_of(case), given.masks_of(case)
    kept = given.kept_of(case)
    steps = list(engine.paint(given.content, styles, recipe, start=given.start, masks=masks, kept=kept))
    assert [step.step for step in steps] == [1, 2]
    last = steps[-1].picture
    assert last.shape == given.content.shape
    assert np.isfinite(last).all()
    assert 0 <= last.min() <= last.max() <= 1
    if recipe.optimizer != "lbfgs":  # Adam moves at every step
        assert np.abs(last - given.content).max() > 1e-3
    else:
        # A line search moves to a better picture or, where three trials find none, not at all: what it shows is one of
        # those that it evaluated, the first or a better one.
        weights = {term: getattr(recipe, f"{term}_weight") for term in TERMS}
        weights |= {"matching": MATCHES_AT_ONCE} if recipe.preset == "brushwork" else {}
        ended = steps[-1].summarise().losses
        assert weights.keys() == steps[0].losses.keys()
        totals = [sum(weight * step.losses[term] for term, weight in weights.items()) for step in steps]
        shown = [
            total
            for step, total in zip(steps, totals, strict=True)
            if all(ended[term] == pytest.approx(step.losses[term], rel=1e-5, abs=1e-9) for term in TERMS)
        ]
        assert shown, "what is shown was evaluated"
        assert min(shown) <= totals[0] * (1 + 1e-5)  # both are sums in float32


MATCHES_AT_ONCE = 0.5
"""Matching's weight in every step, for a rule that wants one loss: what it has in every other one, shared out."""
REACHES = (1e-4, 1e-5)
"""Along a direction of length 1. A long one crosses kinks of ReLU, pooling and absolute values; a short one rounds."""
EXACT = 3e-5
"""Of the slope. In float64 all come to 1e-7 but `gatys-2016`: rescaled, its loss is so large that it rounds."""


@pytest.mark.parametrize("case", with_pairs(OF_THE_LOSS), ids=name_of)
def test_the_gradient_is_the_slope_of_the_loss(narrow: Vgg, samples: list[tf.Tensor], given: Given, case: Case) -> None:
    recipe = recipe_of(case)
    preset = preset_of(recipe)
    network = narrow.cast(tf.float64).pooled(recipe.pooling)
    if preset.rescaled:
        network = network.rescaled(tf.cast(picture, tf.float64) for picture in samples)
    objective = Objective(network, preset)
    content = tf.constant(given.content, tf.float64)
    styles = [(tf.constant(style, tf.float64), share) for style, share in given.styles_of(case)]
    random = np.random.default_rng(11)
    picture = tf.constant(random.uniform(0.2, 0.8, content.shape))
    view = objective.views(picture)[-1]
    weights = {term: tf.constant(getattr(recipe, f"{term}_weight", 1), tf.float64) for term in objective.terms}
    kept = given.kept_of(case)
    kept_here = None if kept is None else tf.constant(kept, tf.float64)
    targets = objective.targets(scene(content, styles, given.masks_of(case), kept_here), view)

    def loss(at: tf.Tensor) -> float:
        terms = objective.losses_at(at, targets, view)
        return float(tf.add_n([weights[term] * terms[term] for term in weights]))

    gradient = objective.evaluate(picture, targets, weights, view).gradient
    # By chance as far, but always uphill: where slopes cancel out, a difference is all rounding.
    direction = np.sign(gradient) * random.uniform(size=gradient.shape)
    direction /= np.linalg.norm(direction)
    slope = float(tf.reduce_sum(gradient * direction))
    quotients = [
        (loss(picture + reach * direction) - loss(picture - reach * direction)) / (2 * reach) for reach in REACHES
    ]
    errors = [abs(quotient / slope - 1) for quotient in quotients]
    assert min(errors) < EXACT, errors
