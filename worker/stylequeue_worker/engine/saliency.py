"""What else than faces people look at first: where the network sees most.

Trained to tell what photographs show, it answers most where that is: the eyes and nose of an animal, the heart of a
flower, a tower before the sky.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from .networks import Vgg
from .pictures import resize

_LAYER, _STRIDE_PX = "block5_conv1", 16
_SEEN_PX = 256
"""The longer side of what is looked at: so a picture is seen alike at every size, and about as the network learned."""
_GRID_PX = 32
"""Of its sides: few shapes of convolutions, whatever shapes photographs have."""
_MARGIN_PX = 32
"""Mirrored outwards: else what the network makes of an edge would stand out."""
_TINY = 1e-12


def saliency(network: Vgg, picture: np.ndarray) -> np.ndarray:
    """How much each pixel stands out in a picture, float32 [1, H, W, 3] in [0, 1]: float32 [1, H, W, 1] in [0, 1].

    By the length of its features over their mean: 1 where that is greatest, if it is at least twice the mean.
    """
    sides = picture.shape[1:3]
    seen_sides = (max(_GRID_PX, round(_SEEN_PX * side / max(sides) / _GRID_PX) * _GRID_PX) for side in sides)
    margin = [_MARGIN_PX] * 2
    seen = tf.pad(resize(tf.constant(picture), *seen_sides), [[0, 0], margin, margin, [0, 0]], "SYMMETRIC")
    own = slice(_MARGIN_PX // _STRIDE_PX, -(_MARGIN_PX // _STRIDE_PX))
    # [1, h, w, 1].
    length = tf.norm(tf.cast(network.features(seen, [_LAYER])[_LAYER], tf.float32), axis=-1, keepdims=True)[:, own, own]
    mean = tf.reduce_mean(length)
    over = tf.nn.relu(length - mean) / (tf.maximum(tf.reduce_max(length) - mean, mean) + _TINY)
    return np.asarray(resize(over, *sides))
