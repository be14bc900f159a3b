"""Pictures side by side, by eye and by number: `make bench-quality` (FULL=1), then look at bench-output/quality.html.

Each pair of content and style: our fast method, the TensorFlow tutorial's 1000 steps (kept, not painted each time),
ours at four strengths, and another engine's picture where there is one. Then one strength at three sizes. QUICK=1 tries
all of it with one pair of small pictures: its figures say little.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, ResolvedRecipe, resolve
from stylequeue.settings import Settings
from stylequeue_worker.engine import Engine
from stylequeue_worker.pictures.images import decode, encode, to_array, to_picture
from tests.benchmarks.engine_pictures import PAINTINGS, content, pairs, style
from tests.support.judge import alien_colour, ssim, style_distance

FULL = bool(os.environ.get("FULL"))
QUICK = bool(os.environ.get("QUICK"))
OUTPUT = Path("bench-output")
KEPT = OUTPUT / "tutorial"
SIZE_PX = 96 if QUICK else 256
STRENGTHS = (0.5,) if QUICK else (0.5, 0.6, 0.7, 0.8)
SIZES_PX, SIZES_STRENGTH = (96, 128) if QUICK else (256, 512, 1024), 0.5
TUTORIAL_STEPS = 50 if QUICK else None
"""None: the preset's own."""
TUTORIAL_SHARE, REFERENCE_SHARE = 1 / 5, 1 / 10
"""Of the others' seconds: what ours may take."""
MAX_SIZE_EFFECT = 0.15
REFERENCE_S = {"astronaut_udnie": 196, "coffee_starry_night": 477, "chelsea_great_wave": 598}
"""What the other engine took for its pictures, on two cores as the ones this was first run on."""


@dataclass(frozen=True)
class Shown:
    """A picture on the page."""

    name: str
    picture: np.ndarray
    spent_s: float | None = None
    distance: float | None = None
    ssim: float | None = None
    alien: float | None = None

    @property
    def caption(self) -> str:
        """Its figures in a line."""
        figures = [
            f"{self.spent_s:.2f} s" if self.spent_s is not None else None,
            f"style {self.distance:.3f}" if self.distance is not None else None,
            f"SSIM {self.ssim:.2f}" if self.ssim is not None else None,
            f"alien {self.alien:.1f}" if self.alien is not None else None,
        ]
        return " · ".join(filter(None, figures))


def shown_pairs() -> list[tuple[str, str]]:
    return pairs()[: 1 if QUICK else None]


def judged(name: str, photo: np.ndarray, painting: np.ndarray, picture: np.ndarray, spent_s: float | None) -> Shown:
    figures = style_distance(picture, painting), ssim(picture, photo), alien_colour(picture, photo, painting)
    return Shown(name, picture, spent_s, *figures)


def painted(
    engine: Engine, photo: np.ndarray, painting: np.ndarray, recipe: ResolvedRecipe
) -> tuple[np.ndarray, float]:
    """The picture, and its seconds."""
    began_s = time.perf_counter()
    *_, last = engine.paint(photo, [(painting, 1.0)], recipe)
    return last.picture, time.perf_counter() - began_s


def tutorial(engine: Engine, photo: np.ndarray, painting: np.ndarray) -> tuple[np.ndarray, float]:
    """The tutorial's picture and its seconds, now or when it was painted."""
    recipe = resolve(OptimizeRecipe(preset="tf-tutorial", steps=TUTORIAL_STEPS))
    parts = (photo.tobytes(), painting.tobytes(), recipe.model_dump_json().encode())
    mark = hashlib.sha256(b"".join((*parts, engine.network(recipe).digest.encode()))).hexdigest()[:16]
    path = KEPT / f"{mark}.npz"
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        picture, spent_s = painted(engine, photo, painting, recipe)
        np.savez(path, picture=picture, spent_s=spent_s)
    with np.load(path) as kept:
        return kept["picture"], float(kept["spent_s"])


def side_by_side(engine: Engine, names: tuple[str, str]) -> list[Shown]:
    photo, painting, whole = content(names[0], SIZE_PX), style(names[1], SIZE_PX), style(names[1])
    shown = [
        judged("content", photo, whole, photo, None),
        Shown("style", painting),
        judged("fast", photo, whole, *painted(engine, photo, painting, resolve(FastRecipe()))),
        judged("tf-tutorial", photo, whole, *tutorial(engine, photo, painting)),
    ]
    reference = PAINTINGS / "reference" / f"{'_'.join(names)}.png"
    if reference.exists():
        picture = np.asarray(Image.open(reference).convert("RGB"), np.float32)[None] / 255
        shown.append(judged("reference", photo, whole, picture, REFERENCE_S.get("_".join(names))))
    for strength in STRENGTHS:
        ours = painted(engine, photo, painting, resolve(OptimizeRecipe(strength=strength)))
        shown.append(judged(f"strength {strength}", photo, whole, *ours))
    return shown


def verdicts(shown: list[Shown]) -> Iterator[tuple[str, bool]]:
    """Whether some strength of ours is better by both numbers, in its share of the time."""
    ours = [one for one in shown if one.name.startswith("strength")]
    for name, share in (("tf-tutorial", TUTORIAL_SHARE), ("reference", REFERENCE_SHARE)):
        for other in (one for one in shown if one.name == name):
            better = [
                one.name
                for one in ours
                if (one.distance or 0) < (other.distance or 0)
                and (one.ssim or 0) >= (other.ssim or 0)
                and (one.spent_s or 0) <= share * (other.spent_s or float("inf"))
            ]
            yield f"better than {name} in {share:.0%} of its time: {', '.join(better) or 'none'}", bool(better)


def one_strength(engine: Engine, names: tuple[str, str]) -> tuple[list[Shown], tuple[str, bool]]:
    """The same strength at several sizes; all are judged at the smallest, else that would be the only blurred one."""
    shown = []
    for size_px in SIZES_PX:
        photo, painting = content(names[0], size_px), style(names[1], size_px)
        made = painted(engine, photo, painting, resolve(OptimizeRecipe(strength=SIZES_STRENGTH)))
        files = [encode(to_picture(picture), "png", 100) for picture in (photo, made[0])]
        small = [to_array(decode(file, size=SIZES_PX[0], max_pixels=10**8)) for file in files]
        figures = judged(f"{size_px} px", small[0], style(names[1]), small[1], made[1])
        shown.append(replace(figures, picture=made[0]))
    distances = [one.distance or 0 for one in shown]
    effect = max(distances) / min(distances) - 1
    return shown, (f"style distance at {SIZES_PX} px within {effect:.0%}", effect <= MAX_SIZE_EFFECT)


def _figure(one: Shown) -> str:
    file = io.BytesIO()
    to_picture(one.picture).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(one.name)}">'
        f"<figcaption><b>{html.escape(one.name)}</b><br>{html.escape(one.caption)}</figcaption></figure>"
    )


_STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:2rem;background:#fafafa;color:#222}
section{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:256px}img{width:100%}
figcaption{font-size:13px}.no{color:#b00}"""


def page(sections: list[tuple[str, list[Shown], list[tuple[str, bool]]]]) -> str:
    """Everything as one HTML page that needs nothing beside it."""
    parts = ["<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"]
    parts.append(f"<title>stylequeue: pictures side by side</title><style>{_STYLE}</style>")
    parts.append("<h1>Pictures side by side</h1><p>style: distance to the style's own vector, less is more style; ")
    parts.append("SSIM: likeness to the content; alien: distance of colours to those of content and style (Lab).</p>")
    for title, shown, said in sections:
        parts.append(f"<h2>{html.escape(title)}</h2><section>{''.join(map(_figure, shown))}</section><ul>")
        parts.extend(f"<li class={'yes' if held else 'no'}>{html.escape(text)}</li>" for text, held in said)
        parts.append("</ul>")
    return "\n".join(parts)


def main() -> None:
    engine = Engine(Settings.load().models)
    engine.warm_up(["optimize", "fast"])
    for recipe in (OptimizeRecipe(steps=12), OptimizeRecipe(preset="tf-tutorial", steps=2), FastRecipe()):
        for names in shown_pairs():  # what is timed should not be compiled first
            painted(engine, content(names[0], SIZE_PX), style(names[1], SIZE_PX), resolve(recipe))
    contents, styles = zip(*shown_pairs(), strict=True)
    sections = []
    for names in itertools.product(contents, styles) if FULL else shown_pairs():
        shown = side_by_side(engine, names)
        sections.append((" in the manner of ".join(names), shown, list(verdicts(shown))))
    for names in shown_pairs() if FULL else shown_pairs()[:1]:
        shown, verdict = one_strength(engine, names)
        sections.append((f"{' / '.join(names)}: strength {SIZES_STRENGTH} at three sizes", shown, [verdict]))

    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "quality.html").write_text(page(sections))
    table = Table("", "seconds", "style distance", "SSIM", "alien colour")
    figures = {}
    for title, shown, said in sections:
        table.add_row(f"[bold]{title}")
        for one in shown:
            name = "-".join((title.split(":")[0], one.name)).replace(" in the manner of ", "-").replace(" / ", "-")
            to_picture(one.picture).save(OUTPUT / f"quality-{name.replace(' ', '-')}.png")
            values = (one.spent_s, one.distance, one.ssim, one.alien)
            table.add_row(one.name, *("" if value is None else f"{value:.3f}" for value in values))
            figures[f"{title}: {one.name}"] = values
        for text, held in said:
            table.add_row(f"[{'green' if held else 'red'}]{text}")
    (OUTPUT / "quality.json").write_text(json.dumps(figures, indent=2) + "\n")
    Console().print(table)


if __name__ == "__main__":
    main()
