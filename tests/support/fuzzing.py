"""Pictures with something wrong in them, at random, and what must not come of decoding them."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from stylequeue.contract.errors import Code, StyleQueueError
from stylequeue_worker.pictures.decoder import Decoder
from stylequeue_worker.pictures.inputs import Role

from . import odd_pictures, pictures
from .usage import Usage

MAX_PIXELS = 4_000_000
MAX_BYTES = 4_000_000
CPU_S = 10
MAX_MB = 700
"""With what the process holds anyway; its own limit is 390 more than that."""
_LARGE_BYTES = 300_000
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


def corpus() -> list[bytes]:
    """Small files of all kinds, in order and odd."""
    makers = [
        *odd_pictures.odd_jpegs().values(),
        *odd_pictures.odd_pngs().values(),
        *odd_pictures.odd_webps().values(),
        odd_pictures.progressive_jpeg,
        odd_pictures.ycck_jpeg,
        odd_pictures.rgb_jpeg,
        pictures.cmyk_jpeg,
        pictures.described_jpeg,
        pictures.webp,
        pictures.half_transparent_webp,
        pictures.palette_png,
        pictures.transparent_palette_png,
        pictures.grey_with_alpha_png,
        pictures.sixteen_bit_grey_png,
        pictures.bilevel_png,
        pictures.red_means_green_png,
    ]
    files = [make() for make in makers]
    files += [pictures.exif_rotated(turn, kind) for turn in (2, 6) for kind in ("JPEG", "PNG", "WEBP")]
    files += [pictures.saved(odd_pictures.noise(), "WEBP", quality=40), pictures.saved(odd_pictures.noise(), "PNG")]
    return [data for data in files if len(data) < _LARGE_BYTES]


def mutated(files: list[bytes], chance: random.Random) -> bytes:
    """One of the files with one to eight things wrong."""
    data = bytearray(chance.choice(files))
    for _ in range(chance.randint(1, 8)):
        _mutate(data, files, chance)
    if data.startswith(b"\x89PNG") and chance.random() < 0.8:
        return _with_right_checksums(bytes(data))
    return bytes(data)


def _mutate(data: bytearray, files: list[bytes], chance: random.Random) -> None:
    if len(data) < 16:
        data += chance.randbytes(16)
    # Mostly near the beginning, where headers are.
    place = int(len(data) * chance.random() ** chance.choice((1, 4))) % (len(data) - 8)
    length = min(chance.choice((1, 2, 4, 8, 64, 1000)), len(data) - place)
    match chance.randrange(7):
        case 0:
            data[place] ^= 1 << chance.randrange(8)
        case 1:
            data[place] = chance.choice(_INTERESTING)
        case 2:
            data[place : place + 4] = struct.pack(
                chance.choice("<>") + "I", chance.choice((0, 1, 2**31, 2**32 - 1, 300))
            )
        case 3:
            del data[place : place + length]
        case 4:
            data[place:place] = data[place : place + length] * chance.choice((1, 2, 50))
        case 5:
            other = chance.choice(files)
            start = chance.randrange(len(other))
            data[place : place + length] = other[start : start + length]
        case 6:
            data[place : place + length] = chance.randbytes(length)


def _with_right_checksums(data: bytes) -> bytes:
    """Else what is wrong inside a chunk would not be looked at."""
    whole, place = data[:8], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        body = data[place + 4 : place + 8 + length]
        if place + 12 + length > len(data):
            break
        whole += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return whole + data[place:]


@dataclass(frozen=True)
class Finding:
    """A file that does what none may."""

    data: bytes
    what: str


def fuzz(seed: int) -> Iterator[Finding | None]:
    """Decode one mutated file after the other, for ever; None: nothing was found."""
    chance, files = random.Random(seed), corpus()
    with Decoder(max_pixels=MAX_PIXELS, max_bytes=MAX_BYTES, cpu_s=CPU_S) as decoder:
        while True:
            data = mutated(files, chance)
            role = chance.choice(list(Role))
            size = (chance.randint(16, 300),) * 2 if role in (Role.MASK, Role.INIT) else chance.choice((16, 64, 512))
            decoder.start()
            usage = Usage(decoder.pid)
            try:
                decoder.decode(data, role, size)
            except StyleQueueError as error:
                mended = error.code.startswith("image_") and not _strange(error)
                yield None if mended else Finding(data, f"{role}: {error}")
                continue
            peak_mb = usage.peak_mb
            yield None if peak_mb < MAX_MB else Finding(data, f"{role}: {peak_mb:.0f} MB")


def _strange(error: StyleQueueError) -> bool:
    """Whether it came unforeseen: a crash, an exception that nobody catches, a limit that a small file ran into."""
    unforeseen = "breaks its decoder" in error.message or "cannot be decoded" in error.message
    return unforeseen or (error.code == Code.IMAGE_TOO_COSTLY and "decoding it takes" in error.message)
