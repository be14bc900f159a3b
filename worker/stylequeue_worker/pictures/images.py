"""Pictures in and out: decode, orient, resize, encode.

What comes in was made by strangers. Only Pillow's readers for JPEG, PNG and WebP ever see it, sizes are checked before
memory is taken, and everything that is refused is `Permanent` with a code of its own.
"""

from __future__ import annotations

import io
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFile

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.job import MAX_THUMBNAIL_BYTES, THUMBNAIL_PX
from stylequeue.contract.objects import ImageFormat
from stylequeue.contract.recipe import MAX_SIZE_PX, MIN_SIDE_PX

from . import paint
from .formats import Still, open_still
from .formats.still import judged
from .inputs import Role
from .metadata import Provenance, saved_with
from .sampling import Flatten, Pixels

# Pillow's room for a progressive JPEG, which has to be written in one go. Its own guess, a byte a pixel, is too small
# for fine detail.
ImageFile.MAXBLOCK = 4 * MAX_SIZE_PX**2

Array = npt.NDArray[np.float32]

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture of this EXIF orientation upright."""
_LYING: Final = 5
"""From this orientation on, width and height are exchanged."""
_SPARE: Final = 2
"""A JPEG is decoded at no less than so many times the size wanted, so that the last scaling decides how it looks."""

_THUMBNAIL_QUALITY: Final = 80
_FULL_CHROMA_QUALITY: Final = 85
"""From this JPEG quality on colours are stored at full resolution: brushstrokes have coloured edges."""


def decode(
    data: bytes,
    role: Role = Role.CONTENT,
    size: int | tuple[int, int] | None = None,
    *,
    max_pixels: int,
    room_bytes: int = sys.maxsize,
) -> Image.Image:
    """The picture in `data` (JPEG, PNG or WebP) as it is meant to look: RGB, upright, sRGB; a mask in grey (L).

    `size` in px is that of its longest side, a pair that to which it is squeezed; None leaves it as it is. Of an
    animation, the first frame. What is transparent is white in a content or init image and black in a mask; a style is
    cut to what is painted, and what remains transparent in it is filled (`paint.made_whole`).

    Raises Permanent with a code `image_*` for whatever is no such picture, has more than `max_pixels` or, of content
    and style, a side under MIN_SIDE_PX, now or at the size asked for; MemoryError, before it takes any, where the
    file's own pixels may take more than `room_bytes`.
    """
    still = open_still(data, max_pixels=max_pixels)
    if still.peak_bytes > room_bytes:
        raise MemoryError
    picture, orientation = _sampled(still, role, size)
    del still
    if picture.mode == "RGBA":
        picture = paint.made_whole(picture)
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def _sampled(still: Still, role: Role, size: int | tuple[int, int] | None) -> tuple[Image.Image, int]:
    """The picture at its size, not upright yet, and its orientation."""
    extent = still.size
    lying = still.orientation >= _LYING
    if role in (Role.CONTENT, Role.STYLE):
        _check_sides(extent[::-1] if lying else extent, "the picture has")
    width, height = _scaled(extent, size, lying=lying)
    loaded, box = still.load((_SPARE * width, _SPARE * height))
    pixels = Pixels(loaded, tuple(still.profiles))

    with judged(still.image_format, whole=still.whole):
        if role == Role.STYLE and pixels.has_opacity:
            left, top, right, bottom = box = _painted(pixels)
            extent = (right - left, bottom - top)
        shape = _scaled(extent, size, lying=lying)
        if isinstance(size, int):
            _check_not_narrow(*((extent[::-1], shape[::-1]) if lying else (extent, shape)), size)
        # Lanczos would ring beyond a mask's edges.
        scaling = Image.Resampling.BICUBIC if role == Role.MASK else Image.Resampling.LANCZOS
        return pixels.sample(box, shape, _FLATTEN[role], scaling), still.orientation


def to_array(picture: Image.Image | npt.NDArray[np.uint8]) -> Array:
    """An RGB or grey picture, or its pixels, as float32 [1, height, width, 3 or 1] in [0, 1]."""
    return np.atleast_3d(np.asarray(picture, np.float32))[np.newaxis] / np.float32(255)


def to_picture(array: Array) -> Image.Image:
    """The picture of an array [1, height, width, 3]; what lies outside [0, 1] is clipped."""
    return Image.fromarray((np.clip(array[0], 0, 1) * 255 + 0.5).astype(np.uint8))


def encode(
    picture: Image.Image, image_format: ImageFormat, quality: int, provenance: Provenance | None = None
) -> bytes:
    """An RGB picture as a file: the same bytes for the same picture, sRGB, without metadata but for its profile and
    the `provenance` that is given.

    `quality` in 1 .. 100 is that of JPEG and WebP; PNG loses nothing.
    """
    bare = Image.new("RGB", picture.size)
    bare.paste(picture)
    options: dict[ImageFormat, dict[str, Any]] = {
        "jpeg": {
            "quality": quality,
            "subsampling": "4:4:4" if quality >= _FULL_CHROMA_QUALITY else "4:2:0",
            "progressive": True,
            "optimize": True,
        },
        "png": {},
        "webp": {"quality": quality},
    }
    file = io.BytesIO()
    bare.save(file, image_format, **options[image_format], **saved_with(image_format, provenance))
    return file.getvalue()


def thumbnail(picture: Image.Image, provenance: Provenance | None = None) -> bytes:
    """A small one of an RGB picture: WebP, of THUMBNAIL_PX a side at most, and of MAX_THUMBNAIL_BYTES."""
    side_px, quality = THUMBNAIL_PX, _THUMBNAIL_QUALITY
    while True:
        small = picture.copy()
        small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        body = encode(small, "webp", quality, provenance)
        if len(body) <= MAX_THUMBNAIL_BYTES:
            return body
        # What has much fine detail is made coarser first, and then smaller.
        side_px, quality = (side_px, quality - 20) if quality > 20 else (side_px // 2, _THUMBNAIL_QUALITY)


def _scaled(extent: tuple[int, int], size: int | tuple[int, int] | None, *, lying: bool = False) -> tuple[int, int]:
    """The size as stored in which a picture of this extent is wanted; a pair `size` is as it will be upright."""
    if size is None:
        return extent
    if isinstance(size, tuple):
        return size[::-1] if lying else size
    width, height = (max(1, round(side_px * size / max(extent))) for side_px in extent)
    return width, height


def _check_not_narrow(extent: tuple[int, int], scaled: tuple[int, int], size_px: int) -> None:
    if min(scaled) < MIN_SIDE_PX:
        before, after = (f"{width} x {height} px" for width, height in (extent, scaled))
        raise Permanent(
            Code.IMAGE_TOO_NARROW,
            f"a picture of {before} becomes {after} at size {size_px}",
            f"no side may be under {MIN_SIDE_PX} px: take a larger size, or crop the picture",
        )


def _check_sides(extent: tuple[int, int], what: str) -> None:
    if min(extent) < MIN_SIDE_PX:
        raise Permanent(
            Code.IMAGE_TOO_SMALL,
            f"{what} {extent[0]} x {extent[1]} px",
            f"no side may be under {MIN_SIDE_PX} px",
        )


def _painted(pixels: Pixels) -> tuple[int, int, int, int]:
    """The box around a style's paint."""
    box = paint.bounds(pixels.opacities())
    if box is None:
        raise Permanent(
            Code.IMAGE_TRANSPARENT, "the picture is transparent all over", "a style needs something painted in it"
        )
    _check_sides((box[2] - box[0], box[3] - box[1]), "what is painted in the picture has")
    return box


def _on_white(colours: Image.Image, opacity: Image.Image | None) -> Image.Image:
    if opacity is None:
        return colours
    white = Image.new("RGB", colours.size, "white")
    white.paste(colours, mask=opacity)
    return white


def _grey_on_black(colours: Image.Image, opacity: Image.Image | None) -> Image.Image:
    grey = colours.convert("L")
    return grey if opacity is None else ImageChops.multiply(grey, opacity)


def _with_opacity(colours: Image.Image, opacity: Image.Image | None) -> Image.Image:
    return colours if opacity is None else Image.merge("RGBA", (*colours.split(), opacity))


_FLATTEN: Final[dict[Role, Flatten]] = {
    Role.CONTENT: _on_white,
    Role.INIT: _on_white,
    Role.MASK: _grey_on_black,
    Role.STYLE: _with_opacity,
}
