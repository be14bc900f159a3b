"""JPEG, PNG and WebP files, opened so that only what their picture needs can refuse them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.objects import ImageFormat

from . import jpeg, png, webp
from .still import Still

__all__ = ["Still", "open_still"]

_OPEN: Final[dict[ImageFormat, Callable[[bytes, int], Still]]] = {
    "jpeg": jpeg.open_still,
    "png": png.open_still,
    "webp": webp.open_still,
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


def open_still(data: bytes, *, max_pixels: int) -> Still:
    """The picture in `data`, opened and not decoded yet; of an animation, the first frame.

    Raises Permanent with a code `image_*` for whatever is no JPEG, PNG or WebP, is damaged as far as can be seen now,
    or has more than `max_pixels`.
    """
    if not data:
        raise Permanent(Code.IMAGE_EMPTY, "the object has no bytes", "upload the picture again")
    for image_format, signature in _SIGNATURES.items():
        if signature.match(data):
            return _OPEN[image_format](data, max_pixels)
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
