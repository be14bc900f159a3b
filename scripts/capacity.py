"""Puts what `make bench-scale` measured into docs/capacity.md: tables, and the curve as docs/pictures/scaling.svg.

python scripts/capacity.py [bench-output/scale.json]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "capacity.md"
PICTURE = ROOT / "docs" / "pictures" / "scaling.svg"
MEASURED = ROOT / "bench-output" / "scale.json"
_BEGIN, _END = "<!-- measured: made by scripts/capacity.py -->\n", "<!-- end of measured -->\n"
_DAY_S = 24 * 3600
A_DAY = 1_000_000
PEAK = 3
"""Times as many jobs as on average, in the busiest hour."""
_PARTS = {"child": "the worker's child", "parent": "its parent", "redis": "Redis", "store": "the S3 server"}
_WIDTH, _HEIGHT, _MARGIN = 640, 360, 56


def with_figures(page: str, found: Mapping[str, Any]) -> str:
    """`page` with the tables of these figures. Raises ValueError where it does not say where they go."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has lost the comments that say where the figures go")
    return before + begin + "\n" + "\n".join(_tables(found)) + "\n" + end + after


def _tables(found: Mapping[str, Any]) -> list[str]:
    machine = found["machine"]
    said = (
        f"`make bench-scale`{' (QUICK)' if found['quick'] else ''}, {found['took_s'] / 60:.0f} minutes, everything on "
        f"one machine: {machine['processors']} processors ({machine['processor']}), {machine['memory_gb']} GB, "
        f"Python {machine['python']}, load {machine['load']:.1f} before it began."
    )
    sections = [[said], _curve(found), _backlog(found), _others(found), _reckoned(found)]
    return [line for section in sections for line in (*section, "")][:-1]


def _curve(found: Mapping[str, Any]) -> list[str]:
    curve = found["curve"]
    rows = [
        [
            at["workers"],
            f"{at['jobs_per_s']:.1f}",
            f"{at['efficiency']:.2f}",
            f"{at['processors_allow']:.2f}",
            f"{at['processors_used']:.2f}",
            *(_ms(at["processor_s_per_job"][part]) for part in (*_PARTS, "all")),
            *(_ms(at["stage_s"][stage]) for stage in ("fetch", "store", "between")),
        ]
        for at in sorted(curve.values(), key=lambda at: int(at["workers"]))
    ]
    head = ["workers", "jobs/s", "of the ideal", "processors allow", "processors busy"]
    head += ["child", "parent", "Redis", "S3 server", "all", "fetch", "store", "between"]
    most = max(curve.values(), key=lambda at: int(at["workers"]))
    return [
        *_table(head, rows),
        "",
        "`child` to `all`: processor milliseconds a job. `fetch`, `store`: milliseconds that a job takes beside its "
        "painting; `between`: from the picture's being stored to the next job's beginning. "
        f"A job makes {most['redis_round_trips_per_job']:.0f} round trips to Redis and has it run "
        f"{most['redis_commands_per_job']:.0f} commands, most of them in scripts.",
    ]


def _backlog(found: Mapping[str, Any]) -> list[str]:
    backlog, drain = found["backlog"], found["drain"]
    looks, parked = found["looks"], found["parked"]
    parts = ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in backlog["redis_bytes_by_part"].items())
    rows = [
        ["`submit_many`, alone", f"{backlog['submit_per_s']} jobs/s"],
        ["`submit_many`, beside the busy workers", f"{found['submit_beside_busy_per_s']} jobs/s"],
        [
            "processor time of a submit",
            f"{backlog['submit_client_ms']:.2f} ms here, {backlog['submit_redis_ms']:.2f} ms Redis",
        ],
        ["a queued job in Redis", f"{backlog['redis_bytes_per_job']} bytes ({parts})"],
        ["an ended job in Redis", f"{found['redis_bytes_per_ended_job']} bytes"],
        [
            f"{drain['workers']} workers drain it",
            f"{drain['jobs_per_s']:.1f} jobs/s, {drain['efficiency']:.2f} of the ideal",
        ],
        [
            "a scrape",
            f"{looks['scrape_ms']['median']:.1f} ms; {parked['scrape_ms']['median']:.1f} ms where all are parked",
        ],
        ["a keeper's round", f"{looks['keeper_round_ms']['median']:.1f} ms"],
        [
            "a comparison of every message",
            f"{looks['keeper_comparison_ms']['median'] / 1000:.1f} s of one keeper, of these "
            f"{looks['keeper_comparison_ms']['redis_processor'] / 1000:.1f} s of Redis",
        ],
    ]
    return [f"With {backlog['jobs']:,} jobs in the queue:", "", *_table(["what", "measured"], rows)]


def _others(found: Mapping[str, Any]) -> list[str]:
    recovery, resident = found["recovery"], found["resident_mb"]
    names = {"shared": "one pool for all queues", "one_kept_free": "one worker kept free", "dedicated": "two pools"}
    waits = found["wait_of_fast"].items()
    rows = [
        [
            names.get(name, name),
            ", ".join(f"{count} of {' and '.join(queues)}" for count, *queues in one["workers"]),
            f"{one['p50_s']:.2f} s",
            f"{one['p99_s']:.2f} s",
        ]
        for name, one in waits
    ]
    return [
        f"{recovery['killed']} workers killed at once, as many started at once: their jobs are back in the queue after "
        f"{recovery['back_in_queue_s']:.0f} s, all painted again after {recovery['all_paint_s']:.0f} s. A worker "
        f"without TensorFlow takes {sum(resident.values()):.0f} MB.",
        "",
        "How long a job of `fast` waits while `bulk` is full of jobs of 5 s:",
        "",
        *_table(["pools", "workers", "p50", "p99"], rows),
    ]


def _reckoned(found: Mapping[str, Any]) -> list[str]:
    most = max(found["curve"].values(), key=lambda at: int(at["workers"]))
    average = A_DAY / _DAY_S
    rows = []
    for part, name in _PARTS.items():
        spent_s = most["processor_s_per_job"][part]
        rows.append(
            [
                name,
                _ms(spent_s),
                f"{spent_s * average:.2f}",
                f"{spent_s * average * PEAK:.2f}",
                f"{_DAY_S / spent_s / 1e6:.0f}" if spent_s else "",
            ]
        )
    week_gb = found["redis_bytes_per_ended_job"] * A_DAY * 7 / 1e9
    full_gb = found["backlog"]["redis_bytes_per_job"] * 100_000 / 1e9
    connections = most["redis_connections"] / most["workers"]
    return [
        f"A million pictures a day are {average:.1f} a second, and {average * PEAK:.0f} in an hour that is {PEAK} "
        "times as busy. By the last line of the curve:",
        "",
        *_table(
            ["process", "ms a job", "processors", f"at the peak, x {PEAK}", "millions a day by one processor"], rows
        ),
        "",
        f"Ended jobs are remembered for a week: {week_gb:.0f} GB of Redis at that rate. A full queue takes "
        f"{full_gb:.2f} GB. A worker holds {connections:.0f} connections to Redis.",
    ]


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}" if seconds >= 0.0095 else f"{seconds * 1000:.1f}"


def curve(found: Mapping[str, Any]) -> str:
    """The jobs a second over the number of workers, beside the ideal and what the processors allow, as SVG."""
    points = sorted(found["curve"].values(), key=lambda at: int(at["workers"]))
    most = float(points[-1]["workers"])

    def place(workers: float, rate: float) -> str:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * workers / most
        y = _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * rate / most
        return f"{x:.1f},{y:.1f}"

    def line(rates: Sequence[tuple[float, float]], style: str) -> str:
        return f'<polyline points="{" ".join(place(*at) for at in [(0, 0), *rates])}" {style}/>'

    # By what each worker took for a job: counted over so short a while, a single worker's jobs are too few.
    measured = [(float(at["workers"]), at["workers"] * at["efficiency"]) for at in points]
    allowed = [(float(at["workers"]), at["workers"] * at["processors_allow"]) for at in points]
    dots = [f'<circle class="dot" cx="{x}" cy="{y}" r="3.5"/>' for x, y in (place(*at).split(",") for at in measured)]
    ticks = []
    for workers, _ in measured:
        x, base = place(workers, 0).split(",")
        left, y = place(0, workers).split(",")
        ticks += [
            f'<text x="{x}" y="{float(base) + 18:.1f}" text-anchor="middle">{workers:.0f}</text>',
            f'<text x="{float(left) - 8:.1f}" y="{float(y) + 4:.1f}" text-anchor="end">{workers:.0f}</text>',
        ]
    # The first ones would lie upon each other.
    ticks = [*ticks[:2], *ticks[4:]] if len(measured) > 4 else ticks
    legend = [
        f'<text x="{_MARGIN + 16}" y="{_MARGIN + 18 * n}" class="{kind}">{text}</text>'
        for n, (kind, text) in enumerate(
            [("ideal", "ideal"), ("allowed", "processors allow"), ("measured", "measured")]
        )
    ]
    middle = f'x="{_WIDTH / 2}" y="{_HEIGHT - 14}" text-anchor="middle"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            'font-family="sans-serif" font-size="13">',
            "<title>Jobs a second by number of workers</title>",
            "<style>polyline{fill:none;stroke-width:2}text{fill:#555}.ideal{fill:#888}.allowed{fill:#c60}"
            ".measured{fill:#06c}.dot{fill:#06c}.axis{stroke:#999}</style>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
            f'<polyline class="axis" points="{place(0, most)} {place(0, 0)} {place(most, 0)}" style="fill:none"/>',
            line([(most, most)], 'stroke="#888" stroke-dasharray="4 4" style="fill:none"'),
            line(allowed, 'stroke="#c60" style="fill:none"'),
            line(measured, 'stroke="#06c" style="fill:none"'),
            *dots,
            *ticks,
            *legend,
            f"<text {middle}>workers, each of which paints a second a job</text>",
            f'<text x="{_MARGIN - 8}" y="{_MARGIN - 16}" text-anchor="middle">jobs/s</text>',
            "</svg>",
            "",
        ]
    )


def main(measured: Path) -> None:
    """Write both anew."""
    found = json.loads(measured.read_text())
    PAGE.write_text(with_figures(PAGE.read_text(), found))
    PICTURE.write_text(curve(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else MEASURED)
