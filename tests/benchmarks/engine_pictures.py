"""Pictures for the engine's benchmarks: our samples, and a folder of paintings where there is one."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

import stylequeue.local
from stylequeue_worker.pictures.images import decode, encode, to_array

SAMPLES = Path(stylequeue.local.__file__).parent / "samples"
PAINTINGS = Path(os.environ.get("PAINTINGS", "../shared/images"))
"""Public-domain paintings under their usual names, if present; `reference/` holds another engine's pictures."""

_ELSEWHERE = {
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
}
"""Photographs as files that packages bring along, freely licensed; all others are functions of scikit-image's."""

OWN_PAIRS = [("coffee", "swirls"), ("chelsea", "waves"), ("astronaut", "facets")]
PAINTED_PAIRS = [("coffee", "starry_night"), ("chelsea", "great_wave"), ("astronaut", "udnie")]

JUDGED_PAIRS = [
    ("coffee", "starry_night"),
    ("chelsea", "great_wave"),
    ("astronaut", "udnie"),
    ("astronaut", "the_scream"),
    ("astronaut", "starry_night"),
    ("grace_hopper", "starry_night"),
    ("china", "great_wave"),
    ("flower", "udnie"),
    ("rocket", "the_scream"),
]
"""Looked at again and again while presets were made; the last four were set aside until weights were chosen by them."""
SET_ASIDE = [
    ("coffee", "the_scream"),
    ("chelsea", "udnie"),
    ("grace_hopper", "the_scream"),
    ("china", "starry_night"),
    ("flower", "great_wave"),
    ("rocket", "starry_night"),
    ("camera", "udnie"),
    ("motorcycle", "the_scream"),
]
"""Painted for the first time when all was settled, and judged once; no photograph of the last two was seen before."""


def judged_pairs() -> Iterator[tuple[str, str, bool]]:
    """All that presets are judged by, content and style, and whether it was set aside.

    With styles of our own where the paintings are not at hand.
    """
    own = {"starry_night": "swirls", "great_wave": "waves", "udnie": "facets", "the_scream": "swirls"}
    at_hand = all((PAINTINGS / f"{style}.jpg").exists() for style in own)
    for names, aside in ((JUDGED_PAIRS, False), (SET_ASIDE, True)):
        yield from ((content, style if at_hand else own[style], aside) for content, style in names)


def pairs() -> list[tuple[str, str]]:
    """Three pairs of names, content and style: with real paintings where all of them are at hand."""
    at_hand = all((PAINTINGS / f"{style}.jpg").exists() for _, style in PAINTED_PAIRS)
    return PAINTED_PAIRS if at_hand else OWN_PAIRS


def all_pairs() -> list[tuple[str, str]]:
    """Every content of `pairs` with every style of theirs: nine, six of which nothing was tuned on."""
    contents, styles = zip(*pairs(), strict=True)
    return [(content, style) for content in contents for style in styles]


def content(name: str, size_px: int) -> np.ndarray:
    """A photograph, float32 [1, H, W, 3] in [0, 1], its longest side `size_px`."""
    if name not in _ELSEWHERE:
        return _decoded(encode(Image.fromarray(getattr(data, name)()), "png", 100), size_px)
    package, path = _ELSEWHERE[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"package {package} is not installed")
    return _decoded((Path(spec.origin).parent / path).read_bytes(), size_px)


def style(name: str, size_px: int | None = None) -> np.ndarray:
    """A painting, likewise; without a size, as it is."""
    path = next(path for folder in (PAINTINGS, SAMPLES) if (path := folder / f"{name}.jpg").exists())
    return _decoded(path.read_bytes(), size_px)


def _decoded(file: bytes, size_px: int | None) -> np.ndarray:
    return to_array(decode(file, size=size_px, max_pixels=10**8))
