"""One picture out of a file, and what its file says of how it is meant to look."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from PIL import ImageFile
from PIL.Image import Image

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.objects import ImageFormat

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

_BLOCK_BYTES = 1024 * 1024
"""Of a file that Pillow reads at once. What `encode` needs to write would be held twice."""
_EXIF_ORIENTATION = 0x0112
_MAX_SIDE_PX = 1_000_000
"""As libpng has it: a band of a picture is a few rows."""
MAX_BYTES_A_PIXEL = 12
"""While a picture is decoded, of the most expensive kinds; measured."""
MAX_PIECES = 100_000
"""Segments or chunks: a file of the largest size in pieces of less than a kilobyte was made to do harm."""


@dataclass(frozen=True)
class Still:
    """A picture that is opened and not decoded yet."""

    image_format: ImageFormat
    file: ImageFile.ImageFile
    whole: bool
    """Whether the file goes on to its end."""
    profiles: Sequence[bytes] = ()
    """ICC profiles in the order in which they count; none: sRGB."""
    orientation: int = 1
    """EXIF's, 1 to 8."""
    bytes_a_pixel: int = MAX_BYTES_A_PIXEL
    """Memory that decoding takes."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored: not turned upright yet."""
        return self.file.size

    @property
    def peak_bytes(self) -> int:
        """The memory that decoding takes, at most."""
        return self.bytes_a_pixel * self.size[0] * self.size[1]

    def load(self, enough_px: tuple[int, int]) -> tuple[Image, Box]:
        """Its pixels, and where in them the picture lies.

        A JPEG is decoded at a half, a quarter or an eighth of its size where both sides still are no less than
        `enough_px`. Raises Permanent with `image_truncated` or `image_corrupt`.
        """
        self.file.decodermaxblock = _BLOCK_BYTES
        drafted = self.file.draft(None, enough_px)
        with judged(self.image_format, whole=self.whole):
            self.file.load()
        return self.file, drafted[1] if drafted else (0, 0, *self.file.size)


@contextmanager
def judged(image_format: ImageFormat, *, whole: bool) -> Iterator[None]:
    """Whatever strangers' bytes make Pillow stumble over in the block is raised as Permanent."""
    try:
        yield
    except (MemoryError, Permanent):
        raise
    except Exception as error:
        raise (corrupt(image_format, str(error)) if whole else truncated(image_format)) from error


@dataclass
class Kept:
    """What is kept of a file, as stretches of it: few, however many pieces strangers cut it into."""

    data: bytes
    stretches: list[tuple[int, int]] = field(default_factory=list)

    def keep(self, start: int, stop: int) -> None:
        """Keep this much; pieces come in the order of the file."""
        if self.stretches and self.stretches[-1][1] == start:
            start, _ = self.stretches.pop()
        self.stretches.append((start, stop))

    def joined(self, before: bytes, *after: bytes) -> bytes:
        """All of it, with something before and behind."""
        view = memoryview(self.data)
        return b"".join([before, *(view[start:stop] for start, stop in self.stretches), *after])


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise Permanent with `image_too_many_pixels` where there are more than `max_pixels`, or too many in a row."""
    if width * height > max_pixels or max(width, height) > _MAX_SIDE_PX:
        raise Permanent(
            Code.IMAGE_TOO_MANY_PIXELS,
            f"the picture has {width} x {height} px, at most {max_pixels:,} in all are allowed "
            f"and {_MAX_SIDE_PX:,} on a side",
            "scale it down first, or let the operator raise STYLEQUEUE_MAX_IMAGE_PIXELS",
        )


def too_costly(why: str) -> Permanent:
    """What is said of a file that would take more time or memory than any picture needs."""
    return Permanent(
        Code.IMAGE_TOO_COSTLY, why, "save the picture again with an ordinary program, or smaller, and upload that"
    )


def check_pieces(number: int) -> None:
    """Raise Permanent with `image_too_costly` where a file has more than `MAX_PIECES`."""
    if number > MAX_PIECES:
        raise too_costly(f"the file is cut into more than {MAX_PIECES:,} pieces")


def truncated(image_format: ImageFormat) -> Permanent:
    """What is said of a file whose last pixels are missing."""
    return Permanent(
        Code.IMAGE_TRUNCATED, f"the {image_format} file ends before its end", "the upload was cut off: repeat it"
    )


def corrupt(image_format: ImageFormat, why: str) -> Permanent:
    """What is said of a file that is all there, and wrong."""
    return Permanent(
        Code.IMAGE_CORRUPT, f"the {image_format} file is damaged: {why}"[:200], "save the picture again and upload that"
    )


def unsupported(what: str) -> Permanent:
    """What is said of a rare kind of a format that is supported otherwise."""
    return Permanent(Code.IMAGE_FORMAT_UNSUPPORTED, f"the picture is {what}", "save it anew with 8 bits a channel")


def orientation(exif: bytes) -> int:
    """EXIF's orientation, 1 to 8; 1 where the data does not say.

    Read here, because whatever else is wrong with EXIF data must not matter.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff.startswith(b"MM") else "<"
    with suppress(struct.error):
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, _, short, long = struct.unpack_from(f"{order}HHIHxx", tiff, place) + struct.unpack_from(
                f"{order}I", tiff, place + 8
            )
            if tag == _EXIF_ORIENTATION:
                found = long if kind == 4 else short
                return found if 1 <= found <= 8 else 1
    return 1
