"""Jobs to try things with."""

from __future__ import annotations

from typing import Any

from stylequeue.contract.base import parse
from stylequeue.contract.events import PaintingReport
from stylequeue.contract.job import Job

NO_REPORT = PaintingReport(
    network="fake",
    network_digest="0",
    precision="float32",
    tiles=1,
    steps=1,
    ended_by="steps",
    losses={},
    style_distances={},
    ssim=1,
    timings_s={},
    peak_memory_bytes=0,
)
"""Of a picture that nothing painted."""


def make_job(**fields: Any) -> Job:
    """A valid job; `fields` replace its own."""
    return parse(Job, job_fields(**fields))


def job_fields(**fields: Any) -> dict[str, Any]:
    """A valid job as a plain sender writes it; `fields` replace its own."""
    return {
        "content": {"bucket": "uploads", "key": "content.jpg"},
        "styles": [{"image": {"bucket": "styles", "key": "style.jpg"}}],
        "output": {"bucket": "results"},
        **fields,
    }
