"""Styles that many jobs have in common are fetched once; what is painted with is what lies there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stylequeue.contract.errors import Code
from stylequeue_worker.pictures.decoder import Pixels
from stylequeue_worker.work.recent import RecentStyles
from tests.support import pictures
from tests.support.workshop import READS, Workshop

CONTENT, STYLE = READS


def reads(workshop: Workshop, key: str, **recipe: Any) -> list[str]:
    """What a job that paints there reads."""
    workshop.make(output={"key": key}, recipe=recipe)
    return [asked for asked in workshop.seen if asked in READS]


def test_one_style_of_two_jobs_is_fetched_once(workshop: Workshop) -> None:
    assert reads(workshop, "1.jpg") == [CONTENT, STYLE]
    assert reads(workshop, "2.jpg") == [CONTENT]
    assert "HEAD /uploads/style.jpg" in workshop.seen, "and looked at each time"


def test_another_size_is_not_the_same(workshop: Workshop) -> None:
    reads(workshop, "1.jpg")
    assert reads(workshop, "2.jpg", size=80) == [CONTENT, STYLE]


def test_another_picture_under_its_key_is_painted_with(workshop: Workshop) -> None:
    before = workshop.make(output={"key": "1.jpg"}).fingerprint
    workshop.s3.lay("/uploads/style.jpg", pictures.grey_with_alpha_png())
    assert workshop.make(output={"key": "2.jpg"}).fingerprint != before
    assert STYLE in workshop.seen


def test_one_that_is_gone_is_missed(workshop: Workshop) -> None:
    workshop.make(output={"key": "1.jpg"})
    del workshop.s3.objects["/uploads/style.jpg"]
    assert workshop.fail(output={"key": "2.jpg"}).code == Code.OBJECT_NOT_FOUND


def test_those_not_used_for_longest_make_room() -> None:
    recent, read = RecentStyles(max_bytes=2 * 12), []

    def pixels(style: Any, size_px: int) -> Pixels:
        read.append(style.info.key)
        return np.zeros((2, 2, 3), np.uint8)

    for key in "a", "b", "a", "c", "a", "b":
        found: Any = SimpleNamespace(info=SimpleNamespace(bucket="styles", key=key), version="1")
        kept = recent.pixels(found, 64, pixels)
        with pytest.raises(ValueError, match="read-only"):
            kept[0] = 1
    assert read == ["a", "b", "c", "b"]
