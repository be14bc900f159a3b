"""The engine's one door."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stylequeue.contract.cost import schedule
from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import (
    FAST_NETWORK,
    MIN_SIDE_PX,
    VGG_NETWORKS,
    OptimizeRecipe,
    ResolvedFastRecipe,
    ResolvedOptimizeRecipe,
    resolve,
)

from .. import models
from ..memory import give_back
from .options import Options
from .steps import Checkpoint, Face, Network, Step

if TYPE_CHECKING:
    import numpy as np

    from .feedforward import FastNetwork
    from .painter import Painter

log = logging.getLogger(__name__)

ENGINE_VERSION = "16"
"""Grows when the same inputs would give another picture."""


KEPT_SHARE = 0.5
"""Of the content in what is kept, where a network paints in one pass and can be told nothing of places."""
_AS_IT_COMES = Options()
_USUAL_RATIOS = (1, 4 / 3, 3 / 2, 16 / 9)
"""Of photographs' sides."""
_AHEAD_STEPS = 5
"""One at least at each scale, of the sizes that are usual."""


class Engine:
    """Paints with the networks of a model directory; each is loaded once.

    `hub_handle` is a TensorFlow Hub handle (https URL or directory) of a fast network that takes the place of ours.
    `network_sha256`: digests of networks that are not the published ones, by name; a Hub handle's is that of "fast".
    What is neither is not loaded.
    """

    def __init__(
        self,
        model_dir: Path,
        hub_handle: str | None = None,
        options: Options = _AS_IT_COMES,
        network_sha256: Mapping[str, str] | None = None,
    ) -> None:
        self._options = options
        self._model_dir = model_dir
        self._hub_handle = hub_handle
        self._network_sha256 = network_sha256 or {}
        self._painters: dict[Path, Painter] = {}
        self._fast: dict[Path, FastNetwork] = {}
        self._hub_directory: Path | None = None
        self._broken: set[str] = set()
        """Digests of what could not be loaded, or is not what it is taken for."""

    def warm_up(self, methods: Collection[Literal["optimize", "fast"]]) -> None:
        """Load TensorFlow and those networks for `methods` that are on disk. Do this once, before the first job.

        What cannot be loaded, or painted ahead, is logged and passed over. Raises CannotServe where the memory at hand
        is not enough for the smallest painting.
        """
        if self._options.compilation_cache_dir:
            # Read as TensorFlow is loaded.
            flag = f"--tf_xla_persistent_cache_directory={self._options.compilation_cache_dir}"
            os.environ["TF_XLA_FLAGS"] = f"{os.environ.get('TF_XLA_FLAGS', '')} {flag}".strip()
        from .device import set_up

        set_up(self._options)
        if "optimize" in methods:
            # Once more after each that could not be loaded.
            while name := next(filter(self._at_hand, VGG_NETWORKS), None):
                with _logged():
                    self._painter(name).require_room()
                    break
            if name:
                self._paint_ahead()
        if "fast" in methods and (self._hub_handle or self._at_hand(FAST_NETWORK)):
            with _logged():
                self.load_fast()

    def _paint_ahead(self) -> None:
        """A step of pictures of usual shapes, so that the first jobs need not wait for what is compiled for them."""
        import numpy as np

        recipe = resolve(OptimizeRecipe(steps=_AHEAD_STEPS))
        for longest_px in self._options.warm_up_px:
            shorter = {round(longest_px / ratio) for ratio in _USUAL_RATIOS}
            fitting = {side for side in shorter if side >= MIN_SIDE_PX}
            # What fails at one size, for want of memory say, may do at another.
            with _logged(f"pictures of {longest_px} px cannot be painted ahead"):
                for sides in {sides for side in fitting for sides in ((longest_px, side), (side, longest_px))}:
                    picture = np.random.default_rng(0).random((1, *sides, 3), np.float32)
                    for _ in self.paint(picture, [(picture, 1.0)], recipe):
                        pass

    @property
    def device(self) -> str:
        """What it computes on, for people. Loads TensorFlow."""
        from .device import describe

        return describe()

    @property
    def precision(self) -> str:
        """The fastest that the device does well. Loads TensorFlow."""
        from .precision import fast_dtype

        return str(fast_dtype(self._options.precision).name)

    def networks(self) -> dict[str, str]:
        """SHA-256 (hex) of the weights of each network that is at hand now, by name; loads none.

        What could not be loaded is not among them, nor is the one of a Hub handle that was not resolved yet.
        """
        found = ((name, self._at_hand(name)) for name in (*VGG_NETWORKS, FAST_NETWORK))
        return {name: models.digest(path) for name, path in found if path}

    def network(self, recipe: ResolvedOptimizeRecipe | ResolvedFastRecipe) -> Network:
        """Which network would paint `recipe`, without loading it.

        Raises Permanent(NETWORK_UNAVAILABLE) where it is not on disk, or what lies there is not it.
        """
        if isinstance(recipe, ResolvedFastRecipe):
            return Network("fast", models.digest(self._fast_directory(check=True)))
        name = self._vgg_name(recipe)
        return Network(name, models.digest(self._path(name, check=True)))

    def paint(
        self,
        content: np.ndarray,
        styles: Sequence[tuple[np.ndarray, float]],
        recipe: ResolvedOptimizeRecipe | ResolvedFastRecipe,
        resume: Checkpoint | None = None,
        start: np.ndarray | None = None,
        masks: Sequence[np.ndarray | None] | None = None,
        kept: np.ndarray | None = None,
    ) -> Iterator[Step]:
        """Paint; the last step is the result, at the content's size. The caller may stop at any step.

        With the `state` of a step of the same painting as `resume`, goes on behind that step.

        content: float32 [1, H, W, 3] in [0, 1], or uint8, at the output's size. styles: pictures alike, each of its own
        shape, with its weight (> 0, relative to the others'); in uint8 they are made float32 one after the other, once
        there is a plan of memory. start: for init `image`, a picture alike; it takes the content's shape. masks: one
        for each style, float32 [1, H, W, 1] in [0, 1] of the content's size: 1 where the style applies, 0 where it does
        not, None: everywhere; what no style applies to stays as it is. kept: a mask alike, 1 where the picture is to
        stay closer to the content than elsewhere; faces and what else stands out are added where the recipe keeps them.
        `recipe.size` is the caller's affair: the arrays are painted at the size they have.

        Raises ValueError for arrays of another kind; Permanent with code NETWORK_UNAVAILABLE, RECIPE_UNSUPPORTED (a
        fast network that can do only the plainest recipe), NOT_FINITE or OUT_OF_MEMORY, the latter by a step's
        `summarise`, too; BadCheckpoint before the first step where `resume` is none of this painting.
        """
        from .device import keep_float32_whole
        from .memory import told_as_lack_of_memory
        from .pictures import floats, in_colours_of, look, look_at_mask
        from .regions import coverage
        from .shown import in_chroma_of, within

        if not styles or any(weight <= 0 for _, weight in styles):
            raise ValueError("at least one style is needed, and weights above nought")
        # Whatever the painting before had, until this one's own says otherwise.
        keep_float32_whole()
        # Of thousands of sizes freed blocks would add up to a hundred megabytes.
        give_back()
        with told_as_lack_of_memory():
            content = floats(look(content))
            used = [(look(style), weight) for style, weight in styles]
            if masks is not None:
                checked = [None if mask is None else look_at_mask(mask, content) for mask in masks]
                visible = [mask is None or mask.any() for mask in checked]
                masks, used = list(compress(checked, visible)), list(compress(used, visible))
            total = sum(weight for _, weight in used)
            shares = [(style, weight / total) for style, weight in used]
            if recipe.colours == "match":
                shares = [(in_colours_of(floats(style), content), share) for style, share in shares]
            faces, kept = _kept(content, recipe, None if kept is None else look_at_mask(kept, content))
            begun = None if start is None else floats(look(start))
            steps = self._steps(content, shares, masks, kept, recipe, resume, begun)
            if faces is not None:
                steps = (replace(step, faces=faces) for step in steps)
            if (covered := coverage(masks)) is not None:
                steps = within(content, covered, steps)
            for step in in_chroma_of(content, steps) if recipe.colours == "luminance" else steps:
                yield replace(step, summarise=told_as_lack_of_memory()(step.summarise))

    def _steps(
        self,
        content: np.ndarray,
        shares: Sequence[tuple[np.ndarray, float]],
        masks: Sequence[np.ndarray | None] | None,
        kept: np.ndarray | None,
        recipe: ResolvedOptimizeRecipe | ResolvedFastRecipe,
        resume: Checkpoint | None,
        start: np.ndarray | None,
    ) -> Iterator[Step]:
        """As `paint`, of checked pictures, and in the styles' colours.

        content, start: float32 [1, H, W, 3]; styles: float32 or uint8 [1, h, w, 3] with shares that sum to 1; masks,
        kept: float32 [1, H, W, 1].
        """
        from .position import check
        from .presets import preset_of
        from .shown import of_pass, plain

        if not shares or getattr(recipe, "steps", 1) == 0:
            yield Step(0, 0, max(content.shape[1:3]), {}, 1.0, content, summarise=partial(plain, content, content))
        elif isinstance(recipe, ResolvedFastRecipe):
            picture = self.load_fast().paint(content, shares, recipe.strength, masks)
            if kept is not None:
                picture = picture + KEPT_SHARE * kept * (content - picture)
            yield Step(1, 1, max(content.shape[1:3]), {}, 1.0, picture, summarise=partial(of_pass, picture, content))
        else:
            if resume is not None:
                check(resume, schedule(preset_of(recipe).scales, content.shape[1:3], recipe.steps), content.shape[1:3])
            painter = self._painter(self._vgg_name(recipe))
            if recipe.keep_faces:
                kept = _brighter(kept, painter.saliency(content))
            steps = painter.paint(content, shares, recipe, resume=resume, start=start, masks=masks, kept=kept)
            kept_share = None if kept is None else float(kept.mean())
            yield from (replace(step, kept_share=kept_share) for step in steps)

    def _vgg_name(self, recipe: ResolvedOptimizeRecipe) -> str:
        if recipe.network != "auto":
            return recipe.network
        name = next(filter(self._at_hand, VGG_NETWORKS), None)
        if name is None:
            raise _not_at_hand("none of the networks vgg19 and vgg16 is", "vgg16")
        return name

    def _find(self, name: str) -> Path | None:
        return models.find(name, self._model_dir)

    def _at_hand(self, name: str) -> Path | None:
        """Where a network lies that, for all that is known, can be painted with."""
        path = self._hub_directory if name == FAST_NETWORK and self._hub_handle else self._find(name)
        if path is None or models.digest(path) in self._broken:
            return None
        if path != self._hub_directory:  # that was looked at when it was resolved
            with _logged(), self._loading(path):
                models.check(name, path, self._network_sha256)
        return path if models.digest(path) not in self._broken else None

    @contextmanager
    def _loading(self, path: Path) -> Iterator[None]:
        try:
            yield
        except Permanent:
            self._broken.add(models.digest(path))
            raise

    def _path(self, name: str, *, check: bool) -> Path:
        path = self._find(name)
        if path is None:
            raise _not_at_hand(f"network {name} is not", name)
        if check:
            models.check(name, path, self._network_sha256)
        return path

    def _painter(self, name: str) -> Painter:
        from .painter import Painter
        from .weights import load

        path = self._path(name, check=False)
        if path not in self._painters:
            with self._loading(path):
                models.check(name, path, self._network_sha256)
                self._painters[path] = Painter(load(name, path), self._options)
        return self._painters[path]

    def _fast_directory(self, *, check: bool) -> Path:
        if not self._hub_handle:
            return self._path(FAST_NETWORK, check=check)
        from .feedforward import resolve

        directory = self._hub_directory or resolve(self._hub_handle, self._model_dir / "hub")
        if check or self._hub_directory is None:
            with self._loading(directory):
                self._check_hub(self._hub_handle, directory)
        self._hub_directory = directory
        return directory

    def _check_hub(self, handle: str, directory: Path) -> None:
        own = self._network_sha256.get(FAST_NETWORK)
        entry = json.dumps({FAST_NETWORK: models.digest(directory)})
        models.require(
            f"what STYLEQUEUE_NETWORK_SHA256 says of {handle}" if own else f"known by any digest, as {handle} must be",
            directory,
            (own,) if own else (),
            f"a network can do what its worker can: if you trust this one, set STYLEQUEUE_NETWORK_SHA256='{entry}'",
        )

    def load_fast(self) -> FastNetwork:
        """The fast network, loaded once. Raises Permanent(NETWORK_UNAVAILABLE)."""
        from .feedforward import FastNetwork

        path = self._fast_directory(check=False)
        if path not in self._fast:
            path = self._fast_directory(check=True)
            with self._loading(path):
                self._fast[path] = FastNetwork(str(path))
        return self._fast[path]


def _kept(
    content: np.ndarray, recipe: ResolvedOptimizeRecipe | ResolvedFastRecipe, kept: np.ndarray | None
) -> tuple[list[Face] | None, np.ndarray | None]:
    """The content's faces, where the recipe keeps them, and what is to be kept of all; None: nothing.

    content: float32 [1, H, W, 3]; kept, and what is returned: float32 [1, H, W, 1].
    """
    faces = None
    if recipe.keep_faces:
        from .faces import find, kept_for

        faces = find(content)
        kept = _brighter(kept, kept_for(faces, content))
    return faces, kept if kept is not None and kept.any() else None


def _brighter(one: np.ndarray | None, other: np.ndarray) -> np.ndarray:
    """Of two masks, float32 [1, H, W, 1], the brighter at each pixel."""
    import numpy as np

    brighter: np.ndarray = other if one is None else np.maximum(one, other)
    return brighter


@contextmanager
def _logged(what: str = "a network cannot be used") -> Iterator[None]:
    try:
        yield
    except Permanent as error:
        log.error("%s: %s", what, error)


def _not_at_hand(what: str, name: str) -> Permanent:
    return Permanent(
        Code.NETWORK_UNAVAILABLE, f"{what} on this worker's disk", f"run `stylequeue models pull {name}` there"
    )
