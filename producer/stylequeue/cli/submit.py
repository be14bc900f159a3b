"""The `stylequeue` command."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from ..contract.base import QueueName, parse
from ..contract.errors import ExitCode, InvalidJob, InvalidSettings
from ..contract.job import Job, Output
from ..contract.objects import SUFFIXES, ImageFormat, ImageRef
from ..contract.recipe import (
    FAST_DEFAULTS,
    PRESETS,
    ColoursName,
    InitName,
    NetworkName,
    OptimizerName,
    PoolingName,
    PresetName,
)
from . import console

if TYPE_CHECKING:
    from ..client import StyleQueue

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Neural style transfer by message queue: submit a job, get a painted picture and an event.",
    epilog="Exit codes: 0 done, 1 the job failed, 2 bad input, 3 service not reachable. "
    "Settings are environment variables: STYLEQUEUE_REDIS_URL, STYLEQUEUE_S3_ENDPOINT_URL, ... (docs/operations.md).",
)

EVERYWHERE = "all"
"""In place of a mask."""

JsonOption = Annotated[bool, typer.Option("--json", help="Results on standard output as JSON, for machines.")]


def _default(field: str) -> str:
    """Where a recipe option left out comes from, for its help."""
    values: dict[str, object] = {name: getattr(preset, field) for name, preset in PRESETS.items()}
    if hasattr(FAST_DEFAULTS, field):
        values["fast"] = getattr(FAST_DEFAULTS, field)
    if len(set(values.values())) == 1:
        return f"[default: {values['painterly']}]"
    return "[default: " + ", ".join(f"{name} {value}" for name, value in values.items() if value is not None) + "]"


@app.command()
def submit(
    content: Annotated[str, typer.Option(help="Content picture: a file (uploaded) or s3://bucket/key.")],
    style: Annotated[list[str], typer.Option(help="Style picture, likewise; repeat it for several.")],
    weight: Annotated[
        list[float] | None, typer.Option(help="Weight of each style, in their order. [default: all equal]")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="Where each style applies: a grey picture, white where it does, or `all`; in their order."),
    ] = None,
    method: Annotated[
        Literal["optimize", "fast"], typer.Option(help="optimize: the best picture, minutes; fast: seconds.")
    ] = "optimize",
    preset: Annotated[PresetName | None, typer.Option(help="Recipe to start from. [default: painterly]")] = None,
    size: Annotated[int | None, typer.Option(help=f"Longest side in pixels. {_default('size')}")] = None,
    strength: Annotated[
        float | None, typer.Option(help=f"0: the content, 1: almost only style. {_default('strength')}")
    ] = None,
    colours: Annotated[
        ColoursName | None,
        typer.Option(help=f"Whose colours; match: the style in the content's colours. {_default('colours')}"),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Paint over: content, noise, style, or a picture (file or s3://...). [default: content]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help=f"Of the noise. {_default('seed')}")] = None,
    style_scale: Annotated[
        float | None, typer.Option(help=f"Size of the styles relative to the output. {_default('style_scale')}")
    ] = None,
    network: Annotated[NetworkName | None, typer.Option(help=f"{_default('network')}")] = None,
    pooling: Annotated[PoolingName | None, typer.Option(help=f"Of the network. {_default('pooling')}")] = None,
    content_layer: Annotated[
        list[str] | None, typer.Option(help="Convolution and its weight, block4_conv2=1; repeatable.")
    ] = None,
    style_layer: Annotated[list[str] | None, typer.Option(help="Likewise.")] = None,
    optimizer: Annotated[OptimizerName | None, typer.Option(help=f"{_default('optimizer')}")] = None,
    steps: Annotated[int | None, typer.Option(help=f"Gradient evaluations. {_default('steps')}")] = None,
    content_weight: Annotated[float | None, typer.Option(help="Of the content loss, in place of --strength.")] = None,
    style_weight: Annotated[float | None, typer.Option(help=f"Of the style loss. {_default('style_weight')}")] = None,
    variation_weight: Annotated[
        float | None, typer.Option(help=f"Of the variation loss. {_default('variation_weight')}")
    ] = None,
    time_budget: Annotated[
        float | None, typer.Option(help="Seconds of painting, after which the picture is taken as it is.")
    ] = None,
    stop_when: Annotated[
        float | None, typer.Option(help="End a scale once the loss falls by less than this share, say 0.01.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Where the picture goes: s3://bucket/key. [default: <job id> in the output bucket]"),
    ] = None,
    image_format: Annotated[
        ImageFormat | None, typer.Option("--format", help="[default: by the suffix of -o or --to, else jpeg]")
    ] = None,
    quality: Annotated[
        int | None, typer.Option(help=f"Of JPEG and WebP. [default: {Output.model_fields['quality'].default}]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies at --to.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Also make a contact sheet, <key>.report.png.")] = False,
    queue: Annotated[QueueName | None, typer.Option(help="[default: fast for --method fast, else paint]")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="Give up after: 90s, 30m, 2h, 7d, or a moment such as 2030-01-31T12:00Z.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="key=value, passed through to events; repeatable.")] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Id of the job. [default: a new UUIDv7]")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    download: Annotated[
        Path | None, typer.Option("--output", "-o", help="Download the picture there (waits for it).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Submit a job; with --wait, follow it; with -o, download its picture."""
    with console.errors_told(as_json=as_json), _queue() as client:
        if weight and len(weight) != len(style):
            raise InvalidJob(f"{len(style)} --style but {len(weight)} --weight", "give one --weight for each --style")
        if mask and len(mask) != len(style):
            raise InvalidJob(
                f"{len(style)} --style but {len(mask)} --mask", "give one --mask, or all, for each --style"
            )
        bucket, key = client.settings.output_bucket, None
        if to:
            target = ImageRef.from_uri(to)
            bucket, key = target.bucket, target.key
        # All that needs no upload is checked before the first upload.
        placeholder = {"bucket": "uploads", "key": "x"}
        recipe = {
            "method": method,
            "preset": preset,
            "size": size,
            "strength": strength,
            "colours": colours,
            "init": init if init in get_args(InitName) else init and "image",
            "init_image": None if init in (None, *get_args(InitName)) else placeholder,
            "seed": seed,
            "style_scale": style_scale,
            "network": network,
            "pooling": pooling,
            "content_layers": content_layer and dict(_pair("--content-layer", text) for text in content_layer),
            "style_layers": style_layer and dict(_pair("--style-layer", text) for text in style_layer),
            "optimizer": optimizer,
            "steps": steps,
            "content_weight": content_weight,
            "style_weight": style_weight,
            "variation_weight": variation_weight,
            "time_budget_s": time_budget,
            "stop_when": stop_when,
        }
        fields = _given(
            id=job_id,
            content=placeholder,
            styles=[{"image": placeholder, "weight": w} for w in weight or [1.0] * len(style)],
            output=_given(
                bucket=bucket,
                key=key,
                format=image_format or _format_of(download or (key and Path(key))),
                quality=quality,
                overwrite=overwrite,
                report=report,
            ),
            recipe=_given(**recipe),
            queue=queue,
            deadline=deadline and _moment(deadline),
            labels=dict(_pair("--label", text) for text in label or []),
        )
        job = parse(Job, fields)
        changes: dict[str, Any] = {
            "content": _picture(client, content),
            "styles": tuple(
                one.model_copy(
                    update={
                        "image": _picture(client, source),
                        "mask": None if where == EVERYWHERE else _picture(client, where),
                    }
                )
                for one, source, where in zip(job.styles, style, mask or [EVERYWHERE] * len(style), strict=True)
            ),
        }
        if init and job.init_image:
            changes["recipe"] = job.recipe.model_copy(update={"init_image": _picture(client, init)})
        job = job.model_copy(update=changes)

        client.submit(job)
        if not wait and download is None:
            console.show_json({"id": job.id}) if as_json else print(job.id)
            return
        if not as_json:
            console.tell(f"job {job.id}")
        for _ in console.follow(client.watch(job.id), label=method, quiet=as_json):
            pass
        done = client.wait(job.id)
        if download is not None:
            client.download(done.output, download)
            if done.report_key:
                report_at = ImageRef(bucket=done.output.bucket, key=done.report_key)
                client.download(report_at, download.with_suffix(".report.png"))
        if as_json:
            console.show_json(done.model_dump(mode="json"))
        else:
            print(download or f"s3://{done.output.bucket}/{done.output.key}")


@app.command()
def status(job_id: str, as_json: JsonOption = False) -> None:
    """Say what is known of a job."""
    with console.errors_told(as_json=as_json), _queue() as client:
        record = client.status(job_id)
        if as_json:
            console.show_json(record.model_dump(mode="json"))
            return
        print(f"{record.id}  {record.state}  run {record.run}, attempt {record.attempt}, queue {record.queue}")
        print(f"created {record.created_at:%Y-%m-%d %H:%M:%S} UTC, deadline {record.deadline_at:%Y-%m-%d %H:%M:%S} UTC")
        if record.waits_for:
            print(f"waits for {record.waits_for}")
        if latest := record.outcome or record.progress:
            print(console.describe(latest))


@app.command()
def watch(
    job_id: Annotated[
        str | None, typer.Argument(help="Left out: the lifecycle events of all jobs, from now on.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a job's events as they happen, until its end; exit code 1 if it ends without a picture."""
    with console.errors_told(as_json=as_json), _queue() as client:
        if job_id is None:
            newest = client.newest_position()
            for _, event in client.events(after=newest):
                print(event.model_dump_json() if as_json else f"{event.subject}  {console.describe(event)}", flush=True)
        for event in client.watch(job_id or ""):
            print(event.model_dump_json() if as_json else console.describe(event), flush=True)
        if client.status(job_id or "").state != "succeeded":
            sys.exit(ExitCode.JOB_FAILED)


@app.command()
def cancel(
    job_id: str,
    keep: Annotated[bool, typer.Option("--keep", help="Store the picture as it is now, marked partial.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop a job: a queued one at once, a running one at its worker's next heartbeat."""
    with console.errors_told(as_json=as_json), _queue() as client:
        state = client.cancel(job_id, keep=keep)
        console.show_json({"id": job_id, "state": state}) if as_json else print(f"{job_id}  {state}")


@app.command()
def retry(job_id: str, as_json: JsonOption = False) -> None:
    """Run a job again that ended without a picture."""
    with console.errors_told(as_json=as_json), _queue() as client:
        client.retry(job_id)
        console.show_json({"id": job_id, "state": "queued"}) if as_json else print(f"{job_id}  queued")


@app.command()
def delete(job_id: str, as_json: JsonOption = False) -> None:
    """Forget an ended job: record, events, picture, checkpoint and preview."""
    with console.errors_told(as_json=as_json), _queue() as client:
        client.delete(job_id)
        console.show_json({"id": job_id, "state": "deleted"}) if as_json else print(f"{job_id}  deleted")


dead = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Jobs whose attempts are used up, and bad messages."
)
app.add_typer(dead, name="dead")


@dead.command("list")
def dead_list(as_json: JsonOption = False) -> None:
    """List the dead letters, the newest first."""
    with console.errors_told(as_json=as_json), _queue() as client:
        letters = client.dead_letters()
        if as_json:
            console.show_json([letter.model_dump(mode="json") for letter in letters])
            return
        for letter in letters:
            when = f"{letter.buried_at:%Y-%m-%d %H:%M:%S}"
            print(f"{letter.id}  {when}  {letter.queue}  attempts {letter.attempts}  [{letter.code}] {letter.reason}")
        if not letters:
            console.tell("no dead letters")


@dead.command("show")
def dead_show(letter_id: str, as_json: JsonOption = False) -> None:
    """Show a dead letter: why it is one, and its exact message."""
    with console.errors_told(as_json=as_json), _queue() as client:
        letter = client.dead_letter(letter_id)
        if as_json:
            console.show_json(letter.model_dump(mode="json"))
            return
        print(
            f"{letter.id}  queue {letter.queue}, attempts {letter.attempts}, {letter.buried_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        print(f"[{letter.code}] {letter.reason}")
        print(letter.message)


@dead.command("replay")
def dead_replay(letter_id: str, as_json: JsonOption = False) -> None:
    """Give a dead letter another life: a job its next run, a message its place in the queue."""
    with console.errors_told(as_json=as_json), _queue() as client:
        client.replay(letter_id)
        console.show_json({"id": letter_id, "state": "queued"}) if as_json else print(f"{letter_id}  queued")


@dead.command("drop")
def dead_drop(letter_id: str, as_json: JsonOption = False) -> None:
    """Forget a dead letter."""
    with console.errors_told(as_json=as_json), _queue() as client:
        client.drop(letter_id)
        console.show_json({"id": letter_id, "state": "dropped"}) if as_json else print(f"{letter_id}  dropped")


@app.command()
def keeper() -> None:
    """Put lost jobs back and end overdue ones, until SIGTERM. Every worker does so too; this one survives them."""
    with console.errors_told(as_json=False):
        from ..keeper import main as keep_house
        from ..settings import Settings

        keep_house(Settings.load())


@app.command()
def schema(what: Annotated[Literal["job", "event", "status"], typer.Argument(help="job, event or status")]) -> None:
    """Print the JSON Schema of a job, of events or of what `status` answers."""
    from ..contract.schema import text

    print(text(what), end="")


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check settings, Redis, the store, workers, models and device, and say what to do about each trouble."""
    from ..doctor import examine

    with console.errors_told(as_json=as_json), _queue() as client:
        findings = list(examine(client))
        if as_json:
            console.show_json([finding.as_dict() for finding in findings])
        else:
            for finding in findings:
                print(finding)
        sys.exit(max((finding.exit_code for finding in findings), default=ExitCode.DONE))


_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_PASS_ON)
def worker(context: typer.Context) -> None:
    """Take jobs and paint them (needs the `worker` extra)."""
    _become("stylequeue_worker", context.args, extra="worker")


@app.command(context_settings=_PASS_ON)
def models(context: typer.Context) -> None:
    """List the networks on this disk, or pull them (needs the `worker` extra)."""
    _become("stylequeue_worker.models", context.args, extra="worker")


@app.command(context_settings=_PASS_ON)
def up(context: typer.Context) -> None:
    """Start everything on this machine: Valkey, SeaweedFS, a worker (needs the `worker` and `local` extras)."""
    _become("stylequeue.local", ["up", *context.args], extra="worker,local")


@app.command(context_settings=_PASS_ON)
def demo(context: typer.Context) -> None:
    """Paint the sample pictures on a stack of its own (needs the `worker` and `local` extras)."""
    _become("stylequeue.local", ["demo", *context.args], extra="worker,local")


def main() -> None:
    """Entry point."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _queue() -> StyleQueue:
    from ..client import StyleQueue
    from ..settings import Settings

    return StyleQueue(Settings.load())


def _become(module: str, arguments: list[str], *, extra: str) -> None:
    """Go on as another module, so that this command stays light."""
    if find_spec("tensorflow") is None:
        with console.errors_told(as_json=False):
            raise InvalidSettings("TensorFlow is not installed", f'pip install "stylequeue[{extra}]"')
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _format_of(path: Path | str | None) -> str | None:
    suffixes = {suffix: name for name, suffix in SUFFIXES.items()} | {".jpeg": "jpeg"}
    return suffixes.get(Path(path).suffix.lower()) if path else None


def _picture(client: StyleQueue, source: str) -> ImageRef:
    if source.startswith("s3://"):
        return ImageRef.from_uri(source)
    path = Path(source)
    if not path.is_file():
        raise InvalidJob(f"no such file: {source}", "give a picture file or an address s3://bucket/key")
    return client.upload(path)


def _pair(option: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidJob(f"{option} {text!r} has no '='", f"write {option} key=value")
    return key, value


def _moment(text: str) -> datetime:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    if number.isdigit() and unit in units:
        return datetime.now(UTC) + timedelta(seconds=int(number) * units[unit])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidJob(f"--deadline {text!r} is no time", "write 30m, 2h, 7d or 2030-01-31T12:00Z") from None
    return moment if moment.tzinfo else moment.astimezone()
