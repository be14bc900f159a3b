"""Jobs to try things with."""

from __future__ import annotations

from typing import Any

from stylequeue.job import Job, parse


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
