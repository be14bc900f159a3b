"""The plan of memory, what is left of it here, and what happens where it runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.memory import MIN_TILE_PX, TILES_GRID_PX, tile_starts
from stylequeue.contract.recipe import (
    MAX_SIZE_PX,
    MIN_SIDE_PX,
    FastRecipe,
    OptimizeRecipe,
    OptimizerName,
    PresetName,
    Recipe,
    ResolvedOptimizeRecipe,
    resolve,
)
from stylequeue_worker.engine import Engine, Options, Step, course, faces, painter, shown
from stylequeue_worker.engine.available import available_bytes
from stylequeue_worker.engine.descent import Evaluation
from stylequeue_worker.engine.memory import Fitting, is_out_of_memory, may_be_out_of_memory, plan
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import Objective
from stylequeue_worker.engine.presets import PRESETS, Preset
from stylequeue_worker.engine.terms import Look
from stylequeue_worker.engine.tiling import Tile, TiledObjective
from tests.engine.conftest import Picture

GB = 10**9
STEPS = 8


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def version_2(path: str, limit: object, current: int, cache: int = 0) -> dict[str, str]:
    group = f"sys/fs/cgroup/{path}".rstrip("/")
    return {
        f"{group}/memory.max": f"{limit}\n",
        f"{group}/memory.current": f"{current}\n",
        f"{group}/memory.stat": f"anon {current - cache}\nfile {cache}\ninactive_file {cache // 2}\n"
        f"active_file {cache - cache // 2}\nshmem 0\n",
    }


def version_1(path: str, limit: int, usage: int, cache: int = 0) -> dict[str, str]:
    group = f"sys/fs/cgroup/memory/{path}".rstrip("/")
    return {
        f"{group}/memory.limit_in_bytes": f"{limit}\n",
        f"{group}/memory.usage_in_bytes": f"{usage}\n",
        f"{group}/memory.stat": f"cache {cache}\ntotal_inactive_file {cache}\ntotal_active_file 0\n",
    }


MACHINE = {"proc/meminfo": "MemTotal: 64000000 kB\nMemFree: 1000 kB\nMemAvailable: 31250000 kB\n"}
"""32 GB left."""
OWN_2, OWN_1 = {"proc/self/cgroup": "0::/slice/job\n"}, {"proc/self/cgroup": "4:memory:/docker/own\n0::/\n"}


class TestAvailable:
    @pytest.mark.parametrize(
        ("files", "left_bytes"),
        [
            pytest.param({}, None, id="nothing is known"),
            pytest.param(MACHINE, 32 * GB, id="no groups"),
            pytest.param({**MACHINE, **OWN_2, **version_2("slice/job", "max", GB)}, 32 * GB, id="no limit"),
            pytest.param({**MACHINE, **OWN_2, **version_2("slice/job", 8 * GB, 5 * GB)}, 3 * GB, id="its own"),
            pytest.param(
                {**MACHINE, **OWN_2, **version_2("slice/job", 8 * GB, 7 * GB, cache=5 * GB)}, 6 * GB, id="page cache"
            ),
            pytest.param(
                {**MACHINE, **OWN_2, **version_2("slice/job", 8 * GB, GB), **version_2("slice", 4 * GB, 2 * GB)},
                2 * GB,
                id="one above",
            ),
            pytest.param(
                {**MACHINE, **OWN_2, **version_2("", 5 * GB, GB)}, 4 * GB, id="a container that sees the host's path"
            ),
            pytest.param({**MACHINE, **OWN_1, **version_1("docker/own", 6 * GB, GB)}, 5 * GB, id="version 1"),
            pytest.param(
                {**MACHINE, **OWN_1, **version_1("docker/own", 2**63 - 4096, GB), **version_1("", 3 * GB, GB, GB)},
                3 * GB,
                id="version 1, one above, page cache",
            ),
            pytest.param({**MACHINE, **OWN_2, **version_2("slice/job", GB, 2 * GB)}, 0, id="over the limit"),
        ],
    )
    def test_it_is_the_least_that_any_group_has_left(
        self, tmp_path: Path, files: dict[str, str], left_bytes: int | None
    ) -> None:
        found = available_bytes(lay(tmp_path, files))
        assert found == (None if left_bytes is None else pytest.approx(0.8 * left_bytes))

    def test_it_is_known_here(self) -> None:
        found = available_bytes()
        assert found is None or 0 < found < 2**50


def planned(network: Vgg, optimizer: OptimizerName, styles: int = 1, budget_bytes: int | None = None) -> Any:
    sides = (1000, 1000)
    return plan(sides, [sides] * styles, network, PRESETS["tf-tutorial"], optimizer, budget_bytes)


class TestPlan:
    def test_lbfgs_remembers_twenty_pictures(self, thin: Vgg) -> None:
        more = planned(thin, "lbfgs").peak_bytes - planned(thin, "adam").peak_bytes
        assert more == pytest.approx(20 * 3 * 4 * 1000**2, rel=0.01)

    def test_every_style_counts(self, thin: Vgg) -> None:
        more = planned(thin, "adam", styles=8).peak_bytes - planned(thin, "adam").peak_bytes
        assert more >= 7 * 3 * 4 * 1000**2

    def test_every_mask_counts(self, thin: Vgg) -> None:
        preset, sides = PRESETS["tf-tutorial"], (1000, 1000)
        none, eight = (plan(sides, [sides], thin, preset, "adam", None, masks=masks).peak_bytes for masks in (0, 8))
        assert eight - none >= 8 * 3 * 4 * 1000**2

    @pytest.mark.usefixtures("uncompiled_once")
    def test_a_paintings_masks_are_those_that_it_has(
        self, thin: Vgg, photo: Picture, stripes: Picture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counted: list[object] = []

        def noted(*given: Any, masks: int, kept: bool) -> Any:
            counted.append((masks, kept))
            return plan(*given, masks=masks, kept=kept)

        monkeypatch.setattr(painter, "plan", noted)
        mask = np.ones((1, 32, 32, 1), np.float32)
        for masks, kept in ((None, None), ([mask, None], None), ([mask, mask], mask)):
            ours = painter.Painter(thin, Options(precision="float32"))
            next(ours.paint(photo(height=32), [(stripes(40), 0.5)] * 2, recipe(steps=1), masks=masks, kept=kept))
        assert counted == [(0, False), (1, False), (2, True)]

    def test_eight_of_the_largest_do_not_fit_where_one_does(self, thin: Vgg) -> None:
        preset, content, style = PRESETS["tf-tutorial"], (64, 64), (4096, 4096)
        one, eight = (plan(content, [style] * count, thin, preset, "adam", None).peak_bytes for count in (1, 8))
        assert eight - one >= 7 * 3 * 4 * 4096**2
        assert plan(content, [style], thin, preset, "adam", one).tile_px is None
        assert plan(content, [style] * 8, thin, preset, "adam", one).tile_px is not None

    def test_what_does_not_fit_is_cut_into_the_largest_tiles_that_do(self, thin: Vgg) -> None:
        whole = planned(thin, "adam").peak_bytes
        assert planned(thin, "adam", budget_bytes=whole).tile_px is None
        cut = planned(thin, "adam", budget_bytes=whole - 1)
        assert cut.tile_px is not None
        assert cut.peak_bytes < whole


OUT_OF_MEMORY = [
    tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[1,512,512,64]"),
    tf.errors.InternalError(None, None, "Failed to allocate 1073741824 bytes: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    tf.errors.InternalError(None, None, "CUBLAS_STATUS_ALLOC_FAILED"),
    tf.errors.InternalError(None, None, "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 5368709120 bytes."),
    tf.errors.UnknownError(None, None, "CUDNN_STATUS_ALLOC_FAILED in tensorflow/stream_executor/cuda/cuda_dnn.cc"),
    MemoryError("Unable to allocate 8.00 GiB for an array"),
]
OR_A_BROKEN_CARD = [
    tf.errors.InternalError(None, None, "Blas GEMM launch failed : a.shape=(64, 65536), b.shape=(65536, 64)"),
    tf.errors.UnknownError(None, None, "Failed to get convolution algorithm. This is probably because cuDNN failed"),
    tf.errors.NotFoundError(None, None, "No algorithm worked!  Error messages:\n  Profiling failure on CUDNN engine"),
    tf.errors.FailedPreconditionError(None, None, "DNN library initialization failed. Look at the errors above"),
    tf.errors.InternalError(None, None, "CUDNN_STATUS_EXECUTION_FAILED in cuda_dnn.cc(5172)"),
]
ANOTHER_THING = [
    tf.errors.InternalError(None, None, "CUDA error: an illegal memory access was encountered"),
    tf.errors.InternalError(None, None, "CUDNN_STATUS_INTERNAL_ERROR: CUDA_ERROR_MISALIGNED_ADDRESS"),
    tf.errors.NotFoundError(None, None, "weights.h5; No such file or directory"),
    tf.errors.UnknownError(None, None, "Graph execution error"),
    tf.errors.InvalidArgumentError(None, None, "Incompatible shapes: [1,2] vs. [1,3]; memory"),
    ValueError("out of memory"),
]


def test_all_the_ways_of_saying_that_memory_ran_out() -> None:
    said = [is_out_of_memory(error) for error in (*OUT_OF_MEMORY, *OR_A_BROKEN_CARD, *ANOTHER_THING)]
    assert said == [True] * len(OUT_OF_MEMORY) + [False] * (len(OR_A_BROKEN_CARD) + len(ANOTHER_THING))
    meant = [may_be_out_of_memory(error) for error in (*OUT_OF_MEMORY, *OR_A_BROKEN_CARD, *ANOTHER_THING)]
    assert meant == [True] * (len(OUT_OF_MEMORY) + len(OR_A_BROKEN_CARD)) + [False] * len(ANOTHER_THING)


def recipe(**given: object) -> ResolvedOptimizeRecipe:
    resolved = resolve(OptimizeRecipe.model_validate({"preset": "tf-tutorial", "steps": STEPS, **given}))
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    return resolved


Exhaust = Callable[[int], None]


@pytest.fixture
def exhaust(monkeypatch: pytest.MonkeyPatch) -> Exhaust:
    """`exhaust(n)`: after n evaluations of a whole picture, each asks for more memory than there is, in earnest."""
    left = tf.Variable(10**6)

    def greedy(evaluate: Callable[..., Evaluation]) -> Callable[..., Evaluation]:
        def evaluated(self: Objective, picture: tf.Tensor, *arguments: Any) -> Evaluation:
            evaluation = evaluate(self, picture, *arguments)
            if isinstance(self, TiledObjective):
                return evaluation
            with tf.control_dependencies([left.assign_sub(1)]):
                floats = tf.where(left < 0, tf.constant(2**44, tf.int64), 1)
            return evaluation._replace(total=evaluation.total + 0 * tf.fill([floats], evaluation.total)[0])

        return evaluated

    def tiles(self: TiledObjective, looks: Sequence[Look], laid: tf.Tensor) -> list[list[Tile]]:
        found = of_the_picture(self, looks, laid)
        assert len(found) * len(found[0]) > 1, "a tile of the whole picture takes what the whole takes"
        return found

    of_the_picture = TiledObjective._tiles
    monkeypatch.setattr(TiledObjective, "_tiles", tiles)
    monkeypatch.setattr(Objective, "_evaluate", greedy(Objective._evaluate))
    return left.assign  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("optimizer", "on_gpu"),
    [
        pytest.param("adam", True, id="inside a compiled call of several steps"),
        pytest.param("lbfgs", False, id="between steps", marks=pytest.mark.slow),
    ],
)
def test_out_of_memory_it_goes_on_in_tiles_from_the_last_good_step(
    thin: Vgg,
    photo: Picture,
    stripes: Picture,
    exhaust: Exhaust,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    optimizer: str,
    on_gpu: bool,
) -> None:
    if not on_gpu:
        request.getfixturevalue("uncompiled_once")
    for module in (course, painter):
        monkeypatch.setattr(module, "on_gpu", lambda: on_gpu)
    ours = painter.Painter(thin, Options(precision="float32"))
    pictures = photo(height=128), [(stripes(128), 1.0)], recipe(optimizer=optimizer)
    undisturbed = list(ours.paint(*pictures))
    assert undisturbed[-1].step == STEPS
    exhaust(3)
    steps = list(ours.paint(*pictures))
    tiles = [step.plan and step.plan.tile_px for step in steps]
    assert tiles[0] is None
    assert tiles[-1] == 64
    assert [step.step for step in steps] == sorted({step.step for step in steps})
    assert steps[-1].step == STEPS
    if optimizer != "lbfgs":  # which learns the curvature anew
        assert np.abs(steps[-1].picture - undisturbed[-1].picture).mean() < 1e-4
    exhaust(0)
    assert steps[-1].summarise().losses.keys() == undisturbed[-1].losses.keys(), "in tiles as well"
    exhaust(10**6)
    assert {step.plan and step.plan.tile_px for step in ours.paint(*pictures)} == {None}, "one painting's affair"


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled_once")
def test_a_summary_falls_back_by_itself(thin: Vgg, photo: Picture, stripes: Picture, exhaust: Exhaust) -> None:
    ours = painter.Painter(thin, Options(precision="float32"))
    *_, last = ours.paint(photo(height=128), [(stripes(128), 1.0)], recipe(steps=2))
    exhaust(0)
    assert last.summarise().tiles == 4


@pytest.mark.parametrize("preset_name", ["tf-tutorial", "brushwork"])
@pytest.mark.parametrize("planned_px", [None, 64, 1024])
def test_where_memory_runs_out_a_tile_is_half_the_picture_at_most(
    thin: Vgg, monkeypatch: pytest.MonkeyPatch, preset_name: PresetName, planned_px: int | None
) -> None:
    monkeypatch.setattr(gc, "collect", lambda: 0)
    preset = PRESETS[preset_name]
    objective = Objective(thin, preset)
    for longest_px in (*range(MIN_SIDE_PX, 640, 7), 1024, 1025, MAX_SIZE_PX):
        fitting = Fitting(lambda _: objective, planned_px)
        fitting.fall_back(OUT_OF_MEMORY[0], longest_px)
        laid_px = longest_px + 2 * preset.margin_px
        assert fitting.tile_px is not None
        assert fitting.tile_px % TILES_GRID_PX == 0
        assert MIN_TILE_PX <= fitting.tile_px <= 512
        assert len(tile_starts(laid_px, fitting.tile_px)) > 1 or laid_px < 2 * MIN_TILE_PX


def test_out_of_memory_again_is_an_error(
    thin: Vgg, photo: Picture, stripes: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(*_: object) -> Evaluation:
        raise OUT_OF_MEMORY[0]

    for objective in (Objective, TiledObjective):
        monkeypatch.setattr(objective, "evaluate", evaluate)
    ours = painter.Painter(thin, Options(precision="float32"))
    with pytest.raises(Permanent) as caught:
        list(ours.paint(photo(height=48), [(stripes(48), 1.0)], recipe()))
    assert caught.value.code == Code.OUT_OF_MEMORY
    assert "tiles of 64 px" in caught.value.message


def test_a_broken_card_is_no_lack_of_memory(
    thin: Vgg, photo: Picture, stripes: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Smaller tiles are tried, once. That the job is too large is not said: on another card it may do."""
    tried: list[int | None] = []

    def evaluate(self: Objective, *_: object) -> Evaluation:
        tried.append(self.tile_px)
        raise OR_A_BROKEN_CARD[-1]

    for objective in (Objective, TiledObjective):
        monkeypatch.setattr(objective, "evaluate", evaluate)
    ours = painter.Painter(thin, Options(precision="float32"))
    with pytest.raises(tf.errors.InternalError, match="CUDNN_STATUS_EXECUTION_FAILED"):
        list(ours.paint(photo(height=48), [(stripes(48), 1.0)], recipe()))
    assert tried == [None, 64]


def exhausted(*_: object, **__: object) -> NoReturn:
    raise OUT_OF_MEMORY[0]


@pytest.mark.parametrize(
    ("asked", "place", "name"),
    [
        pytest.param(FastRecipe(), Engine, "load_fast", id="the fast network"),
        pytest.param(OptimizeRecipe(), faces, "find", id="faces"),
        pytest.param(OptimizeRecipe(preset="gatys-2016"), painter, "sample_pictures", id="filters"),
    ],
)
def test_out_of_memory_is_said_wherever_it_runs_out(
    model_dir: Path,
    photo: Picture,
    narrowed: None,
    monkeypatch: pytest.MonkeyPatch,
    asked: Recipe,
    place: object,
    name: str,
) -> None:
    monkeypatch.setattr(place, name, exhausted)
    with pytest.raises(Permanent) as caught:
        next(Engine(model_dir).paint(photo(height=16), [(photo(height=16), 1.0)], resolve(asked)))
    assert caught.value.code == Code.OUT_OF_MEMORY


def test_out_of_memory_is_said_by_a_summary(engine: Engine, photo: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    [step] = engine.paint(
        photo(height=16), [(photo(height=16), 1.0)], recipe(preset="painterly", steps=None, strength=0)
    )
    monkeypatch.setattr(shown, "ssim", exhausted)
    with pytest.raises(Permanent) as caught:
        step.summarise()
    assert caught.value.code == Code.OUT_OF_MEMORY


def test_a_size_for_which_there_is_no_memory_is_not_painted_ahead(
    model_dir: Path, narrowed: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(faces, "find", exhausted)
    Engine(model_dir, options=Options(warm_up_px=(32,))).warm_up(["optimize"])
    assert "pictures of 32 px cannot be painted ahead: [out_of_memory]" in caplog.text


def test_what_is_no_lack_of_memory_is_told_as_it_is(
    thin: Vgg, photo: Picture, stripes: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(*_: object) -> Evaluation:
        raise ANOTHER_THING[0]

    monkeypatch.setattr(Objective, "evaluate", evaluate)
    ours = painter.Painter(thin, Options(precision="float32"))
    with pytest.raises(tf.errors.InternalError, match="illegal"):
        next(ours.paint(photo(height=48), [(stripes(48), 1.0)], recipe()))


def test_what_was_compiled_for_a_mixture_of_layers_goes_with_it(thin: Vgg, photo: Picture, stripes: Picture) -> None:
    ours = painter.Painter(thin, Options(precision="float32"))
    before = compiled()
    for number in range(painter._KEPT + 3):
        layers = {"block1_conv1": 1.0, "block1_conv2": 1.0 + number}
        fields = recipe(preset="painterly", steps=1, style_layers=layers, content_layers={"block1_conv2": 1.0})
        list(ours.paint(photo(height=48), [(stripes(48), 1.0)], fields))
    gc.collect()
    new = [graph for graph in compiled() if not any(graph is known for known in before)]
    assert len(new) == painter._KEPT


@pytest.mark.usefixtures("uncompiled_once")
def test_what_is_painted_often_stays_compiled(
    thin: Vgg, photo: Picture, stripes: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []

    def noted(network: Vgg, preset: Preset) -> Objective:
        made.append(preset.style_layers["block1_conv1"])
        return Objective(network, preset)

    monkeypatch.setattr(painter, "Objective", noted)
    monkeypatch.setattr(painter, "_KEPT", 2)
    ours = painter.Painter(thin, Options(precision="float32"))
    usual, one, other = 1.0, 2.0, 3.0
    for mixture in (usual, one, usual, other, usual):
        layers = {"style_layers": {"block1_conv1": mixture}, "content_layers": {"block1_conv1": 1.0}}
        list(ours.paint(photo(height=16), [(stripes(16), 1.0)], recipe(steps=1, **layers)))
    assert made == [usual, one, other]


def compiled() -> list[object]:
    """The graphs of functions that there are."""
    return [thing for thing in gc.get_objects() if type(thing).__name__ == "FuncGraph"]


@pytest.mark.usefixtures("uncompiled_once")
@pytest.mark.parametrize("init", ["content", "style"])
def test_styles_are_floats_only_once_there_is_a_plan(
    thin: Vgg, photo: Picture, stripes: Picture, monkeypatch: pytest.MonkeyPatch, init: str
) -> None:
    happened: list[str] = []

    def noted(name: str) -> None:
        original = getattr(painter, name)

        def call(*given: object, **named: object) -> object:
            happened.append(name)
            return original(*given, **named)

        monkeypatch.setattr(painter, name, call)

    noted("plan")
    noted("floats")
    eight_bits = [(stripes(side) * 255).round().astype(np.uint8) for side in (40, 48)]
    painted = []
    for styles in (eight_bits, [picture.astype(np.float32) / np.float32(255) for picture in eight_bits]):
        happened.clear()
        ours = painter.Painter(thin, Options(precision="float32"))
        *_, step = ours.paint(photo(height=32), [(style, 0.5) for style in styles], recipe(steps=2, init=init))
        assert happened[:3] == ["plan", "floats", "floats"]
        painted.append(step.picture)
    np.testing.assert_array_equal(painted[0], painted[1])


@pytest.mark.usefixtures("uncompiled_once")
def test_steps_say_how_they_fit(thin: Vgg, photo: Picture, stripes: Picture) -> None:
    ours = painter.Painter(thin, Options(memory_bytes=1, precision="float32"))
    step: Step = next(ours.paint(photo(height=48), [(stripes(48), 1.0)], recipe()))
    assert step.plan
    assert step.plan.tile_px == 64
