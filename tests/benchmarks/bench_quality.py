"""Pictures side by side, by eye and by number: `make bench-quality`, then look at bench-output/quality.html.

Pairs and strengths are fixed: one setting of ours, the default preset at its default strength, against one of each
other: `painterly`, the TensorFlow tutorial's 1000 steps (kept, not painted each time), our fast method, and another
engine's picture where there is one. Half of the pairs were painted for the first time when all was settled. Then one
strength at three sizes; FULL=1 does that for three pairs instead of one. QUICK=1 tries all of it with one pair of small
pictures: its figures say little.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, ResolvedRecipe, resolve
from stylequeue.settings import Settings
from stylequeue_worker.engine import Engine
from stylequeue_worker.pictures.images import decode, encode, to_array, to_picture
from tests.benchmarks.engine_pictures import PAINTINGS, content, judged_pairs, style
from tests.support.judge import alien_colour, faces_seen, ssim, strokes_missing, style_distance

FULL = bool(os.environ.get("FULL"))
QUICK = bool(os.environ.get("QUICK"))
OUTPUT = Path("bench-output")
KEPT = OUTPUT / "tutorial"
SIZE_PX = 96 if QUICK else 256
SIZES_PX = (96, 128) if QUICK else (256, 512, 1024)
OURS = "brushwork"
RECIPES: dict[str, OptimizeRecipe | FastRecipe] = {
    OURS: OptimizeRecipe(preset="brushwork"),
    "painterly": OptimizeRecipe(preset="painterly"),
    "fast": FastRecipe(),
}
"""At their default strengths."""
TUTORIAL_STEPS = int(os.environ.get("TUTORIAL_STEPS", "50" if QUICK else "1000"))
"""Fewer than its own 1000 where time is short."""
TUTORIAL = OptimizeRecipe(preset="tf-tutorial", steps=TUTORIAL_STEPS)
HALVES = "tuned on", "set aside"
MAX_SIZE_EFFECT = 0.15
REFERENCE_S = {"astronaut_udnie": 196, "coffee_starry_night": 477, "chelsea_great_wave": 598}
"""What the other engine took for its pictures, on two cores as the ones this was first run on."""


@dataclass(frozen=True)
class Figures:
    """What the judges say of a picture."""

    distance: float
    """To the style's own vector."""
    ssim: float
    """Likeness to the content."""
    strokes: float
    """How much less its strokes run together than the style's."""
    faces: float | None
    """How much is seen of the content's faces; None: it has none."""
    alien: float
    """Distance of its colours to those of content and style (Lab)."""

    @classmethod
    def of(cls, picture: np.ndarray, photo: np.ndarray, painting: np.ndarray) -> Figures:
        """Pictures float32 [1, H, W, 3] in [0, 1]."""
        return cls(
            style_distance(picture, painting),
            ssim(picture, photo),
            strokes_missing(picture, photo, painting),
            faces_seen(picture, photo),
            alien_colour(picture, photo, painting),
        )


BETTER: dict[str, Callable[[float, float], bool]] = {
    "distance": lambda own, other: own < other,
    "ssim": lambda own, other: own > other,
    "strokes": lambda own, other: own <= other,
    "faces": lambda own, other: own >= other,
}
"""By figure, whether a picture is better than another; of strokes and faces, at least as good: most have their best."""


@dataclass(frozen=True)
class Shown:
    """A picture on the page."""

    name: str
    picture: np.ndarray
    spent_s: float | None = None
    figures: Figures | None = None

    @property
    def values(self) -> dict[str, float | None]:
        """Its figures by name."""
        judged = {field.name: getattr(self.figures, field.name, None) for field in fields(Figures)}
        return {"seconds": self.spent_s, **judged}

    @property
    def caption(self) -> str:
        """Its figures in a line."""
        return " · ".join(f"{name} {value:.3g}" for name, value in self.values.items() if value is not None)


@dataclass(frozen=True)
class Section:
    """Pictures that belong together, and what is said of them."""

    title: str
    shown: list[Shown]
    said: list[str]
    held: bool = True
    """Whether it is as it should be."""
    aside: bool = False
    """Whether nothing was tuned on it."""


def painted(
    engine: Engine, photo: np.ndarray, painting: np.ndarray, recipe: ResolvedRecipe
) -> tuple[np.ndarray, float]:
    """The picture, and its seconds."""
    began_s = time.perf_counter()
    *_, last = engine.paint(photo, [(painting, 1.0)], recipe)
    return last.picture, time.perf_counter() - began_s


def tutorial(engine: Engine, photo: np.ndarray, painting: np.ndarray) -> tuple[np.ndarray, float]:
    """The tutorial's picture and its seconds, now or when it was painted."""
    recipe = resolve(TUTORIAL)
    parts = (photo.tobytes(), painting.tobytes(), recipe.model_dump_json(exclude_none=True).encode())
    mark = hashlib.sha256(b"".join((*parts, engine.network(recipe).digest.encode()))).hexdigest()[:16]
    path = KEPT / f"{mark}.npz"
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        picture, spent_s = painted(engine, photo, painting, recipe)
        np.savez(path, picture=picture, spent_s=spent_s)
    with np.load(path) as kept:
        return kept["picture"], float(kept["spent_s"])


def side_by_side(engine: Engine, content_name: str, style_name: str, *, aside: bool) -> Section:
    """All methods on one pair."""
    photo, painting, whole = content(content_name, SIZE_PX), style(style_name, SIZE_PX), style(style_name)
    made: dict[str, tuple[np.ndarray, float | None]] = {
        name: painted(engine, photo, painting, resolve(recipe)) for name, recipe in RECIPES.items()
    }
    made["tf-tutorial"] = tutorial(engine, photo, painting)
    names = f"{content_name}_{style_name}"
    reference = PAINTINGS / "reference" / f"{names}.png"
    if reference.exists():
        made["reference"] = np.asarray(Image.open(reference).convert("RGB"), np.float32)[None] / 255, REFERENCE_S[names]
    shown = [
        Shown(name, picture, spent_s, Figures.of(picture, photo, whole)) for name, (picture, spent_s) in made.items()
    ]
    untouched = [Shown("content", photo, None, Figures.of(photo, photo, whole)), Shown("style", painting)]
    title = f"{content_name} in the manner of {style_name}"
    return Section(title, [*untouched, *shown], list(verdicts(shown)), aside=aside)


def better_in(own: Figures, other: Figures) -> dict[str, bool]:
    """By figure, as far as both have it, whether a picture is better than another."""
    both = {name: (getattr(own, name), getattr(other, name)) for name in BETTER}
    return {name: BETTER[name](*pair) for name, pair in both.items() if None not in pair}


def verdicts(shown: list[Shown]) -> Iterator[str]:
    """In what ours is better than each other."""
    [ours] = (one for one in shown if one.name == OURS)
    for other in shown:
        if other is not ours and ours.figures and other.figures:
            found = better_in(ours.figures, other.figures)
            worse = [name for name, better in found.items() if not better]
            yield f"against {other.name}: better by {', '.join(n for n in found if found[n]) or 'nothing'}" + (
                f"; worse by {', '.join(worse)}" if worse else ""
            )


def in_sum(sections: list[Section]) -> Iterator[str]:
    """On how many pairs ours is better than each other, by figure."""
    for other in dict.fromkeys(one.name for section in sections for one in section.shown):
        counts: dict[str, list[bool]] = {}
        for section in sections:
            by_name = {one.name: one.figures for one in section.shown}
            own, figures = by_name.get(OURS), by_name.get(other)
            if own and figures and other != OURS:
                for name, better in better_in(own, figures).items():
                    counts.setdefault(name, []).append(better)
        if counts:
            told = ", ".join(f"{name} {sum(found)} of {len(found)}" for name, found in counts.items())
            yield f"{OURS} against {other}: {told}"


def square(picture: np.ndarray) -> np.ndarray:
    """The middle of [1, H, W, 3], as large as there is."""
    height, width = picture.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[:, top : top + side, left : left + side]


def one_strength(engine: Engine, content_name: str, style_name: str) -> Section:
    """The same strength at several sizes, judged as they are and squeezed to the smallest.

    Of the photograph's middle, a square: of another shape the judge would blur the smallest alone, whose shorter side
    it enlarges.
    """
    shown, squeezed = [], []
    whole = style(style_name)
    middle = encode(to_picture(square(content(content_name, 2 * SIZES_PX[-1]))), "png", 100)
    for size_px in SIZES_PX:
        photo = to_array(decode(middle, size=size_px, max_pixels=10**8))
        painting = style(style_name, size_px)
        picture, spent_s = painted(engine, photo, painting, resolve(RECIPES[OURS]))
        shown.append(Shown(f"{size_px} px", picture, spent_s, Figures.of(picture, photo, whole)))
        files = [encode(to_picture(one), "png", 100) for one in (picture, photo)]
        small, small_photo = (to_array(decode(file, size=SIZES_PX[0], max_pixels=10**8)) for file in files)
        squeezed.append(Figures.of(small, small_photo, whole))
    said, held = [], True
    for judge, figures in (("as they are", [one.figures for one in shown]), ("squeezed", squeezed)):
        distances = [one.distance for one in figures if one]
        effect = max(distances) / min(distances) - 1
        held = held and effect <= MAX_SIZE_EFFECT
        told = ", ".join(f"{one.distance:.3f} / {one.ssim:.2f}" for one in figures if one)
        said.append(f"{judge}: distance / SSIM {told}; distances within {effect:.0%}")
    return Section(f"{content_name} / {style_name}: {OURS} at three sizes", shown, said, held)


def _figure(one: Shown) -> str:
    file = io.BytesIO()
    to_picture(one.picture).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(one.name)}">'
        f"<figcaption><b>{html.escape(one.name)}</b><br>{html.escape(one.caption)}</figcaption></figure>"
    )


_STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:2rem;background:#fafafa;color:#222}
section{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:512px}img{width:100%}
figcaption{font-size:13px}.no{color:#b00}"""


def page(sections: list[Section], summary: list[str]) -> str:
    """Everything as one HTML page that needs nothing beside it."""
    parts = ["<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"]
    parts.append(f"<title>stylequeue: pictures side by side</title><style>{_STYLE}</style>")
    parts.append("<h1>Pictures side by side</h1><dl>")
    parts.extend(f"<dt>{name}<dd>{text}" for name, text in _MEANINGS.items())
    parts.append("</dl><ul>")
    parts.extend(f"<li>{html.escape(text)}" for text in summary)
    parts.append("</ul>")
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2><section>{''.join(map(_figure, section.shown))}</section>")
        parts.append(f"<ul class={'yes' if section.held else 'no'}>")
        parts.extend(f"<li>{html.escape(text)}" for text in section.said)
        parts.append("</ul>")
    return "\n".join(parts)


_MEANINGS = {
    "distance": "to the style's own vector: less is more style",
    "ssim": "likeness to the content",
    "strokes": "how much less strokes run together in the content's planes than in the style: 0 is as there",
    "faces": "how much a face detector sees of the content's faces",
    "alien": "distance of colours to those of content and style (Lab)",
}


def main() -> None:
    engine = Engine(Settings.load().models)
    engine.warm_up(["optimize", "fast"])
    pairs = list(judged_pairs())[: 1 if QUICK else None]
    for recipe in (*RECIPES.values(), TUTORIAL):  # what is timed should not be compiled first
        short = recipe.model_copy(update={"steps": 12}) if isinstance(recipe, OptimizeRecipe) else recipe
        painted(engine, content(pairs[0][0], SIZE_PX), style(pairs[0][1], SIZE_PX), resolve(short))
    judged = []
    for content_name, style_name, aside in pairs:
        judged.append(side_by_side(engine, content_name, style_name, aside=aside))
        print(judged[-1].title, flush=True)
    halves = {half: [section for section in judged if section.aside == (half == "set aside")] for half in HALVES}
    summary = [f"{half}: {text}" for half, sections in halves.items() for text in in_sum(sections)]
    sizes = [one_strength(engine, *names[:2]) for names in pairs[: 3 if FULL else 1]]

    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "quality.html").write_text(page([*judged, *sizes], summary))
    table = Table("", *Shown("", np.empty(0)).values)
    values = {}
    for section in (*judged, *sizes):
        table.add_row(f"[bold]{section.title}")
        for one in section.shown:
            name = "-".join((section.title.split(":")[0], one.name)).replace(" in the manner of ", "-")
            to_picture(one.picture).save(OUTPUT / f"quality-{name.replace(' / ', '-').replace(' ', '-')}.png")
            table.add_row(one.name, *("" if value is None else f"{value:.3f}" for value in one.values.values()))
            values[f"{section.title}: {one.name}"] = one.values
        for text in section.said:
            table.add_row(f"[{'green' if section.held else 'red'}]{text}")
    (OUTPUT / "quality.json").write_text(json.dumps({"pictures": values, "summary": summary}, indent=2) + "\n")
    Console().print(table)
    for text in summary:
        print(text)


if __name__ == "__main__":
    main()
