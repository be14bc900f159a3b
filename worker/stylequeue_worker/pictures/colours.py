"""What a file's numbers mean as colours: ICC profiles, and those that PNG's other ways of saying it come to."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Floats]
"""From stored values in [0, 1] to light, 1 being white."""

SRGB: Final = b"sRGB"
"""In place of a profile: the numbers are sRGB already."""

_D65 = (0.3127, 0.3290)
_BT709 = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
_BT601_NTSC = (0.630, 0.340, 0.310, 0.595, 0.155, 0.070)
_P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
_PRIMARIES: Final = {
    1: (*_D65, *_BT709),
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),  # BT.470 System M
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),  # BT.601, PAL
    6: (*_D65, *_BT601_NTSC),
    7: (*_D65, *_BT601_NTSC),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    11: (0.314, 0.351, *_P3),  # DCI-P3
    12: (*_D65, *_P3),  # Display P3
}
"""Chromaticities of white, red, green, blue (x and y of each) by their code in ITU-T H.273."""

_REFERENCE_WHITE_NITS = 203.0
"""What BT.2408 takes for the white of a page in a picture of high dynamic range."""
_SHOULDER = 0.5
"""Light up to half of white stays as it is, the rest of the range is bent to end at 1."""
_TABLE = np.linspace(0, 1, 256)
"""The values that eight bits can have."""
_D50 = np.array([0.9642, 1.0, 0.8249])
"""The white of profiles."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_srgb(mode: str, profiles: Sequence[bytes]) -> Callable[[Image.Image], Image.Image]:
    """What makes RGB in sRGB of a picture in `mode` (L, RGB, CMYK), by the first of these profiles that fits it.

    A profile that is damaged or for other channels is passed over, as browsers do.
    """
    for profile in profiles:
        if profile == SRGB:
            break
        try:
            opened = ImageCms.getOpenProfile(io.BytesIO(profile))
            its_mode = _MODES.get(opened.profile.xcolor_space.strip())
            if its_mode == mode or (its_mode == "RGB" and mode == "L"):
                transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), its_mode, "RGB")
                return lambda picture: transform.apply(picture.convert(its_mode))
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            continue
    return lambda picture: picture.convert("RGB")


_MODES: Final = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}


def cicp_profile(code_points: bytes) -> bytes | None:
    """The profile of a cICP chunk: primaries, transfer function, matrix, full range (ITU-T H.273).

    SRGB where it says so; None where it says nothing that is known. High dynamic range (PQ, HLG) is brought into that
    of a print by a tone curve.
    """
    if len(code_points) != 4:
        return None
    primaries, transfer, matrix, full_range = code_points
    if matrix != 0 or full_range > 1 or primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        return None
    if (primaries, transfer, full_range) == (1, 13, 1):
        return SRGB
    curve = _TRANSFERS[transfer]
    stored = _TABLE if full_range else np.clip((_TABLE * 255 - 16) / 219, 0, 1)
    return _profile(_PRIMARIES[primaries], curve(stored))


def gamma_profile(gamma: float | None, chromaticities: Sequence[float] | None) -> bytes | None:
    """The profile of PNG's gAMA and cHRM chunks (chromaticities of white, red, green, blue); None: sRGB.

    A gamma near 1 / 2.2 is sRGB's own curve, which it was meant to say.
    """
    curve = _srgb
    if gamma and abs(gamma * 2.2 - 1) > 0.05:
        exponent = 1 / gamma
        curve = lambda stored: stored**exponent  # noqa: E731
    if chromaticities is None and curve is _srgb:
        return None
    return _profile(chromaticities or _PRIMARIES[1], curve(_TABLE)) or (
        None if curve is _srgb else _profile(_PRIMARIES[1], curve(_TABLE))
    )


def _srgb(stored: Floats) -> Floats:
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def _bt709(stored: Floats) -> Floats:
    return np.where(stored < 0.081, stored / 4.5, ((stored + 0.099) / 1.099) ** (1 / 0.45))


def _smpte_240m(stored: Floats) -> Floats:
    return np.where(stored < 0.0913, stored / 4, ((stored + 0.1115) / 1.1115) ** (1 / 0.45))


def _pq(stored: Floats) -> Floats:
    """SMPTE ST 2084."""
    root = stored ** (1 / 78.84375)
    nits = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return _toned(nits / _REFERENCE_WHITE_NITS)


def _hlg(stored: Floats) -> Floats:
    """BT.2100's hybrid log-gamma on a display of 1000 nits, channel by channel."""
    scene = np.where(stored <= 0.5, stored**2 / 3, (np.exp((stored - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return _toned(1000 * scene**1.2 / _REFERENCE_WHITE_NITS)


def _toned(light: Floats) -> Floats:
    """Light over white bent to end at 1, without an edge in the curve."""
    above = np.maximum(light - _SHOULDER, 0) / (1 - _SHOULDER)
    return np.where(light <= _SHOULDER, light, _SHOULDER + (1 - _SHOULDER) * (1 - np.exp(-above)))


_TRANSFERS: Final[dict[int, Curve]] = {
    1: _bt709,
    4: lambda stored: stored**2.2,
    5: lambda stored: stored**2.8,
    6: _bt709,
    7: _smpte_240m,
    8: lambda stored: stored,
    13: _srgb,
    14: _bt709,
    15: _bt709,
    16: _pq,
    17: lambda stored: np.minimum(stored**2.6 * 52.37 / 48, 1),
    18: _hlg,
}
"""By their code in ITU-T H.273."""


def _profile(chromaticities: Sequence[float], light: Floats) -> bytes | None:
    """An ICC profile (version 2, matrix and curves); None where three such primaries make no colours.

    `light` is that of each value of eight bits.
    """
    xy = np.asarray(chromaticities, np.float64).reshape(4, 2)
    if (xy[:, 1] <= 0).any():
        return None
    white, *primaries = np.column_stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(axis=1)) / xy[:, 1]])
    columns = np.column_stack(primaries)
    if abs(np.linalg.det(columns)) < 1e-6:
        return None
    cones = _BRADFORD @ white
    if (cones <= 0).any():
        return None
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / cones) @ _BRADFORD
    columns = adapted @ (columns * np.linalg.solve(columns, white))
    if np.abs(columns).max() > 16:
        return None
    curve = b"curv\0\0\0\0" + struct.pack(">I", len(light)) + (light * 65535).round().astype(">u2").tobytes()
    name = b"as its PNG says\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"wtpt": _xyz(_D50),
        b"rXYZ": _xyz(columns[:, 0]),
        b"gXYZ": _xyz(columns[:, 1]),
        b"bXYZ": _xyz(columns[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        table += tag + struct.pack(">2I", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4x", start + len(body)) + b"\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + _xyz(_D50)[8:]).ljust(128, b"\0") + table + body


def _xyz(values: Floats) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values.tolist()))
