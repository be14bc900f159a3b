"""What is said of a picture that was painted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from stylequeue.contract.recipe import ResolvedOptimizeRecipe

from .course import weights_of
from .memory import Fitting
from .objective import View, Wanted
from .pictures import ssim
from .steps import Summary
from .tiling import spans


def summary(
    fitting: Fitting,
    recipe: ResolvedOptimizeRecipe,
    precision: str,
    content: tf.Tensor,
    style: Sequence[Wanted],
    shown: np.ndarray,
) -> Summary:
    """Of the picture shown, which an average or the best kept makes another than the one evaluated last.

    content, shown: [1, H, W, 3] in [0, 1]. In smaller tiles where memory runs out, as `Fitting` has it.
    """
    try:
        return _summary(fitting, recipe, precision, content, style, shown)
    except Exception as error:
        fitting.fall_back(error)
    return _summary(fitting, recipe, precision, content, style, shown)


def _summary(
    fitting: Fitting,
    recipe: ResolvedOptimizeRecipe,
    precision: str,
    content: tf.Tensor,
    style: Sequence[Wanted],
    shown: np.ndarray,
) -> Summary:
    objective = fitting.objective
    picture = tf.constant(shown, content.dtype)
    view = objective.views(picture)[0]
    evaluation = objective.evaluate(
        picture, objective.content_target(content, view), style, weights_of(recipe, picture.dtype), view
    )
    statistics = objective.statistics(picture, view, [wanted.mask for wanted in style])
    painted = sum(float(wanted.share) for wanted in style)
    return Summary(
        losses={term: float(loss) for term, loss in evaluation.terms.items()},
        style_distances={
            layer: float(distance) / painted for layer, distance in objective.style_distances(statistics, style).items()
        },
        ssim=ssim(shown, content.numpy()),
        precision=precision,
        tiles=_tiles(fitting.tile_px, picture, view),
    )


def _tiles(tile_px: int | None, picture: tf.Tensor, view: View) -> int:
    if tile_px is None:
        return 1
    sides_px = np.array(picture.shape[1:3]) + view.numpy()[1:3].sum(axis=1)
    return math.prod(len(spans(int(side_px), tile_px, 0)) for side_px in sides_px)
