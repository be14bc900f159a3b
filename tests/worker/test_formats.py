"""What nobody needs of a file does not refuse it; what is missing of its picture does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stylequeue.contract.errors import Code, Permanent
from stylequeue_worker.pictures import images
from tests.support import odd_pictures, pictures
from tests.support.odd_pictures import Maker

ODD: dict[str, Maker] = {
    f"{kind}: {name}": make
    for kind, makers in (
        ("JPEG", odd_pictures.odd_jpegs()),
        ("PNG", odd_pictures.odd_pngs()),
        ("WebP", odd_pictures.odd_webps()),
    )
    for name, make in makers.items()
}


def decode(data: bytes) -> Image.Image:
    return images.decode(data, max_pixels=75_000_000)


def difference(picture: Image.Image, expected: Image.Image) -> int:
    """The largest, in levels of 255."""
    assert picture.mode == expected.mode
    return int(np.abs(np.asarray(picture, np.int16) - np.asarray(expected, np.int16)).max())


def refusal(data: bytes) -> Permanent:
    with pytest.raises(Permanent) as refused:
        decode(data)
    return refused.value


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_shows_its_picture(name: str) -> None:
    assert difference(decode(ODD[name]()), pictures.quarters()) <= 6


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("thumbnail", [False, True])
def test_a_jpeg_cut_anywhere_is_truncated(progressive: bool, thumbnail: bool) -> None:
    whole = pictures.saved(odd_pictures.noise(), "JPEG", quality=90, progressive=progressive)
    if thumbnail:
        whole = odd_pictures.with_segment(whole, 0xE1, b"Exif\0\0" + pictures.jpeg())
    for cut in odd_pictures.cuts(whole, 40):
        assert refusal(cut).code == Code.IMAGE_TRUNCATED
    assert decode(odd_pictures.endless(whole)) == decode(whole)


def test_a_progressive_jpeg_cut_between_its_scans_is_truncated() -> None:
    for cut in odd_pictures.cut_between_scans():
        assert refusal(cut).code == Code.IMAGE_TRUNCATED


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_others_cut_anywhere_are_truncated(file_format: str) -> None:
    for cut in odd_pictures.cuts(pictures.saved(odd_pictures.noise(), file_format, lossless=True), 20):
        assert refusal(cut).code == Code.IMAGE_TRUNCATED


def test_a_motion_photos_film_is_not_taken_for_its_end() -> None:
    whole = pictures.saved(odd_pictures.noise(), "JPEG")
    assert refusal(whole[: len(whole) // 2] + b"\xff\xd8 film \xff\xd9").code == Code.IMAGE_TRUNCATED


@pytest.mark.parametrize(
    "make",
    [
        lambda: pictures.jpeg()[:-2] + b"\xff" * 10_000_000 + b"\0",
        lambda: pictures.jpeg()[:2] + b"\xff" * 10_000_000 + pictures.jpeg()[2:],
        lambda: pictures.jpeg()[:2] + b"\xff\xdb\0\2" * 90_000 + pictures.jpeg()[2:],
        lambda: pictures.png()[:33] + pictures.chunk(b"IDAT", b"") * 90_000 + pictures.png()[33:],
    ],
    ids=["fill behind", "fill before", "empty segments", "empty chunks of pixels"],
)
def test_a_file_of_very_many_pieces_is_read_in_time(make: Maker) -> None:
    # What grew with the square of their number would run into pytest's limit.
    assert difference(decode(make()), pictures.quarters()) <= 6


def apples_png() -> bytes:
    return pictures.png()[:8] + pictures.chunk(b"CgBI", bytes(4)) + pictures.png()[8:]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: pictures.jpeg().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c"), "12 bits"),
        (lambda: pictures.jpeg().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc3\x00\x11\x08"), "lossless"),
        (apples_png, "CgBI"),
    ],
)
def test_rare_kinds_are_named(make: Maker, word: str) -> None:
    refused = refusal(make())
    assert refused.code == Code.IMAGE_FORMAT_UNSUPPORTED
    assert word in refused.message


def test_a_profile_of_three_megabytes_is_applied() -> None:
    data = odd_pictures.png_with_large_profile()
    assert difference(decode(data), pictures.quarters()) <= 3
