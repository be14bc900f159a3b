"""PNG files: the chunks that the picture needs, what is transparent, and what its colours mean."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngImageFile

from ..colours import SRGB, cicp_profile, gamma_profile
from .still import (
    MAX_BYTES_A_PIXEL,
    Box,
    Kept,
    Still,
    check_pieces,
    check_pixels,
    corrupt,
    judged,
    orientation,
    too_costly,
    truncated,
    unsupported,
)

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_PALETTE, _GREY_WITH_OPACITY = 3, 4
_ANCILLARY: Final = {b"tRNS", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf"}
"""Chunks that change how the picture looks, though it could be decoded without them."""
_MAX_TEXT_BYTES: Final = 64 * 1024**2
"""Of compressed texts, unpacked: what is larger was made to do harm."""
_MAX_PROFILE_BYTES: Final = 16 * 1024**2
_PIECE_BYTES: Final = 1024**2
_BYTES_A_PIXEL = 4
"""But for what has a transparent colour of 16 bits, which is decoded three times."""


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    """Bits a channel."""
    colour_type: int


@dataclass
class _Layout:
    """What a file holds."""

    needed: Kept
    header: _Header | None = None
    has_palette: bool = False
    has_pixels: bool = False
    pieces: int = 0
    whole: bool = False
    ancillary: dict[bytes, bytes] = field(default_factory=dict)
    text_bytes: int = 0


@dataclass(frozen=True)
class PngStill(Still):
    """A PNG. Of one with 16 bits a channel, Pillow reads the upper eight."""

    data: bytes = b""
    deep_grey: bool = False
    """Whether it is grey with opacity, which Pillow reads as colours then."""
    deep_transparent: tuple[int, int, int] | None = None
    """The colour that is transparent, which has to be compared by all its bits."""

    def load(self, enough_px: tuple[int, int]) -> tuple[Image.Image, Box]:
        """As of all stills."""
        opacity = self._opacity(self.deep_transparent) if self.deep_transparent else None
        picture, box = super().load(enough_px)
        if opacity:
            picture.putalpha(opacity)
        return picture.convert("LA") if self.deep_grey else picture, box

    def _opacity(self, transparent: tuple[int, int, int]) -> Image.Image:
        with judged("png", whole=self.whole):
            upper = _is(self._bytes_of(0), [level >> 8 for level in transparent])
            lower = _is(self._bytes_of(1), [level & 0xFF for level in transparent])
        return ImageChops.invert(ImageChops.darker(upper, lower))

    def _bytes_of(self, place: int) -> Image.Image:
        """The upper (0) or lower (1) byte of each channel."""
        file = PngImageFile(io.BytesIO(self.data))
        file.tile = [tile._replace(args=("RGB;16B", "RGB;16L")[place]) for tile in file.tile]
        file.load()
        return file


def open_still(data: bytes, max_pixels: int) -> PngStill:
    """The picture in `data`. Raises Permanent where it is none.

    Chunks that it does not need cannot refuse it, except texts that unpack to more than they should.
    """
    layout = _walk(data)
    if layout.header:
        check_pixels(layout.header.width, layout.header.height, max_pixels)
    if not layout.header or not layout.has_pixels:
        raise corrupt("png", "there is no picture in it") if layout.whole else truncated("png")
    needed = layout.needed.joined(_SIGNATURE, _END if layout.whole else b"")
    with judged("png", whole=layout.whole):
        file = PngImageFile(io.BytesIO(needed))
    deep = layout.header.depth == 16
    transparent = _transparent(layout.header, layout.ancillary.get(b"tRNS", b""))
    deep_transparent = transparent if deep and isinstance(transparent, tuple) else None
    if transparent is not None and deep_transparent is None:
        file.info["transparency"] = transparent
    return PngStill(
        "png",
        file,
        layout.whole,
        list(_profiles(layout.ancillary)),
        orientation(layout.ancillary.get(b"eXIf", b"")),
        MAX_BYTES_A_PIXEL if deep_transparent else _BYTES_A_PIXEL,
        data=needed,
        deep_grey=deep and layout.header.colour_type == _GREY_WITH_OPACITY,
        deep_transparent=deep_transparent,
    )


def _walk(data: bytes) -> _Layout:
    layout = _Layout(Kept(data))
    place = len(_SIGNATURE)
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        stop = place + length + 12
        layout.pieces += 1
        check_pieces(layout.pieces)
        if name == b"IEND" or not name.isalpha():
            layout.whole = True  # or damaged, but not cut
            break
        if name == b"IDAT" and layout.header:
            layout.has_pixels = True
            layout.needed.keep(place, stop)
        elif stop > len(data):
            break
        else:
            _note(layout, name, data[place + 8 : stop - 4], (place, stop))
        place = stop
    return layout


def _note(layout: _Layout, name: bytes, body: bytes, place: tuple[int, int]) -> None:
    """Keep a chunk if the picture needs it."""
    if name == b"CgBI":
        raise unsupported("a PNG that only Apple's devices read (CgBI)")
    if name == b"IHDR" and not layout.header and len(body) == 13:
        layout.header = _Header(*struct.unpack_from(">2I2B", body))
        layout.needed.keep(*place)
    elif name == b"PLTE" and layout.header and layout.header.colour_type == _PALETTE and not layout.has_palette:
        layout.has_palette = True
        layout.needed.keep(*place)
    elif name in (b"zTXt", b"iTXt"):
        for piece in _unpacked(_packed_text(name, body)):
            layout.text_bytes += len(piece)
            if layout.text_bytes > _MAX_TEXT_BYTES:
                raise too_costly(f"the texts in the file unpack to more than {_MAX_TEXT_BYTES:,} bytes")
    elif (
        name in _ANCILLARY
        and name not in layout.ancillary
        and (name == b"eXIf" or not layout.has_pixels)
        and zlib.crc32(name + body) == int.from_bytes(layout.needed.data[place[1] - 4 : place[1]], "big")
    ):
        layout.ancillary[name] = body


def _packed_text(name: bytes, body: bytes) -> bytes:
    """The compressed part of a text, empty where it is not compressed."""
    _, _, rest = body.partition(b"\0")
    if name == b"zTXt":
        return rest[1:]
    return rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else b""


def _unpacked(packed: bytes) -> Iterator[bytes]:
    """What was compressed, in pieces, as far as it can be unpacked."""
    inflater = zlib.decompressobj()
    while packed and not inflater.eof:
        try:
            piece = inflater.decompress(packed, _PIECE_BYTES)
        except zlib.error:
            return
        yield piece
        packed = inflater.unconsumed_tail


def _transparent(header: _Header, levels: bytes) -> bytes | int | tuple[int, int, int] | None:
    """What is transparent, as Pillow has it: opacities of a palette, or a level or colour as it is once decoded."""
    top = (1 << header.depth) - 1
    match header.colour_type:
        case 3:  # a palette
            return levels[:256] if levels.strip(b"\xff") else None
        case 0 if len(levels) >= 2:  # grey
            level = int.from_bytes(levels[:2], "big") & top
            return level if header.depth == 16 else level * 255 // top
        case 2 if len(levels) >= 6:  # red, green and blue
            red, green, blue = struct.unpack_from(">3H", levels)
            return red & top, green & top, blue & top
    return None


def _is(picture: Image.Image, colour: list[int]) -> Image.Image:
    """White where `picture` has this colour, else black."""
    same = [
        channel.point([255 * (value == level) for value in range(256)])
        for channel, level in zip(picture.split(), colour, strict=True)
    ]
    return ImageChops.darker(ImageChops.darker(same[0], same[1]), same[2])


def _profiles(ancillary: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """In the order of the PNG specification: cICP, iCCP, sRGB, gAMA and cHRM."""
    if profile := cicp_profile(ancillary.get(b"cICP", b"")):
        yield profile
    if packed := ancillary.get(b"iCCP"):
        profile = b""
        for piece in _unpacked(packed.partition(b"\0")[2][1:]):
            profile += piece
            if len(profile) > _MAX_PROFILE_BYTES:
                break
        else:
            yield profile
    if b"sRGB" in ancillary:
        yield SRGB
    gamma, chromaticities = ancillary.get(b"gAMA", b""), ancillary.get(b"cHRM", b"")
    if profile := gamma_profile(
        int.from_bytes(gamma, "big") / 100_000 if len(gamma) == 4 else None,
        [value / 100_000 for value in struct.unpack(">8I", chromaticities)] if len(chromaticities) == 32 else None,
    ):
        yield profile
