"""`stylequeue rules`: which uploads become which jobs, looked at before they do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..contract.errors import ExitCode
from . import console, deployment, files
from .backfill import backfill
from .options import JsonOption

if TYPE_CHECKING:
    from ..settings import Settings
    from ..uploads.rules import Rules, WholeRule

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Rules of the operator's file: which uploads become which jobs."
)

app.command()(backfill)


@app.command()
def check(as_json: JsonOption = False) -> None:
    """Check the rules as whoever listens does when it starts, and list them."""
    with console.errors_told(as_json=as_json):
        found = _rules(deployment.settings(as_json=as_json)).all
        if as_json:
            console.show_json([_shown(rule) for rule in found])
            return
        for rule in found:
            shown = _shown(rule)
            more = ", and goes on" if rule.rule.continues else ""
            console.show(f"{shown['rule']}  {shown['from']}  to  {shown['to']}{more}")
        if not found:
            console.tell("no rules")


@app.command("test")
def try_out(
    upload: Annotated[str, typer.Argument(metavar="S3-ADDRESS", help="s3://bucket/key of an upload, there or not.")],
    as_json: JsonOption = False,
) -> None:
    """Say what each rule makes of an upload, without making it: the job, or why none. Ends with 1 where none does."""
    with deployment.client(as_json=as_json) as client:
        from ..uploads.trial import notice_of, tried

        rules = _rules(client.settings)
        notice, said = notice_of(client, files.address("the upload", upload))
        if said:
            console.note(said, as_json=as_json)
        found = list(tried(client, rules, notice))
        for one in () if as_json else found:
            console.show(f"{one.rule}: {f'job {one.job.id}' if one.job else one.why_not}")
            if one.job:
                console.show(one.job.canonical_json())
        if as_json:
            console.show_json(
                [
                    {
                        "rule": one.rule,
                        "job": one.job and one.job.model_dump(mode="json", exclude_none=True),
                        "why_not": one.why_not,
                    }
                    for one in found
                ]
            )
        elif not found:
            console.tell("no rules")
        if not any(one.job for one in found):
            sys.exit(ExitCode.JOB_FAILED)


def _rules(settings: Settings) -> Rules:
    from ..operator_file import OperatorFile
    from ..uploads.rules import Rules
    from ..uploads.sources import fetching

    operator = OperatorFile(settings.operator_file).now
    fetching(operator, settings)  # raises as a listener would at its start
    return Rules(operator, settings)


def _shown(rule: WholeRule) -> dict[str, Any]:
    of = rule.rule
    suffix = "|".join(of.suffix)
    key = rule.output_key or f"(by template {of.template})"
    return {
        "rule": of.name,
        "from": f"s3://{of.bucket}/{of.prefix}*{suffix}",
        "to": f"s3://{rule.output_bucket}/{key}",
        "template": of.template,
        "queue": rule.queue,
        "tenant": of.tenant,
        "continue": of.continues,
    }
