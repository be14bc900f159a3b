"""Half-painted pictures as bytes, and back: what comes back from the store may be anybody's."""

from __future__ import annotations

import io
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np

from ..engine import Checkpoint

PICTURE_ARRAYS = 6
"""Of the picture's shape in float32, or smaller: the picture, what Adam remembers, what a stage began with."""
_OTHER_BYTES = 64 * 1024
_BYTES_A_PIXEL = 3 * 4
_FINGERPRINT = "fingerprint"
_SUFFIX = ".npy"
_HEADER = struct.Struct("<4s2xHH4xI4xIHH")
"""Of a part of a zip archive: signature, flags, method, CRC-32, size, and the lengths of its name and of more."""
_PART, _AS_IT_IS, _SIZE_FOLLOWS, _ELSEWHERE = b"PK\3\4", 0, 0x08, 0xFFFFFFFF
_MAX_PARTS = 32
_ARRAY: Final = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<dtype><[iu][248]|<f[248]|\|[biu]1|<U\d{1,3})', 'fortran_order': False, "
    rb"'shape': \((?P<shape>[\d, ]{0,99})\), \} *\n",
    re.DOTALL,
)
"""How NumPy begins an array of numbers or text: read here, for its own reader evaluates what it finds."""


def max_bytes(height: int, width: int) -> int:
    """The most that the checkpoint of a picture of this size takes."""
    return PICTURE_ARRAYS * _BYTES_A_PIXEL * height * width + _OTHER_BYTES


def pack(fingerprint: str, state: Checkpoint) -> bytes:
    """A checkpoint of what has this fingerprint: NumPy's .npz, not compressed."""
    file = io.BytesIO()
    np.savez(file, **{_FINGERPRINT: np.array(fingerprint)}, **state)  # type: ignore[arg-type]
    return file.getvalue()


def unpack(data: bytes) -> tuple[str, Checkpoint]:
    """What `pack` packed, as arrays that are views of `data`: nothing is copied or inflated, whatever it says.

    Raises ValueError for whatever else it is.
    """
    try:
        state = {name: _array(stored) for name, stored in _parts(data)}
        return str(state.pop(_FINGERPRINT)), state
    except (struct.error, KeyError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"no checkpoint: {error}") from error


def _parts(data: bytes) -> Iterator[tuple[str, memoryview]]:
    """Names and bytes, by the header before each: the archive's directory could be of any length."""
    place = 0
    for _ in range(_MAX_PARTS):
        signature, flags, method, crc, size, name_bytes, extra_bytes = _HEADER.unpack_from(data, place)
        if signature != _PART:
            return
        extra = place + _HEADER.size + name_bytes
        name = str(data[place + _HEADER.size : extra], "utf-8")
        if size == _ELSEWHERE:
            (size,) = struct.unpack_from("<4xQ", data, extra)
        place = extra + extra_bytes + size
        stored = memoryview(data)[place - size : place]
        if method != _AS_IT_IS or flags & _SIZE_FOLLOWS or not name.endswith(_SUFFIX):
            raise ValueError("a part that is packed, or no array")
        if len(stored) < size or zlib.crc32(stored) != crc:
            raise ValueError("a part that is damaged")
        yield name.removesuffix(_SUFFIX), stored
    raise ValueError(f"more than {_MAX_PARTS} parts")


def _array(stored: memoryview) -> np.ndarray:
    found = _ARRAY.match(stored)
    if not found:
        raise ValueError("an array of another kind")
    shape = tuple(map(int, found["shape"].replace(b",", b" ").split()))
    numbers, dtype = stored[found.end() :], str(found["dtype"], "ascii")
    if "U" in dtype and np.frombuffer(numbers, np.uint32).max(initial=0) > sys.maxunicode:
        raise ValueError("text of what is no character")
    return np.frombuffer(numbers, dtype).reshape(shape)
