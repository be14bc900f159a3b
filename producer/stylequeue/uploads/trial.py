"""What the rules would make of an upload, without making it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..client import StyleQueue
from ..contract.errors import Code, Permanent
from ..contract.job import Job
from ..contract.objects import ImageRef
from .notices import Notice
from .refusals import why_no_picture
from .rules import Rules

_SOURCE = "trial"


@dataclass(frozen=True)
class Tried:
    """What one rule makes of it."""

    rule: str
    job: Job | None
    why_not: str
    """Where it makes nothing of it."""


def notice_of(queue: StyleQueue, image: ImageRef) -> tuple[Notice, str]:
    """What a notice of that object would know, and what is to be said of that: "" where it is as the store has it.

    Raises what the store does, but where nothing lies there.
    """
    try:
        found = queue.find_upload(image)
    except Permanent as error:
        if error.code != Code.OBJECT_NOT_FOUND:
            raise
        notice = Notice(_SOURCE, image.bucket, image.key, version=image.version_id, size_bytes=None)
        return notice, "nothing lies there: the rules are tried by its name alone"
    notice = Notice(
        _SOURCE,
        found.bucket,
        found.key,
        version=image.version_id or found.version_id,
        etag=found.etag,
        size_bytes=found.size_bytes,
        event_time=found.written_at,
        metadata=found.metadata,
    )
    return notice, "a worker put it there: no rule takes it up" if found.is_ours else ""


def tried(queue: StyleQueue, rules: Rules, notice: Notice) -> Iterator[Tried]:
    """What each rule makes of the upload, in their order."""
    has_it = ""
    for rule in rules.all:
        name, job, why_not = rule.rule.name, None, rule.why_not(notice)
        if not why_not and has_it:
            why_not = f"rule {has_it!r} has it, and does not continue"
        elif not why_not:
            try:
                if error := why_no_picture(notice, max_bytes=queue.settings.max_image_bytes):
                    raise error
                job = rule.job(notice)
            except Permanent as error:
                why_not = f"it has the upload, and refuses it: {error.message}"
            has_it = "" if rule.rule.continues else name
        yield Tried(name, job, why_not)
