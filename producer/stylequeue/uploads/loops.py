"""Whether what a rule writes may be an upload to a rule: all keys that a pattern can become, against prefix and suffix.

What is known of such a key is how it begins, up to the first thing that may be anything, and how it ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..contract.objects import EVENT_SUFFIX, REPORT_SUFFIX, SUFFIXES, THUMBNAIL_SUFFIX, ImageFormat
from ..operator_file import Rule
from ..operator_file.rules import parts


@dataclass(frozen=True)
class Written:
    """Where the jobs of a rule write."""

    bucket: str
    pattern: str
    """Of the key, with placeholders."""
    prefix: str
    """Of all keys that the rule is for."""
    tenant: str | None
    format: ImageFormat
    report: bool
    """Whether a contact sheet lies beside each picture."""
    thumbnail: bool
    """Whether a small picture does."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.begins}..."

    @property
    def begins(self) -> str:
        """How all its keys begin."""
        begins = ""
        pairs = list(parts(self.pattern))
        for number, (literal, name) in enumerate(pairs):
            begins += literal
            if name is None:
                break
            if known := self._known(name):
                begins += known
            elif name == "key":
                return begins + self.prefix
            elif name == "dir":
                folder, slash, _ = self.prefix.rpartition("/")
                follows = pairs[number + 1][0] if number + 1 < len(pairs) else ""
                # The folder, or one within it: a slash comes next either way, if one follows in the pattern.
                return begins + folder + (slash if follows.startswith("/") else "")
            else:
                break
        return begins

    @property
    def ends(self) -> Sequence[str]:
        """How its keys end: the pictures', and those of what lies beside them."""
        end = ""
        for literal, name in reversed(list(parts(self.pattern))):
            known = self._known(name) if name is not None else ""
            if name is not None and not known:
                break
            end = literal + known + end
        beside = {EVENT_SUFFIX: True, REPORT_SUFFIX: self.report, THUMBNAIL_SUFFIX: self.thumbnail}
        return (end, *(end + suffix for suffix, is_wanted in beside.items() if is_wanted))

    def _known(self, name: str) -> str:
        """What a placeholder is in all keys; "" where that differs."""
        if name == "format":
            return SUFFIXES[self.format].removeprefix(".")
        return (self.tenant or "") if name == "tenant" else ""


def loops(written: Written, rules: Sequence[Rule]) -> Iterator[Rule]:
    """The rules that may be for what is written there."""
    begins, ends = written.begins, [end.lower() for end in written.ends]
    for rule in rules:
        if rule.bucket != written.bucket or not (begins.startswith(rule.prefix) or rule.prefix.startswith(begins)):
            continue
        suffixes = [suffix.lower() for suffix in rule.suffix]
        if not suffixes or any(end.endswith(suffix) or suffix.endswith(end) for end in ends for suffix in suffixes):
            yield rule
