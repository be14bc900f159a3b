"""Pictures in and out: every guise gives the right picture, every fault its own refusal."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.objects import ImageFormat
from stylequeue.contract.recipe import MIN_SIDE_PX
from stylequeue_worker.pictures import images
from stylequeue_worker.pictures.metadata import srgb_profile
from tests.support import pictures

MAX_PIXELS = 75_000_000


def decode(data: bytes, size_px: int | None = None) -> Image.Image:
    return images.decode(data, size=size_px, max_pixels=MAX_PIXELS)


def looks_like(picture: Image.Image, expected: Image.Image, tolerance: int = 6) -> bool:
    """Whether the middles of the four quarters have the expected colours."""
    assert picture.mode == "RGB"
    assert picture.size == expected.size
    width, height = picture.size
    places = [(x, y) for x in (width // 4, width * 3 // 4) for y in (height // 4, height * 3 // 4)]
    differences = [
        np.abs(np.subtract(picture.getpixel(place), expected.getpixel(place))).max()  # type: ignore[arg-type]
        for place in places
    ]
    return bool(max(differences) <= tolerance)


class TestDecode:
    @pytest.mark.parametrize("make", [pictures.jpeg, pictures.png, pictures.webp])
    def test_reads_each_format(self, make: Callable[[], bytes]) -> None:
        assert looks_like(decode(make()), pictures.quarters())

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_sets_upright(self, orientation: int, file_format: str) -> None:
        assert looks_like(decode(pictures.exif_rotated(orientation, file_format)), pictures.quarters(), 12)

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
    def test_damaged_exif_data_is_ignored(self) -> None:
        assert looks_like(decode(pictures.damaged_exif_jpeg()), pictures.quarters())

    def test_transparent_becomes_white(self) -> None:
        expected = pictures.quarters()
        expected.paste("white", (48, 0, 96, 64))
        assert looks_like(decode(pictures.transparent_png()), expected, 0)

    def test_half_transparent_black_becomes_grey(self) -> None:
        assert looks_like(decode(pictures.half_transparent_webp()), Image.new("RGB", (64, 64), (127, 127, 127)), 1)

    def test_grey_with_alpha(self) -> None:
        expected = Image.new("RGB", (64, 64), "black")
        expected.paste("white", (32, 0, 64, 64))
        assert looks_like(decode(pictures.grey_with_alpha_png()), expected, 0)

    def test_palette(self) -> None:
        assert looks_like(decode(pictures.palette_png()), pictures.quarters())

    def test_palette_with_transparency(self) -> None:
        expected = pictures.quarters()
        expected.paste("white", (48, 0, 96, 32))
        assert looks_like(decode(pictures.transparent_palette_png()), expected, 0)

    def test_one_bit(self) -> None:
        expected = Image.new("RGB", (32, 64), "black")
        expected.paste("white", (0, 32, 32, 64))
        assert looks_like(decode(pictures.bilevel_png()), expected, 0)

    def test_sixteen_bit_grey_keeps_its_whole_range(self) -> None:
        row = np.asarray(decode(pictures.sixteen_bit_grey_png()))[0]
        np.testing.assert_array_equal(row, np.repeat(np.arange(256)[:, None], 3, axis=1))

    @pytest.mark.parametrize("make", [pictures.cmyk_jpeg, pictures.plain_cmyk_jpeg])
    def test_cmyk_with_and_without_adobes_inversion(self, make: Callable[[], bytes]) -> None:
        assert looks_like(decode(make()), pictures.quarters())

    def test_a_colour_profile_is_applied(self) -> None:
        assert looks_like(decode(pictures.red_means_green_png()), pictures.quarters())

    def test_a_profile_that_is_none_is_ignored(self) -> None:
        assert looks_like(decode(pictures.wrong_profile_jpeg()), pictures.quarters())

    @pytest.mark.parametrize(
        ("make", "code"),
        [
            (bytes, Code.IMAGE_EMPTY),
            (pictures.html_page, Code.IMAGE_NOT_RECOGNISED),
            (pictures.truncated_jpeg, Code.IMAGE_TRUNCATED),
            (pictures.truncated_png, Code.IMAGE_TRUNCATED),
            (pictures.truncated_webp, Code.IMAGE_TRUNCATED),
            (pictures.corrupt_png, Code.IMAGE_CORRUPT),
            (pictures.huge_png, Code.IMAGE_TOO_MANY_PIXELS),
            (pictures.huge_webp, Code.IMAGE_TOO_MANY_PIXELS),
            (pictures.tiny_png, Code.IMAGE_TOO_SMALL),
            (pictures.text_bomb_png, Code.IMAGE_TOO_COSTLY),
            (pictures.many_texts_png, Code.IMAGE_TOO_COSTLY),
        ],
        ids=lambda value: getattr(value, "__name__", str(value)),
    )
    def test_each_fault_has_its_code(self, make: Callable[[], bytes], code: Code) -> None:
        with pytest.raises(Permanent) as refused:
            decode(make())
        assert refused.value.code == code
        assert refused.value.message
        assert refused.value.hint

    @pytest.mark.parametrize(("name", "data"), pictures.other_formats().items(), ids=pictures.other_formats())
    def test_other_formats_are_named(self, name: str, data: bytes) -> None:
        with pytest.raises(Permanent, match=f"is {name}") as refused:
            decode(data)
        assert refused.value.code == Code.IMAGE_FORMAT_UNSUPPORTED

    def test_the_pixel_limit_is_inclusive(self) -> None:
        assert images.decode(pictures.png(), max_pixels=96 * 64).size == (96, 64)
        with pytest.raises(Permanent) as refused:
            images.decode(pictures.png(), max_pixels=96 * 64 - 1)
        assert refused.value.code == Code.IMAGE_TOO_MANY_PIXELS

    @pytest.mark.filterwarnings("ignore")  # Pillow warns of oddities in what it can read all the same
    @settings(max_examples=300, deadline=None)
    @given(
        data=st.sampled_from(
            [
                pictures.jpeg(),
                pictures.png(),
                pictures.webp(),
                pictures.exif_rotated(6),
                pictures.exif_rotated(6, "WEBP"),
                pictures.cmyk_jpeg(),
                pictures.red_means_green_png(),
                pictures.transparent_palette_png(),
                pictures.sixteen_bit_grey_png(),
                pictures.described_jpeg(),
            ]
        ),
        edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), max_size=6),
        end=st.floats(0.1, 1) | st.just(1.0),
    )
    def test_mutated_bytes_give_a_picture_or_a_refusal(
        self, data: bytes, edits: list[tuple[float, bytes]], end: float
    ) -> None:
        mutated = bytearray(data[: int(len(data) * end)])
        for place, replacement in edits:
            start = int(len(mutated) * place)
            mutated[start : start + len(replacement)] = replacement
        outcome: Image.Image | Permanent
        try:
            outcome = decode(bytes(mutated))
        except Permanent as refused:
            outcome = refused
        if isinstance(outcome, Permanent):
            assert outcome.code.startswith("image_")
        else:
            assert outcome.mode == "RGB"
            assert min(outcome.size) >= MIN_SIDE_PX


class TestSize:
    @pytest.mark.parametrize(
        ("before", "size_px", "after"),
        [
            ((600, 400), 300, (300, 200)),
            ((400, 600), 512, (341, 512)),
            ((100, 100), 512, (512, 512)),
            ((512, 333), 512, (512, 333)),
            ((1000, 999), 64, (64, 64)),
        ],
    )
    def test_the_longest_side_becomes_the_size(
        self, before: tuple[int, int], size_px: int, after: tuple[int, int]
    ) -> None:
        data = pictures.saved(Image.new("RGB", before), "PNG")
        assert decode(data, size_px).size == after

    def test_too_narrow_at_the_size_asked_for(self) -> None:
        with pytest.raises(Permanent) as refused:
            decode(pictures.narrow_png(), 512)
        assert refused.value.code == Code.IMAGE_TOO_NARROW
        assert decode(pictures.narrow_png(), 1024).size == (1024, 16)

    def test_scaling_keeps_the_picture(self) -> None:
        assert looks_like(decode(pictures.png(), 480), pictures.quarters(480, 320))


class TestArrays:
    def test_there_and_back_is_exact(self) -> None:
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
        array = images.to_array(picture)
        assert array.shape == (1, 20, 30, 3)
        assert array.dtype == np.float32
        assert array.min() >= 0
        assert array.max() <= 1
        assert images.to_picture(array) == picture

    def test_what_lies_outside_is_clipped_and_the_rest_rounded(self) -> None:
        array = np.array([[[[-1, 2, 100.4 / 255], [100.6 / 255, 0, 1]]]], np.float32)
        assert np.asarray(images.to_picture(array)).tolist() == [[[0, 255, 100], [101, 0, 255]]]


class TestEncode:
    @pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
    def test_can_be_read_again(self, image_format: ImageFormat) -> None:
        data = images.encode(pictures.quarters(), image_format, 90)
        assert Image.open(io.BytesIO(data)).format == image_format.upper()
        assert looks_like(decode(data), pictures.quarters())

    @pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
    def test_nothing_of_the_source_but_its_pixels(self, image_format: ImageFormat) -> None:
        with Image.open(io.BytesIO(pictures.described_jpeg())) as described:
            described.load()
            data = images.encode(described, image_format, 90)
        assert b"SECRET" not in data
        assert b"exchanged" not in data
        with Image.open(io.BytesIO(data)) as bare:
            assert not bare.getexif()
            assert bare.info["icc_profile"] == srgb_profile()
            assert "xmp" not in bare.info
        assert data == images.encode(Image.fromarray(np.asarray(described)), image_format, 90)

    def test_png_loses_nothing(self) -> None:
        picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8))
        assert decode(images.encode(picture, "png", 1)) == picture

    @pytest.mark.parametrize("quality", [1, 50, 92, 94, 100])
    def test_the_finest_detail_fits(self, quality: int) -> None:
        noise = np.random.default_rng(1).integers(0, 256, (512, 512, 3), np.uint8)
        assert decode(images.encode(Image.fromarray(noise), "jpeg", quality)).size == (512, 512)

    @pytest.mark.parametrize("image_format", ["jpeg", "webp"])
    def test_quality_costs_bytes(self, image_format: ImageFormat) -> None:
        picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
        sizes = [len(images.encode(picture, image_format, quality)) for quality in (10, 50, 84, 85, 100)]
        assert sizes == sorted(set(sizes))
