"""A file's numbers are shown as the colours that it says they are."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from stylequeue_worker.pictures import images
from stylequeue_worker.pictures.colours import gamma_profile
from tests.support import odd_pictures, pictures
from tests.support.odd_pictures import with_chunk

COLOURS = [(220, 40, 30), (30, 170, 60), (30, 60, 200), (240, 210, 40), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
P3, BT2020, BT709 = 12, 9, 1
SRGB_CURVE, BT709_CURVE, LINEAR, GAMMA_28, PQ, HLG = 13, 1, 8, 5, 16, 18


def stripes(colours: list[tuple[int, int, int]] | list[int]) -> Image.Image:
    """A column of each colour, 16 px wide."""
    return Image.fromarray(np.repeat(np.array([colours], np.uint8), 16, axis=0).repeat(16, axis=1))


def shown(data: bytes) -> np.ndarray:
    """The colours of the columns."""
    return np.asarray(images.decode(data, max_pixels=10**6))[8, 8::16].astype(int)


def png(picture: Image.Image, *chunks: tuple[bytes, bytes]) -> bytes:
    data = pictures.saved(picture, "PNG")
    for name, body in reversed(chunks):
        data = with_chunk(data, name, body)
    return data


def cicp(primaries: int, transfer: int, full_range: int = 1) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, full_range])


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def chromaticities(*values: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values))


def profile(data: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"a profile\0\0" + zlib.compress(data)


def linear(stored: np.ndarray) -> np.ndarray:
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    """As sRGB stores it, in levels of 255."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255


# From linear light in these primaries to that in sRGB's; CSS Color 4 has them as fractions of whole numbers.
FROM_P3 = np.array(
    [
        [1.2249401762805, -0.2249401762805, 0],
        [-0.0420569547096, 1.0420569547096, 0],
        [-0.0196375545903, -0.0786360455506, 1.0982736001409],
    ]
)
FROM_BT2020 = np.array(
    [
        [1.6604910021084, -0.5876411387885, -0.0728498633198],
        [-0.1245504745215, 1.1328998971259, -0.0083494226043],
        [-0.0181507633549, -0.1005788980080, 1.1187296613629],
    ]
)


@pytest.mark.parametrize(("primaries", "matrix"), [(P3, FROM_P3), (BT2020, FROM_BT2020)])
def test_cicp_with_other_primaries(primaries: int, matrix: np.ndarray) -> None:
    expected = encoded(linear(np.array(COLOURS) / 255) @ matrix.T)
    np.testing.assert_allclose(shown(png(stripes(COLOURS), cicp(primaries, SRGB_CURVE))), expected, atol=2)


def test_cicp_that_says_srgb_changes_nothing_whatever_the_rest_says() -> None:
    data = png(stripes(COLOURS), cicp(BT709, SRGB_CURVE), profile(pictures.exchanged_srgb()), gamma(1))
    np.testing.assert_array_equal(shown(data), COLOURS)


@pytest.mark.parametrize(
    ("transfer", "light"),
    [
        (LINEAR, lambda stored: stored),
        (GAMMA_28, lambda stored: stored**2.8),
        (BT709_CURVE, lambda stored: np.where(stored < 0.081, stored / 4.5, ((stored + 0.099) / 1.099) ** (1 / 0.45))),
    ],
)
def test_cicp_with_other_curves(transfer: int, light: object) -> None:
    assert callable(light)
    np.testing.assert_allclose(
        shown(png(stripes(COLOURS), cicp(BT709, transfer))), encoded(light(np.array(COLOURS) / 255)), atol=2
    )


def test_cicp_of_narrow_range() -> None:
    levels = [(level,) * 3 for level in (0, 16, 64, 128, 235, 255)]
    expected = np.clip((np.array(levels) - 16) / 219, 0, 1) * 255
    np.testing.assert_allclose(shown(png(stripes(levels), cicp(BT709, SRGB_CURVE, 0))), expected, atol=2)


@pytest.mark.parametrize(
    "says_nothing",
    [
        cicp(2, SRGB_CURVE),
        cicp(P3, 2),
        cicp(200, SRGB_CURVE),
        (b"cICP", bytes([P3, SRGB_CURVE, 1, 1])),
        (b"cICP", bytes([P3, SRGB_CURVE, 0])),
        profile(b"rubbish"),
        profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()),
        (b"iCCP", b"a profile\0\0rubbish"),
    ],
)
def test_what_says_nothing_is_passed_over_for_the_next(says_nothing: tuple[bytes, bytes]) -> None:
    expected = encoded(np.array(COLOURS) / 255)
    np.testing.assert_allclose(shown(png(stripes(COLOURS), says_nothing, gamma(1))), expected, atol=2)


def test_a_profile_goes_before_srgb_and_gamma_and_srgb_before_gamma() -> None:
    exchanged = [(green, red, blue) for red, green, blue in COLOURS]
    data = png(stripes(exchanged), gamma(1), (b"sRGB", b"\0"), profile(pictures.exchanged_srgb()))
    np.testing.assert_allclose(shown(data), COLOURS, atol=2)
    np.testing.assert_array_equal(shown(png(stripes(COLOURS), gamma(1), (b"sRGB", b"\0"))), COLOURS)


@pytest.mark.parametrize("value", [1.0, 1 / 1.8, 1 / 2.8])
def test_gamma(value: float) -> None:
    expected = encoded((np.array(COLOURS) / 255) ** (1 / value))
    np.testing.assert_allclose(shown(png(stripes(COLOURS), gamma(value))), expected, atol=2)


def test_the_gamma_that_means_srgb() -> None:
    srgb = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
    np.testing.assert_array_equal(shown(png(stripes(COLOURS), gamma(0.45455))), COLOURS)
    np.testing.assert_allclose(shown(png(stripes(COLOURS), gamma(0.45455), chromaticities(*srgb))), COLOURS, atol=1)


def test_chromaticities() -> None:
    display_p3 = chromaticities(0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
    expected = encoded(linear(np.array(COLOURS) / 255) @ FROM_P3.T)
    np.testing.assert_allclose(shown(png(stripes(COLOURS), display_p3)), expected, atol=2)
    np.testing.assert_allclose(shown(png(stripes(COLOURS), display_p3, gamma(0.45455))), expected, atol=2)


@pytest.mark.parametrize("values", [(0,) * 8, (1,) * 8, (0.3, 0.3) * 4, (0.31, 0.33, 0.6, 0.3, 0.6, 0.3, 0.1, 0.1)])
def test_chromaticities_that_make_no_colours_are_ignored(values: tuple[float, ...]) -> None:
    np.testing.assert_array_equal(shown(png(stripes(COLOURS), chromaticities(*values))), COLOURS)
    expected = encoded(np.array(COLOURS) / 255)
    np.testing.assert_allclose(shown(png(stripes(COLOURS), chromaticities(*values), gamma(1))), expected, atol=2)


def test_grey_heeds_gamma_and_cicp() -> None:
    levels = [0, 60, 128, 200, 255]
    expected = encoded(np.array(levels) / 255)
    for says in (gamma(1), cicp(P3, LINEAR)):
        for channel in range(3):
            np.testing.assert_allclose(shown(png(stripes(levels), says))[:, channel], expected, atol=2)


# High dynamic range


def pq(nits: float) -> int:
    power = (nits / 10_000) ** 0.1593017578125
    value: float = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return round(255 * value)


@pytest.mark.parametrize("primaries", [BT709, P3, BT2020])
def test_pq_keeps_its_middle_tones_and_bends_its_lights(primaries: int) -> None:
    nits = [0.0, 1, 5, 20, 50, 100, 203, 400, 1000, 4000, 10_000]
    grey = shown(png(stripes([(pq(value),) * 3 for value in nits]), cicp(primaries, PQ)))
    assert np.ptp(grey, axis=1).max() <= 1, "grey stays grey"
    tones = grey[:, 1]
    # Eight bits of PQ are coarse.
    np.testing.assert_allclose(tones[:6], encoded(np.array(nits[:6]) / 203), atol=3)
    assert 220 <= tones[6] <= 245, "a page's white is light, and there is room for lights above it"
    assert (np.diff(tones) >= 0).all()
    assert tones[7] < tones[8]
    assert tones[-1] == 255


def test_hlg_shows_the_same_as_pq() -> None:
    def hlg(nits: float) -> int:
        scene = (nits / 1000) ** (1 / 1.2)
        value: float = (
            (3 * scene) ** 0.5 if scene <= 1 / 12 else 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073
        )
        return round(255 * value)

    nits = [5.0, 20, 50, 100, 203, 400, 1000]
    by_hlg = shown(png(stripes([(hlg(value),) * 3 for value in nits]), cicp(BT2020, HLG)))
    by_pq = shown(png(stripes([(pq(value),) * 3 for value in nits]), cicp(BT2020, PQ)))
    np.testing.assert_allclose(by_hlg, by_pq, atol=5)


# Grey, and inks


def grey_profile(exponent: float) -> bytes:
    """Of a grey whose light is the stored value to this power."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(78)
    tags, table, body = {b"desc": text, b"wtpt": white, b"kTRC": curve}, b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">2I", 128 + 4 + 36 + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    body = struct.pack(">I", 3) + table + body
    head = struct.pack(">I4x", 128 + len(body)) + b"\x02\x10\0\0mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + white[8:]).ljust(128, b"\0") + body


LEVELS = [0, 60, 128, 200, 255]


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_grey_profile_is_applied_before_the_mode_changes(mode: str) -> None:
    picture = stripes(LEVELS)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture, np.uint16) * 257)
    elif mode == "LA":
        picture.putalpha(255)
    expected = encoded((np.array(LEVELS) / 255) ** 1.0)
    for channel in range(3):
        found = shown(pictures.saved(picture, "PNG", icc_profile=grey_profile(1)))[:, channel]
        np.testing.assert_allclose(found, expected, atol=2)


def test_a_grey_profile_of_sixteen_bits_with_opacity() -> None:
    pixels = np.array([[(level * 257, 65_535) for level in LEVELS]] * 16).repeat(16, axis=1)
    chunks = pictures.chunk(*profile(grey_profile(1))) + pictures.chunk(b"IDAT", odd_pictures.packed_rows(pixels, 16))
    found = shown(pictures.png_of(80, 16, chunks, depth=16, colour_type=4))
    np.testing.assert_allclose(found[:, 2], encoded(np.array(LEVELS) / 255), atol=2)


def test_a_grey_profile_on_colours_is_ignored_and_one_of_colours_fits_grey() -> None:
    np.testing.assert_array_equal(shown(png(stripes(COLOURS), profile(grey_profile(1)))), COLOURS)
    of_colours = gamma_profile(1, None)
    assert of_colours
    found = shown(png(stripes(LEVELS), profile(of_colours)))[:, 0]
    np.testing.assert_allclose(found, encoded(np.array(LEVELS) / 255), atol=2)


def test_half_transparent_grey_with_a_profile() -> None:
    picture = stripes(LEVELS)
    picture.putalpha(128)
    expected = encoded(np.array(LEVELS) / 255) * 128 / 255 + 127
    np.testing.assert_allclose(
        shown(pictures.saved(picture, "PNG", icc_profile=grey_profile(1)))[:, 1], expected, atol=2
    )


@pytest.mark.parametrize(
    "make", [pictures.cmyk_jpeg, pictures.plain_cmyk_jpeg, odd_pictures.ycck_jpeg, odd_pictures.rgb_jpeg]
)
def test_inks_and_other_channels(make: odd_pictures.Maker) -> None:
    found = np.asarray(images.decode(make(), max_pixels=10**6), int)
    np.testing.assert_allclose(found, np.asarray(pictures.quarters(), int), atol=6)


# What is transparent


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_level_of_grey_at_each_depth(depth: int) -> None:
    top = (1 << depth) - 1
    for level in {0, 1, top // 3, top - 1, top}:
        seen = [0, top, level, max(level - 1, 0)]
        body = odd_pictures.packed_rows(np.repeat([seen], 16, axis=0).repeat(16, axis=1), depth)
        chunks = pictures.chunk(b"tRNS", struct.pack(">H", level)) + pictures.chunk(b"IDAT", body)
        data = pictures.png_of(64, 16, chunks, depth=depth, colour_type=0)
        expected = [255 if value == level else round(255 * value / top) for value in seen]
        np.testing.assert_allclose(shown(data)[:, 0], expected, atol=0 if depth < 16 else 1)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_at_each_depth(depth: int) -> None:
    top = (1 << depth) - 1
    transparent, near = (10, 20, 30 + 256 * (depth == 16)), (10, 20, 31 + 256 * (depth == 16))
    seen = [transparent, near, (top, 0, 0), (0, 0, 0)]
    body = odd_pictures.packed_rows(np.repeat([seen], 16, axis=0).repeat(16, axis=1), depth)
    chunks = pictures.chunk(b"tRNS", struct.pack(">3H", *transparent)) + pictures.chunk(b"IDAT", body)
    found = shown(pictures.png_of(64, 16, chunks, depth=depth))
    assert found[0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(found[1:], np.array(seen[1:]) * 255 / top, atol=1)


def test_opacities_of_a_palette_may_be_more_than_it_has_colours() -> None:
    data = pictures.transparent_palette_png()
    more = with_chunk(data.replace(b"tRNS", b"quEr"), b"tRNS", bytes([255, 0, 255, 255]) + bytes(900))
    found, expected = (images.decode(file, max_pixels=10**6) for file in (more, data))
    assert found == expected
    assert found.getpixel((72, 16)) == (255, 255, 255)
