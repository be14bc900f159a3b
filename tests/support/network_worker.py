"""A fake worker that has those networks whose names are files in its model directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import ResolvedRecipe, networks_of
from stylequeue.settings import Settings
from stylequeue_worker.process.app import make_worker_app
from tests.support.fake_painter import FakePainter

BROKEN = "broken"
"""In a file: a network that cannot be loaded, which its worker only learns when it tries."""


class NetworkPainter(FakePainter):
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._found_broken: set[str] = set()

    def networks(self) -> dict[str, str]:
        there = {path.name for path in self._directory.iterdir()} - self._found_broken
        return {name: name * 8 for name in ("vgg19", "vgg16", "fast") if name in there}

    def network(self, recipe: ResolvedRecipe) -> Any:
        from stylequeue_worker.engine import Network

        name = next(name for name in networks_of(recipe) if name in self.networks())
        return Network(name, name * 8)

    def paint(
        self,
        content: Any,
        _styles: Any,
        recipe: Any,
        resume: Any = None,
        start: Any = None,
        masks: Any = None,
        kept: Any = None,
    ) -> Iterator[Any]:
        name = self.network(recipe).name
        if (self._directory / name).read_text() == BROKEN:
            self._found_broken.add(name)
            raise Permanent(Code.NETWORK_UNAVAILABLE, f"{name} cannot be loaded", "pull it again")
        yield from super().paint(content, _styles, recipe, resume, start, masks, kept)


def load_engine(settings: Settings) -> NetworkPainter:
    return NetworkPainter(settings.models)


app = make_worker_app(Settings.load(), module=__name__, load_engine=load_engine)
