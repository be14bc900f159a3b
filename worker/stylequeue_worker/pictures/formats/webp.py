"""WebP files: the one picture, or the first frame, without what lies around it."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field

from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from .still import Still, check_pieces, check_pixels, corrupt, judged, orientation, truncated

# Sizes are checked here, by what the operator allows: Pillow's own limit would refuse a WebP that lies above it.
Image.MAX_IMAGE_PIXELS = None

_ALPHA, _ANIMATION = 0x10, 0x02
_PICTURES = (b"VP8 ", b"VP8L")


class _LeanWebPImageFile(WebPImageFile):
    """Lets go of libwebp's two canvases before Pillow takes memory for a third."""

    def load_prepare(self) -> None:
        self._decoder = None
        super().load_prepare()


@dataclass
class _Layout:
    """Chunks by their names, the first of each."""

    chunks: dict[bytes, bytes] = field(default_factory=dict)
    pieces: int = 0
    whole: bool = False


def open_still(data: bytes, max_pixels: int) -> Still:
    """The picture in `data`. Raises Permanent where it is none, or not all there."""
    layout = _walk(data)
    needed = _needed(layout.chunks)
    if needed is None:
        raise corrupt("webp", "there is no picture in it") if layout.whole else truncated("webp")
    # Pillow takes memory for the whole canvas when it opens one.
    check_pixels(*_size_px(data[12:42]), max_pixels)
    check_pixels(*_size_px(needed), max_pixels)
    with judged("webp", whole=True):
        file = _LeanWebPImageFile(io.BytesIO(_chunk(b"RIFF", b"WEBP" + needed)))
    check_pixels(*file.size, max_pixels)
    profile = layout.chunks.get(b"ICCP")
    return Still("webp", file, True, [profile] if profile else [], orientation(layout.chunks.get(b"EXIF", b"")))


def _walk(data: bytes) -> _Layout:
    """Of an animation, no further than its first frame; what comes after a picture may be missing."""
    layout = _Layout()
    place = 12
    end = int.from_bytes(data[4:8], "little") + 8
    while place + 8 <= min(end, len(data)):
        name, length = struct.unpack_from("<4sI", data, place)
        if place + 8 + length > len(data):
            return layout
        layout.pieces += 1
        check_pieces(layout.pieces)
        layout.chunks.setdefault(name, data[place + 8 : place + 8 + length])
        place += 8 + length + length % 2
    layout.whole = end <= len(data)
    return layout


def _needed(chunks: dict[bytes, bytes]) -> bytes | None:
    """The chunks that the picture needs, as bytes of a file; None: there is none."""
    extended = chunks.get(b"VP8X", b"")
    if frame := chunks.get(b"ANMF"):
        canvas = bytes([_ALPHA | _ANIMATION]) + extended[1:]
        return _chunk(b"VP8X", canvas) + _chunk(b"ANIM", bytes(6)) + _chunk(b"ANMF", frame)
    for name in _PICTURES:
        if picture := chunks.get(name):
            if name == b"VP8 " and (alpha := chunks.get(b"ALPH")):
                canvas = bytes([_ALPHA]) + extended[1:]
                return _chunk(b"VP8X", canvas) + _chunk(b"ALPH", alpha) + _chunk(name, picture)
            return _chunk(name, picture)
    return None


def _size_px(chunks: bytes) -> tuple[int, int]:
    """Width and height as the first chunk says (RFC 9649); some number where it is cut short."""

    def number(start: int, stop: int) -> int:
        return int.from_bytes(chunks[start:stop], "little")

    match chunks[:4]:
        case b"VP8X":
            return number(12, 15) + 1, number(15, 18) + 1
        case b"VP8L":
            return (number(9, 13) & 0x3FFF) + 1, (number(9, 13) >> 14 & 0x3FFF) + 1
        case _:
            return number(14, 16) & 0x3FFF, number(16, 18) & 0x3FFF


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
