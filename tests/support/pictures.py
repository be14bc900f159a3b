"""Pictures for the tests, good and bad, each made by a function named after what is special about it."""

from __future__ import annotations

import io
import itertools
import re
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

FRAMES = 10_000
RED, GREEN, BLUE, YELLOW = (220, 40, 30), (30, 170, 60), (30, 60, 200), (240, 210, 40)


def quarters(width: int = 96, height: int = 64) -> Image.Image:
    """Red and green above, blue and yellow below: no turn or flip looks the same."""
    picture = Image.new("RGB", (width, height))
    for number, colour in enumerate((RED, GREEN, BLUE, YELLOW)):
        left, top = number % 2 * width // 2, number // 2 * height // 2
        picture.paste(colour, (left, top, left + width // 2, top + height // 2))
    return picture


def saved(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    """`picture` as a file."""
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def jpeg() -> bytes:
    return saved(quarters(), "JPEG", quality=95, subsampling=0)


def png() -> bytes:
    return saved(quarters(), "PNG")


def webp() -> bytes:
    return saved(quarters(), "WEBP", lossless=True)


# Right pictures in every guise.


def exif_rotated(orientation: int, file_format: str = "JPEG", *, width: int = 96, height: int = 64) -> bytes:
    """Stored turned or flipped, so that EXIF's `orientation` (1 to 8) sets it upright as `quarters()`."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = quarters(width, height)
    picture = picture if orientation == 1 else picture.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture, file_format, exif=exif, **({"quality": 95} if file_format == "JPEG" else {}))


def damaged_exif_jpeg() -> bytes:
    return saved(quarters(), "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xfe" * 40)


def transparent_png() -> bytes:
    """The left half is `quarters()`, the right half transparent over black."""
    picture = quarters().convert("RGBA")
    picture.paste((0, 0, 0, 0), (48, 0, 96, 64))
    return saved(picture, "PNG")


def half_transparent_webp() -> bytes:
    """Black all over, half transparent."""
    return saved(Image.new("RGBA", (64, 64), (0, 0, 0, 128)), "WEBP", lossless=True, exact=True)


def grey_with_alpha_png() -> bytes:
    """Black, transparent on the right."""
    picture = Image.new("LA", (64, 64), (0, 255))
    picture.paste((0, 0), (32, 0, 64, 64))
    return saved(picture, "PNG")


def transparent_palette_png() -> bytes:
    """`quarters()` in four palette colours, green made transparent."""
    picture = Image.new("P", (96, 64))
    picture.putpalette([*RED, *GREEN, *BLUE, *YELLOW])
    for number in range(4):
        left, top = number % 2 * 48, number // 2 * 32
        picture.paste(number, (left, top, left + 48, top + 32))
    return saved(picture, "PNG", transparency=bytes([255, 0, 255, 255]))


def palette_png() -> bytes:
    return saved(quarters().quantize(4), "PNG")


def bilevel_png() -> bytes:
    """Black above, white below."""
    picture = Image.new("1", (32, 64), 0)
    picture.paste(1, (0, 32, 32, 64))
    return saved(picture, "PNG")


def sixteen_bit_grey_png() -> bytes:
    """A ramp over all 16 bits, from black to white: column `x` of 256 has the value 257 x."""
    return saved(Image.fromarray(np.tile(np.arange(256, dtype=np.uint16) * 257, (32, 1))), "PNG")


def cmyk_jpeg() -> bytes:
    """As Adobe writes it: with its marker, ink upside down."""
    return saved(quarters().convert("CMYK"), "JPEG", quality=100, subsampling=0)


def plain_cmyk_jpeg() -> bytes:
    """Without Adobe's marker, ink upside down all the same: browsers and ImageMagick take every CMYK JPEG so."""
    marked = cmyk_jpeg()
    marker = re.search(rb"\xff\xee\x00\x0eAdobe.{7}", marked, re.DOTALL)
    assert marker
    return marked.replace(marker[0], b"")


def red_means_green_png() -> bytes:
    """`quarters()` with red and green exchanged, and an ICC profile that exchanges them back."""
    red, green, blue = quarters().split()
    return saved(Image.merge("RGB", (green, red, blue)), "PNG", icc_profile=exchanged_srgb())


def wrong_profile_jpeg() -> bytes:
    """An RGB picture with bytes for a profile that are none."""
    return saved(quarters(), "JPEG", quality=95, subsampling=0, icc_profile=b"no profile" * 30)


def described_jpeg() -> bytes:
    """With EXIF data, a comment and a colour profile, none of which may travel on."""
    exif = Image.Exif()
    exif[0x010F] = "SECRET CAMERA"
    return saved(quarters(), "JPEG", exif=exif, comment=b"SECRET COMMENT", icc_profile=exchanged_srgb())


def ten_thousand_frame_webp(side_px: int = 2048) -> bytes:
    """An animation whose first frame is red and all others blue: 160 GB if anybody decoded it all."""

    def frame(colour: tuple[int, int, int]) -> bytes:
        still = saved(Image.new("RGB", (side_px, side_px), colour), "WEBP", lossless=True)
        place = bytes(6) + _three_bytes(side_px - 1) * 2 + _three_bytes(40) + b"\2"
        return riff(b"ANMF", place + still[12:])

    canvas = riff(b"VP8X", b"\2\0\0\0" + _three_bytes(side_px - 1) * 2)
    body = canvas + riff(b"ANIM", bytes(6)) + frame(RED) + frame(BLUE) * (FRAMES - 1)
    return riff(b"RIFF", b"WEBP" + body)


def ten_thousand_frame_apng(side_px: int = 2048) -> bytes:
    """An animation whose first frame is red and all others blue."""
    numbers = itertools.count()

    def control(width_px: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">5I2H2B", next(numbers), width_px, width_px, 0, 0, 1, 25, 0, 0))

    def frames() -> Iterable[bytes]:
        blue = zlib.compress(b"\0" + bytes(BLUE))
        for _ in range(FRAMES - 1):
            yield control(1)
            yield chunk(b"fdAT", struct.pack(">I", next(numbers)) + blue)

    first = control(side_px) + chunk(b"IDAT", zlib.compress((b"\0" + bytes(RED) * side_px) * side_px))
    return png_of(side_px, side_px, chunk(b"acTL", struct.pack(">2I", FRAMES, 0)) + first + b"".join(frames()))


# Faults.


def html_page() -> bytes:
    return b"<!DOCTYPE html><html><head><title>403 Forbidden</title></head><body>Forbidden</body></html>"


def gif() -> bytes:
    return saved(quarters(), "GIF")


def other_formats() -> dict[str, bytes]:
    """Pictures that are not JPEG, PNG or WebP, by the name of their format."""
    return {
        "GIF": gif(),
        "TIFF": saved(quarters(), "TIFF"),
        "BMP": saved(quarters(), "BMP"),
        "JPEG 2000": saved(quarters(), "JPEG2000"),
        "AVIF": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf",
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "JPEG XL": b"\xff\x0a\xfa\x7f\x01\x90",
        "SVG": b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "PDF": b"%PDF-1.7\n",
        "FITS": b"SIMPLE  =                    T".ljust(2880),
        "ICO": saved(quarters(), "ICO"),
        "Photoshop": b"8BPS\0\1",
        "netpbm": saved(quarters(), "PPM"),
    }


def truncated_jpeg() -> bytes:
    whole = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")
    return whole[: len(whole) // 2]


def truncated_png() -> bytes:
    whole = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), "PNG")
    return whole[: len(whole) // 2]


def truncated_webp() -> bytes:
    whole = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), "WEBP")
    return whole[: len(whole) // 2]


def corrupt_png() -> bytes:
    """One bit of the pixels is wrong, and so is the checksum."""
    whole = bytearray(png())
    whole[whole.index(b"IDAT") + 12] ^= 1
    return bytes(whole)


def huge_png(side_px: int = 50_000) -> bytes:
    """A few bytes that say they are 7.5 GB of pixels."""
    return png_of(side_px, side_px, chunk(b"IDAT", zlib.compress(bytes(1000))))


def huge_webp() -> bytes:
    """A few bytes whose canvas would be 1 GB."""
    still = saved(Image.new("RGB", (32, 32), RED), "WEBP", lossless=True)
    return riff(b"RIFF", b"WEBP" + riff(b"VP8X", bytes(4) + _three_bytes(16_382) * 2) + still[12:])


def tiny_png() -> bytes:
    return saved(quarters(8, 8), "PNG")


def narrow_png() -> bytes:
    """Wide enough as it is, too narrow when its longest side becomes 512 px."""
    return saved(quarters(2048, 32), "PNG")


def text_bomb_png() -> bytes:
    """A comment that unpacks to a thousand times its size."""
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 1))
    return png_of(32, 32, bomb + chunk(b"IDAT", zlib.compress((b"\0" + bytes(96)) * 32)))


def many_texts_png() -> bytes:
    """Comments that are small one by one, and 100 MB together."""
    info = PngImagePlugin.PngInfo()
    for number in range(100):
        info.add_text(f"Comment{number}", "x" * 1_000_000, zip=True)
    return saved(quarters(), "PNG", pnginfo=info)


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, chunks: bytes, *, depth: int = 8, colour_type: int = 2) -> bytes:
    """A PNG of this size; its colours are RGB unless told."""
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IEND", b"")


def riff(name: bytes, data: bytes) -> bytes:
    """A chunk of a WebP, or the whole of it."""
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _three_bytes(number: int) -> bytes:
    return number.to_bytes(3, "little")


def exchanged_srgb() -> bytes:
    """An ICC profile (version 2, matrix and curves) like sRGB with its red and green primaries exchanged."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    # The curve of sRGB, as a table.
    stored = np.linspace(0, 1, 1024)
    linear = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    curve = b"curv\0\0\0\0" + struct.pack(">I", 1024) + (linear * 65535).round().astype(">u2").tobytes()
    text = b"exchanged\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0CC0\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.38515, 0.71687, 0.09708),
        b"gXYZ": xyz(0.43607, 0.22249, 0.01392),
        b"bXYZ": xyz(0.14307, 0.06061, 0.71410),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">2I", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    white = struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    header = struct.pack(">I4x", start + len(body)) + b"\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    header = (header + white).ljust(128, b"\0")
    return header + struct.pack(">I", len(tags)) + table + body
