"""From a file's pixels to colours at the size wanted, a band of rows after the other: a large picture is held once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from .colours import to_srgb
from .formats.still import Box

_BAND_PIXELS = 2 * 1024 * 1024
"""So many are turned into colours at once."""
_REACH = 3
"""Of the widest filter, in pixels of the smaller picture."""
_REDUCING_GAP = 8.0
"""What is larger than so many times the size wanted is averaged in blocks first: a filter's reach takes memory."""
_SIXTEEN_TO_EIGHT_BITS = 257
"""65535 / 255: white stays white."""

Flatten = Callable[[Image.Image, Image.Image | None], Image.Image]
"""From colours (RGB in sRGB) and opacity (L; None: opaque) to what is sampled."""


@dataclass(frozen=True)
class Pixels:
    """A decoded picture, and how its values become colours."""

    picture: Image.Image
    profiles: tuple[bytes, ...]

    def sample(self, box: Box, size: tuple[int, int], flatten: Flatten, filter_: Image.Resampling) -> Image.Image:
        """What lies in `box` at another size; as one resizing of the whole would give it."""
        left, top, right, bottom = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
        step = (box[3] - box[1]) / size[1]
        same = (right - left, bottom - top) == size and box == (left, top, right, bottom)
        reach = 0 if same else math.ceil(_REACH * max(step, 1)) + 1
        rows = max(1, int(_BAND_PIXELS / (right - left) / step))
        sampled = Image.new(flatten(*self._colours(self.picture.crop((0, 0, 1, 1)))).mode, size)
        for first in range(0, size[1], rows):
            last = min(first + rows, size[1])
            begin, end = box[1] + first * step, box[1] + last * step
            above, below = max(top, math.floor(begin) - reach), min(bottom, math.ceil(end) + reach)
            band = flatten(*self._colours(self.picture.crop((left, above, right, below))))
            if not same:
                inside = (box[0] - left, begin - above, box[2] - left, end - above)
                band = band.resize((size[0], last - first), filter_, inside, _REDUCING_GAP)
            sampled.paste(band, (0, first))
        return sampled

    @property
    def has_opacity(self) -> bool:
        """Whether parts of it may be transparent."""
        return self._parts(self.picture.crop((0, 0, 1, 1)))[1] is not None

    def opacities(self) -> Iterator[tuple[int, Image.Image]]:
        """Its opacity in bands: the first row of each, and the band."""
        rows = max(1, _BAND_PIXELS // self.picture.width)
        for top in range(0, self.picture.height, rows):
            band = self.picture.crop((0, top, self.picture.width, min(top + rows, self.picture.height)))
            if opacity := self._parts(band)[1]:
                yield top, opacity

    def _colours(self, band: Image.Image) -> tuple[Image.Image, Image.Image | None]:
        values, opacity = self._parts(band)
        return self._to_srgb(values), opacity

    @cached_property
    def _to_srgb(self) -> Callable[[Image.Image], Image.Image]:
        mode = self._parts(self.picture.crop((0, 0, 1, 1)))[0].mode
        return to_srgb(mode, self.profiles)

    @staticmethod
    def _parts(band: Image.Image) -> tuple[Image.Image, Image.Image | None]:
        """Values (L, RGB, CMYK) and opacity."""
        if band.mode.startswith("I"):
            return _eight_bits(band)
        if band.has_transparency_data:
            mode = "LA" if band.mode in ("1", "L", "LA") else "RGBA"
            *values, opacity = band.convert(mode).split()
            return Image.merge(mode[:-1], values), opacity
        return band if band.mode in ("L", "RGB", "CMYK") else band.convert("L" if band.mode == "1" else "RGB"), None


def _eight_bits(grey: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    values = np.asarray(grey).astype(np.uint32)
    eight_bits = ((values + _SIXTEEN_TO_EIGHT_BITS // 2) // _SIXTEEN_TO_EIGHT_BITS).astype(np.uint8)
    opacity = None
    if (transparent := grey.info.get("transparency")) is not None:
        opacity = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.fromarray(eight_bits), opacity
