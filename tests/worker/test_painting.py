"""What the engine is given of an order's pictures."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from stylequeue_worker.engine import Network, Step, Summary
from stylequeue_worker.work import painting


class Listening:
    """An engine that paints nothing and remembers what it was asked for."""

    def paint(self, content: Any, styles: Any, *_: Any, **__: Any) -> Iterator[Any]:
        self.content, self.styles = content, styles
        yield from ()


def test_styles_come_as_they_were_decoded_and_take_no_memory() -> None:
    engine: Any = Listening()
    pictures = [np.full((20 + number, 30, 3), 51, np.uint8) for number in range(8)]
    order: Any = SimpleNamespace(
        job=SimpleNamespace(styles=[SimpleNamespace(weight=1.0 + number) for number in range(8)]), recipe=None
    )
    inputs = painting.Inputs(np.full((40, 30, 3), 51, np.uint8), pictures, [None] * 8, None, None)
    holder: Any = None
    assert list(painting._steps(engine, order, inputs, None, holder)) == []
    assert engine.content.dtype == np.float32
    assert np.unique(engine.content) == np.float32(0.2)
    for number, (style, weight) in enumerate(engine.styles):
        assert (style.shape, style.dtype, weight) == ((1, 20 + number, 30, 3), np.uint8, 1.0 + number)
        assert np.shares_memory(style, pictures[number])


def test_the_report_has_the_engines_notes() -> None:
    picture = np.zeros((1, 16, 16, 3), np.float32)
    step = Step(1, 1, 16, {}, 1.0, picture, lambda: Summary({}, {}, 0.5, "float32", 1, notes=("a light ground",)))
    assert painting._report(Network("fast", "0" * 64), step, None).notes == ["a light ground"]
