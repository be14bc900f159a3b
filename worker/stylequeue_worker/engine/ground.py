"""White grounds: paper behind a drawing, or what is around a thing photographed for a shop. They are to stay white."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_WHITE = 0.95
"""Of the least of red, green and blue: what is lighter is white, but for a scanner's or JPEG's noise."""
_LIGHT = 0.85
"""Of the lightness: a ground that people would call white, too."""
_OF_THE_EDGE = 2 / 3
"""How much of the picture's edge a ground takes, at least: a white sky or wall takes less."""
_FADE = 1 / 64
"""Of the longer side: over so many pixels what is painted fades into the ground."""
_DARKER = 0.05
"""By so much less lightness a ground is white no more."""
_TINTED = 0.2
"""Of a ground: where less than that is darker, it is the marks' own surroundings."""

TINTED = "the light ground of the content is tinted: only one that is white is kept as it is"


def beside_ground(content: np.ndarray) -> np.ndarray | None:
    """Where `content` [1, H, W, 3] in [0, 1] is no white ground: float32 [1, H, W, 1] in [0, 1].

    1 on what is not white, fading to 0 around it. None where there is no such ground.
    """
    marks = tf.cast(_smoothed(content).min(axis=-1, keepdims=True) < _WHITE, tf.float32)
    if not _takes_the_edge(marks.numpy() == 0):
        return None
    reach_px = max(1, round(_FADE / 2 * max(content.shape[1:3])))
    window = 2 * reach_px + 1
    # Twice the reach: once at full strength, once fading.
    around = tf.nn.max_pool2d(marks, window, 1, "SAME")
    return np.asarray(tf.nn.avg_pool2d(around, window, 1, "SAME"))


def is_tinted(picture: np.ndarray, content: np.ndarray) -> bool:
    """Whether `content` has a light ground, and less of it is light in `picture`; both [1, H, W, 3] in [0, 1]."""
    before, after = (_smoothed(each).mean(axis=-1) for each in (content, picture))
    ground = before > _LIGHT
    if not _takes_the_edge(ground):
        return False
    return bool(np.mean(after[ground] < before[ground] - _DARKER) > _TINTED)


def _smoothed(picture: np.ndarray) -> np.ndarray:
    """Means over 3 x 3 px, lest a ground's noise count as marks: [1, H, W, 3]."""
    return np.asarray(tf.nn.avg_pool2d(picture, 3, 1, "SAME"))


def _takes_the_edge(ground: np.ndarray) -> bool:
    """Whether `ground`, bool [1, H, W, ...], is most of the outermost rows and columns."""
    edge = [ground[:, side].ravel() for side in (0, -1)] + [ground[:, :, side].ravel() for side in (0, -1)]
    return bool(np.concatenate(edge).mean() > _OF_THE_EDGE)
