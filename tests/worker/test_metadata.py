"""What pictures say beside their pixels as they leave: nothing of their source, how their colours are meant, and that
they were painted."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from stylequeue.contract.errors import Code, Permanent, Retryable
from stylequeue.contract.job import MAX_THUMBNAIL_BYTES
from stylequeue.contract.objects import SUFFIXES, ImageFormat
from stylequeue_worker.pictures import images
from stylequeue_worker.pictures.metadata import srgb_profile
from tests.support import pictures
from tests.support.workshop import Workshop

PLACE = "48.2082 SECRET PLACE"
XMP = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><GPSLatitude>{PLACE}</GPSLatitude></x:xmpmeta>".encode()
THUMBNAIL = "/results/out.jpg.thumb.webp"


def from_a_telephone(file_format: str) -> bytes:
    """A photograph that says where, when and by which camera it was taken, in every way that its format has."""
    exif = Image.Exif()
    exif[0x010F], exif[0x9003] = "SECRET CAMERA", "2020:01:02 03:04:05"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 29.5), 29: "2020:01:02", 27: PLACE.encode()})
    said: dict[str, Any] = {"exif": exif, "icc_profile": pictures.exchanged_srgb()}
    if file_format == "PNG":
        said["pnginfo"] = PngInfo()
        said["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
        said["pnginfo"].add_text("Comment", "SECRET COMMENT")
    else:
        said["xmp"] = XMP
    return pictures.saved(pictures.quarters(), file_format, **said)


@pytest.mark.parametrize("provenance", [None, "none"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_nothing_of_where_and_by_which_camera(workshop: Workshop, source: str, provenance: str | None) -> None:
    told = from_a_telephone(source)
    assert told.count(b"SECRET") >= 3
    for name in ("content", "style"):
        workshop.s3.lay(f"/uploads/{name}.jpg", told)
    formats: list[ImageFormat] = ["jpeg", "png", "webp"]
    for image_format in formats:
        output = {"format": image_format, "key": f"out{SUFFIXES[image_format]}", "thumbnail": True, "report": True}
        workshop.make(output={**output, "provenance": provenance})
    made = {path: body for path, (body, _) in workshop.s3.objects.items() if path.startswith("/results/")}
    assert len(made) == 9
    for path, body in made.items():
        assert b"SECRET" not in body, path
        assert b"2020:01:02" not in body, path
        with Image.open(io.BytesIO(body)) as image:
            assert not image.getexif(), path
            # Colours are those of sRGB, which they are painted in, and said to be.
            if ".report." not in path:
                assert image.info["icc_profile"] == srgb_profile(), path
                assert ("xmp" in image.info) is (provenance is None), path


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_it_says_that_and_by_what_it_was_painted(workshop: Workshop, image_format: ImageFormat) -> None:
    done = workshop.make(id="my-job", output={"format": image_format}, recipe={"preset": "painterly"})
    body, _ = workshop.s3.objects["/results/out.jpg"]
    with Image.open(io.BytesIO(body)) as image:
        said = {one.tag.rpartition("}")[2]: one.text for one in ElementTree.fromstring(image.info["xmp"]).iter()}
    assert said["identifier"] == f"stylequeue:{done.fingerprint}"
    assert str(said["DigitalSourceType"]).endswith("/digitalsourcetype/compositeWithTrainedAlgorithmicMedia")
    assert said["AISystemUsed"] == "stylequeue, optimize painterly by stand-in"
    assert said["AISystemVersionUsed"] == f"engine {done.engine_version}"
    assert b"my-job" not in body


def test_the_profile_is_of_srgb_and_always_the_same() -> None:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    picture = pictures.quarters()
    as_srgb = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"))
    assert np.abs(np.asarray(as_srgb, np.int16) - np.asarray(picture, np.int16)).max() <= 1
    srgb_profile.cache_clear()
    assert profile.tobytes()[:36] == srgb_profile()[:36]


# Thumbnails


def test_a_thumbnail_is_small(workshop: Workshop) -> None:
    done = workshop.make(output={"thumbnail": True})
    assert done.thumbnail_file
    assert f"/results/{done.thumbnail_file.key}" == THUMBNAIL
    assert workshop.s3.seen[-1] == f"PUT {THUMBNAIL}"
    with Image.open(io.BytesIO(workshop.s3.objects[THUMBNAIL][0])) as image:
        assert image.format == "WEBP"
        assert image.size == (done.output.width_px, done.output.height_px) == (64, 43)


@pytest.mark.parametrize(("size", "at_most"), [((2000, 1000), (512, 256)), ((4096, 16), (512, 2))])
def test_a_thumbnail_of_the_finest_detail_fits(size: tuple[int, int], at_most: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    body = images.thumbnail(Image.fromarray(noise))
    assert len(body) <= MAX_THUMBNAIL_BYTES
    with Image.open(io.BytesIO(body)) as image:
        assert image.size == at_most


def test_a_thumbnail_is_copied_on_reuse(workshop: Workshop) -> None:
    workshop.painted = workshop.make(output={"key": "before.jpg", "thumbnail": True})
    again = workshop.make(output={"thumbnail": True})
    assert again.reused
    assert again.thumbnail_file
    assert workshop.s3.seen[-2:] == ["GET /results/before.jpg.thumb.webp", f"PUT {THUMBNAIL}"]
    assert workshop.s3.objects[THUMBNAIL][0] == workshop.s3.objects["/results/before.jpg.thumb.webp"][0]
    assert workshop.make(output={"key": "without.jpg"}).thumbnail_file is None


@pytest.mark.parametrize("before", ["none", "gone", "attempt"])
def test_a_thumbnail_that_is_missing_is_made_of_the_picture(workshop: Workshop, before: str) -> None:
    first = workshop.make(output={"key": "out.jpg" if before == "attempt" else "a.jpg", "thumbnail": before == "gone"})
    if before == "gone":
        del workshop.s3.objects["/results/a.jpg.thumb.webp"]
    if before != "attempt":
        workshop.painted = first
    done = workshop.make(attempt=2, output={"thumbnail": True})
    assert done.output.sha256 == first.output.sha256
    assert done.thumbnail_file
    assert "GET /uploads/content.jpg" not in workshop.s3.seen, "nothing is painted again"
    with Image.open(io.BytesIO(workshop.s3.objects[THUMBNAIL][0])) as image:
        assert image.size == (64, 43)
        assert b"stylequeue:" + done.fingerprint.encode() in image.info["xmp"]


@pytest.mark.parametrize("kind", [Permanent, Retryable])
def test_a_picture_that_lies_there_is_not_given_up_for_its_thumbnail(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, kind: type[Permanent | Retryable]
) -> None:
    first = workshop.make()

    def refuse(*_: object, **__: object) -> None:
        raise kind(Code.IMAGE_TOO_COSTLY, "too costly")

    monkeypatch.setattr(workshop.maker.decoder, "decode", refuse)
    done = workshop.make(attempt=2, output={"thumbnail": True})
    assert (done.output, done.thumbnail_file) == (first.output, None)


def test_a_picture_of_before_there_was_provenance_is_not_reused(workshop: Workshop) -> None:
    """Its fingerprint is another, whatever the ledger would say of it."""
    said, unsaid = workshop.make(output={"key": "a.jpg"}), workshop.make(output={"key": "b.jpg", "provenance": "none"})
    assert said.fingerprint != unsaid.fingerprint
    workshop.painted = unsaid
    assert not workshop.make().reused
