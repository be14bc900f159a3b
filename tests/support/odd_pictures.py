"""Right pictures in files that are odd: what nobody needs of them is damaged, missing or huge.

All show `quarters()`. Each maker is named after what is odd about its file.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageChops

from .pictures import chunk, exchanged_srgb, jpeg, png, quarters, red_means_green_png, riff, saved, webp

Maker = Callable[[], bytes]
_NO_EXIF = b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xfe" * 40


def progressive_jpeg() -> bytes:
    return saved(quarters(), "JPEG", quality=95, subsampling=0, progressive=True)


def endless(whole: bytes) -> bytes:
    """A JPEG without its end marker."""
    assert whole.endswith(b"\xff\xd9")
    return whole[:-2]


def thumbnailed_jpeg() -> bytes:
    """With a thumbnail in its EXIF data, end marker and all."""
    return with_segment(jpeg(), 0xE1, b"Exif\0\0" + saved(quarters(48, 32), "JPEG"))


def with_segment(whole: bytes, marker: int, payload: bytes) -> bytes:
    """A JPEG with one more segment at its beginning."""
    return whole[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload + whole[2:]


def multi_picture_jpeg() -> bytes:
    file = io.BytesIO()
    other = Image.new("RGB", (96, 64))
    quarters().save(file, "MPO", save_all=True, append_images=[other], quality=95, subsampling=0)
    return file.getvalue()


def odd_jpegs() -> dict[str, Maker]:
    """JPEGs, by what is odd about them."""
    film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(256)) * 20
    return {
        "no end": lambda: endless(jpeg()),
        "no end, progressive": lambda: endless(progressive_jpeg()),
        "no end, restarts": lambda: endless(
            saved(quarters(), "JPEG", quality=95, subsampling=0, restart_marker_blocks=3)
        ),
        "half an end": lambda: jpeg()[:-1],
        "zeros instead of an end": lambda: endless(jpeg()) + bytes(5000),
        "a trailer instead of an end": lambda: endless(jpeg()) + b"SEFH" + bytes(range(255)) * 9 + b"SEFT",
        "a thumbnail instead of an end": lambda: endless(jpeg()) + saved(quarters(48, 32), "JPEG"),
        "a cut segment instead of an end": lambda: endless(jpeg()) + b"\xff\xe1\xff\xf0Exif",
        "a film behind it": lambda: jpeg() + film,
        "two pictures": multi_picture_jpeg,
        "two pictures, cut in the second": lambda: multi_picture_jpeg()[:-300],
        "a thumbnail": thumbnailed_jpeg,
        "a thumbnail, no end": lambda: endless(thumbnailed_jpeg()),
        "broken EXIF data": lambda: with_segment(jpeg(), 0xE1, _NO_EXIF),
        "short JFIF": lambda: with_segment(without_app0(jpeg()), 0xE0, b"JFIF\0\1"),
        "cut Photoshop data": lambda: with_segment(jpeg(), 0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04"),
        "short Adobe marker": lambda: with_segment(jpeg(), 0xEE, b"Adobe"),
        "a profile in parts, one missing": lambda: with_segment(jpeg(), 0xE2, b"ICC_PROFILE\0\1\3" + exchanged_srgb()),
        "a profile's empty part": lambda: with_segment(jpeg(), 0xE2, b"ICC_PROFILE\0"),
        "no profile where one should be": lambda: with_segment(jpeg(), 0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 300),
        "a long comment": lambda: with_segment(jpeg(), 0xFE, b"\xff" * 65_000),
        "rubbish between segments": lambda: jpeg()[:20] + b"\0\1\2rubbish" + jpeg()[20:],
    }


def without_app0(whole: bytes) -> bytes:
    """A JPEG without its first segment."""
    assert whole[2:4] == b"\xff\xe0"
    return whole[:2] + whole[4 + int.from_bytes(whole[4:6], "big") :]


def with_chunk(whole: bytes, name: bytes, body: bytes, *, right: bool = True, last: bool = False) -> bytes:
    """A PNG with one more chunk behind its header, or before its end; not `right`: its checksum is wrong."""
    more = chunk(name, body)
    more = more if right else more[:-1] + bytes([more[-1] ^ 1])
    place = len(whole) - 12 if last else 33
    return whole[:place] + more + whole[place:]


def png_with_large_profile() -> bytes:
    """`red_means_green_png()` with a profile of 3 MB."""
    # Tables and text may lie anywhere in a profile; what no tag points to is allowed.
    profile = exchanged_srgb() + np.random.default_rng(0).bytes(3_000_000)
    profile = struct.pack(">I", len(profile)) + profile[4:]
    bare = saved(Image.open(io.BytesIO(red_means_green_png())).convert("RGB"), "PNG", icc_profile=None)
    return with_chunk(bare, b"iCCP", b"large\0\0" + zlib.compress(profile))


def odd_pngs() -> dict[str, Maker]:
    """PNGs, by what is odd about them."""
    packed = zlib.compress(b"x" * 40_000_000)
    gamma = struct.pack(">I", 200_000)
    return {
        "a large profile": png_with_large_profile,
        "a profile that is none": lambda: with_chunk(png(), b"iCCP", b"none\0\0rubbish"),
        "a profile that unpacks to 100 MB": lambda: with_chunk(
            png(), b"iCCP", b"bomb\0\0" + zlib.compress(bytes(100_000_000), 1)
        ),
        "a profile packed in no known way": lambda: with_chunk(png(), b"iCCP", b"odd\0\7rubbish"),
        "a large text": lambda: with_chunk(png(), b"zTXt", b"Comment\0\0" + packed),
        "a large international text": lambda: with_chunk(png(), b"iTXt", b"XML\0\1\0en\0\0" + packed, last=True),
        "a large text as it is": lambda: with_chunk(png(), b"tEXt", b"workflow\0" + b"x" * 20_000_000),
        "a text packed in no known way": lambda: with_chunk(png(), b"zTXt", b"Comment\0\7rubbish"),
        "a text without its name": lambda: with_chunk(png(), b"zTXt", b"rubbish"),
        "broken EXIF data": lambda: with_chunk(png(), b"eXIf", _NO_EXIF[6:]),
        "no end": lambda: png()[:-12],
        "half an end": lambda: png()[:-6],
        "rubbish behind it": lambda: png() + b"rubbish" * 100,
        "a cut chunk before its end": lambda: png()[:-12] + chunk(b"tEXt", b"Comment\0" + b"x" * 100)[:-50],
        "a chunk of rubbish before its end": lambda: png()[:-12] + b"\xff" * 30,
        "short gamma": lambda: with_chunk(png(), b"gAMA", b"\0"),
        "short chromaticities": lambda: with_chunk(png(), b"cHRM", b"\0" * 8),
        "no gamma": lambda: with_chunk(png(), b"gAMA", bytes(4)),
        "no chromaticities": lambda: with_chunk(png(), b"cHRM", bytes(32)),
        "short resolution": lambda: with_chunk(png(), b"pHYs", b"\0"),
        "short intent": lambda: with_chunk(png(), b"sRGB", b""),
        "short transparency": lambda: with_chunk(png(), b"tRNS", b"\0"),
        "a palette that it does not use": lambda: with_chunk(png(), b"PLTE", b"\1" * 7),
        "short animation": lambda: with_chunk(png(), b"acTL", b"\0"),
        "a frame out of order": lambda: with_chunk(png(), b"fcTL", b"\7" * 26),
        "an unknown chunk": lambda: with_chunk(png(), b"quEr", b"\7" * 26),
        "a wrong checksum of a text": lambda: with_chunk(png(), b"tEXt", b"Comment\0x", right=False),
        "a wrong checksum of its gamma": lambda: with_chunk(png(), b"gAMA", gamma, right=False),
        "a wrong checksum of a chunk behind": lambda: with_chunk(png(), b"tEXt", b"C\0x", right=False, last=True),
    }


def odd_webps() -> dict[str, Maker]:
    """WebPs, by what is odd about them."""

    def extended(flags: int, *chunks: bytes) -> bytes:
        canvas = bytes([flags, 0, 0, 0]) + (95).to_bytes(3, "little") + (63).to_bytes(3, "little")
        return riff(b"RIFF", b"WEBP" + riff(b"VP8X", canvas) + b"".join(chunks))

    picture = webp()[12:]
    return {
        "rubbish behind it": lambda: webp() + b"rubbish" * 100,
        "an unknown chunk": lambda: extended(0x10, riff(b"QUER", b"rubbish"), picture),
        "EXIF data cut short": lambda: extended(0x18, picture, riff(b"EXIF", b"x" * 1000))[:-500],
        "broken EXIF data": lambda: extended(0x18, picture, riff(b"EXIF", _NO_EXIF)),
        "no profile where one should be": lambda: extended(0x30, riff(b"ICCP", b"x" * 300), picture),
        "flags that promise a profile": lambda: extended(0x3C, picture),
        "a length that is too long": lambda: webp()[:4] + struct.pack("<I", 2**31) + webp()[8:],
    }


def cuts(whole: bytes, pieces: int = 9) -> Iterator[bytes]:
    """A file cut at so many places, but for its last bytes."""
    for piece in range(1, pieces + 1):
        yield whole[: (len(whole) - 30) * piece // pieces]


def cut_between_scans() -> Iterator[bytes]:
    """A progressive JPEG that ends after each of its scans but the last."""
    whole = progressive_jpeg()
    scans = [found.start() for found in re.finditer(rb"\xff\xda", whole)]
    tables = [found.start() for found in re.finditer(rb"\xff\xc4", whole)]
    assert len(scans) > 5
    for scan in scans[1:]:
        # The tables of a scan come right before it.
        yield whole[: max(table for table in tables if table < scan)]
        yield whole[:scan]


def noise(side_px: int = 64) -> Image.Image:
    """In which each pixel takes bytes of its own."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), np.uint8))


def ycck_jpeg() -> bytes:
    """As Adobe writes it: luma and chroma of the inks, upside down, and so is black."""
    cyan, magenta, yellow, black = quarters().convert("CMYK").split()
    luma, blue, red = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    # Pillow turns all of them upside down.
    inks = Image.merge("CMYK", (*map(ImageChops.invert, (luma, blue, red)), black))
    whole = saved(inks, "JPEG", quality=100, subsampling=0)
    marker = re.search(rb"\xff\xee\x00\x0eAdobe.{6}", whole, re.DOTALL)
    assert marker
    return whole[: marker.end()] + b"\2" + whole[marker.end() + 1 :]


def rgb_jpeg() -> bytes:
    """Red, green and blue as they are, which Adobe's marker says."""
    return saved(quarters(), "JPEG", quality=100, subsampling=0, keep_rgb=True)


def packed_rows(levels: np.ndarray, depth: int) -> bytes:
    """The pixels of a PNG, [height, width] or [height, width, channels], with so many bits each."""
    rows = levels.reshape(len(levels), -1)
    bits = (rows[..., None].astype(np.uint16) >> np.arange(depth - 1, -1, -1, dtype=np.uint16)) & 1
    packed = np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1)
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
