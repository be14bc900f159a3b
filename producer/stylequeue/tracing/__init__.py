"""Spans of a job's way, who gets them, and what of them is told."""

from .spans import event, fail, handed, note, span, submitting, traceparent

__all__ = ["event", "fail", "handed", "note", "span", "submitting", "traceparent"]
