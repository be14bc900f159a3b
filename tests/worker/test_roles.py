"""A picture's role decides what is transparent in it, and which sizes will do."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data as samples

from stylequeue.contract.errors import Code, Permanent
from stylequeue_worker.pictures import images
from stylequeue_worker.pictures.inputs import Role
from tests.support import pictures

PAINTING = Image.fromarray(samples.astronaut()[:, :, :3]).resize((240, 240))
"""Stands for one: it has many colours and no large white part."""


def decode(data: bytes, role: Role, size: int | tuple[int, int] | None = None) -> Image.Image:
    return images.decode(data, role, size, max_pixels=75_000_000)


def png(picture: Image.Image) -> bytes:
    return pictures.saved(picture, "PNG")


def refused(data: bytes, role: Role, size: int | tuple[int, int]) -> Permanent:
    with pytest.raises(Permanent) as caught:
        decode(data, role, size)
    return caught.value


# Masks


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_a_mask_painted_white_on_transparency(mode: str, file_format: str) -> None:
    picture = Image.new("LA", (64, 64), (255, 0))
    picture.paste((255, 255), (0, 0, 32, 64))
    picture.paste((255, 128), (32, 0, 48, 64))
    converted = picture.convert("RGBA")
    body = pictures.saved(
        picture if mode == "LA" else converted if mode == "RGBA" else converted.quantize(8), file_format, lossless=True
    )
    mask = np.asarray(decode(body, Role.MASK, (64, 64)))
    assert mask.shape == (64, 64)
    np.testing.assert_array_equal(mask[:, :30], 255)
    np.testing.assert_allclose(mask[:, 34:46], 128, atol=2)
    np.testing.assert_array_equal(mask[:, 50:], 0)


def test_a_mask_of_a_level_that_is_transparent() -> None:
    file = pictures.saved(Image.linear_gradient("L"), "PNG", transparency=255)
    mask = np.asarray(decode(file, Role.MASK))
    np.testing.assert_array_equal(mask[:, 0], [*range(255), 0])


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 4000), (16, 4000), (4000, 16), (5, 3), (333, 1000), (2, 900_000), (900_000, 2)]
)
def test_a_mask_of_any_shape_is_squeezed(shape: tuple[int, int]) -> None:
    picture = Image.new("L", shape, 255)
    picture.paste(0, (0, shape[1] // 2, shape[0], shape[1]))
    mask = decode(png(picture), Role.MASK, (96, 64))
    assert (mask.mode, mask.size) == ("L", (96, 64))
    values = np.asarray(mask)
    if shape[1] > 3:
        assert (values[:20] == 255).all()
    assert (values[-16:] == 0).all()


def test_a_mask_rings_nowhere() -> None:
    picture = Image.new("L", (1000, 1000), 0)
    picture.paste(255, (500, 0, 1000, 1000))
    values = np.asarray(decode(png(picture), Role.MASK, (100, 100)))
    assert (np.diff(values.astype(int), axis=1) >= 0).all()
    assert (values[:, :48] == 0).all()
    assert (values[:, 52:] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_upright_before_it_is_squeezed(orientation: int) -> None:
    mask = decode(pictures.exif_rotated(orientation, "PNG"), Role.MASK, (120, 30))
    expected = pictures.quarters().convert("L").resize((120, 30))
    for place in ((30, 7), (90, 7), (30, 22), (90, 22)):
        assert abs(mask.getpixel(place) - expected.getpixel(place)) <= 3  # type: ignore[operator]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_a_large_picture_is_upright_at_its_size(orientation: int, file_format: str) -> None:
    data = pictures.exif_rotated(orientation, file_format, width=960, height=640)
    content = decode(data, Role.CONTENT, 96)
    expected = pictures.quarters()
    assert content.size == expected.size
    for place in ((24, 16), (72, 16), (24, 48), (72, 48)):
        assert np.abs(np.subtract(content.getpixel(place), expected.getpixel(place))).max() <= 6  # type: ignore[arg-type]


# Content and init image


def test_a_content_lies_on_white_at_any_size() -> None:
    picture = Image.new("RGBA", (1000, 500), (0, 0, 0, 0))
    picture.paste((220, 40, 30, 255), (0, 0, 500, 500))
    content = decode(png(picture), Role.CONTENT, 100)
    assert content.size == (100, 50)
    assert content.getpixel((25, 25)) == (220, 40, 30)
    assert content.getpixel((75, 25)) == (255, 255, 255)


@pytest.mark.parametrize("shape", [(1, 1), (16, 4000), (64, 64)])
def test_an_init_image_of_any_shape_is_squeezed(shape: tuple[int, int]) -> None:
    picture = decode(png(Image.new("RGB", shape, pictures.BLUE)), Role.INIT, (96, 64))
    assert picture == Image.new("RGB", (96, 64), pictures.BLUE)


@pytest.mark.parametrize("role", [Role.CONTENT, Role.STYLE])
def test_content_and_style_are_refused_where_they_are_too_small_or_narrow(role: Role) -> None:
    assert refused(pictures.tiny_png(), role, 512).code == Code.IMAGE_TOO_SMALL
    assert refused(pictures.narrow_png(), role, 512).code == Code.IMAGE_TOO_NARROW


# Styles


def round_painting() -> Image.Image:
    """A painting on a plate, with a wide transparent margin of white."""
    plate = Image.new("L", (960, 960), 0)
    ImageDraw.Draw(plate).ellipse((0, 0, 959, 959), fill=255)
    canvas = Image.new("RGBA", (500, 400), (255, 255, 255, 0))
    cut = PAINTING.copy()
    cut.putalpha(plate.resize((240, 240), Image.Resampling.LANCZOS))
    canvas.paste(cut, (100, 60))
    return canvas


def statistics(colours: np.ndarray) -> np.ndarray:
    """Mean and deviation of each channel."""
    flat = colours.reshape(-1, 3).astype(float)
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0)])


def test_a_style_is_cut_to_its_paint() -> None:
    canvas = Image.new("RGBA", (500, 400), (255, 255, 255, 0))
    canvas.paste(PAINTING, (100, 60))
    assert decode(png(canvas), Role.STYLE) == PAINTING
    assert decode(png(canvas), Role.STYLE, 240) == PAINTING
    assert decode(png(canvas), Role.STYLE, 120).size == (120, 120)


def test_dust_and_shadow_are_no_paint() -> None:
    canvas = Image.new("RGBA", (500, 400), (0, 0, 0, 0))
    canvas.paste((0, 0, 0, 60), (90, 50, 360, 320))
    canvas.putpixel((2, 3), (255, 0, 0, 1))
    canvas.paste(PAINTING, (100, 60))
    assert decode(png(canvas), Role.STYLE) == PAINTING


@pytest.mark.parametrize("size", [None, 200, 480])
def test_a_styles_paint_goes_on_where_it_is_transparent(size: int | None) -> None:
    style = np.asarray(decode(png(round_painting()), Role.STYLE, size))
    side = size or 240
    assert style.shape == (side, side, 3)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    inside = np.hypot(x, y) < 0.97
    np.testing.assert_allclose(statistics(style), statistics(style[inside]), atol=9)
    # The painting's corners are none of the picture's whites.
    corner = style[: side // 8, : side // 8]
    on_white = np.asarray(decode(png(round_painting()), Role.CONTENT))[60:90, 100:130]
    assert corner.std() > 5
    assert abs(corner.mean() - on_white.mean()) > 20


def test_what_is_put_in_is_the_mirror_image_of_what_is_there() -> None:
    strip = np.arange(40, dtype=np.uint8)[None, :, None].repeat(32, axis=0).repeat(3, axis=2) * 5
    opacity = np.full((32, 40), 255, np.uint8)
    opacity[8:16, 30:] = 0
    style = np.asarray(decode(png(Image.fromarray(np.dstack([strip, opacity]))), Role.STYLE))
    np.testing.assert_array_equal(style[0], strip[0], "what is painted stays")
    # The nearest paint of the first columns lies across, that of most others above and below, in the same column.
    assert style[12, 30, 0] == 29 * 5
    assert style[12, 31, 0] == 28 * 5
    np.testing.assert_array_equal(style[9, 35:, 0], strip[0, 35:, 0])


def test_a_drawing_on_transparency_lies_on_paper() -> None:
    drawing = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    pen = ImageDraw.Draw(drawing)
    for place in range(0, 200, 20):
        pen.line((place, 0, 199 - place, 199), fill=(0, 0, 0, 255), width=3)
    style = decode(png(drawing), Role.STYLE)
    assert style == decode(png(drawing.crop(drawing.getbbox())), Role.CONTENT)
    assert np.mean(np.asarray(style) == 255) > 0.5


def test_an_opaque_style_and_half_opaque_paint() -> None:
    opaque = PAINTING.copy()
    opaque.putalpha(255)
    assert decode(png(opaque), Role.STYLE) == PAINTING
    opaque.putalpha(180)
    assert decode(png(opaque), Role.STYLE) == PAINTING, "its own colours"
    opaque.putalpha(90)
    assert decode(png(opaque), Role.STYLE) == decode(png(opaque), Role.CONTENT), "a wash on paper"


def test_rows_and_columns_without_paint_are_filled_too() -> None:
    islands = Image.new("RGBA", (96, 96), (0, 0, 0, 0))
    for left, top, colour in ((0, 0, pictures.RED), (60, 60, pictures.BLUE)):
        islands.paste((*colour, 255), (left, top, left + 36, top + 36))
    # Half of it is painted once the gap between is narrow.
    islands.paste((*pictures.GREEN, 255), (0, 60, 58, 96))
    islands.paste((*pictures.YELLOW, 255), (40, 0, 96, 36))
    colours = set(decode(png(islands), Role.STYLE).get_flattened_data())
    assert colours == {pictures.RED, pictures.BLUE, pictures.GREEN, pictures.YELLOW}


def test_a_style_without_paint_is_refused() -> None:
    nothing = png(Image.new("RGBA", (64, 64), (255, 255, 255, 0)))
    assert refused(nothing, Role.STYLE, 64).code == Code.IMAGE_TRANSPARENT
    little = Image.new("RGBA", (640, 640), (0, 0, 0, 0))
    little.paste((10, 20, 30, 255), (100, 100, 110, 140))
    refusal = refused(png(little), Role.STYLE, 64)
    assert refusal.code == Code.IMAGE_TOO_SMALL
    assert "painted" in refusal.message
    assert "10 x 40 px" in refusal.message


def test_a_narrow_canvas_with_paint_that_is_not() -> None:
    canvas = Image.new("RGBA", (4000, 40), (0, 0, 0, 0))
    canvas.paste((10, 20, 30, 255), (100, 0, 140, 40))
    assert decode(png(canvas), Role.STYLE, 128) == Image.new("RGB", (128, 128), (10, 20, 30))


def test_scaling_in_bands_is_scaling_at_once() -> None:
    large = PAINTING.resize((2501, 1703))
    body = pictures.saved(large, "PNG", compress_level=1)
    assert decode(body, Role.CONTENT) == large
    assert decode(body, Role.CONTENT, 2501) == large
    for picture, file, size in ((large, body, 700), (PAINTING, png(PAINTING), 1000)):
        found = decode(file, Role.CONTENT, size)
        expected = picture.resize(found.size, Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 1


def test_a_jpeg_decoded_smaller_looks_the_same() -> None:
    large = PAINTING.resize((3001, 2003), Image.Resampling.BICUBIC)
    body = pictures.saved(large, "JPEG", quality=95, subsampling=0)
    for size in (100, 300, 740):
        found = np.asarray(decode(body, Role.CONTENT, size), int)
        expected = np.asarray(large.resize(found.shape[1::-1], Image.Resampling.LANCZOS), int)
        assert np.abs(found - expected).max() <= 12
        assert np.abs(found - expected).mean() <= 1
    with Image.open(io.BytesIO(body)) as whole:
        np.testing.assert_array_equal(np.asarray(decode(body, Role.CONTENT)), np.asarray(whole))
