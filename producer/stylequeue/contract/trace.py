"""W3C Trace Context, as jobs' records, messages, events and webhooks carry it in `traceparent`."""

from __future__ import annotations

import re

HEADER = "traceparent"
"""Of requests and messages; the name of the field in events (CloudEvents' extension for distributed tracing)."""
_FORM = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<what>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<more>-.*)?",
    re.ASCII,
)


def traceparent_of(value: object) -> str | None:
    """What a stranger gave as a trace context, if it is one, as version 00 writes it; else None, and nothing is said.

    Of a later version, what is known of it is taken, as https://www.w3.org/TR/trace-context/ has it.
    """
    found = _FORM.fullmatch(value) if isinstance(value, str) else None
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    return f"00-{found['what']}"


def trace_id_of(traceparent: str) -> str:
    """The id of the trace, 32 hexadecimal digits."""
    return traceparent.split("-")[1]
