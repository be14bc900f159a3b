"""Pictures in and out: decode, orient, resize, encode.

What comes in was made by strangers. Only Pillow's readers for JPEG, PNG and WebP ever see it, sizes are checked before
memory is taken, and everything that is refused is `Permanent` with a code of its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.objects import ImageFormat
from stylequeue.contract.recipe import MAX_SIZE_PX, MIN_SIDE_PX

# Pillow's room for a progressive JPEG, which has to be written in one go. Its own guess, a byte a pixel, is too small
# for fine detail.
ImageFile.MAXBLOCK = 4 * MAX_SIZE_PX**2

Pixels = npt.NDArray[np.float32]

# The readers themselves, not Image.open: that would try others, and guards against large pictures by warnings.
_READERS: Final[dict[ImageFormat, Callable[[io.BytesIO], ImageFile.ImageFile]]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
}
_SIGNATURES: Final[dict[ImageFormat, re.Pattern[bytes]]] = {
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
_OTHER_SIGNATURES: Final = {
    "GIF": re.compile(rb"GIF8[79]a"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "BMP": re.compile(rb"BM.{4}\0{4}", re.DOTALL),
    "AVIF": re.compile(rb".{4}ftypavi[fs]", re.DOTALL),
    "HEIC": re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "SVG": re.compile(rb"(?i)(\xef\xbb\xbf)?\s*<(svg|(\?xml|!--|!doctype svg).{0,1000}?<svg)\b", re.DOTALL),
    "PDF": re.compile(rb"%PDF-"),
    "PostScript": re.compile(rb"%!PS"),
    "Photoshop": re.compile(rb"8BPS"),
    "FITS": re.compile(rb"SIMPLE  ="),
    "ICO": re.compile(rb"\0\0[\x01\x02]\0.\0", re.DOTALL),
    "OpenEXR": re.compile(rb"\x76\x2f\x31\x01"),
    "netpbm": re.compile(rb"P[1-7]\s"),
}
"""Recognised so that the refusal can name them, never decoded."""

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
_EXIF_ORIENTATION: Final = 0x0112

_SIXTEEN_TO_EIGHT_BITS: Final = 257
"""65535 / 255: white stays white."""
_FULL_CHROMA_QUALITY: Final = 85
"""From this JPEG quality on colours are stored at full resolution: brushstrokes have coloured edges."""


def decode(data: bytes, *, max_pixels: int) -> Image.Image:
    """The picture in `data` (JPEG, PNG or WebP) as it is meant to look: RGB, upright, sRGB, on white.

    Of an animation, the first frame. Raises Permanent with a code `image_*` for whatever is no such picture, has more
    than `max_pixels` or a side under MIN_SIDE_PX.
    """
    image_format = _recognise(data)
    if image_format == "webp":
        # Pillow takes memory for the whole canvas when it opens one.
        _check_pixels(*_webp_size_px(data), max_pixels)
    try:
        picture = _READERS[image_format](io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:  # whatever strangers' bytes make Pillow stumble over
        raise _damaged(image_format, data, error) from error
    _check_pixels(*picture.size, max_pixels)
    if min(picture.size) < MIN_SIDE_PX:
        raise Permanent(
            Code.IMAGE_TOO_SMALL,
            f"the picture has {picture.width} x {picture.height} px",
            f"no side may be under {MIN_SIDE_PX} px",
        )
    try:
        picture.load()
        return _upright(_on_white(picture), picture)
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(image_format, data, error) from error


def fit(picture: Image.Image, size_px: int) -> Image.Image:
    """`picture` scaled up or down until its longest side is `size_px`.

    Raises Permanent (`image_too_narrow`) where the other side would fall under MIN_SIDE_PX.
    """
    longest_px = max(picture.size)
    width, height = (max(1, round(side_px * size_px / longest_px)) for side_px in picture.size)
    if min(width, height) < MIN_SIDE_PX:
        raise Permanent(
            Code.IMAGE_TOO_NARROW,
            f"a picture of {picture.width} x {picture.height} px becomes {width} x {height} px at size {size_px}",
            f"no side may be under {MIN_SIDE_PX} px: take a larger size, or crop the picture",
        )
    return picture if (width, height) == picture.size else picture.resize((width, height), Image.Resampling.LANCZOS)


def to_array(picture: Image.Image) -> Pixels:
    """An RGB or grey picture as float32 [1, height, width, 3 or 1] in [0, 1]."""
    return np.atleast_3d(np.asarray(picture, np.float32))[np.newaxis] / np.float32(255)


def to_picture(array: Pixels) -> Image.Image:
    """The picture of an array [1, height, width, 3]; what lies outside [0, 1] is clipped."""
    return Image.fromarray((np.clip(array[0], 0, 1) * 255 + 0.5).astype(np.uint8))


def encode(picture: Image.Image, image_format: ImageFormat, quality: int) -> bytes:
    """An RGB picture as a file: the same bytes for the same picture, sRGB, without metadata.

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
    bare.save(file, image_format, **options[image_format])
    return file.getvalue()


def _recognise(data: bytes) -> ImageFormat:
    if not data:
        raise Permanent(Code.IMAGE_EMPTY, "the object has no bytes", "upload the picture again")
    for image_format, signature in _SIGNATURES.items():
        if signature.match(data):
            return image_format
    for name, signature in _OTHER_SIGNATURES.items():
        if signature.match(data):
            raise Permanent(
                Code.IMAGE_FORMAT_UNSUPPORTED, f"the picture is {name}", "convert it to JPEG, PNG or WebP first"
            )
    raise Permanent(
        Code.IMAGE_NOT_RECOGNISED,
        "the object is no picture, whatever it is called",
        "check what was uploaded; pictures may be JPEG, PNG or WebP",
    )


def _webp_size_px(data: bytes) -> tuple[int, int]:
    """Width and height as the container says (RFC 9649); some number where it is cut short."""

    def number(start: int, stop: int) -> int:
        return int.from_bytes(data[start:stop], "little")

    match data[12:16]:
        case b"VP8X":
            return number(24, 27) + 1, number(27, 30) + 1
        case b"VP8L":
            return (number(21, 25) & 0x3FFF) + 1, (number(21, 25) >> 14 & 0x3FFF) + 1
        case _:
            return number(26, 28) & 0x3FFF, number(28, 30) & 0x3FFF


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Permanent(
            Code.IMAGE_TOO_MANY_PIXELS,
            f"the picture has {width} x {height} px, at most {max_pixels:,} in all are allowed",
            "scale it down first, or let the operator raise STYLEQUEUE_MAX_IMAGE_PIXELS",
        )


def _damaged(image_format: ImageFormat, data: bytes, error: Exception) -> Permanent:
    complete = {
        "jpeg": b"\xff\xd9" in data[-1024:],
        "png": b"IEND" in data[-1024:],
        "webp": int.from_bytes(data[4:8], "little") + 8 <= len(data),
    }
    if not complete[image_format]:
        return Permanent(
            Code.IMAGE_TRUNCATED, f"the {image_format} file ends before its end", "the upload was cut off: repeat it"
        )
    return Permanent(
        Code.IMAGE_CORRUPT,
        f"the {image_format} file is damaged: {error}"[:200],
        "save the picture again and upload that",
    )


def _on_white(picture: ImageFile.ImageFile) -> Image.Image:
    """RGB in sRGB, what is transparent replaced by white."""
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I"):
        return _to_srgb(_eight_bits(picture), profile)
    if picture.has_transparency_data:
        with_alpha = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(_to_srgb(with_alpha.convert("RGB"), profile), mask=with_alpha.getchannel("A"))
        return white
    if picture.mode == "CMYK":
        return _to_srgb(_ink(picture), profile)
    return _to_srgb(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"), profile)


def _eight_bits(grey: ImageFile.ImageFile) -> Image.Image:
    values = np.asarray(grey).astype(np.uint32)
    eight_bits = ((values + _SIXTEEN_TO_EIGHT_BITS // 2) // _SIXTEEN_TO_EIGHT_BITS).astype(np.uint8)
    if (transparent := grey.info.get("transparency")) is not None:
        eight_bits[values == transparent] = 255
    return Image.fromarray(eight_bits)


def _ink(cmyk: ImageFile.ImageFile) -> Image.Image:
    # Adobe stores ink upside down, and Pillow takes every CMYK JPEG for Adobe's. Those without its marker are not.
    return cmyk if "adobe" in cmyk.info else ImageChops.invert(cmyk)


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                picture, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile that is damaged or for other channels: shown as if there were none, as browsers do
        else:
            if converted is not None:
                return converted
    return picture.convert("RGB")


def _upright(picture: Image.Image, source: ImageFile.ImageFile) -> Image.Image:
    try:
        orientation = source.getexif().get(_EXIF_ORIENTATION)
    except Exception:
        return picture  # damaged EXIF data says nothing, the picture itself is whole
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture
