"""Pictures as arrays: look at the inputs, make them smaller and larger."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from stylequeue.job import MIN_SIDE_PX


def look(picture: np.ndarray) -> np.ndarray:
    """`picture` itself, after making sure that it is float32 [1, H, W, 3], finite, in [0, 1], no side under 16 px.

    Raises ValueError where it is not: whatever decodes pictures has a fault then.
    """
    if picture.dtype != np.float32 or picture.ndim != 4 or (picture.shape[0], picture.shape[3]) != (1, 3):
        raise ValueError(f"a picture is float32 [1, height, width, 3], not {picture.dtype} {list(picture.shape)}")
    if min(picture.shape[1:3]) < MIN_SIDE_PX:
        raise ValueError(f"no side of a picture is under {MIN_SIDE_PX} px, here {list(picture.shape[1:3])}")
    # Written so that NaN fails, too.
    if not (picture.min() >= 0 and picture.max() <= 1):
        raise ValueError(f"a picture's values lie in [0, 1], not in [{picture.min()}, {picture.max()}]")
    return picture


def resize(picture: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """`picture` [1, H, W, 3] at another size, bicubic and anti-aliased, in [0, 1]; the same tensor at its own size."""
    if tuple(picture.shape[1:3]) == (height, width):
        return picture
    resized = tf.image.resize(picture, (height, width), method="bicubic", antialias=True)
    return tf.clip_by_value(tf.cast(resized, picture.dtype), 0, 1)


def scaled(picture: tf.Tensor, scale: float) -> tf.Tensor:
    """`picture` [1, H, W, 3] with both sides multiplied by `scale`, yet no side under 16 px."""
    height, width = (max(MIN_SIDE_PX, round(side * scale)) for side in picture.shape[1:3])
    return resize(picture, height, width)
