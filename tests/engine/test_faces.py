"""Faces are found, and what is to be kept is painted closer to the content."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract import cost
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, ResolvedRecipe, resolve
from stylequeue_worker.engine import Engine, Face, Step
from stylequeue_worker.engine.faces import MOST, find, kept_for
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import Objective
from stylequeue_worker.engine.pictures import ssim
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.terms import scene
from tests.benchmarks.engine_pictures import content
from tests.engine.conftest import Picture

FACES = {"astronaut": Face(177, 66, 97, 97), "grace_hopper": Face(134, 103, 180, 180)}
"""With the longer side at 512 px."""


def middle(face: Face) -> np.ndarray:
    return np.array([face.left_px + face.width_px / 2, face.top_px + face.height_px / 2])


class TestFound:
    """Which faces there are, and where."""

    @pytest.mark.parametrize("size_px", [96, 256, 700])
    @pytest.mark.parametrize("name", FACES)
    def test_a_face_is_found_at_any_size(self, name: str, size_px: int) -> None:
        """One of each portrait: neither badge of the astronaut's is one."""
        [found] = find(content(name, size_px))
        there, scale = FACES[name], size_px / 512
        assert np.linalg.norm(middle(found) - scale * middle(there)) < 0.15 * scale * there.width_px
        assert found.width_px == pytest.approx(scale * there.width_px, rel=0.15)

    @pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
    def test_where_there_is_none_none_is_found(self, name: str) -> None:
        assert find(content(name, 512)) == []
        assert find(content(name, 256)) == []

    @pytest.mark.parametrize("left_out", [0, 1, 2])
    def test_a_hit_of_some_searches_is_no_face(self, monkeypatch: pytest.MonkeyPatch, left_out: int) -> None:
        from stylequeue_worker.engine import faces

        hits, factors = faces._hits, faces._FACTORS
        blind = lambda searched, factor: [] if factor == factors[left_out] else hits(searched, factor)  # noqa: E731
        monkeypatch.setattr(faces, "_hits", blind)
        assert find(content("grace_hopper", 256)) == []

    def test_the_largest_comes_first_and_those_half_its_size_with_it(self) -> None:
        group = np.full((1, 512, 780, 3), 0.5, np.float32)
        for left, size_px in ((0, 420), (430, 330)):
            one = content("grace_hopper", size_px)
            group[:, : one.shape[1], left : left + one.shape[2]] = one
        first, second = find(group)
        assert first.width_px > second.width_px
        assert first.left_px < 420 < second.left_px
        group[:, :, 430:] = 0.5
        small = content("grace_hopper", 170)
        group[:, : small.shape[1], 430 : 430 + small.shape[2]] = small
        assert [face.left_px for face in find(group)] == [first.left_px]

    @pytest.mark.parametrize("shape", [(16, 16), (16, 4096), (4096, 16), (512, 24)])
    @pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
    def test_pictures_of_any_shape_can_be_searched(self, shape: tuple[int, int], grey: float) -> None:
        picture = np.full((1, *shape, 3), grey, np.float32)
        assert find(picture) == []
        assert kept_for([], picture).max() == 0

    def test_what_is_kept_fades_around_the_face(self) -> None:
        picture = content("astronaut", 512)
        face = FACES["astronaut"]
        kept = kept_for([face], picture)
        assert kept.dtype == np.float32
        assert kept.shape == (1, 512, 512, 1)
        x, y = middle(face).astype(int)
        assert kept[0, y, x, 0] == 1
        along = kept[0, y, x : x + face.width_px, 0]
        assert np.all(np.diff(along) <= 0)
        assert 0 < along[int(0.6 * face.width_px)] < 1
        assert along[-1] == 0
        assert kept[0, y + int(0.6 * face.height_px), x] > kept[0, y, x + int(0.6 * face.width_px)], "a face is tall"

    def test_no_report_is_too_long_for_a_store(self) -> None:
        """With the most layers and faces that there may be, beside what else is said of an object."""
        from stylequeue.contract import events
        from tests.support.jobs import NO_REPORT

        layers = {f"block{block}_conv{number}": 1 / 3 for block in range(1, 6) for number in range(1, 5)}
        report = NO_REPORT.model_copy(
            update={
                "network_digest": "0" * 64,
                "precision": "tensorfloat32",
                "losses": dict.fromkeys(("content", "style", "variation"), 1 / 3),
                "style_distances": dict(list(layers.items())[:16]),
                "ssim": 1 / 3,
                "peak_memory_bytes": 10**11,
                "faces": [events.Face(4000, 4000, 4000, 4000)] * MOST,
            }
        )
        written = report.model_dump_json()
        assert events.PaintingReport.model_validate_json(written) == report
        assert len(written) < 1500


def test_what_is_kept_counts_more(engine: Engine, portrait: np.ndarray, uncompiled_once: None) -> None:
    recipe = resolve(OptimizeRecipe(network="vgg16", preset="painterly", init="noise", steps=1))
    with_faces = recipe.model_copy(update={"keep_faces": True})
    beside = np.zeros((1, *portrait.shape[1:3], 1), np.float32)
    beside[:, 48:] = 1

    def content_loss(recipe: ResolvedRecipe, kept: np.ndarray | None = None) -> float:
        [step] = engine.paint(portrait, [(portrait[:, ::-1], 1.0)], recipe, kept=kept)
        assert (step.faces is not None) is recipe.keep_faces
        return step.losses["content"]

    plain, faces, both = content_loss(recipe), content_loss(with_faces), content_loss(with_faces, beside)
    assert 1.05 * plain < faces
    assert 1.05 * faces < both < 5 * plain


@pytest.mark.parametrize(("height_px", "width_px"), [(64, 80), (75, 91)])
def test_what_is_kept_counts_where_it_lies(thin: Vgg, photo: Picture, height_px: int, width_px: int) -> None:
    """In every view, whatever of it is mirrored."""
    objective, picture = Objective(thin, PRESETS["brushwork"]), tf.constant(photo("coffee", height_px, width_px))
    kept = np.random.default_rng(0).random((1, height_px, width_px, 1), np.float32)
    for view in objective.views(picture):
        given = scene(picture, [(picture, 1.0)], kept=tf.constant(kept))
        for layer, wanted in objective.targets(given, view, ["content"])["content"].items():
            assert wanted["weights"].shape[:3] == wanted["features"].shape[:3]
            found, stride_px = wanted["weights"].numpy()[0, ..., 0], cost.stride_px(layer)
            # A mirror repeats no edge: row -1 is row 1.
            (tops, rows), (lefts, columns) = (
                (-(int(margin) % stride_px), np.abs(np.arange(-stride_px, 2 * side_px)))
                for margin, side_px in zip(view.numpy()[1:3, 0], (height_px, width_px), strict=True)
            )
            for row, column in ((0, 0), (1, 0), (2, 3), (4, 6)):
                inside = np.ix_(
                    rows[stride_px * (row + 1) + tops :][:stride_px],
                    columns[stride_px * (column + 1) + lefts :][:stride_px],
                )
                assert found[row, column] == pytest.approx(1 + 4 * kept[0, ..., 0][inside].mean(), rel=1e-5)


class Paint(NamedTuple):
    """An engine, and how it is to paint."""

    engine: Engine
    recipe: ResolvedRecipe

    def __call__(self, content: np.ndarray, style: np.ndarray, **given: Any) -> Step:
        *_, last = self.engine.paint(content, [(style, 1.0)], self.recipe, **given)
        return last

    def without_faces(self) -> Paint:
        return Paint(self.engine, self.recipe.model_copy(update={"keep_faces": False}))


RECIPES = [
    FastRecipe(keep_faces=True),
    pytest.param(OptimizeRecipe(network="vgg16", preset="brushwork", steps=60), marks=pytest.mark.slow),
]


@pytest.fixture(params=RECIPES, ids=["fast", "brushwork"])
def paint(request: pytest.FixtureRequest, engine: Engine) -> Paint:
    return Paint(engine, resolve(request.param))


class TestPainted:
    """What comes of it."""

    def test_a_face_stays_closer_to_the_content(self, paint: Paint, portrait: np.ndarray, stripes: Picture) -> None:
        kept, plain = paint(portrait, stripes()), paint.without_faces()(portrait, stripes())
        assert plain.faces is None
        assert kept.faces is not None
        [face] = kept.faces
        rows, columns = (
            slice(face.top_px, face.top_px + face.height_px),
            slice(face.left_px, face.left_px + face.width_px),
        )
        alike = [ssim(step.picture[:, rows, columns], portrait[:, rows, columns]) for step in (kept, plain)]
        assert alike[0] > alike[1] + 0.05
        outside = np.broadcast_to(kept_for([face], portrait) == 0, portrait.shape)
        far_kept, far_plain = (np.abs(step.picture - portrait)[outside].mean() for step in (kept, plain))
        assert far_kept == pytest.approx(far_plain, rel=0.15)

    def test_a_mask_says_what_else_is_kept(self, paint: Paint, photo: Picture, stripes: Picture) -> None:
        content, style = photo("chelsea"), stripes()
        left = np.zeros((1, 64, 64, 1), np.float32)
        left[:, :, :32] = 1
        kept, plain = paint(content, style, kept=left), paint(content, style)
        assert kept.faces == plain.faces == [], "looked for, none found"
        np.testing.assert_array_equal(paint(content, style, kept=0 * left).picture, plain.picture)
        alike = [ssim(step.picture[:, :, :28], content[:, :, :28]) for step in (kept, plain)]
        assert alike[0] > alike[1] + 0.05
        far_kept, far_plain = (np.abs(step.picture - content)[:, :, 48:].mean() for step in (kept, plain))
        assert far_kept == pytest.approx(far_plain, rel=0.15)

    def test_a_mask_of_another_size_is_refused(self, paint: Paint, photo: Picture, stripes: Picture) -> None:
        with pytest.raises(ValueError, match="a mask is float32"):
            paint(photo(), stripes(), kept=np.ones((1, 64, 60, 1), np.float32))
