"""`stylequeue rules backfill`: jobs of what lay there before anybody listened."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ..contract.errors import InvalidRequest
from . import console, deployment
from .options import JsonOption, duration_s

if TYPE_CHECKING:
    from ..settings import Settings
    from ..uploads.backfill import Backfill, Tally


def backfill(
    place: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="What is looked through.")],
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what came there: 12h, 7d ago, or since 2030-01-31T12:00Z.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many uploads.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Uploads a second, at most.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make no job: say how many there would be.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Do not go on where one that was broken off was.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make jobs of what lies in the store already, by the rules, each once.

    What was made of it before is known for as long as its record is kept: STYLEQUEUE_RECORD_TTL_S behind the job's end.
    What ended before that is painted again; --since leaves it out.

    One that is broken off, by Ctrl-C or by --limit, goes on when it is asked for again, with the same --since.
    """
    with console.errors_told(as_json=as_json):
        from ..uploads.backfill import Backfill

        settings = deployment.settings(as_json=as_json)
        bucket, slash, prefix = place.removeprefix("s3://").partition("/")
        if not place.startswith("s3://") or not bucket or not slash:
            raise InvalidRequest(f"{place}: is no place in the store", "write s3://bucket/ or s3://bucket/prefix")
        wanted = Backfill(
            bucket,
            prefix,
            since=_moment(since) if since else None,
            asked_since=since,
            limit=limit,
            rate_per_s=rate,
            dry_run=dry_run,
            anew=anew,
        )
        tally = asyncio.run(_run(wanted, settings, as_json=as_json))
        _show(tally, dry_run=dry_run, as_json=as_json)


async def _run(wanted: Backfill, settings: Settings, *, as_json: bool) -> Tally:
    from ..aclient import AsyncStyleQueue
    from ..uploads.intake import Intake

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def tell(tally: Tally) -> None:
        console.note(f"{tally.listed} objects, {tally.taken} uploads", as_json=as_json)

    async with AsyncStyleQueue(settings) as queue:
        return await wanted.run(Intake(queue), stopping, tell)


def _show(tally: Tally, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        came_to, by_rule = dict(sorted(tally.came_to.items())), dict(sorted(tally.by_rule.items()))
        console.show_json({**vars(tally), "came_to": came_to, "by_rule": by_rule})
        return
    if tally.resumed_behind is not None:
        console.show(f"went on behind {tally.resumed_behind}")
    console.show(f"{tally.listed} objects, {tally.taken} uploads, {tally.requests} requests for lists")
    for verdict, count in sorted(tally.came_to.items()):
        if count:
            console.show(f"{verdict}  {count}")
    for rule, count in sorted(tally.by_rule.items()):
        console.show(f"rule {rule}  {count}")
    for uri in tally.waiting:
        console.show(f"later  {uri}")
    if tally.waiting:
        console.note("what has to wait was passed by: with --anew it is tried again", as_json=False)
    if dry_run:
        console.note("no job was made", as_json=False)
    elif not tally.is_whole:
        console.note("there is more: the same command goes on here", as_json=False)


def _moment(text: str) -> datetime:
    try:
        if (seconds := duration_s(text)) is not None:
            return datetime.now(UTC) - timedelta(seconds=seconds)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"--since {text!r} is no time", "write 12h, 7d or 2030-01-31T12:00Z") from None
    return moment if moment.tzinfo else moment.astimezone()
