"""Paint one small picture per option of a recipe into docs/pictures, from the sample pictures.

Run `make gallery`, or `python scripts/gallery.py name ...` for some of them.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from stylequeue.contract.recipe import Recipe, resolve
from stylequeue.settings import Settings
from stylequeue_worker.engine import Engine
from stylequeue_worker.pictures import images
from stylequeue_worker.work.order import style_size_px

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "producer" / "stylequeue" / "local" / "samples"
PICTURES = ROOT / "docs" / "pictures"
SIZE_PX = 240
QUALITY = 85
SOMEWHERE = {"bucket": "uploads", "key": "start.jpg"}


@dataclass(frozen=True)
class Exhibit:
    """What one picture shows: a recipe, and the sample pictures it is made of."""

    recipe: dict[str, object] = field(default_factory=dict)
    styles: tuple[str, ...] = ("swirls",)
    start: str | None = None
    masked: bool = False
    """Whether the first style applies to the middle only, and the second, if there is one, around it."""


EXHIBITS = {
    "brushwork": Exhibit(),
    "painterly": Exhibit({"preset": "painterly"}),
    "strength-0.2": Exhibit({"strength": 0.2}),
    "strength-0.8": Exhibit({"strength": 0.8}),
    "style-scale-0.5": Exhibit({"style_scale": 0.5}),
    "style-scale-2": Exhibit({"style_scale": 2}),
    "two-styles": Exhibit(styles=("swirls", "waves")),
    "mask": Exhibit(masked=True),
    "two-masks": Exhibit(styles=("swirls", "waves"), masked=True),
    "colours-luminance": Exhibit({"colours": "luminance"}),
    "colours-match": Exhibit({"colours": "match"}),
    "init-noise": Exhibit({"init": "noise"}),
    "init-style": Exhibit({"init": "style"}),
    "init-image": Exhibit({"init": "image", "init_image": SOMEWHERE}, start="chelsea"),
    "pooling-average": Exhibit({"pooling": "average"}),
    "shallow-layers": Exhibit({"style_layers": {"block1_conv1": 0.5, "block2_conv1": 0.5}}),
    "lbfgs": Exhibit({"preset": "painterly", "optimizer": "lbfgs"}),
    "swift": Exhibit({"preset": "painterly", "optimizer": "swift"}),
    "fast": Exhibit({"method": "fast"}),
    "tf-tutorial": Exhibit({"preset": "tf-tutorial", "steps": 200}),
    "tf-keras-2018": Exhibit({"preset": "tf-keras-2018", "steps": 200}),
    "gatys-2016": Exhibit({"preset": "gatys-2016", "steps": 200}),
}


def sample(name: str, size_px: int) -> np.ndarray:
    """A sample picture at this size, float32 [1, H, W, 3] in [0, 1]."""
    data = (SAMPLES / f"{name}.jpg").read_bytes()
    return images.to_array(images.decode(data, size=size_px, max_pixels=10**7))


def middle(height: int, width: int) -> np.ndarray:
    """A mask, white in the middle with soft edges."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray(np.clip(6 * (0.7 - np.hypot(y, x)), 0, 1)[None, ..., None], np.float32)


def paint(engine: Engine, exhibit: Exhibit) -> Image.Image:
    """The exhibit's picture."""
    method = {} if "method" in exhibit.recipe else {"method": "optimize"}
    recipe = resolve(TypeAdapter(Recipe).validate_python({**method, "size": SIZE_PX, **exhibit.recipe}))
    content = sample("coffee", SIZE_PX)
    styles = [(sample(name, style_size_px(recipe)), 1.0) for name in exhibit.styles]
    start = sample(exhibit.start, SIZE_PX) if exhibit.start else None
    mask = middle(*content.shape[1:3])
    masks = [mask, 1 - mask][: len(styles)] if exhibit.masked else None
    *_, last = engine.paint(content, styles, recipe, start=start, masks=masks)
    return images.to_picture(last.picture)


def main() -> None:
    """Paint those named, or all."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    engine = Engine(Settings.load().models)
    for name in sys.argv[1:] or EXHIBITS:
        began_at = time.monotonic()
        path = PICTURES / f"{name}.jpg"
        path.write_bytes(images.encode(paint(engine, EXHIBITS[name]), "jpeg", QUALITY))
        print(f"{path.name}  {path.stat().st_size / 1000:.0f} kB  {time.monotonic() - began_at:.0f} s", flush=True)


if __name__ == "__main__":
    main()
