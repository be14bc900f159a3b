"""JPEG files: the segments that the picture needs, and whether all of it is there."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL.JpegImagePlugin import JpegImageFile

from .still import (
    MAX_BYTES_A_PIXEL,
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

_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""Neither a stuffed zero nor a restart: those are part of a scan."""
_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
"""Sequential and progressive, Huffman and arithmetic."""
_PROGRESSIVE = {0xC2, 0xCA}
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
"""Lossless and hierarchical."""
_FIRST_SEGMENT, _LAST_SEGMENT = 0xC0, 0xFE
_COEFFICIENTS = 64
_MAX_SCANS = 100
"""Each goes over all of the picture, however few its bytes; programs write a dozen."""
_BYTES_A_PIXEL = 4
"""Of one whose scans are decoded as they come."""
_MAX_PROFILE_PARTS = 255
_NOISE = b"\xb6\x6d\xdb" * 1500
"""Tells of pixels that are missing, nothing of those that are there; unlike the zeros that libjpeg makes up."""


@dataclass
class _Layout:
    """Where things are in a file."""

    needed: Kept
    """Segments before the first scan, and all scans."""
    pieces: int = 0
    frame: bytes = b""
    is_progressive: bool = False
    scans: list[bytes] = field(default_factory=list)
    """Their headers."""
    first_scan: int = 0
    scans_end: int = 0
    whole: bool = False
    profile: list[bytes] = field(default_factory=list)
    exif: bytes = b""


def open_still(data: bytes, max_pixels: int) -> Still:
    """The picture in `data`. Raises Permanent where it is none, or not all there.

    A file may lack its end marker, as some cameras write it, if its scans are complete.
    """
    layout = _walk(data)
    if not layout.scans:
        raise corrupt("jpeg", "there is no picture in it") if layout.whole else truncated("jpeg")
    layout.needed.keep(layout.first_scan, layout.scans_end)
    with judged("jpeg", whole=layout.whole):
        file = JpegImageFile(io.BytesIO(layout.needed.joined(_BEGIN, _END)))
    check_pixels(*file.size, max_pixels)
    if not layout.whole and not _complete(layout):
        raise truncated("jpeg")
    in_turn = len(layout.scans) == 1 and not layout.is_progressive
    return Still(
        "jpeg",
        file,
        True,
        _profiles(layout.profile),
        orientation(layout.exif),
        _BYTES_A_PIXEL if in_turn else MAX_BYTES_A_PIXEL,
    )


def _walk(data: bytes) -> _Layout:
    layout = _Layout(Kept(data))
    place, in_scan = 2, False
    while found := _MARKER.search(data, place):
        marker, begin, place = found[1][0], found.start(), found.end()
        if in_scan:
            layout.scans_end, in_scan = begin, False
        layout.pieces += 1
        check_pieces(layout.pieces)
        if marker == _EOI:
            layout.whole = True
            return layout
        if marker == _SOI or (layout.scans and marker in _FRAMES | _OTHER_FRAMES):
            return layout  # another picture begins: a thumbnail behind this one, say
        if not _FIRST_SEGMENT <= marker <= _LAST_SEGMENT:
            continue
        stop = place + int.from_bytes(data[place : place + 2], "big")
        if not place + 2 <= stop <= len(data):
            return layout
        payload, place = data[place + 2 : stop], stop
        if marker == _SOS:
            layout.first_scan = layout.first_scan or begin
            layout.scans.append(payload)
            if len(layout.scans) > _MAX_SCANS:
                raise too_costly(f"the picture comes in more than {_MAX_SCANS} scans")
            in_scan = True
        elif not layout.scans:
            _note(layout, marker, payload, (begin, stop))
    if in_scan:
        layout.scans_end = len(data.rstrip(b"\xff"))
    return layout


def _note(layout: _Layout, marker: int, payload: bytes, place: tuple[int, int]) -> None:
    """Keep a segment before the first scan if the picture needs it."""
    if marker in _OTHER_FRAMES:
        raise unsupported("a lossless or hierarchical JPEG")
    if marker in _FRAMES:
        if payload[:1] != b"\x08":
            raise unsupported(f"a JPEG of {payload[0] if payload else 0} bits a channel")
        layout.frame, layout.is_progressive = payload, marker in _PROGRESSIVE
    if marker == _APP1 and payload.startswith(b"Exif\0\0"):
        layout.exif = layout.exif or payload
    if marker == _APP2 and payload.startswith(b"ICC_PROFILE\0"):
        layout.profile.append(payload)
    # What tells the colours' space; the rest is not for the picture.
    jfif = marker == _APP0 and payload.startswith(b"JFIF\0") and len(payload) >= 14
    adobe = marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= 12
    if jfif or adobe or not (_APP0 <= marker <= _APP15 or marker == _COM):
        layout.needed.keep(*place)


def _profiles(parts: Sequence[bytes]) -> list[bytes]:
    """The ICC profile of its parts, each with its number and how many there are."""
    if len(parts) > _MAX_PROFILE_PARTS:
        return []
    numbered = sorted(part[12:] for part in parts if len(part) >= 14)
    expected = [bytes([number, len(numbered)]) for number in range(1, len(numbered) + 1)]
    complete = numbered and [part[:2] for part in numbered] == expected
    return [b"".join(part[2:] for part in numbered)] if complete else []


def _complete(layout: _Layout) -> bool:
    """Whether a file without an end has all its pixels."""
    with judged("jpeg", whole=False):
        if not _all_scans(layout.frame, layout.scans):
            return False
        plain, noisy = (layout.needed.joined(_BEGIN, *after) for after in ((_END,), (_NOISE, _END)))
        return _digest(plain) == _digest(noisy)


def _all_scans(frame: bytes, scans: Sequence[bytes]) -> bool:
    """Whether each coefficient of each channel has a scan that gives its last bit."""
    missing = {channel: set(range(_COEFFICIENTS)) for channel in frame[6::3]}
    for scan in scans:
        channels = scan[1 : 1 + 2 * scan[0] : 2]
        first, last, bits = scan[1 + 2 * scan[0] :][:3]
        if not bits & 0x0F:
            for channel in channels:
                missing.get(channel, set()).difference_update(range(first, last + 1))
    return not any(missing.values())


def _digest(data: bytes) -> bytes:
    """Of a JPEG's pixels."""
    file = JpegImageFile(io.BytesIO(data))
    file.load()
    digest = hashlib.sha256()
    for top in range(0, file.height, 64):
        digest.update(file.crop((0, top, file.width, min(top + 64, file.height))).tobytes())
    return digest.digest()
