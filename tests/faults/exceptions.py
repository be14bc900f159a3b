"""Faults that no test can bring about yet, by number, each with its reason."""

from __future__ import annotations

EXCEPTIONS: dict[int, str] = {
    **dict.fromkeys(range(39, 43), "nothing listens to uploads yet: a job comes by message or by the client"),
    **dict.fromkeys((43, 44), "there are no webhooks yet: consumers read the stream of events"),
    45: "there are no consumer groups yet: `StyleQueue.events(after=...)` leaves each consumer its own position",
}
