"""The styles used last: many jobs are painted in the manner of one picture."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ..pictures.decoder import Pixels
from .order import Found

MAX_BYTES = 64 * 1024**2
"""Of pixels, in all: some 300 styles at 256 px, one at 4096 px."""


class RecentStyles:
    """Keeps the pixels of the styles used last, by where they lie, their version there and their size.

    That a style still lies there, and that the worker may read it, was seen by whoever looked at it (`Found`): only its
    bytes are neither fetched nor decoded again. For one thread.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str, str, int], Pixels] = OrderedDict()

    def pixels(self, style: Found, size_px: int, read: Callable[[Found, int], Pixels]) -> Pixels:
        """Of a style at this size, not to be written to: those kept, else what `read` gives."""
        key = style.info.bucket, style.info.key, style.version, size_px
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        pixels = read(style, size_px)
        pixels.setflags(write=False)
        self._kept[key] = pixels
        self._bytes += pixels.nbytes
        while self._bytes > self._max_bytes:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= gone.nbytes
        return pixels
