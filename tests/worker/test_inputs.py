"""Errors say which of a job's pictures they mean."""

from __future__ import annotations

import pytest

from stylequeue.contract.errors import Code, Permanent, Retryable, StyleQueueError
from stylequeue.contract.objects import ImageRef
from stylequeue_worker.pictures.inputs import Input, Role

WAVE = ImageRef(bucket="styles", key="sea/wave.jpg")


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        (Input(Role.CONTENT, WAVE), "content"),
        (Input(Role.STYLE, WAVE, 2), "style 2"),
        (Input(Role.MASK, WAVE, 1), "mask 1"),
        (Input(Role.MASK, WAVE), "keep mask"),
        (Input(Role.INIT, WAVE), "init image"),
    ],
)
def test_each_error_begins_with_the_input_and_its_address(picture: Input, name: str) -> None:
    error = Permanent(Code.IMAGE_CORRUPT, "the png file is damaged", "save it again")
    with pytest.raises(Permanent) as caught, picture.named_in_errors():
        raise error
    assert caught.value is error
    assert error.message == f"{name} s3://styles/sea/wave.jpg: the png file is damaged"
    assert str(error) == f"[image_corrupt] {error.message} (save it again)"


def test_an_address_is_not_said_twice() -> None:
    with pytest.raises(StyleQueueError) as caught, Input(Role.STYLE, WAVE, 2).named_in_errors():
        raise Retryable(Code.OBJECT_CHANGED, "s3://styles/sea/wave.jpg was replaced", "")
    assert caught.value.message == "style 2: s3://styles/sea/wave.jpg was replaced"


def test_a_picture_that_is_too_much_for_the_memory_is_named() -> None:
    with pytest.raises(Permanent) as caught, Input(Role.MASK, WAVE, 3).named_in_errors():
        raise MemoryError
    assert caught.value.code == Code.OUT_OF_MEMORY
    assert caught.value.message.startswith("mask 3 s3://styles/sea/wave.jpg: ")


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), Input(Role.CONTENT, WAVE).named_in_errors():
        raise ZeroDivisionError
