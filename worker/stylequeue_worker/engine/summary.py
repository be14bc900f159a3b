"""What is said of a picture that was painted."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from stylequeue.contract.memory import tile_starts

from .cells import View
from .memory import Fitting
from .objective import TERMS
from .pictures import ssim
from .steps import Summary
from .terms import Scene


def summary(fitting: Fitting, precision: str, scene: Scene, shown: np.ndarray) -> Summary:
    """Of the picture shown, which an average or the best kept makes another than the one evaluated last.

    shown: float32 [1, H, W, 3] in [0, 1]. In smaller tiles where memory runs out, as `Fitting` has it.
    """
    try:
        return _summary(fitting, precision, scene, shown)
    except Exception as error:
        fitting.fall_back(error, max(shown.shape[1:3]))
    return _summary(fitting, precision, scene, shown)


def _summary(fitting: Fitting, precision: str, scene: Scene, shown: np.ndarray) -> Summary:
    """As `summary`; out of memory it fails."""
    objective = fitting.objective
    picture = tf.constant(shown, scene.content.dtype)
    view = objective.views(picture)[0]
    targets = objective.targets(scene, view, TERMS)
    # By a step's program; what terms count makes no difference to what they come to.
    evaluation = objective.evaluate(picture, targets, dict.fromkeys(TERMS, tf.constant(1, picture.dtype)), view)
    distances = objective.style_distances(picture, targets, scene.masks)
    painted = sum(float(region["share"]) for region in targets["style"])
    return Summary(
        losses={term: float(loss) for term, loss in evaluation.terms.items()},
        style_distances={layer: float(distance) / painted for layer, distance in distances.items()},
        ssim=ssim(shown, scene.content.numpy()),
        precision=precision,
        tiles=_tiles(fitting.tile_px, picture, view),
    )


def _tiles(tile_px: int | None, picture: tf.Tensor, view: View) -> int:
    """Into how many a picture [1, H, W, 3] is cut as `view` lays it."""
    if tile_px is None:
        return 1
    sides_px = np.array(picture.shape[1:3]) + view.numpy()[1:3].sum(axis=1)  # [2]
    return math.prod(len(tile_starts(int(side_px), tile_px)) for side_px in sides_px)
