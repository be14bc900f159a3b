"""What decoding takes at most: each picture in a fresh process, whose peak is read."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylequeue_worker.pictures.inputs import Role
from tests.support import odd_pictures, pictures

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MB = 1024**2
SIDE_PX = 4000


def measured(path: Path, role: Role = Role.CONTENT, size_px: int | None = None) -> tuple[float, str]:
    """By how many MB decoding raised a fresh process's peak memory, and the first pixel or the refusal."""
    # Not by getrusage, whose peak a process takes over from the one that started it.
    program = """
import pathlib, re, sys
from stylequeue.contract.errors import Permanent
from stylequeue_worker.pictures import images
from stylequeue_worker.pictures.inputs import Role

def peak_kb():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

role, size = Role(sys.argv[3]), int(sys.argv[4]) or None
size = (size, size) if role == Role.MASK else size
images.decode(pathlib.Path(sys.argv[2]).read_bytes(), role, size, max_pixels=75_000_000)
data = pathlib.Path(sys.argv[1]).read_bytes()
before_kb = peak_kb()
try:
    said = images.decode(data, role, size, max_pixels=75_000_000).getpixel((0, 0))
except Permanent as error:
    said = error
print((peak_kb() - before_kb) / 1024)
print(said)
"""
    small = path.with_name("small")
    small.write_bytes(pictures.half_transparent_webp())
    command = [sys.executable, "-c", program, str(path), str(small), role, str(size_px or 0)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak_mb, said = done.stdout.split("\n", 1)
    return float(peak_mb), said.strip()


@pytest.mark.parametrize("make", [pictures.ten_thousand_frame_webp, pictures.ten_thousand_frame_apng])
def test_the_first_of_ten_thousand_frames(make: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(make())
    peak_mb, colour = measured(tmp_path / "picture")
    assert colour == str(pictures.RED)
    # One frame of 2048 x 2048 px is 16 MB, and there are a few copies.
    assert 15 < peak_mb < 80


@pytest.mark.parametrize(
    "make", [pictures.huge_png, pictures.huge_webp, pictures.text_bomb_png, pictures.many_texts_png]
)
def test_bombs_are_refused(make: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(make())
    peak_mb, refusal = measured(tmp_path / "picture")
    assert refusal.startswith("[image_")
    assert peak_mb < 30


def test_a_profile_bomb_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(odd_pictures.odd_pngs()["a profile that unpacks to 100 MB"]())
    peak_mb, colour = measured(tmp_path / "picture")
    assert colour == str(pictures.RED)
    assert peak_mb < 60


def rgba_png(side_px: int) -> bytes:
    """Red above, whose lower half is transparent."""
    packer = zlib.compressobj(1)
    rows = [b"\0" + bytes((*pictures.RED, opacity)) * side_px for opacity in (255, 0)]
    body = b"".join(packer.compress(rows[2 * y // side_px]) for y in range(side_px)) + packer.flush()
    return pictures.png_of(side_px, side_px, pictures.chunk(b"IDAT", body), colour_type=6)


@pytest.mark.parametrize(("role", "side_px"), [(Role.CONTENT, 8660), (Role.STYLE, SIDE_PX), (Role.MASK, SIDE_PX)])
def test_what_has_opacity_is_held_once(role: Role, side_px: int, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(rgba_png(side_px))
    peak_mb, _ = measured(tmp_path / "picture", role, 1024)
    # Four bytes a pixel, and what a band of them takes.
    assert side_px**2 * 4 / MB - 10 < peak_mb < side_px**2 * 4 / MB + 90


def gradient() -> Image.Image:
    level = np.broadcast_to(np.linspace(0, 255, SIDE_PX).astype(np.uint8), (SIDE_PX, SIDE_PX))
    return Image.fromarray(np.dstack([level, level.T, np.full_like(level, 60)]))


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    return pictures.saved(gradient().convert(mode), "JPEG", quality=90, **options)


def webp() -> bytes:
    return pictures.saved(gradient().convert("RGBA"), "WEBP", lossless=True, quality=0, method=0)


def sixteen_bit_png() -> bytes:
    """With a transparent colour, for which the pixels are looked at twice."""
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(b"\0" + bytes([y * 255 // SIDE_PX, 7] * 3) * SIDE_PX) for y in range(SIDE_PX))
    chunks = pictures.chunk(b"tRNS", bytes(6)) + pictures.chunk(b"IDAT", body + packer.flush())
    return pictures.png_of(SIDE_PX, SIDE_PX, chunks, depth=16)


@pytest.mark.parametrize(
    ("make", "bytes_a_pixel"),
    [
        (lambda: jpeg(), 1),
        (lambda: jpeg(progressive=True), 4),
        (lambda: jpeg("CMYK", progressive=True, subsampling=0), 9),
        (lambda: webp(), 12),
        (lambda: sixteen_bit_png(), 12),
    ],
    ids=["JPEG", "progressive JPEG", "progressive CMYK JPEG", "WebP", "16-bit PNG"],
)
def test_bytes_a_pixel(make: Callable[[], bytes], bytes_a_pixel: int, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(make())
    peak_mb, _ = measured(tmp_path / "picture", size_px=480)
    assert peak_mb * MB < bytes_a_pixel * SIDE_PX**2 + 40 * MB
