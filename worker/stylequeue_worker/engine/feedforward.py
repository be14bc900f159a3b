"""Fast stylisation: one pass of a feed-forward network through TensorFlow Hub.

Ghiasi et al., "Exploring the structure of a real-time, arbitrary neural artistic stylization network" (2017).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub

from stylequeue.contract.errors import Code, Permanent

from .ground import beside_ground
from .pictures import floats, resize
from .regions import Masks, regions

_FOREIGN_STYLE_SIDE_PX = 256
"""What modules without a style vector of their own were trained on: the Hub's advice for Magenta's."""


def resolve(handle: str, cache: Path) -> Path:
    """The directory of a Hub module: a directory itself, or an https URL, downloaded into `cache` unless it is there.

    Raises Permanent(NETWORK_UNAVAILABLE) where there is none.
    """
    if not handle.startswith("https://"):
        if not Path(handle).is_dir():
            raise _unavailable(handle, FileNotFoundError())
        return Path(handle)
    # Its own choice is a directory below the temporary one, where any user of the machine may lay something first.
    os.environ["TFHUB_CACHE_DIR"] = str(cache)
    # Else it reads from where others can still change it, or takes any certificate.
    os.environ["TFHUB_MODEL_LOAD_FORMAT"] = "COMPRESSED"
    os.environ.pop("TFHUB_DISABLE_CERT_VALIDATION", None)
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(hub.resolve(handle))
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise _unavailable(handle, error) from error


class FastNetwork:
    """A Hub module called as `module(content, style)[0]`.

    Where it also has `style_vector(style)` and `paint_with_vector(content, vector)`, as ours does, several styles are
    blended, by interpolating the vectors, and any strength is possible. Raises Permanent(NETWORK_UNAVAILABLE) where
    `directory` holds no such module.
    """

    def __init__(self, directory: str) -> None:
        try:
            self._module = hub.load(directory)
        except (OSError, ValueError, RuntimeError) as error:
            raise _unavailable(directory, error) from error
        self._knows_vectors = hasattr(self._module, "style_vector") and hasattr(self._module, "paint_with_vector")

    def paint(
        self,
        content: np.ndarray,
        styles: Sequence[tuple[np.ndarray, float]],
        strength: float,
        masks: Masks | None = None,
    ) -> np.ndarray:
        """`content` in `styles`, each where its mask says, float32 [1, H, W, 3] in [0, 1], of the content's size.

        A pass for each region, or two below strength 1; a white ground stays as it is. Raises as `_pass` does.
        """
        painted = content
        for region in regions(styles, masks):
            picture = self._pass(content, region.styles, strength)
            painted = picture if region.mask is None else painted + region.mask * (picture - content)
        beside = beside_ground(content)
        if beside is not None:
            painted = content + beside * (painted - content)
        return np.asarray(np.clip(painted, 0, 1))

    def _pass(self, content: np.ndarray, styles: Sequence[tuple[np.ndarray, float]], strength: float) -> np.ndarray:
        """`content` [1, H, W, 3] in a blend of `styles`, pictures alike of their own sizes whose shares sum to 1.

        Strength moves from the content's own style vector (0, where the content itself is returned) to that of the
        styles (1). What the network loses of the content at the former is given back as far as strength is below 1.
        Raises Permanent(RECIPE_UNSUPPORTED) where the module knows only one style at strength 1, Permanent(NOT_FINITE)
        where it returns nonsense.
        """
        if strength == 0:
            return content
        given = tf.constant(content)
        if self._knows_vectors:
            vector = tf.add_n(
                [share * self._module.style_vector(tf.constant(floats(style))) for style, share in styles]
            )
            painted = self._between(given, vector, strength)
        elif len(styles) > 1 or strength != 1:
            raise Permanent(
                Code.RECIPE_UNSUPPORTED,
                "the fast network of this worker knows only one style at strength 1",
                "send one style and strength 1, or unset STYLEQUEUE_HUB_HANDLE to use the built-in network",
            )
        else:
            square = resize(tf.constant(floats(styles[0][0])), _FOREIGN_STYLE_SIDE_PX, _FOREIGN_STYLE_SIDE_PX)
            painted = _as_large(self._module(given, square)[0], given)
        picture = np.asarray(painted)
        if not np.isfinite(picture).all():
            raise Permanent(Code.NOT_FINITE, "the fast network returned NaN", "its weights are damaged: pull it again")
        return picture

    def _between(self, content: tf.Tensor, vector: tf.Tensor, strength: float) -> tf.Tensor:
        """`content` [1, H, W, 3] painted by its own style's vector at strength 0, by `vector` [1, 100] at 1."""
        if strength == 1:
            return _as_large(self._module.paint_with_vector(content, vector), content)
        own = self._module.style_vector(content)
        painted, itself = (
            _as_large(self._module.paint_with_vector(content, towards), content)
            for towards in ((1 - strength) * own + strength * vector, own)
        )
        return painted + (1 - strength) * (content - itself)


def _as_large(painted: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """What a network returned, in [0, 1], at the content's size."""
    return resize(tf.clip_by_value(painted, 0, 1), *content.shape[1:3])


def _unavailable(handle: str, error: Exception) -> Permanent:
    return Permanent(
        Code.NETWORK_UNAVAILABLE,
        f"no TensorFlow Hub module at {handle!r}: {type(error).__name__}",
        "check STYLEQUEUE_HUB_HANDLE and the network, or unset it and run `stylequeue models pull fast`",
    )
