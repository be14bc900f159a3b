"""Pictures as arrays: look at the inputs, make them smaller and larger."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from stylequeue.contract.cost import scaled_sides
from stylequeue.contract.recipe import MIN_SIDE_PX


def look(picture: np.ndarray) -> np.ndarray:
    """`picture` itself, after making sure that it is a picture [1, H, W, 3], no side under 16 px.

    It is uint8, or float32, finite and in [0, 1]. Raises ValueError where it is not: whatever decodes pictures has a
    fault then.
    """
    shape = picture.shape
    if picture.dtype not in (np.float32, np.uint8) or len(shape) != 4 or (shape[0], shape[3]) != (1, 3):
        raise ValueError(f"a picture is float32 or uint8 [1, height, width, 3], not {picture.dtype} {list(shape)}")
    if min(picture.shape[1:3]) < MIN_SIDE_PX:
        raise ValueError(f"no side of a picture is under {MIN_SIDE_PX} px, here {list(picture.shape[1:3])}")
    # Written so that NaN fails, too.
    if picture.dtype == np.float32 and not (picture.min() >= 0 and picture.max() <= 1):
        raise ValueError(f"a picture's values lie in [0, 1], not in [{picture.min()}, {picture.max()}]")
    return picture


def floats(picture: np.ndarray) -> np.ndarray:
    """A picture of either kind in float32, in [0, 1]: four times the bytes of one in uint8."""
    return picture if picture.dtype == np.float32 else picture.astype(np.float32) / np.float32(255)


def look_at_mask(mask: np.ndarray, content: np.ndarray) -> np.ndarray:
    """`mask` itself, after making sure that it is float32 [1, H, W, 1] in [0, 1], of the size of `content`.

    Raises ValueError where it is not.
    """
    if mask.dtype != np.float32 or mask.shape != (*content.shape[:3], 1):
        wanted = [*content.shape[:3], 1]
        raise ValueError(f"a mask is float32 {wanted}, not {mask.dtype} {list(mask.shape)}")
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError(f"a mask's values lie in [0, 1], not in [{mask.min()}, {mask.max()}]")
    return mask


def resize(picture: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """`picture` [1, H, W, channels] at another size, bicubic and anti-aliased, in [0, 1]; at its own itself."""
    if tuple(picture.shape[1:3]) == (height, width):
        return picture
    resized = tf.image.resize(picture, (height, width), method="bicubic", antialias=True)
    return tf.clip_by_value(tf.cast(resized, picture.dtype), 0, 1)


def in_colours_of(picture: np.ndarray, content: np.ndarray) -> np.ndarray:
    """`picture` with the mean and covariance of the colours of `content`; both [1, H, W, 3] in [0, 1].

    By the linear map that moves colours least, A = S^-1/2 (S^1/2 C S^1/2)^1/2 S^-1/2 (Olkin and Pukelsheim, 1982; for
    colours: Pitie and Kokaram, 2007); what falls outside [0, 1] is clipped.
    """
    theirs, ours = (p.reshape(-1, 3).astype(np.float64) for p in (picture, content))
    from_mean, to_mean = theirs.mean(axis=0), ours.mean(axis=0)
    from_covariance, to_covariance = (np.cov(c, rowvar=False, bias=True) + _FLOOR * np.eye(3) for c in (theirs, ours))
    root, inverse = _power(from_covariance, 0.5), _power(from_covariance, -0.5)
    map_ = inverse @ _power(root @ to_covariance @ root, 0.5) @ inverse
    moved = (theirs - from_mean) @ map_ + to_mean
    return np.asarray(np.clip(moved, 0, 1), np.float32).reshape(picture.shape)


_FLOOR = 1e-6
"""Of a colour's variance: in a flat picture there is nothing to stretch."""


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Of a symmetric, positive definite matrix, float64 [3, 3]: alike."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, _FLOOR**2) ** exponent) @ vectors.T)


_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def with_chroma_of(picture: np.ndarray, content: np.ndarray) -> np.ndarray:
    """`picture` in the chroma of `content`, both float32 [1, H, W, 3] in [0, 1] and of one size: YIQ, only Y is kept.

    In YIQ lightness enters red, green and blue alike, so it is enough to add the difference.
    """
    return np.asarray(np.clip(content + ((picture - content) @ _LUMA)[..., None], 0, 1))


def ssim(picture: np.ndarray, content: np.ndarray) -> float:
    """Structural similarity of lightness (Wang et al., 2004), 1 for equal pictures [1, H, W, 3] in [0, 1]."""
    lightness = (tf.constant((p @ _LUMA)[..., None], tf.float32) for p in (picture, content))
    return float(tf.image.ssim(*lightness, max_val=1.0)[0])


def scaled(picture: tf.Tensor, scale: float) -> tf.Tensor:
    """`picture` [1, H, W, channels] with both sides multiplied by `scale`, yet no side under 16 px."""
    return resize(picture, *scaled_sides(picture.shape[1:3], scale))
