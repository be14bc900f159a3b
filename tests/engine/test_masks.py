"""Where a style applies."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, ResolvedRecipe, resolve
from stylequeue_worker.engine import Engine, losses
from stylequeue_worker.engine.regions import coverage, regions
from tests.engine.conftest import Picture

SIDE_PX = 64
OPTIMIZE = resolve(OptimizeRecipe(network="vgg16", preset="painterly", steps=15, strength=0.9))
FAST = resolve(FastRecipe())


def left(share: float = 0.5) -> np.ndarray:
    """White on the left."""
    mask = np.zeros((1, SIDE_PX, SIDE_PX, 1), np.float32)
    mask[:, :, : int(share * SIDE_PX)] = 1
    return mask


def soft() -> np.ndarray:
    """From white at the left to black at the right."""
    return np.broadcast_to(np.linspace(1, 0, SIDE_PX, dtype=np.float32)[:, None], (1, SIDE_PX, SIDE_PX, 1)).copy()


class TestRegions:
    """How masks share out the pixels."""

    def test_without_masks_there_is_one_region_of_all_styles(self) -> None:
        [region] = regions([("a", 0.25), ("b", 0.75)], [None, np.ones((1, 4, 4, 1), np.float32)])
        assert region.mask is None
        assert region.styles == [("a", 0.25), ("b", 0.75)]

    def test_styles_under_one_mask_are_blended(self) -> None:
        one, other = regions([("a", 0.2), ("b", 0.3), ("c", 0.5)], [left(), 1 - left(), left()])
        assert [style for style, _ in one.styles] == ["a", "c"]
        assert [share for _, share in one.styles] == pytest.approx([2 / 7, 5 / 7])
        assert other.styles == [("b", 1.0)]
        np.testing.assert_array_equal(one.mask, left())
        np.testing.assert_array_equal(other.mask, 1 - left())

    def test_where_regions_overlap_the_shares_decide(self) -> None:
        everywhere, on_the_left = regions([("a", 0.75), ("b", 0.25)], [None, left()])
        assert everywhere.mask is not None
        assert on_the_left.mask is not None
        np.testing.assert_allclose(everywhere.mask, 1 - 0.25 * left())
        np.testing.assert_allclose(on_the_left.mask, 0.25 * left())

    def test_soft_edges_stay_soft(self) -> None:
        [alone] = regions([("a", 1.0)], [soft()])
        np.testing.assert_allclose(np.asarray(alone.mask), soft(), atol=1e-6)
        one, other = regions([("a", 0.5), ("b", 0.5)], [soft(), 1 - soft()])
        np.testing.assert_allclose(np.asarray(one.mask) + np.asarray(other.mask), 1, atol=1e-6)

    def test_what_is_painted_at_all(self) -> None:
        assert coverage(None) is None
        assert coverage([None, left()]) is None
        np.testing.assert_array_equal(coverage([left(0.25), left(0.5)]), left(0.5))


@pytest.mark.parametrize("measure", [losses.GRAM, losses.WASSERSTEIN], ids=["gram", "wasserstein"])
def test_the_statistics_of_a_region_are_those_of_its_pixels(measure: losses.StyleMeasure) -> None:
    features = tf.constant(np.random.default_rng(3).random((1, SIDE_PX, SIDE_PX, 5)))
    whole = measure.statistics(features[:, :, : SIDE_PX // 2], None)
    regional = measure.statistics(features, tf.constant(left(), tf.float64))
    for name, statistic in whole.items():
        np.testing.assert_allclose(regional[name], statistic, rtol=1e-9)


@pytest.mark.parametrize("recipe", [OPTIMIZE, FAST], ids=["optimize", "fast"])
class TestPainted:
    """What comes of masks."""

    def paint(
        self, engine: Engine, recipe: ResolvedRecipe, content: np.ndarray, *parts: tuple[np.ndarray, np.ndarray | None]
    ) -> np.ndarray:
        styles, masks = [(style, 1.0) for style, _ in parts], [mask for _, mask in parts]
        *_, last = engine.paint(content, styles, recipe, masks=masks)
        return last.picture

    def test_what_no_style_applies_to_keeps_its_pixels(
        self, engine: Engine, photo: Picture, stripes: Picture, recipe: ResolvedRecipe
    ) -> None:
        content = photo(height=SIDE_PX)
        painted = self.paint(engine, recipe, content, (stripes(SIDE_PX), left()))
        half = SIDE_PX // 2
        np.testing.assert_array_equal(painted[:, :, half:], content[:, :, half:])
        assert np.abs(painted[:, :, :half] - content[:, :, :half]).mean() > 0.05

    def test_each_style_applies_in_its_region(
        self, engine: Engine, photo: Picture, stripes: Picture, recipe: ResolvedRecipe
    ) -> None:
        red, blue = (stripes(SIDE_PX, colours=(colour, (0.1, 0.1, 0.1))) for colour in ((0.9, 0, 0), (0, 0, 0.9)))
        content = photo(height=SIDE_PX)
        change = (self.paint(engine, recipe, content, (red, left()), (blue, 1 - left())) - content)[0].mean(axis=0)
        redder = change[:, 0] - change[:, 2]
        edge = SIDE_PX // 8
        assert redder[: SIDE_PX // 2 - edge].mean() > 0.03 > -0.03 > redder[SIDE_PX // 2 + edge :].mean()

    def test_a_black_mask_is_a_style_that_is_not_there(
        self, engine: Engine, photo: Picture, stripes: Picture, recipe: ResolvedRecipe
    ) -> None:
        content, other = photo(height=SIDE_PX), photo("coffee", SIDE_PX)
        alone = self.paint(engine, recipe, content, (stripes(SIDE_PX), None))
        beside = self.paint(engine, recipe, content, (stripes(SIDE_PX), None), (other, 0 * left()))
        np.testing.assert_array_equal(beside, alone)
        np.testing.assert_array_equal(self.paint(engine, recipe, content, (other, 0 * left())), content)

    def test_a_mask_of_another_size_is_refused(
        self, engine: Engine, photo: Picture, stripes: Picture, recipe: ResolvedRecipe
    ) -> None:
        with pytest.raises(ValueError, match="a mask is float32"):
            self.paint(engine, recipe, photo(height=SIDE_PX), (stripes(SIDE_PX), left()[:, 1:]))
