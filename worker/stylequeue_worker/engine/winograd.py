"""Convolutions of three by three pixels by fewer products, for processors, which do large matrix products best.

Winograd's minimal filtering F(4 x 4, 3 x 3) as Lavin and Gray have it, "Fast algorithms for convolutional neural
networks" (2016): a tile of 16 pixels takes 36 products instead of 144.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

_TILE_PX, _KERNEL_PX = 4, 3
_SEEN_PX = _TILE_PX + _KERNEL_PX - 1
"""Side of what a tile's pixels are made of."""
_POINTS = (0.0, 1.0, -1.0, 2.0, 0.5)
"""At which polynomials are evaluated, and at infinity. The inverses of all of them are among them: see `_INVERSES`."""
_INVERSES = [5, 1, 2, 4, 3, 0]
"""Which of the points is the inverse of each. There a kernel is, up to a factor, what it is here read backwards: so the
gradient's convolution, whose kernel is the same backwards, needs no other numbers."""
_AT_ONCE = 1 << 24
"""Floats at the points of as many rows of tiles as are done at once, of the wider side's channels: 67 MB."""


class Convolution:
    """With one kernel, stride 1 and zeros beyond the edges, in float32; to some 1e-5 of the largest feature."""

    def __init__(self, kernel: np.ndarray) -> None:
        """kernel: [3, 3, in, out]. Four times its size is kept."""
        evaluated, *_ = _one_side()
        # Made while a program is written, it must outlive that.
        with tf.init_scope():
            both_sides = tf.constant(np.kron(evaluated, evaluated), tf.float32)
            # By TensorFlow: what it is handed of NumPy's it would keep for a while besides.
            at_points = both_sides @ tf.constant(kernel.reshape(_KERNEL_PX**2, -1), tf.float32)
            self._kernel = tf.reshape(at_points, [_SEEN_PX**2, *kernel.shape[2:]])

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """float32 [1, h, w, in] to [1, h, w, out]."""
        channels_in, channels_out = self._kernel.shape[1:]

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def convolved(features: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return (
                tf.ensure_shape(_onwards(features, self._kernel), [1, None, None, channels_out]),
                lambda upstream: tf.ensure_shape(_backwards(upstream, self._kernel), [1, None, None, channels_in]),
            )

        filtered: tf.Tensor = convolved(features)
        return filtered


def _written_once(*, backwards: bool) -> Callable[..., tf.Tensor]:
    """One function for all layers: a program with a dozen of them is written in half of the time."""
    signature = [tf.TensorSpec(shape, tf.float32) for shape in ([None] * 4, [_SEEN_PX**2, None, None])]

    @tf.function(input_signature=signature, autograph=False, experimental_attributes={"_noinline": True})  # type: ignore[untyped-decorator]
    def filtered(features: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """float32 [1, h, w, in] to [1, h, w, out] by a kernel [36, in, out]; backwards by one [36, out, in]."""
        into, back = (tf.constant(np.kron(matrix, matrix), tf.float32) for matrix in _matrices(backwards=backwards))
        channels_in, channels_out = tf.shape(features)[3], tf.shape(kernel)[1 if backwards else 2]
        height, width = tf.unstack(tf.shape(features)[1:3])
        down, across = -(-height // _TILE_PX), -(-width // _TILE_PX)
        # All at once they would be in memory three times at 36 points, 2.25 times the features each.
        most = tf.maximum(1, _AT_ONCE // (_SEEN_PX**2 * tf.maximum(channels_in, channels_out) * across))
        strips = -(-down // most)
        rows = -(-down // strips)
        strip_px = rows * _TILE_PX
        edges = [[0, 0], [1, strips * strip_px + 1 - height], [1, across * _TILE_PX + 1 - width], [0, 0]]
        laid = tf.pad(features, edges)[0]
        tiles, in_order = _seen(rows, across), _order(strip_px, width, rows, across)

        def strip(top: tf.Tensor) -> tf.Tensor:
            """So many rows of tiles from this row of pixels on: [pixels, out]."""
            pixels = tf.reshape(laid[top : top + strip_px + _KERNEL_PX - 1], [-1, channels_in])
            seen = tf.gather(pixels, tiles)  # [36 n, in], n tiles
            at_points = tf.reshape(into @ tf.reshape(seen, [_SEEN_PX**2, -1]), [_SEEN_PX**2, -1, channels_in])
            products = tf.matmul(at_points, kernel, transpose_b=backwards)  # [36, n, out]
            made = back @ tf.reshape(products, [_SEEN_PX**2, -1])  # [16, n out]
            return tf.gather(tf.reshape(made, [-1, channels_out]), in_order)

        # [strips, their pixels, out]. Of one alone without what the loop copies.
        made = tf.cond(
            strips == 1,
            lambda: strip(0)[None],
            lambda: tf.map_fn(
                strip,
                tf.range(strips) * strip_px,
                fn_output_signature=tf.TensorSpec([None, None], tf.float32),
                parallel_iterations=1,
            ),
        )
        return tf.reshape(made, [-1, width, channels_out])[None, :height]

    return filtered  # type: ignore[no-any-return]


_onwards, _backwards = _written_once(backwards=False), _written_once(backwards=True)


def _seen(down: tf.Tensor, across: tf.Tensor) -> tf.Tensor:
    """Which pixels each tile sees, of `down` by `across` tiles and an edge of one pixel: int32 [36 * tiles]."""
    width = across * _TILE_PX + _KERNEL_PX - 1
    within, tops, lefts = tf.range(_SEEN_PX), _TILE_PX * tf.range(down), _TILE_PX * tf.range(across)
    rows = within[:, None, None, None] + tops[None, None, :, None]
    columns = within[None, :, None, None] + lefts[None, None, None, :]
    return tf.reshape(rows * width + columns, [-1])


def _order(height: tf.Tensor, width: tf.Tensor, down: tf.Tensor, across: tf.Tensor) -> tf.Tensor:
    """Where a picture's pixels are among [16, down, across], row by row: int32 [height * width]."""
    rows, columns = tf.range(height)[:, None], tf.range(width)[None]
    within = rows % _TILE_PX * _TILE_PX + columns % _TILE_PX
    return tf.reshape((within * down + rows // _TILE_PX) * across + columns // _TILE_PX, [-1])


def _one_side() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one side of a tile: kernel to points [6, 3], pixels to points [6, 6], products to pixels [4, 6]; float64.

    Toom's and Cook's product of polynomials, transposed.
    """

    def evaluated(coefficients: int) -> np.ndarray:
        powers = np.vander(_POINTS, coefficients, increasing=True)
        return np.vstack([powers, np.eye(coefficients)[-1]])

    kernel, pixels = evaluated(_KERNEL_PX), np.linalg.inv(evaluated(_SEEN_PX)).T
    # Of like size they are rounded least.
    size = np.abs(pixels).max(axis=1, keepdims=True)
    return kernel * size, pixels / size, evaluated(_TILE_PX).T


def _matrices(*, backwards: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of one side of a tile, for a convolution or its gradient: pixels to points [6, 6], products to pixels [4, 6]."""
    kernel, into, back = _one_side()
    if not backwards:
        return into, back
    # What the kernel is backwards over what it is at the inverse points.
    factors = (kernel[:, ::-1] * kernel[_INVERSES]).sum(axis=1) / (kernel[_INVERSES] ** 2).sum(axis=1)
    return (factors[:, None] * into)[_INVERSES], back[:, _INVERSES]
