"""Files made to cost much: small ones that would become large, or take long, and large ones in very many pieces."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle, islice

from PIL import Image

from . import odd_pictures, pictures
from .pictures import RED, chunk, exchanged_srgb, jpeg, png, png_of, riff, saved, webp

Maker = Callable[[], bytes]
MAX_BYTES = 60_000_000
"""Nearly as large as a file may be."""
MANY_PX = 8_660
"""A square of nearly as many pixels as a picture may have."""


def segment(marker: int, payload: bytes = b"") -> bytes:
    """Of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def jpeg_of(*pieces: bytes, max_bytes: int = MAX_BYTES) -> bytes:
    """A JPEG with as many of these segments before its picture as there is room for, in turn."""
    return jpeg()[:2] + _many(pieces, max_bytes) + jpeg()[2:]


def _many(pieces: tuple[bytes, ...], max_bytes: int) -> bytes:
    once = b"".join(pieces)
    return once * (max_bytes // len(once))


def jpeg_of_scans(scans: int, side_px: int) -> bytes:
    """A progressive JPEG, grey, whose every scan refines all coefficients of the picture and says nothing."""
    frame = segment(0xC2, struct.pack(">B2HB", 8, side_px, side_px, 1) + bytes([1, 0x11, 0]))
    table = segment(0xDB, b"\0" + b"\1" * 64)
    # One code of one bit: of the first, no difference; of others, the end of a band in 2**14 blocks and more.
    codes = [segment(0xC4, bytes([kind]) + b"\1" + bytes(15) + bytes([value])) for kind, value in ((0, 0), (16, 0xE0))]
    blocks = (side_px // 8) ** 2
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(blocks // 8 + 1)
    runs = blocks // (2**14) + 1
    other = segment(0xDA, b"\1\1\0\1\x3f\x10") + bytes(runs * 15 // 8 + 1)
    return b"\xff\xd8" + frame + table + b"".join(codes) + first + other * scans + b"\xff\xd9"


def jpeg_of_hardly_any_data() -> bytes:
    """Which says that it is large."""
    frame = segment(0xC0, struct.pack(">B2HB", 8, MANY_PX, MANY_PX, 3) + b"\1\x22\0\2\x11\0\3\x11\0")
    table = segment(0xDB, b"\0" + b"\1" * 64)
    codes = b"".join(segment(0xC4, bytes([kind]) + b"\1" + bytes(16)) for kind in (0, 16))
    return b"\xff\xd8" + frame + table + codes + segment(0xDA, b"\3\1\0\2\0\3\0\0\x3f\0") + bytes(100) + b"\xff\xd9"


def looping_exif() -> bytes:
    """A directory of 65,535 entries, each of which says that the directory lies where it lies."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return b"II*\0" + struct.pack("<IH", 8, 65_535) + entry * 5_000 + struct.pack("<I", 8)


def profile_of_many_tags() -> bytes:
    """A profile whose table says that it has four thousand million tags, and has a million."""
    profile = exchanged_srgb()
    tags = profile[132:144] * 1_000_000
    whole = profile[:128] + struct.pack(">I", 2**32 - 1) + tags + profile[144:]
    return struct.pack(">I", len(whole)) + whole[4:]


def flat_png(side_px: int, *, depth: int = 8, colour_type: int = 6, before: bytes = b"") -> bytes:
    """A square PNG, of one colour, of a few hundred kilobytes; `before` its pixels, more chunks."""
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    packer = zlib.compressobj(9)
    row = b"\0" + b"\x7f" * ((side_px * bits + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(side_px)) + packer.flush()
    return png_of(side_px, side_px, before + chunk(b"IDAT", body), depth=depth, colour_type=colour_type)


def punctured_png(side_px: int = MANY_PX) -> bytes:
    """Every other pixel of every other row is transparent."""
    packer = zlib.compressobj(9)
    rows = [b"\0" + (bytes((*RED, 255)) + bytes((*RED, opacity))) * (side_px // 2) for opacity in (255, 0)]
    body = b"".join(packer.compress(row) for row in islice(cycle(rows), side_px)) + packer.flush()
    return png_of(side_px, side_px, chunk(b"IDAT", body), colour_type=6)


def chequered_png(side_px: int) -> bytes:
    """Every other pixel is transparent: as many holes as there can be in what is taken for a painting."""
    seen, hole = bytes((*RED, 255)), bytes((*RED, 0))
    rows = [b"\0" + pair * (side_px // 2) for pair in (seen + hole, hole + seen)]
    body = zlib.compress(b"".join(islice(cycle(rows), side_px)), 9)
    return png_of(side_px, side_px, chunk(b"IDAT", body), colour_type=6)


def large_webp(side_px: int = MANY_PX) -> bytes:
    """With opacity, of a few bytes."""
    return saved(Image.new("RGBA", (side_px, side_px), (*RED, 200)), "WEBP", lossless=True, quality=0, method=0)


def webp_of(*chunks: bytes, max_bytes: int = MAX_BYTES) -> bytes:
    """A WebP with as many of these chunks before its picture as there is room for."""
    return riff(b"RIFF", b"WEBP" + _many(chunks, max_bytes) + webp()[12:])


def frame_of_many_chunks() -> bytes:
    """An animation whose first frame holds millions of empty chunks before its picture."""
    place = bytes(6) + (95).to_bytes(3, "little") + (63).to_bytes(3, "little") + bytes(3) + b"\0"
    canvas = b"\2\0\0\0" + place[6:12]
    frame = riff(b"ANMF", place + riff(b"QUER", b"") * (MAX_BYTES // 8) + webp()[12:])
    return riff(b"RIFF", b"WEBP" + riff(b"VP8X", canvas) + riff(b"ANIM", bytes(6)) + frame)


def webp_with_profile(profile: bytes) -> bytes:
    canvas = b"\x20\0\0\0" + (95).to_bytes(3, "little") + (63).to_bytes(3, "little")
    return riff(b"RIFF", b"WEBP" + riff(b"VP8X", canvas) + riff(b"ICCP", profile) + webp()[12:])


@cache
def packed_text(unpacked_bytes: int = 100_000_000) -> bytes:
    return zlib.compress(bytes(unpacked_bytes), 1)


def hostile_jpegs() -> dict[str, Maker]:
    return {
        "tiny EXIF segments": lambda: jpeg_of(segment(0xE1, b"Exif\0\0")),
        "tiny comments": lambda: jpeg_of(segment(0xFE)),
        "tiny tables and comments": lambda: jpeg_of(segment(0xDB), segment(0xFE)),
        "tiny segments of each kind": lambda: jpeg_of(*(segment(marker) for marker in range(0xE0, 0xF0))),
        "as many tables as may be": lambda: jpeg_of(segment(0xDB), max_bytes=4 * 99_000),
        "as many Adobe markers as may be": lambda: jpeg_of(segment(0xEE, b"Adobe" + bytes(7)), max_bytes=16 * 99_000),
        "markers without a length": lambda: jpeg()[:2] + b"\xff\x01" * (MAX_BYTES // 2) + jpeg()[2:],
        "stuffed zeros": lambda: jpeg()[:-2] + b"\xff\0" * (MAX_BYTES // 2) + b"\xff\xd9",
        "restarts": lambda: jpeg()[:-2] + b"\xff\xd0" * (MAX_BYTES // 2) + b"\xff\xd9",
        "thousands of scans": lambda: jpeg_of_scans(5_000, MANY_PX),
        "as many scans as may be": lambda: jpeg_of_scans(98, MANY_PX),
        "a profile in 300 parts": lambda: jpeg_of(segment(0xE2, b"ICC_PROFILE\0\1\1x"), max_bytes=300 * 19),
        "a profile in very many parts": lambda: jpeg_of(segment(0xE2, b"ICC_PROFILE\0\1\1x"), max_bytes=99_000 * 19),
        "EXIF in circles": lambda: odd_pictures.with_segment(jpeg(), 0xE1, b"Exif\0\0" + looping_exif()),
        "hardly any data": jpeg_of_hardly_any_data,
        "pictures behind it": lambda: jpeg() * (MAX_BYTES // len(jpeg())),
    }


def hostile_pngs() -> dict[str, Maker]:

    def profile(body: bytes) -> bytes:
        return chunk(b"iCCP", b"p\0\0" + body)

    return {
        "tiny chunks": lambda: _behind_header(chunk(b"quEr", b"")),
        "tiny chunks of pixels": lambda: _behind_header(chunk(b"IDAT", b"")),
        "as many chunks of pixels as may be": lambda: _behind_header(chunk(b"IDAT", b""), max_bytes=99_000 * 12),
        "tiny packed texts": lambda: _behind_header(chunk(b"zTXt", b"C\0\0" + zlib.compress(b""))),
        "as many packed texts as may be": lambda: _behind_header(
            chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(600))), max_bytes=99_000 * 30
        ),
        "a text bomb": lambda: _with_text(packed_text()),
        "a text behind which something comes": lambda: _with_text(zlib.compress(bytes(1024**2)) + b"more"),
        "an international text bomb": lambda: png()[:33] + chunk(b"iTXt", b"C\0\1\0\0\0" + packed_text()) + png()[33:],
        "a profile bomb": lambda: png()[:33] + profile(packed_text()) + png()[33:],
        "profile bombs": lambda: _behind_header(profile(packed_text(16_000_000))),
        "a profile of many tags": lambda: png()[:33] + profile(zlib.compress(profile_of_many_tags())) + png()[33:],
        "EXIF in circles": lambda: odd_pictures.with_chunk(png(), b"eXIf", looping_exif()),
        "flat colour with opacity": lambda: flat_png(MANY_PX),
        "punctured": punctured_png,
        "a transparent colour of 16 bits": lambda: flat_png(
            MANY_PX, depth=16, colour_type=2, before=chunk(b"tRNS", b"\0\0\0\0\0\0")
        ),
        "grey of 16 bits": lambda: flat_png(MANY_PX, depth=16, colour_type=0, before=chunk(b"tRNS", b"\0\0")),
        "one bit": lambda: flat_png(MANY_PX, depth=1, colour_type=0),
        "a row": lambda: png_of(1_000_000, 75, chunk(b"IDAT", zlib.compress((b"\0" + b"\x7f" * 3_000_000) * 75))),
        "a column": lambda: png_of(75, 1_000_000, chunk(b"IDAT", zlib.compress((b"\0" + b"\x7f" * 225) * 1_000_000))),
        "a pixel in 75 million": lambda: png_of(MANY_PX, MANY_PX, chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))),
        "a million frames": lambda: (
            pictures.ten_thousand_frame_apng(64)[:-12] + chunk(b"fdAT", bytes(4)) * 1_000_000 + chunk(b"IEND", b"")
        ),
    }


def _with_text(packed: bytes) -> bytes:
    return png()[:33] + chunk(b"zTXt", b"C\0\0" + packed) + png()[33:]


def _behind_header(piece: bytes, max_bytes: int = MAX_BYTES) -> bytes:
    return png()[:33] + _many((piece,), max_bytes) + png()[33:]


def hostile_webps() -> dict[str, Maker]:
    return {
        "tiny chunks": lambda: webp_of(riff(b"QUER", b"")),
        "as many chunks as may be": lambda: webp_of(riff(b"QUER", b""), max_bytes=99_000 * 8),
        "a frame of many chunks": frame_of_many_chunks,
        "large": large_webp,
        "a large canvas": lambda: pictures.huge_webp().replace(
            (16_382).to_bytes(3, "little") * 2, (MANY_PX - 1).to_bytes(3, "little") * 2
        ),
        "a profile of many tags": lambda: webp_with_profile(profile_of_many_tags()),
        "a large profile": lambda: webp_with_profile(exchanged_srgb() + bytes(MAX_BYTES)),
        "ten thousand frames": pictures.ten_thousand_frame_webp,
    }


def polyglots() -> dict[str, Maker]:
    """Two kinds of file in one."""
    page = b"<html><script>alert(1)</script></html>"
    return {
        "a JPEG that is a page": lambda: odd_pictures.with_segment(jpeg(), 0xFE, page),
        "a PNG with an archive behind it": lambda: png() + b"PK\3\4" + bytes(1000) + b"PK\5\6" + bytes(18),
        "a PNG with a JPEG behind it": lambda: png() + jpeg(),
        "a WebP in a WebP": lambda: webp_of(riff(b"RIFF", webp()[8:]), max_bytes=len(webp()) + 8),
        "a page with a JPEG behind it": lambda: page + jpeg(),
        "a JPEG's beginning and a PNG": lambda: b"\xff\xd8\xff" + png(),
    }


def hostile_files() -> Iterator[tuple[str, Maker]]:
    """All of them, by their names."""
    kinds = {"JPEG": hostile_jpegs(), "PNG": hostile_pngs(), "WebP": hostile_webps(), "both": polyglots()}
    for kind, makers in kinds.items():
        for name, make in makers.items():
            yield f"{kind}: {name}", make
