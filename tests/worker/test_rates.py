"""What a worker measures of its own speed."""

from __future__ import annotations

import pytest

from stylequeue.contract import cost
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, resolve
from stylequeue_worker.work.rates import Rates

RECIPE = resolve(OptimizeRecipe(preset="painterly"))
KIND = "painterly/adam/vgg16"
SIDES = (256, 192)


def note(rates: Rates, seconds_a_megapixel_step: float, share: float = 1.0) -> None:
    work = cost.megapixel_steps(RECIPE, SIDES)
    rates.note(RECIPE, "vgg16", SIDES, share, share * work * seconds_a_megapixel_step)


def test_the_median_of_the_latest_counts() -> None:
    rates = Rates()
    for rate in (50.0, 2.0, 2.1):
        note(rates, rate)
    assert rates.all() == {KIND: pytest.approx(2.1)}
    for _ in range(5):
        note(rates, 1.0)
    assert rates.all() == {KIND: pytest.approx(1.0)}


def test_part_of_a_painting_is_a_measure_too_unless_it_is_small() -> None:
    rates = Rates()
    note(rates, 3.0, share=0.5)
    note(rates, 9.0, share=0.1)
    assert rates.all() == {KIND: pytest.approx(3.0)}


def test_the_first_fast_painting_is_no_measure() -> None:
    rates, recipe = Rates({"fast": 0.2}), resolve(FastRecipe())
    rates.note(recipe, "fast", (1000, 1000), 1.0, 50.0)
    assert rates.all() == {"fast": 0.2}
    rates.note(recipe, "fast", (1000, 1000), 1.0, 1.0)
    assert rates.all() == {"fast": pytest.approx(1.0, rel=0.02)}


def test_what_a_process_before_measured_counts_until_this_one_has() -> None:
    rates = Rates({KIND: 7.0, "fast": 0.2})
    assert rates.all() == {KIND: 7.0, "fast": 0.2}
    note(rates, 3.0)
    rates.note(resolve(FastRecipe()), "fast", (1000, 1000), 1.0, 0.0)
    assert rates.all() == {KIND: pytest.approx(3.0), "fast": 0.2}
