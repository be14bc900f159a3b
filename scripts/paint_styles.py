"""Paint the sample style pictures: `python scripts/paint_styles.py DIRECTORY`.

Three pictures with brushwork of their own, each from a fixed seed: `swirls.jpg`, thick strokes along a flow;
`waves.jpg`, a woodcut of flat colours and ink lines; `facets.jpg`, planes in earth colours. Needs NumPy, SciPy and
Pillow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates, sobel

SIDE_PX = 512
CANVAS_PX = 2 * SIDE_PX
"""Painted at twice the size, then scaled down: smooth edges."""
JPEG_QUALITY = 88

Array = npt.NDArray[np.float64]
Point = tuple[float, float]


@dataclass
class Canvas:
    """Paint on a ground: its colour [h, w, 3] in [0, 1] and its thickness [h, w]."""

    colour: Array
    thickness: Array

    @classmethod
    def primed(cls, colour: str) -> Canvas:
        """A canvas of one colour."""
        flat = np.broadcast_to(rgb(colour), (CANVAS_PX, CANVAS_PX, 3)).copy()
        return cls(flat, np.zeros((CANVAS_PX, CANVAS_PX)))

    def stroke(
        self,
        path: Array,
        colour: Array,
        width_px: float,
        rng: np.random.Generator,
        *,
        body: float = 1.0,
        variety: float = 0.10,
        within: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Draw one brush along `path` [n, 2] (x, y). `body` is how thick the paint is, `variety` how badly mixed."""
        steps = np.diff(path, axis=0)
        length_px = np.hypot(*steps.T).sum()
        along = np.linspace(0, 1, max(8, int(length_px * 1.5)))
        across = np.linspace(-1, 1, max(6, int(width_px * 1.5)))
        knots = np.linspace(0, 1, len(path))
        centre = np.stack([np.interp(along, knots, path[:, i]) for i in (0, 1)], axis=1)
        tangent = np.gradient(centre, axis=0)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        normal /= np.maximum(np.hypot(*normal.T), 1e-6)[:, None]
        # Pressed down quickly, lifted slowly.
        pressure = np.minimum(1, along * 7 + 0.45) * np.minimum(1, (1 - along) * 3 + 0.30)
        points = centre[:, None] + normal[:, None] * (across[None, :, None] * (pressure[:, None, None] * width_px / 2))
        x, y = (points[..., i].round().astype(int) for i in (0, 1))

        bristles = gaussian_filter(rng.standard_normal(len(across)), max(0.7, len(across) / 22))
        bristles /= np.abs(bristles).max() + 1e-9
        # Each bristle runs dry at a point of its own, and so do their beginnings: ragged ends.
        dry = 0.86 + 0.14 * bristles
        start = 0.05 * rng.random(len(across))
        inked = (along[:, None] < dry[None]) & (along[:, None] > start[None])
        seen = inked & (x >= 0) & (y >= 0) & (x < CANVAS_PX) & (y < CANVAS_PX)
        if within is not None:
            seen &= within[np.clip(y, 0, CANVAS_PX - 1), np.clip(x, 0, CANVAS_PX - 1)]
        x, y = x[seen], y[seen]
        tone = np.broadcast_to(1 + variety * bristles[None] - 0.05 * along[:, None], seen.shape)[seen]
        ridge = np.broadcast_to((0.55 + 0.45 * np.abs(across) ** 3 + 0.4 * bristles)[None], seen.shape)[seen]
        opacity = 0.93
        self.colour[y, x] = self.colour[y, x] * (1 - opacity) + np.clip(colour * tone[:, None], 0, 1) * opacity
        self.thickness[y, x] = 0.45 * self.thickness[y, x] + body * ridge

    def lit(self, relief: float) -> Array:
        """The canvas under light from the upper left."""
        surface = gaussian_filter(self.thickness, 1.0)
        slope = (sobel(surface, axis=1) + sobel(surface, axis=0)) / 8
        shade = 1 + relief * np.clip(slope, -0.5, 0.5)
        gloss = 0.35 * relief * np.clip(slope - 0.12, 0, 0.4)
        return np.clip(self.colour * shade[..., None] + gloss[..., None], 0, 1)


def rgb(colour: str) -> Array:
    """`#rrggbb` as [3] in [0, 1]."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def ramp(colours: Sequence[str], at: Array) -> Array:
    """Colours between the given ones, for numbers in [0, 1]: shape of `at` with 3 more."""
    table = np.stack([rgb(colour) for colour in colours])
    knots = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(at, knots, table[:, i]) for i in range(3)], axis=-1)


def noise(rng: np.random.Generator, size_px: float, shape: tuple[int, int] = (CANVAS_PX, CANVAS_PX)) -> Array:
    """Smooth noise with features of about `size_px`, mean 0, deviation 1."""
    field = gaussian_filter(rng.standard_normal(shape), size_px, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def swirls() -> Image.Image:
    """Thick strokes that follow whirls round glowing centres."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:CANVAS_PX, :CANVAS_PX] / CANVAS_PX
    whirls = [
        (0.30, 0.30, 0.150, 1.0),
        (0.74, 0.22, 0.105, -1.0),
        (0.66, 0.62, 0.170, 1.0),
        (0.18, 0.76, 0.110, -1.0),
        (0.93, 0.88, 0.090, -1.0),
        (0.47, 0.04, 0.070, 1.0),
        (0.42, 0.92, 0.060, 1.0),
        (0.95, 0.47, 0.060, 1.0),
    ]
    # The stream function: strokes follow its contours.
    stream = 0.030 * noise(rng, 90) + 0.16 * (y + 0.10 * np.sin(2 * np.pi * (x * 1.1 + 0.1)))
    glow, rings = np.zeros_like(x), np.zeros_like(x)
    for cx, cy, radius, spin in whirls:
        distance = np.hypot(x - cx, y - cy) / radius
        near = np.exp(-((distance / 1.35) ** 2))
        stream += 0.30 * spin * radius * 4 * near
        glow = np.maximum(glow, np.exp(-((distance / 0.52) ** 2)))
        rings += near * np.cos(distance * 6.5)
    flow_y, flow_x = np.gradient(stream)
    angle = np.arctan2(-flow_x, flow_y)

    tide = 0.5 + 0.5 * np.sin(stream * 62 + 0.7 * noise(rng, 40))
    night = ["#0b1640", "#122a6b", "#1c4a96", "#2f6fb5", "#5b9bcb", "#a9cfdc"]
    light = ["#2f6fb5", "#7fb4a8", "#d9cf7a", "#f4cf3c", "#f7e17a", "#fff6c9"]
    blue = ramp(night, np.clip(0.12 + 0.62 * tide + 0.06 * noise(rng, 14) - 0.15 * (y - 0.5), 0, 1))
    gold = ramp(light, np.clip(glow + 0.13 * rings, 0, 1))
    share = np.clip(1.5 * glow + 0.30 * np.clip(rings, 0, 1), 0, 1)[..., None]
    target = blue * (1 - share) + gold * share

    canvas = Canvas.primed("#1a2c55")
    for count, width_px, length_px, body in ((1500, 34, 190, 0.8), (3800, 19, 120, 1.0), (4200, 11, 75, 1.2)):
        for start in rng.uniform(-60, CANVAS_PX + 60, (count, 2)):
            path = along_field(start, angle, length_px * rng.uniform(0.6, 1.2))
            middle = path[len(path) // 2].astype(int).clip(0, CANVAS_PX - 1)
            colour = target[middle[1], middle[0]]
            colour = np.clip(colour * rng.normal(1, 0.10) + rng.normal(0, 0.030, 3), 0, 1)
            if rng.random() < 0.045:
                # Here and there a stroke of another pot.
                colour = rgb(str(rng.choice(["#e8b93a", "#0a1030", "#cfe3e6", "#3f7f6f", "#e08a3a"])))
            canvas.stroke(path, colour, width_px * rng.uniform(0.7, 1.2), rng, body=body)
    return finished(canvas.lit(0.95))


def along_field(start: Array, angle: Array, length_px: float, step_px: float = 6) -> Array:
    """A path [n, 2] from `start` along the directions `angle` [h, w]."""
    points = [start]
    for _ in range(max(3, int(length_px / step_px))):
        column, row = points[-1].astype(int).clip(0, CANVAS_PX - 1)
        direction = angle[row, column]
        points.append(points[-1] + step_px * np.array([np.cos(direction), np.sin(direction)]))
    return np.stack(points)


def facets() -> Image.Image:
    """Planes that lean against each other, each brushed in its own direction, with dark seams."""
    rng = np.random.default_rng(23)
    earth = ["#2a1a14", "#5e2a1a", "#96401f", "#bd6428", "#d59a4a", "#e8cf96", "#f3e8cc"]
    accents = ["#7a1f1c", "#b3271e", "#3d4a42", "#5f6f64", "#1c1a1c", "#cdb48a"]
    canvas = Canvas.primed("#6b3c22")
    y, x = np.mgrid[:CANVAS_PX, :CANVAS_PX]
    planes = list(split([(-20.0, -20.0), (1044.0, -20.0), (1044.0, 1044.0), (-20.0, 1044.0)], rng, 7))
    for plane in planes:
        stencil = Image.new("1", (CANVAS_PX, CANVAS_PX))
        ImageDraw.Draw(stencil).polygon(plane, fill=1)
        inside = np.asarray(stencil)
        if not inside.any():
            continue
        lean = rng.choice([0.5, 1.0, 2.1, 2.6]) + rng.normal(0, 0.12)
        across = np.cos(lean) * x + np.sin(lean) * y
        low, high = across[inside].min(), across[inside].max()
        base = float(np.clip(rng.normal(0.52, 0.24), 0.10, 0.92))
        accent = rgb(str(rng.choice(accents))) if rng.random() < 0.20 else None
        size_px = np.sqrt(inside.sum())
        rows, columns = np.nonzero(inside)
        count = int(inside.sum() / 210) + 6
        for pick in rng.integers(0, len(rows), count):
            at = (np.cos(lean) * columns[pick] + np.sin(lean) * rows[pick] - low) / (high - low + 1)
            tone = np.clip(base + 0.66 * (at - 0.5) + rng.normal(0, 0.035), 0, 1)
            colour = ramp(earth, np.array(tone)) if accent is None else accent * (0.65 + 0.7 * at)
            colour = np.clip(colour + rng.normal(0, 0.018, 3), 0, 1)
            # Brushed across the slope of light, a little bent.
            direction = lean + np.pi / 2 + rng.normal(0, 0.10)
            half_px = rng.uniform(0.20, 0.42) * min(size_px, 190) / 2 + 10
            bend = rng.normal(0, 4)
            t = np.linspace(-1, 1, 7)[:, None]
            forward = np.array([np.cos(direction), np.sin(direction)])
            sideways = np.array([-forward[1], forward[0]])
            path = np.array([columns[pick], rows[pick]]) + t * half_px * forward + (1 - t**2) * bend * sideways
            canvas.stroke(path, colour, rng.uniform(11, 20), rng, body=0.9, variety=0.13, within=inside)
    for plane in planes:
        for begin, end in zip(plane, [*plane[1:], plane[0]], strict=True):
            if rng.random() < 0.62:
                draw_seam(canvas, begin, end, rng)
    for _ in range(7):
        draw_arc(canvas, rng)
    return finished(canvas.lit(0.85))


def split(polygon: list[Point], rng: np.random.Generator, depth: int) -> Iterator[list[Point]]:
    """Cut a convex polygon by lines of a few directions, again and again."""
    corners = np.array(polygon)
    if depth == 0 or (depth < 3 and rng.random() < 0.22):
        yield polygon
        return
    spread = corners - corners.mean(axis=0)
    # Cut across the longer way, or the planes become splinters.
    longest = np.arctan2(*np.linalg.svd(spread)[2][0][::-1])
    choices = np.array([0.12, 0.62, 1.12, 1.62, 2.12, 2.62]) + rng.normal(0, 0.09, 6)
    suited = choices[np.abs(np.sin(choices - longest)) > 0.55]
    direction = rng.choice(suited if len(suited) else choices)
    normal = np.array([-np.sin(direction), np.cos(direction)])
    sides = corners @ normal
    cut = sides.min() + (sides.max() - sides.min()) * rng.uniform(0.34, 0.66)
    for sign in (1, -1):
        half = clip(polygon, normal * sign, cut * sign)
        if len(half) >= 3:
            yield from split(half, rng, depth - 1)


def clip(polygon: list[Point], normal: Array, limit: float) -> list[Point]:
    """The part of a convex polygon where its product with `normal` is at most `limit`."""
    kept: list[Point] = []
    for begin, end in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        a, b = np.dot(begin, normal) - limit, np.dot(end, normal) - limit
        if a <= 0:
            kept.append(begin)
        if a * b < 0:
            share = a / (a - b)
            kept.append((begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1])))
    return kept


def draw_seam(canvas: Canvas, begin: Point, end: Point, rng: np.random.Generator) -> None:
    """A dark or pale line along an edge, as by a loaded brush."""
    path = np.linspace(begin, end, 8) + rng.normal(0, 1.2, (8, 2))
    pale = rng.random() < 0.16
    colour = rgb("#f0dfb8" if pale else "#1d1512")
    canvas.stroke(path, colour, rng.uniform(4, 8) if pale else rng.uniform(4, 10), rng, body=0.7, variety=0.15)


def draw_arc(canvas: Canvas, rng: np.random.Generator) -> None:
    """A sweep of the arm across several planes."""
    centre, radius_px = rng.uniform(0.1, 0.9, 2) * CANVAS_PX, rng.uniform(70, 230)
    turn = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(1.2, 2.6), 40)
    path = centre + radius_px * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    canvas.stroke(path, rgb("#1d1512"), rng.uniform(6, 11), rng, body=0.8, variety=0.15)
    canvas.stroke(path + 8, rgb("#e8cf96"), rng.uniform(3, 6), rng, body=0.8, variety=0.15)


def waves() -> Image.Image:
    """A sea in flat colours, row behind row, with ink lines and foam, printed on paper."""
    rng = np.random.default_rng(11)
    side_px = 2 * CANVAS_PX
    sheet = Image.new("RGB", (side_px, side_px), "#ead9b5")
    draw = ImageDraw.Draw(sheet)
    ink = "#15233f"
    for row in range(side_px // 2):
        sky = ramp(["#d9a066", "#e6c796", "#efe2c4"], np.array(min(1.0, row / (0.40 * side_px))))
        draw.line([(0, row), (side_px, row)], fill=as_bytes(sky))
    draw.ellipse(circle(0.73 * side_px, 0.17 * side_px, 0.085 * side_px), fill="#b8432f", outline=ink, width=5)

    blues = ["#b9cfc9", "#7fa9b8", "#4f86a6", "#2f6690", "#21507c", "#1b3f6b", "#173459"]
    rows = 8
    for number in range(rows):
        depth = number / (rows - 1)
        base_px = side_px * (0.30 + 0.72 * depth**1.15)
        length_px = side_px * (0.17 + 0.33 * depth)
        height_px = length_px * 0.25
        shift_px = rng.uniform(0, length_px)
        crest = trochoid(base_px, length_px, height_px, shift_px, side_px, lean=0.95)
        floor = [(crest[-1][0], 3.0 * side_px), (crest[0][0], 3.0 * side_px)]
        stencil = Image.new("1", sheet.size)
        ImageDraw.Draw(stencil).polygon([*crest, *floor], fill=1)
        water = Image.new("RGB", sheet.size, as_bytes(ramp(blues, np.array(depth))))
        upright = trochoid(base_px, length_px, height_px, shift_px, side_px, lean=0.30)
        draw_bands(ImageDraw.Draw(water), upright, base_px, height_px, depth)
        sheet.paste(water, mask=stencil)
        draw.line(crest, fill=ink, width=int(6 + 8 * depth), joint="curve")
        draw_foam(draw, crest, base_px, height_px, depth, ink, rng)
    return printed(sheet.resize((CANVAS_PX, CANVAS_PX), Image.Resampling.LANCZOS), rng)


def trochoid(
    base_px: float, length_px: float, height_px: float, shift_px: float, side_px: int, *, lean: float
) -> list[Point]:
    """A row of waves from left to right, with crests that lean over to the right by `lean` of their height."""
    phase = np.linspace(-2 * np.pi, 2 * np.pi * (side_px / length_px + 2), 1600)
    swell = 1 + 0.25 * np.sin(phase * 0.37 + shift_px)
    x = phase * length_px / (2 * np.pi) - shift_px - 0.42 * height_px * swell * np.sin(phase)
    x = x + lean * height_px * swell * np.clip(np.cos(phase), 0, 1) ** 3
    y = base_px - height_px * swell * np.cos(phase)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def draw_bands(draw: ImageDraw.ImageDraw, crest: list[Point], base_px: float, height_px: float, depth: float) -> None:
    """Stripes that follow the crest, each a little lower and flatter, light and dark in turn."""
    tones = ["#e9ecd9", "#17335a", "#a9c6c4", "#2a5c88"]
    for number in range(12):
        drop_px = height_px * (0.26 + 0.34 * number)
        flat = max(0.25, 1 - 0.10 * number)
        line = [(x + drop_px * 0.2, base_px + (y - base_px) * flat + drop_px) for x, y in crest]
        if number % 2 == 0:
            # Broad under the crest, narrow in the trough.
            lower = [
                (x, y + height_px * (0.07 + 0.22 * max(0.0, (base_px - top) / height_px)))
                for (x, y), (_, top) in zip(line, crest, strict=True)
            ]
            draw.polygon([*line, *reversed(lower)], fill=tones[(number // 2 + int(depth * 6)) % len(tones)])
        draw.line(line, fill="#15233f", width=int(3 + 3 * depth), joint="curve")


def draw_foam(
    draw: ImageDraw.ImageDraw,
    crest: list[Point],
    base_px: float,
    height_px: float,
    depth: float,
    ink: str,
    rng: np.random.Generator,
) -> None:
    """White curls along the crests, each with its outline, and spray above them."""
    foam = [(x, y) for x, y in crest if y < base_px - 0.45 * height_px]
    for x, y in foam[:: max(1, int(7 - 3 * depth))]:
        up = (base_px - y) / height_px
        radius_px = height_px * rng.uniform(0.045, 0.105) * up
        draw.ellipse(circle(x + rng.normal(0, 4), y + radius_px * 0.3, radius_px), fill="#f6f0dd", outline=ink, width=3)
    for x, y in foam[::9]:
        reach = rng.exponential(0.30) * height_px
        spray_px = rng.uniform(3, 9) * (0.5 + depth)
        draw.ellipse(circle(x + rng.normal(0.3, 0.4) * height_px, y - reach, spray_px), fill="#f6f0dd", outline=ink)


def circle(x: float, y: float, radius_px: float) -> tuple[float, float, float, float]:
    """The box of a circle."""
    return x - radius_px, y - radius_px, x + radius_px, y + radius_px


def printed(sheet: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The sheet as if pressed from a block: cut by hand, with the grain of wood and the fibres of paper."""
    flat = np.asarray(sheet, float) / 255
    y, x = np.mgrid[:CANVAS_PX, :CANVAS_PX]
    shake = [1.6 * noise(rng, 7) + 3.5 * noise(rng, 40) for _ in range(2)]
    cut = np.stack(
        [map_coordinates(flat[..., i], [y + shake[0], x + shake[1]], order=1, mode="nearest") for i in range(3)], -1
    )
    grain = gaussian_filter(rng.standard_normal((CANVAS_PX, CANVAS_PX)), (1.0, 46))
    grain = map_coordinates(grain / grain.std(), [y + 10 * noise(rng, 120), x], order=1, mode="wrap")
    darkness = 1 - cut.mean(axis=2, keepdims=True)
    paper = rgb("#f1e6cc")
    # Where the block is dry the paper shows through.
    worn = np.clip(0.07 + 0.075 * grain + 0.03 * noise(rng, 1.2), 0, 0.5)[..., None] * (0.35 + darkness)
    pressed = cut * (1 - worn) + paper * worn
    fibres = 1 + 0.022 * noise(rng, 0.9) + 0.018 * noise(rng, 5)
    return finished(np.clip(pressed * fibres[..., None], 0, 1))


def as_bytes(colour: Array) -> tuple[int, int, int]:
    """A colour as Pillow takes it."""
    red, green, blue = (round(255 * float(part)) for part in colour)
    return red, green, blue


def finished(picture: Array) -> Image.Image:
    """An array [h, w, 3] in [0, 1] at its final size."""
    whole = Image.fromarray((picture * 255 + 0.5).astype(np.uint8))
    return whole.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)


PICTURES: dict[str, Callable[[], Image.Image]] = {"swirls.jpg": swirls, "waves.jpg": waves, "facets.jpg": facets}


if __name__ == "__main__":
    for filename, paint in PICTURES.items():
        paint().save(Path(sys.argv[1]) / filename, quality=JPEG_QUALITY, optimize=True, progressive=True)
