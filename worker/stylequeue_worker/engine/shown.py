"""What is shown of a painting, and what is said of it, where that is not what the descent came to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import tensorflow as tf

from .ground import TINTED, is_tinted
from .pictures import resize, ssim, with_chroma_of
from .steps import Step, Summary


def within(content: np.ndarray, covered: np.ndarray, steps: Iterable[Step]) -> Iterator[Step]:
    """`steps` whose pictures show `content` [1, H, W, 3] where `covered` [1, H, W, 1] is 0, faded in between."""
    content_now, covered_now = content, covered
    for step in steps:
        if content_now.shape != step.picture.shape:
            sides = step.picture.shape[1:3]
            content_now, covered_now = (resize(tf.constant(p), *sides).numpy() for p in (content, covered))
        shown = content_now + covered_now * (step.picture - content_now)
        yield replace(step, picture=shown, summarise=partial(_of_shown, step, shown, content_now))


def in_chroma_of(content: np.ndarray, steps: Iterable[Step]) -> Iterator[Step]:
    """`steps` whose pictures have the chroma of `content` [1, H, W, 3]; they are painted on in all colours."""
    at_size = content
    for step in steps:
        if at_size.shape != step.picture.shape:
            at_size = resize(tf.constant(content), *step.picture.shape[1:3]).numpy()
        shown = with_chroma_of(step.picture, at_size)
        yield replace(step, picture=shown, summarise=partial(_of_shown, step, shown, at_size))


def of_pass(picture: np.ndarray, content: np.ndarray) -> Summary:
    """The summary of a picture that the fast network painted; both float32 [1, H, W, 3]."""
    return replace(plain(picture, content), notes=(TINTED,) if is_tinted(picture, content) else ())


def plain(picture: np.ndarray, content: np.ndarray) -> Summary:
    """The summary of a picture for which there are no losses; both float32 [1, H, W, 3]."""
    return Summary({}, {}, ssim(picture, content), "float32", 1)


def _of_shown(step: Step, shown: np.ndarray, content: np.ndarray) -> Summary:
    """The summary of a step that shows another picture than was painted; both float32 [1, H, W, 3]."""
    painted = step.summarise()
    # What is shown has more of the content: a note may hold no more, none is new.
    notes = painted.notes and of_pass(shown, content).notes
    return replace(painted, ssim=ssim(shown, content), notes=notes)
