"""Put content, style and result of `make demo` side by side: docs/pictures/readme.jpg."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
HEIGHT_PX = 300
GAP_PX = 12


def main() -> None:
    """Write the picture."""
    demo = ROOT / "demo-output"
    parts = []
    for name in ("content.jpg", "style.jpg", "result.jpg"):
        with Image.open(demo / name) as picture:
            parts.append(ImageOps.contain(picture.convert("RGB"), (10_000, HEIGHT_PX), Image.Resampling.LANCZOS))
    width = sum(part.width for part in parts) + GAP_PX * (len(parts) - 1)
    row = Image.new("RGB", (width, HEIGHT_PX), "white")
    x = 0
    for part in parts:
        row.paste(part, (x, 0))
        x += part.width + GAP_PX
    target = ROOT / "docs" / "pictures" / "readme.jpg"
    target.parent.mkdir(parents=True, exist_ok=True)
    row.save(target, quality=88, optimize=True)


if __name__ == "__main__":
    main()
