"""A user's program, as the type checkers see it: what is right passes, what is wrong is found.

Never run; `scripts/check_user_types.py` checks it without pydantic's plugin. Each `ignore` below must be needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from pydantic import SecretStr

from stylequeue import (
    Accepted,
    AnyEvent,
    AsyncStyleQueue,
    Code,
    DeadLetter,
    ExitCode,
    FastRecipe,
    ImageRef,
    InvalidJob,
    InvalidSettings,
    Job,
    JobFailed,
    JobResult,
    JobsRefused,
    JobStatus,
    OptimizeRecipe,
    Output,
    Page,
    Permanent,
    Progress,
    Retryable,
    Settings,
    StoredPicture,
    Style,
    StyleQueue,
    StyleQueueError,
    Succeeded,
    TerminalEvent,
    UnknownEvent,
    WaitTimeout,
    __version__,
    read_event,
)
from stylequeue.testing import JobEvents, Service, make_job


def settings() -> Settings:
    return Settings(redis_url=SecretStr("redis://127.0.0.1:6379/0"), read_buckets=("uploads",), s3_attempts=3)


def tenants() -> StyleQueue:
    queue = StyleQueue(settings(), tenant="acme")
    assert_type(queue.tenant, str | None)
    assert_type(queue.status("j").tenant, str | None)
    return queue.for_tenant("globex")


def jobs(picture: ImageRef, more: Sequence[Style]) -> list[Job]:
    output = Output(bucket="results", key="a.png", format="png", report=True)
    mask = ImageRef(bucket="masks", key="a.png", version_id="3")
    style = Style(image=picture)
    return [
        Job(content=picture, styles=[style], output=output),
        Job(content=picture, styles=(style, Style(image=picture, weight=2, mask=mask)), output=output),
        Job(content=picture, styles=more, output=Output(bucket="results")),
        Job(
            id="mine",
            content=ImageRef.from_uri("s3://uploads/photo.jpg"),
            styles=[style],
            output=output,
            recipe=FastRecipe(size=256, strength=0.5, colours="match"),
            queue="bulk",
            deadline=datetime.now(UTC) + timedelta(hours=1),
            labels={"user": "42"},
        ),
        Job(
            content=picture,
            styles=[style],
            output=output,
            recipe=OptimizeRecipe(
                preset="gatys-2016",
                size=512,
                init="image",
                init_image=picture,
                style_layers={"block1_conv1": 1.0},
                seed=7,
            ),
        ),
        make_job(labels={"user": "42"}),
        Job.model_validate({"content": {}}),
    ]


def everything(queue: StyleQueue, job: Job) -> None:
    assert_type(queue.submit(job), str)
    assert_type(queue.submit_many([job]), list[str])
    assert_type(queue.status("j"), JobStatus)
    assert_type(queue.upload("photo.jpg"), ImageRef)
    assert_type(queue.upload(Path("photo.jpg")), ImageRef)
    assert_type(queue.cancel("j", keep=True), str)
    assert_type(queue.newest_position(), str)
    assert_type(queue.dead_letter("j"), DeadLetter)
    page = queue.jobs(state="failed", label={"user": "42"}, limit=10)
    assert_type(page, Page[JobStatus])
    assert_type(page[0].labels, dict[str, str])
    queue.jobs(after=page.after)
    for event in queue.watch("j", timeout_s=5):
        assert_type(event, AnyEvent)
        match event:
            case Accepted():
                assert_type(event.data.queue, str)
            case Progress(data=data):
                assert_type(data.left_s, float | None)
            case Succeeded(data=data):
                assert_type(data.output, StoredPicture)
            case UnknownEvent():
                assert_type(event.data.model_extra, dict[str, Any] | None)
            case _:
                pass
        if isinstance(event, TerminalEvent):
            assert_type(event.data.labels, dict[str, str])
    for position, event in queue.events(after="0", follow=False):
        assert_type(position, str)
        assert_type(event.kind, str)
    done = queue.wait("j")
    assert_type(done, JobResult)
    assert_type(done.id, str)
    assert_type(done.report.ssim, float)
    queue.download(done.output, "picture.jpg")
    queue.download(done.id, Path("picture.jpg"))
    assert_type(queue.link(ImageRef(bucket="results", key="a"), valid_s=60), str)
    assert_type(read_event(b"{}"), AnyEvent)
    assert_type(JobEvents(job).succeeded().data.output.key, str)
    with Service(settings(), step_s=0.1) as service:
        assert_type(service.queue, StyleQueue)
        assert_type(service.photo, ImageRef)


async def in_a_loop(job: Job) -> None:
    async with AsyncStyleQueue(settings(), tenant="acme") as queue:
        assert_type(queue.for_tenant("globex"), AsyncStyleQueue)
        assert_type(await queue.submit(job), str)
        assert_type(await queue.submit_many([job]), list[str])
        assert_type(await queue.jobs(state="failed"), Page[JobStatus])
        async for event in queue.watch("j", timeout_s=5):
            assert_type(event, AnyEvent)
        async for position, event in queue.events(follow=False):
            assert_type((position, event), tuple[str, AnyEvent])
        done = await queue.wait("j")
        assert_type(done, JobResult)
        await queue.download(done.output, Path("picture.jpg"))


def errors(queue: StyleQueue, job: Job) -> ExitCode:
    try:
        queue.wait(queue.submit(job))
    except JobFailed as error:
        return error.exit_code if error.code == Code.OBJECT_NOT_FOUND else ExitCode.DONE
    except (Permanent, InvalidJob, InvalidSettings, Retryable, WaitTimeout) as error:
        assert_type(error.message, str)
    except StyleQueueError as error:
        print(error.hint, __version__)
    try:
        queue.submit_many([job])
    except JobsRefused as refused:
        assert_type(refused.refused, dict[str, StyleQueueError])
        assert_type(refused.exceptions[0].code if isinstance(refused.exceptions[0], StyleQueueError) else "", str)
    return ExitCode.DONE


def wrong(queue: StyleQueue, picture: ImageRef) -> None:
    OptimizeRecipe(size="big")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    OptimizeRecipe(stesp=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Job(content=picture, output=Output(bucket="results"))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Output(bucket="results", format="gif")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    queue.submit([("content", picture)])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    queue.jobs(state="lost")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(queue._ledger)  # pyright: ignore[reportPrivateUsage]
