"""The model: VGG-19 and VGG-16 without their classifier, as feature extractors (Simonyan and Zisserman, 2014).

The forward pass is ours, because Keras builds a network for one precision and one set of outputs, and here both belong
to the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property

import numpy as np
import tensorflow as tf

from stylequeue.contract.cost import Widths, reach_px, stride_px
from stylequeue.contract.recipe import PoolingName

from .device import on_gpu
from .winograd import Convolution

Kernels = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""By layer, in order: kernel float32 [3, 3, in, out] and bias float32 [out]."""

_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
_WIDE = 128
"""Channels, in and out, from which on fewer products are less work on a processor. Measured."""


class Vgg:
    """Convolutions and poolings of a VGG network.

    Arithmetic is done in `dtype`; bfloat16 halves the time where the processor does it well. With `grid_px` (a multiple
    of 16) pictures are laid on canvases whose sides are multiples of it, so that a device meets few shapes of
    convolutions; what is beyond the picture is taken out after every layer, exactly as if it were not there. With `xla`
    the whole is compiled by XLA, once for each canvas.
    """

    def __init__(
        self,
        kernels: Kernels,
        dtype: tf.DType = tf.float32,
        pooling: PoolingName = "max",
        grid_px: int = 1,
        xla: bool = False,
    ) -> None:
        self.dtype = dtype
        self.grid_px = grid_px
        self._pooling: PoolingName = pooling
        self._xla = xla
        self._kernels = kernels
        self._layers = {layer: _Layer(kernel, bias, dtype) for layer, (kernel, bias) in kernels.items()}
        self._compiled = tf.function(self._whole, jit_compile=True, reduce_retracing=True, autograph=False)

    def cast(self, dtype: tf.DType) -> Vgg:
        """The same network computing in `dtype`."""
        return self if dtype == self.dtype else Vgg(self._kernels, dtype, self._pooling, self.grid_px, self._xla)

    def pooled(self, pooling: PoolingName) -> Vgg:
        """The same network with this pooling."""
        return self if pooling == self._pooling else self._sharing(pooling, self.grid_px, xla=self._xla)

    def on_grid(self, grid_px: int, *, xla: bool = False) -> Vgg:
        """The same network on canvases of a grid."""
        return self._sharing(self._pooling, grid_px, xla=xla)

    def _sharing(self, pooling: PoolingName, grid_px: int, *, xla: bool) -> Vgg:
        """The same network, in these, with the same constants."""
        other = Vgg(self._kernels, self.dtype, pooling, grid_px, xla)
        other._layers = self._layers
        return other

    @property
    def layers(self) -> Collection[str]:
        """The convolutions' names, in order."""
        return self._kernels.keys()

    def rescaled(self, pictures: Iterable[tf.Tensor]) -> Vgg:
        """The network with each filter scaled so that its mean activation over `pictures` is 1 (Gatys et al., 2016).

        What the next layer sees is scaled back, so that it computes what it did: features change by a factor a channel.
        Filters that none of the pictures wakes stay as they are. pictures: [1, H, W, 3] in [0, 1].
        """
        sums, count = dict.fromkeys(self._kernels, 0.0), 0
        for picture in pictures:
            count += 1
            for layer, features in self.features(picture, self._kernels).items():
                sums[layer] += tf.reduce_mean(tf.cast(features, tf.float64), axis=(0, 1, 2)).numpy()
        kernels, before = {}, np.ones(3)
        for layer, (kernel, bias) in self._kernels.items():
            after = np.where(sums[layer] > 0, sums[layer] / count, 1)
            kernels[layer] = (kernel * before[:, None] / after, bias / after)
            before = after
        return Vgg(kernels, self.dtype, self._pooling, self.grid_px, self._xla)

    def make_ready(self) -> None:
        """Makes of the kernels what convolutions need, which the first picture would: it stays, whatever is painted."""
        for layer in self._layers.values():
            layer.convolution(fewer_products=self._takes_fewer_products)

    @property
    def _takes_fewer_products(self) -> bool:
        return bool(self.dtype == tf.float32 and not (self._xla or on_gpu()))

    def features(
        self, picture: tf.Tensor, layers: Collection[str], tap: Callable[[str, tf.Tensor], tf.Tensor] | None = None
    ) -> dict[str, tf.Tensor]:
        """Activations (after ReLU) of the named layers, and no work beyond the deepest of them.

        picture: [1, H, W, 3] in [0, 1], any float dtype; returns {layer: [1, h, w, channels] in the network's dtype}.
        `tap` is called with each named layer and its activations; what it returns goes on in their place.
        Raises ValueError for a layer the network does not have.
        """
        if missing := set(layers) - set(self._kernels):
            raise ValueError(f"no such layers: {sorted(missing)}")
        x = tf.cast(preprocess(picture), self.dtype)
        size_px = tf.shape(x)[1:3]
        x = self._laid(x, size_px + -size_px % self.grid_px)
        found: dict[str, tf.Tensor] = {}

        def seen(layer: str, features: tf.Tensor) -> tf.Tensor:
            own = self._cut(features, size_px // stride_px(layer))
            found[layer] = tap(layer, own) if tap else own
            return found[layer]

        if self._xla:
            # Cut outside: to XLA, where a slice ends is a constant, and it would compile once for each size.
            for layer, features in self._compiled(x, size_px, tuple(sorted(layers))).items():
                seen(layer, features)
        else:
            self._on_canvas(x, size_px, layers, lambda layer, x: self._laid(seen(layer, x), tf.shape(x)[1:3]))
        return found

    def _whole(self, x: tf.Tensor, size_px: tf.Tensor, layers: Collection[str]) -> dict[str, tf.Tensor]:
        """The named layers' activations on the whole canvas, to be compiled by XLA; otherwise as `_on_canvas`."""
        found: dict[str, tf.Tensor] = {}
        self._on_canvas(x, size_px, layers, lambda layer, features: found.setdefault(layer, features))
        return found

    def _on_canvas(
        self,
        x: tf.Tensor,
        size_px: tf.Tensor,
        layers: Collection[str],
        through: Callable[[str, tf.Tensor], tf.Tensor],
    ) -> None:
        """Calls `through` with each named layer and its activations; what it returns, alike, goes on in their place.

        Of x [1, H', W', 3], at whose top left a preprocessed picture of `size_px` (int32 [2]) lies. Beyond it x is 0,
        and so are all layers' features: convolutions see there what they see beyond an edge.
        """
        left = set(layers)
        block, within = "block1", self._within(x, size_px)
        fewer_products = self._takes_fewer_products
        for layer, convolve in self._layers.items():
            if not layer.startswith(block):
                block = layer.split("_")[0]
                x = self._pool(x)
                within = self._within(x, size_px // stride_px(layer))
                # A last row or column without a partner is left out; on a canvas it has found one.
                x = within(x)
            x = within(convolve(x, fewer_products=fewer_products))
            if layer in left:
                x = through(layer, x)
                left.remove(layer)
            if not left:
                break

    def _pool(self, x: tf.Tensor) -> tf.Tensor:
        """[1, h, w, channels] at half its sides, odd ones rounded down."""
        pool = {"max": tf.nn.max_pool2d, "average": tf.nn.avg_pool2d}[self._pooling]
        return pool(x, ksize=2, strides=2, padding="VALID")

    def _within(self, x: tf.Tensor, size: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """Sets to 0 what of features as large as x [1, h', w', channels] lies beyond the first `size` (int32 [2])."""
        if self.grid_px == 1:
            return lambda features: features
        down, across = (tf.cast(tf.range(tf.shape(x)[1 + side]) < size[side], self.dtype) for side in (0, 1))
        inside = down[None, :, None, None] * across[None, None, :, None]
        return lambda features: features * inside

    def _cut(self, x: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Of x [1, h', w', channels] the first `size` (int32 [2])."""
        return x if self.grid_px == 1 else x[:, : size[0], : size[1]]

    def _laid(self, x: tf.Tensor, canvas: tf.Tensor) -> tf.Tensor:
        """x [1, h, w, channels] on a canvas of this size (int32 [2])."""
        return x if self.grid_px == 1 else laid(x, canvas)

    def reach_px(self, layers: Collection[str]) -> int:
        """How many pixels around its own a feature of the deepest of `layers` depends on."""
        return reach_px(self.widths, layers)

    @property
    def widths(self) -> Widths:
        """Channels of each layer's features."""
        return {layer: len(bias) for layer, (_, bias) in self._kernels.items()}


def laid(x: tf.Tensor, canvas: tf.Tensor) -> tf.Tensor:
    """x [1, h, w, channels] with zeros below and to the right, up to the size of the canvas (int32 [2])."""
    more = canvas - tf.shape(x)[1:3]
    # Else TensorFlow knows no more how many channels there are.
    return tf.ensure_shape(tf.pad(x, [[0, 0], [0, more[0]], [0, more[1]], [0, 0]]), [1, None, None, x.shape[-1]])


class _Layer:
    """A convolution with its bias, and ReLU. Its constants are made when they are first needed."""

    def __init__(self, kernel: np.ndarray, bias: np.ndarray, dtype: tf.DType) -> None:
        """kernel: [3, 3, in, out]; bias: [out]."""
        self._kernel, self._bias, self._dtype = kernel, bias, dtype
        self._is_wide = min(kernel.shape[2:]) >= _WIDE

    def __call__(self, x: tf.Tensor, *, fewer_products: bool) -> tf.Tensor:
        """[1, h, w, in] to [1, h, w, out]; where it is less work by `fewer_products`, in float32."""
        convolve, bias = self.convolution(fewer_products=fewer_products), tf.constant(self._bias, self._dtype)
        return tf.nn.relu(tf.nn.bias_add(convolve(x), bias))

    def convolution(self, *, fewer_products: bool) -> Callable[[tf.Tensor], tf.Tensor]:
        """[1, h, w, in] to [1, h, w, out], without the bias."""
        return self._winograd if fewer_products and self._is_wide else self._direct

    @cached_property
    def _direct(self) -> Callable[[tf.Tensor], tf.Tensor]:
        # Made while a program is written, it must outlive that.
        with tf.init_scope():
            kernel = tf.constant(self._kernel, self._dtype)
        return lambda x: tf.nn.conv2d(x, kernel, strides=1, padding="SAME")

    @cached_property
    def _winograd(self) -> Convolution:
        return Convolution(self._kernel)


def preprocess(picture: tf.Tensor) -> tf.Tensor:
    """RGB [..., 3] in [0, 1] to what the networks were trained on: BGR in [0, 255] less ImageNet's mean, alike."""
    return tf.reverse(picture, [-1]) * 255 - tf.constant(_IMAGENET_MEAN_BGR, picture.dtype)
