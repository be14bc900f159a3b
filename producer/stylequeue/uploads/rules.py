"""The operator's rules as a whole: which of them an upload has, and the job that it then is."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..contract.errors import Code, Permanent
from ..contract.events import NAMESPACE
from ..contract.job import Job
from ..contract.objects import SUFFIXES, ImageFormat
from ..operator_file import Operator, Rule, Template
from ..operator_file.lines import Place
from ..operator_file.rules import DEFAULT_KEY, meta_name, parts
from ..settings import Settings
from .loops import Written, loops
from .notices import Notice

_QUEUE = "bulk"
"""Of jobs by rules: whenever there is time."""
_VERSION_CHARS = 8


@dataclass(frozen=True)
class WholeRule:
    """A rule with what its template and the settings say."""

    rule: Rule
    template: Template
    """As it was when the rule came into force."""
    output_bucket: str
    output_key: str | None
    """With placeholders; None: the template's, which knows the job's id."""
    format: ImageFormat
    queue: str

    @classmethod
    def of(cls, rule: Rule, operator: Operator, settings: Settings) -> WholeRule:
        """Raises InvalidRequest where there is no such template."""
        template = operator.template(rule.template) if rule.template else Template()
        output = template.output
        return cls(
            rule=rule,
            template=template,
            output_bucket=rule.output.bucket or output.bucket or settings.output_bucket,
            output_key=rule.output.key or (None if output.key else DEFAULT_KEY),
            format=rule.output.format or output.format or "jpeg",
            queue=rule.queue or template.queue or _QUEUE,
        )

    @property
    def writes(self) -> tuple[str, str | None, ImageFormat]:
        """Where its pictures go: alike for two rules only if they write the same."""
        return self.output_bucket, self.output_key, self.format

    @property
    def needs_metadata(self) -> bool:
        """Whether the upload's own metadata says whether the rule is for it, or where its picture goes."""
        return bool(self.rule.metadata) or any(meta_name(name) for name in self.rule.placeholders)

    def why_not(self, notice: Notice) -> str:
        """Why the rule is not for that upload, as far as the notice knows it; "" where it is."""
        rule, key = self.rule, notice.key
        if notice.bucket != rule.bucket:
            return f"it is for bucket {rule.bucket!r}"
        if not key.startswith(rule.prefix):
            return f"it is for keys that begin with {rule.prefix!r}"
        if rule.suffix and not key.lower().endswith(tuple(suffix.lower() for suffix in rule.suffix)):
            return f"it is for keys that end in {' or '.join(rule.suffix)}"
        if notice.size_bytes is not None:
            if rule.min_bytes is not None and notice.size_bytes < rule.min_bytes:
                return f"it is for {rule.min_bytes} bytes at least, these are {notice.size_bytes}"
            if rule.max_bytes is not None and notice.size_bytes > rule.max_bytes:
                return f"it is for {rule.max_bytes} bytes at most, these are {notice.size_bytes}"
        if notice.metadata is not None:
            for name, wanted in rule.metadata.items():
                said = notice.metadata.get(name.lower())
                if said is None or wanted not in ("*", said):
                    return f"it is for objects whose metadata {name!r} is {wanted!r}, here it is {said!r}"
        return ""

    def job_id(self, notice: Notice) -> str:
        """The id that the job of that upload has: the same, whoever tells of it, however often."""
        return job_id(self.rule.name, notice.bucket, notice.key, notice.version or notice.etag or "")

    def job(self, notice: Notice) -> Job:
        """The job of that upload. Raises Permanent where there can be none."""
        filled = self.template.fill(self.fields(notice))
        return self.template.whole(filled, bucket=self.output_bucket, tenant=self.rule.tenant)

    def fields(self, notice: Notice) -> dict[str, Any]:
        """The job's, as `StyleQueue.job` takes them. Raises Permanent where the upload lacks metadata."""
        rule = self.rule
        filled = Placeholders(notice, self.format)
        content = {"bucket": notice.bucket, "key": notice.key, "version_id": notice.version, "etag": notice.etag}
        output = rule.output.model_dump(mode="json", exclude_none=True)
        output |= {"bucket": self.output_bucket}
        if self.output_key:
            output |= {"key": filled.into(self.output_key)}
        fields: dict[str, Any] = {
            "id": self.job_id(notice),
            "content": {name: value for name, value in content.items() if value is not None},
            "output": output,
            "queue": self.queue,
            "labels": {name: filled.into(pattern) for name, pattern in rule.labels.items()},
        }
        if rule.styles:
            fields["styles"] = rule.styles
        if rule.recipe:
            fields["recipe"] = rule.recipe
        return fields


class Rules:
    """All rules of the operator's file, in order. Raises InvalidSettings with the line of each that cannot be."""

    def __init__(self, operator: Operator, settings: Settings) -> None:
        whole: list[WholeRule] = []
        faults: list[tuple[Place, str]] = []
        for number, rule in enumerate(operator.rules):
            place: Place = ("rule", number)
            found = list(_faults(rule, operator, settings))
            faults += [((*place, *where), why) for where, why in found]
            if found:
                continue
            one = WholeRule.of(rule, operator, settings)
            if one.output_bucket not in settings.write_buckets:
                what = f"{one.output_bucket!r} is not among STYLEQUEUE_WRITE_BUCKETS"
                faults.append(((*place, "output", "bucket"), what))
            if one.output_key == DEFAULT_KEY and _clashing(one, whole):
                one = replace(one, output_key=f"{{dir}}/{{stem}}-{{version}}-{rule.name}.{{format}}")
            if other := _clashing(one, whole):
                what = f"it writes what rule {other.rule.name!r} writes, which continues: give it another key"
                faults.append((place, what))
            whole.append(one)
        if not faults:
            faults = list(_loops(whole, operator))
        if faults:
            raise operator.faults(faults)
        self.all: Sequence[WholeRule] = whole

    def candidates(self, notice: Notice) -> list[WholeRule]:
        """The rules that may be for that upload, as far as the notice knows it."""
        return [rule for rule in self.all if not rule.why_not(notice)]

    @staticmethod
    def first(candidates: Sequence[WholeRule]) -> list[WholeRule]:
        """Of rules that are for an upload, those that have it: the first, and what is behind one that `continue`s."""
        having: list[WholeRule] = []
        for rule in candidates:
            having.append(rule)
            if not rule.rule.continues:
                break
        return having


class Placeholders:
    """What stands for what in the patterns of one upload's job."""

    def __init__(self, notice: Notice, image_format: ImageFormat) -> None:
        folder, _, name = notice.key.rpartition("/")
        stem, dot, ext = name.rpartition(".")
        if not (stem and dot):
            stem, ext = name, ""
        version = notice.version or notice.etag or ""
        self._metadata = notice.metadata or {}
        self._values = {
            "dir": folder,
            "stem": stem,
            "ext": ext,
            "key": notice.key,
            "date": f"{notice.event_time or datetime.now(UTC):%Y-%m-%d}",
            "version": hashlib.sha256(version.encode()).hexdigest()[:_VERSION_CHARS],
            "format": SUFFIXES[image_format].removeprefix("."),
        }

    def into(self, pattern: str) -> str:
        """The pattern filled. Raises Permanent where the upload lacks metadata."""
        filled = ""
        is_dropped = False
        for literal, name in parts(pattern):
            filled += literal.removeprefix("/") if is_dropped else literal
            if name is not None:
                filled += self._of(name)
            # What lies in no folder: the slash behind it goes, too.
            is_dropped = name == "dir" and not self._values["dir"]
        return filled

    def _of(self, name: str) -> str:
        meta = meta_name(name)
        if meta is None:
            return self._values[name]
        if meta not in self._metadata:
            what = f"its metadata has no {meta!r}, and the rule names the picture or a label by it"
            raise Permanent(Code.INVALID_JOB, what, "upload it with that metadata")
        return self._metadata[meta]


def job_id(rule: str, bucket: str, key: str, version: str) -> str:
    """The id of a rule's job for an object version: of `version`, which is its id or its ETag."""
    return str(uuid.uuid5(NAMESPACE, "\n".join(("upload", rule, bucket, version, key))))


def _faults(rule: Rule, operator: Operator, settings: Settings) -> Iterator[tuple[Place, str]]:
    """What is wrong with a rule beside what it says itself."""
    if rule.bucket not in settings.read_buckets:
        yield ("bucket",), f"{rule.bucket!r} is not among STYLEQUEUE_READ_BUCKETS: no worker could read what lies there"
    if rule.template is not None and rule.template not in operator.templates:
        there = ", ".join(sorted(operator.templates)) or "none"
        yield ("template",), f"{rule.template!r} is no template, there are: {there}"
    elif rule.template is not None:
        template = operator.templates[rule.template]
        if not rule.styles and not template.styles:
            yield ("template",), f"neither the rule nor template {rule.template!r} has styles"
        if not rule.output.key and template.output.key and "{tenant}" in template.output.key and rule.tenant is None:
            yield ("template",), f"the output key of {rule.template!r} is for tenants' jobs, and the rule has no tenant"
    for name in rule.notify:
        endpoint = operator.endpoints.get(name)
        if endpoint is None or endpoint.tenant != rule.tenant:
            yield ("notify",), f"{name!r} is no endpoint" + (f" of tenant {rule.tenant!r}" if rule.tenant else "")


def _loops(whole: Sequence[WholeRule], operator: Operator) -> Iterator[tuple[Place, str]]:
    for number, rule in enumerate(whole):
        own, key = rule.rule.output, rule.output_key
        report, thumbnail = own.report, own.thumbnail
        if rule.rule.template:
            output = operator.templates[rule.rule.template].output
            report = output.report if report is None else report
            thumbnail = output.thumbnail if thumbnail is None else thumbnail
            key = key or output.key
        written = Written(
            rule.output_bucket,
            key or DEFAULT_KEY,
            prefix=rule.rule.prefix,
            tenant=rule.rule.tenant,
            format=rule.format,
            report=bool(report),
            thumbnail=bool(thumbnail),
        )
        for other in loops(written, [other.rule for other in whole]):
            yield (
                ("rule", number),
                f"what it writes ({written}) may be an upload to rule {other.name!r}: give it another bucket, or a "
                "prefix that no rule is for",
            )


def _clashing(rule: WholeRule, before: Sequence[WholeRule]) -> WholeRule | None:
    """One of the rules before it that continues, and writes what it would write for an upload that both have."""
    for one in before:
        prefixes = one.rule.prefix, rule.rule.prefix
        is_for_both = one.rule.bucket == rule.rule.bucket and (
            prefixes[0].startswith(prefixes[1]) or prefixes[1].startswith(prefixes[0])
        )
        if one.rule.continues and is_for_both and one.output_key and one.writes == rule.writes:
            return one
    return None
