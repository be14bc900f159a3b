"""What else than faces is kept: where the network sees most."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue_worker.engine import Engine
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.saliency import saliency
from tests.benchmarks.engine_pictures import content
from tests.engine.conftest import Picture

STANDS_OUT = {
    "chelsea": [(0.38, 0.38), (0.71, 0.46), (0.56, 0.76)],  # eyes and nose
    "rocket": [(0.5, 0.4)],
    "flower": [(0.48, 0.55)],
}
"""By photograph: shares of width and height."""


@pytest.mark.parametrize("name", STANDS_OUT)
def test_what_people_look_at_stands_out_at_any_size(vgg16: Vgg, name: str) -> None:
    maps = [saliency(vgg16, content(name, size_px))[0, ..., 0] for size_px in (128, 256, 700)]
    for seen in maps:
        height, width = seen.shape
        for across, down in STANDS_OUT[name]:
            y, x, near = int(down * height), int(across * width), height // 16
            assert seen[y - near : y + near, x - near : x + near].max() > 0.3
        assert seen.mean() < 0.2
        assert seen.max() == pytest.approx(1, abs=0.05)
    small, large = (np.asarray(Image.fromarray(seen).resize((64, 64))).ravel() for seen in (maps[0], maps[-1]))
    assert np.corrcoef(small, large)[0, 1] > 0.85


@pytest.mark.parametrize("shape", [(16, 16), (16, 4096), (4096, 16), (512, 24)])
def test_pictures_of_any_shape_can_be_looked_at(vgg16: Vgg, shape: tuple[int, int]) -> None:
    for grey in (0.0, 0.5):
        seen = saliency(vgg16, np.full((1, *shape, 3), grey, np.float32))
        assert seen.dtype == np.float32
        assert seen.shape == (1, *shape, 1)
        assert seen.min() >= 0
        assert seen.max() <= 1


def test_it_is_kept_unless_told_not_to(whole_engine: Engine, photo: Picture, uncompiled_once: None) -> None:
    content = photo("chelsea")
    recipe = resolve(OptimizeRecipe(network="vgg16", preset="painterly", keep_faces=True, init="noise", steps=1))
    without = recipe.model_copy(update={"keep_faces": False})
    [kept], [plain] = (whole_engine.paint(content, [(content[:, ::-1], 1.0)], each) for each in (recipe, without))
    assert kept.faces == []
    assert kept.losses["content"] > 1.05 * plain.losses["content"]
    assert kept.kept_share is not None
    assert 0 < kept.kept_share < 0.5
    assert plain.kept_share is None
