"""Notices become jobs: each object version one, whoever tells of it, and nothing that is no rule's business."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidSettings, JobConflict, Permanent, Unavailable
from stylequeue.contract.events import UploadRefused
from stylequeue.contract.job import Job
from stylequeue.contract.objects import ImageRef
from stylequeue.settings import Settings
from stylequeue.uploads import intake
from stylequeue.uploads.intake import Intake, Outcome
from stylequeue.uploads.notices import Notice
from tests.support import pictures
from tests.uploads.conftest import TEMPLATES, WAVE, Operated
from tests.uploads.shapes import SHAPES


def with_intake(settings: Settings, do: Callable[[Intake], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with AsyncStyleQueue(settings) as queue:
            return await do(Intake(queue))

    return asyncio.run(run())


def taken(settings: Settings, *notices: Notice) -> list[Outcome]:
    return list(with_intake(settings, lambda taking: taking.take(notices)))


def upload(key: str = "in/photo.jpg", **more: Any) -> Notice:
    return Notice("here", "uploads", key, **{"etag": '"e1"', "size_bytes": 1000, **more})


@pytest.fixture
def put(queue: StyleQueue, settings: Settings, request: pytest.FixtureRequest) -> Callable[..., Notice]:
    """Puts an object there, and has it gone in the end; returns a notice that knows its name alone."""

    def put(key: str, body: bytes = b"", *, bucket: str = "uploads", **more: Any) -> Notice:
        body = body or pictures.jpeg()
        queue._store._client.put_object(Bucket=bucket, Key=key, Body=body, **more)
        request.addfinalizer(lambda: queue._store._client.delete_object(Bucket=bucket, Key=key))
        return Notice("here", bucket, key)

    return put


def refusals(queue: StyleQueue) -> list[UploadRefused]:
    return [event for _, event in queue.events(follow=False) if isinstance(event, UploadRefused)]


# Each once


def test_an_upload_becomes_the_job_that_its_rule_says(operated: Operated, queue: StyleQueue) -> None:
    [outcome] = taken(operated(WAVE), upload())
    assert outcome.verdict == "recorded"
    [job_id] = outcome.jobs
    status = queue.status(job_id)
    assert (status.state, status.queue) == ("queued", "bulk")
    assert status.job is not None
    assert status.job["content"] == {"bucket": "uploads", "key": "in/photo.jpg", "etag": '"e1"'}
    assert status.job["styles"][0]["image"] == {"bucket": "styles", "key": "wave.jpg"}
    assert status.job["output"]["key"].startswith("in/photo-")


def test_told_of_again_by_anybody_in_any_order_it_is_the_same_job(operated: Operated, queue: StyleQueue) -> None:
    settings = operated(WAVE)
    notices = [upload(f"in/{n}.jpg", sequencer=f"{k}") for n in range(5) for k in range(3)]
    outcomes = taken(settings, *reversed(notices)) + taken(settings, *notices)
    assert [outcome.verdict for outcome in outcomes].count("recorded") == 5
    assert {outcome.verdict for outcome in outcomes} == {"recorded", "known"}
    assert len(queue.jobs()) == 5


def test_other_bytes_under_a_key_are_another_job_and_the_same_again_are_not(operated: Operated) -> None:
    settings = operated(WAVE)
    verdicts = [taken(settings, upload(etag=etag))[0].verdict for etag in ('"e1"', '"e2"', '"e1"')]
    assert verdicts == ["recorded", "recorded", "known"]


def test_what_was_deleted_is_not_painted_again(client: Any, operated: Operated) -> None:
    settings = operated(WAVE)
    [before] = taken(settings, upload())
    with client(settings) as queue:
        [job_id] = before.jobs
        job = Job.model_validate(queue.status(job_id).job)
        queue.cancel(job_id)
        queue.delete(job_id)
        [after] = taken(settings, upload())
        assert (after.verdict, after.is_settled) == ("conflict", True)
        assert queue.jobs() == []
        [refused] = queue.submit_each([job], again=False)
        assert isinstance(refused.error, JobConflict)
        assert queue.submit(job) == job_id, "who asks for it himself has it"
        assert queue.status(job_id).run == 2


def test_where_the_rule_has_changed_since_the_job_stays_what_it_was(operated: Operated, queue: StyleQueue) -> None:
    [before] = taken(operated(WAVE), upload())
    [after] = taken(operated(WAVE + 'labels = {new = "yes"}\n'), upload())
    assert (after.verdict, after.is_settled, after.jobs) == ("conflict", True, before.jobs)
    assert queue.status(before.jobs[0]).labels == {}


def test_one_upload_makes_a_picture_for_each_rule_that_has_it(operated: Operated, queue: StyleQueue) -> None:
    both = WAVE + "continue = true\n" + WAVE.removeprefix(TEMPLATES).replace('name = "wave"', 'name = "too"')
    [outcome] = taken(operated(both + 'output = {key = "too/{version}.{format}"}\n'), upload())
    assert len(outcome.jobs) == 2
    keys = {queue.status(job_id).job["output"]["key"] for job_id in outcome.jobs}  # type: ignore[index]
    assert {key.split("/")[0] for key in keys} == {"in", "too"}


def test_a_tenants_rule_makes_its_tenants_jobs(operated: Operated, queue: StyleQueue) -> None:
    [outcome] = taken(operated(WAVE + 'tenant = "acme"\n'), upload())
    assert queue.status(outcome.jobs[0]).tenant == "acme"
    assert queue.for_tenant("acme").status(outcome.jobs[0]).state == "queued"


def test_what_no_rule_is_for_is_done_with_and_nothing_is_looked_at(operated: Operated) -> None:
    settings = operated(WAVE).model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1", "s3_attempts": 1})
    notices = [upload("out/photo.jpg"), Notice("here", "uploads", "out/x.jpg"), Notice("here", "else", "in/x.jpg")]
    assert [outcome.verdict for outcome in taken(settings, *notices)] == ["no_rule"] * 3


def test_a_full_queue_takes_it_later(operated: Operated) -> None:
    settings = operated(WAVE).model_copy(update={"max_open_jobs": 2})
    notices = [upload(f"in/{n}.jpg") for n in range(3)]
    outcomes = taken(settings, *notices)
    assert sorted(outcome.verdict for outcome in outcomes) == ["later", "recorded", "recorded"]
    [waiting] = [outcome for outcome in outcomes if not outcome.is_settled]
    assert waiting.error is not None
    assert waiting.error.code == "queue_full"


def test_without_redis_nothing_is_settled(operated: Operated) -> None:
    from pydantic import SecretStr

    settings = operated(WAVE).model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    with pytest.raises(Unavailable):
        taken(settings, upload())


# Looked at where need be


def test_what_a_notice_does_not_know_the_store_does(operated: Operated, queue: StyleQueue, put: Any) -> None:
    notice = put("in/seaweed.jpg")
    [outcome] = taken(operated(WAVE), notice)
    assert outcome.verdict == "recorded"
    found = queue.find_upload(ImageRef(bucket="uploads", key="in/seaweed.jpg"))
    assert queue.status(outcome.jobs[0]).job["content"]["etag"] == found.etag  # type: ignore[index]
    [again] = taken(operated(WAVE), upload("in/seaweed.jpg", etag=found.etag, size_bytes=found.size_bytes))
    assert (again.verdict, again.jobs) == ("known", outcome.jobs), "whoever tells of it, it is the same"


def test_a_notice_that_knows_all_is_believed(operated: Operated) -> None:
    settings = operated(WAVE).model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1", "s3_attempts": 1})
    assert taken(settings, upload())[0].verdict == "recorded"


def test_metadata_is_looked_up_where_a_rule_asks_for_it(operated: Operated, put: Any) -> None:
    rule = WAVE + 'metadata = {album = "summer"}\nlabels = {album = "{meta.album}"}\n'
    summer = put("in/summer.jpg", Metadata={"Album": "summer"})
    winter = put("in/winter.jpg", Metadata={"Album": "winter"})
    outcomes = taken(operated(rule), summer, winter, upload("in/told.jpg", metadata={"album": "summer"}))
    assert [outcome.verdict for outcome in outcomes] == ["recorded", "no_rule", "recorded"]


def test_a_store_that_does_not_answer_has_it_wait(operated: Operated) -> None:
    settings = operated(WAVE).model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1", "s3_attempts": 1})
    known, unknown = taken(settings, upload(), Notice("here", "uploads", "in/x.jpg"))
    assert (known.verdict, unknown.verdict) == ("recorded", "later")


def test_one_that_says_nothing_keeps_nobody_for_long(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "LOOK_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = operated(WAVE).model_copy(
            update={"s3_endpoint_url": url, "s3_attempts": 1, "s3_read_timeout_s": 1, "s3_connect_timeout_s": 1}
        )
        known, unknown = taken(settings, upload(), Notice("here", "uploads", "in/x.jpg"))
    assert (known.verdict, unknown.verdict) == ("recorded", "later")
    assert unknown.error is not None
    assert unknown.error.code == "store_unavailable"


@pytest.mark.parametrize("on_missing", ["drop", "dead"])
def test_what_is_gone_is_dropped_or_a_dead_letter(operated: Operated, queue: StyleQueue, on_missing: str) -> None:
    gone = Notice("here", "uploads", "in/gone away.jpg")
    [outcome] = taken(operated(WAVE + f'on_missing = "{on_missing}"\n'), gone)
    assert (outcome.verdict, outcome.is_settled) == ("missing", True)
    letters = queue.dead_letters()
    assert [(letter.kind, letter.queue, letter.code) for letter in letters] == (
        [("notification", "here", "object_not_found")] if on_missing == "dead" else []
    )
    for letter in letters:
        [again] = with_intake(operated(WAVE), lambda taking, text=letter.message: taking.read(text, source="here"))  # type: ignore[misc]
        assert again.notice.key == "in/gone away.jpg"


def test_what_was_replaced_meanwhile_is_left_to_its_successor(operated: Operated, put: Any) -> None:
    put("in/twice.jpg")
    rule = WAVE + 'metadata = {album = "*"}\n'
    assert taken(operated(rule), upload("in/twice.jpg"))[0].verdict == "missing"


# What its source may say


@pytest.mark.parametrize(
    ("buckets", "verdict"), [("", "recorded"), ('["other", "uploads"]', "recorded"), ('["other"]', "no_rule")]
)
@pytest.mark.parametrize("kind", [f'tokens = ["{"t" * 24}"]', 'sqs = "https://sqs.example/uploads"'])
def test_a_source_tells_of_its_buckets_alone(
    operated: Operated, queue: StyleQueue, kind: str, buckets: str, verdict: str
) -> None:
    source = f"[source.here]\n{kind}\n" + (f"buckets = {buckets}\n" if buckets else "")
    told, untold = taken(operated(WAVE + source), upload(), replace(upload("in/other.jpg"), source="another"))
    assert (told.verdict, untold.verdict) == (verdict, "recorded")
    assert len(queue.jobs()) == len(told.jobs) + 1


def test_who_brings_a_notice_is_not_believed_what_the_object_says_of_itself(
    operated: Operated, queue: StyleQueue, put: Any
) -> None:
    rule = WAVE + 'metadata = {album = "summer"}\nlabels = {album = "{meta.album}", by = "{meta.by}"}\n'
    settings = operated(rule + f'[source.here]\ntokens = ["{"t" * 24}"]\n')
    notices = []
    for key, album in (("in/summer.jpg", "summer"), ("in/winter.jpg", "winter")):
        put(key, Metadata={"Album": album, "By": "ann"})
        found = queue.find_upload(ImageRef(bucket="uploads", key=key))
        lied = {"album": "winter" if album == "summer" else "summer", "by": "the operator"}
        notices.append(upload(key, etag=found.etag, size_bytes=found.size_bytes, metadata=lied))
    summer, winter = taken(settings, *notices)
    assert (summer.verdict, winter.verdict) == ("recorded", "no_rule")
    assert queue.status(summer.jobs[0]).labels == {"album": "summer", "by": "ann"}


# Never what we wrote


def test_what_a_worker_wrote_is_never_taken_up(operated: Operated, queue: StyleQueue, put: Any) -> None:
    """A job may put its picture where a rule looks: no rule's own does, but somebody's else may."""
    metadata = {"stylequeue-job": "one", "stylequeue-fingerprint": "f" * 64}
    ours, theirs = put("in/ours.jpg", Metadata=metadata), put("in/theirs.jpg")
    settings = operated(WAVE).model_copy(update={"write_buckets": ("results", "uploads")})
    knowing = [
        upload(notice.key, etag=found.etag, size_bytes=found.size_bytes)
        for notice in (ours, theirs)
        for found in [queue.find_upload(ImageRef(bucket="uploads", key=notice.key))]
    ]
    verdicts = [outcome.verdict for outcome in taken(settings, ours, theirs, *knowing)]
    assert verdicts == ["ours", "recorded", "ours", "known"]


def test_where_the_notice_has_its_metadata_that_is_enough(operated: Operated) -> None:
    told = json.loads(SHAPES["minio"].of("in/ours.jpg"))
    told["Records"][0]["s3"]["object"]["userMetadata"]["X-Amz-Meta-Stylequeue-Job"] = "one"
    settings = operated(WAVE).model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1", "s3_attempts": 1})
    for buckets in (("results",), ("results", "uploads")):
        settings = settings.model_copy(update={"write_buckets": buckets})
        [outcome] = with_intake(settings, lambda taking: taking.read(json.dumps(told), source="minio"))
        assert outcome.verdict == "ours"


# What can be no picture


@pytest.mark.parametrize(
    ("key", "size_bytes", "code"),
    [
        ("in/empty.jpg", 0, "image_empty"),
        ("in/folder/", 0, "image_not_recognised"),
        ("in/photo.jpg.part", 10, "image_truncated"),
        ("in/Unconfirmed 7.CRDOWNLOAD", 10, "image_truncated"),
        ("in/large.jpg", 64 * 1024**2 + 1, "image_too_many_bytes"),
        ("in//twice.jpg", 10, "invalid_job"),
        ("in/" + "n" * 1021, 10, "invalid_job"),
    ],
)
def test_what_can_be_no_picture_is_told_and_not_painted(
    operated: Operated, queue: StyleQueue, key: str, size_bytes: int, code: str
) -> None:
    settings = operated(WAVE + 'tenant = "acme"\n')
    for _ in range(2):
        [outcome] = taken(settings, upload(key, size_bytes=size_bytes, version="v1"))
        assert (outcome.verdict, outcome.is_settled, outcome.jobs) == ("refused", True, ())
    assert queue.jobs() == []
    [event] = refusals(queue)
    assert (event.data.code, event.data.rule, event.data.tenant, event.kind) == (code, "wave", "acme", "refused")
    assert (event.data.bucket, event.data.key, event.data.version_id) == ("uploads", key, "v1")
    assert event.data.message
    assert [event for _, event in queue.for_tenant("other").events(follow=False)] == []
    assert len(refusals(queue.for_tenant("acme"))) == 1


@pytest.mark.parametrize("album", ["..", "../../etc", "a//b", "/a", "a\\b", "a\nb", "\u202e", "x.versions", "n" * 1024])
def test_metadata_leads_a_picture_to_no_other_place_than_its_rules(
    operated: Operated, queue: StyleQueue, album: str
) -> None:
    rule = WAVE + 'output = {key = "albums/{meta.album}/{version}.{format}"}\n'
    [outcome] = taken(operated(rule), upload(metadata={"album": album}))
    assert outcome.verdict == "refused"
    assert queue.jobs() == []
    [event] = refusals(queue)
    assert event.data.code == "invalid_job"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\u202e", "x" * 257])
def test_nor_is_a_label_made_of_what_none_may_hold(operated: Operated, text: str) -> None:
    [outcome] = taken(operated(WAVE + 'labels = {album = "{meta.album}"}\n'), upload(metadata={"album": text}))
    assert outcome.verdict == "refused"


def test_what_the_store_says_is_too_large_is_refused_too(operated: Operated, queue: StyleQueue, put: Any) -> None:
    settings = operated(WAVE).model_copy(update={"max_image_bytes": 10})
    assert taken(settings, put("in/eleven.jpg", b"eleven bytes"))[0].verdict == "refused"
    assert refusals(queue)[0].data.size_bytes == 12


# The file, while it runs


def test_rules_that_change_are_in_force_and_broken_ones_are_not(
    operated: Operated, queue: StyleQueue, caplog: pytest.LogCaptureFixture
) -> None:
    async def change(taking: Intake) -> list[str]:
        verdicts: list[str] = []
        for text in (WAVE, WAVE.replace('"in/"', '"out/"'), "[[rule]]\n", WAVE.replace('"uploads"', '"private"'), WAVE):
            operated(text)
            outcomes = await taking.take([upload("in/a.jpg", etag=f'"{len(verdicts)}"')])
            verdicts.append(outcomes[0].verdict)
        return verdicts

    assert with_intake(operated(WAVE), change) == ["recorded", "no_rule", "no_rule", "no_rule", "recorded"]
    assert "private" in caplog.text


def test_what_stays_in_force_is_all_that_its_rules_were_made_of(operated: Operated, queue: StyleQueue) -> None:
    named = WAVE.removeprefix(TEMPLATES).replace("wave", "named").replace('"in/"', '"named/"')
    text = WAVE + named.replace('template = "named"', 'template = "wave"\nnotify = ["crm"]')
    crm = '[endpoint.crm]\nsqs = "https://sqs.example/crm"\n'
    notices = [upload("in/a.jpg"), upload("named/a.jpg")]

    async def change(taking: Intake) -> list[Outcome]:
        operated(text.replace("wave.jpg", "other.jpg").replace('"uploads"', '"private"'))
        return await taking.take(notices)

    before = with_intake(operated(text + crm), change)
    assert [outcome.verdict for outcome in before] == ["recorded", "later"], "only whose endpoint has gone waits"
    assert before[1].error.code == "invalid_request"
    status = queue.status(before[0].jobs[0])
    assert status.job is not None
    assert status.job["styles"][0]["image"]["key"] == "wave.jpg"
    assert [outcome.verdict for outcome in taken(operated(text + crm), *notices)] == ["known", "recorded"]


def test_rules_that_cannot_be_are_refused_at_the_start(operated: Operated) -> None:
    with pytest.raises(InvalidSettings, match=r"line 8.*READ_BUCKETS"):
        taken(operated(WAVE.replace('"uploads"', '"private"')))


# What it came to is counted, and what is none is kept


def test_what_is_no_notification_is_a_dead_letter_once(operated: Operated, queue: StyleQueue) -> None:
    settings = operated(WAVE)
    for data in (b"\xff{", "{}", "{}"):
        assert with_intake(settings, lambda taking, data=data: taking.read(data, source="aws")) == []  # type: ignore[misc]
    letters = queue.dead_letters()
    assert sorted(letter.message for letter in letters) == ["\\xff{", "{}"]
    assert {(letter.kind, letter.queue, letter.code) for letter in letters} == {
        ("notification", "aws", "invalid_notice")
    }
    assert queue.upload_counts()["aws"].outcomes == {"unreadable": 3}


def test_outcomes_and_lags_are_counted_by_source(operated: Operated, queue: StyleQueue) -> None:
    settings = operated(WAVE)
    for _ in range(2):
        with_intake(settings, lambda taking: taking.read(SHAPES["minio"].of("in/a.jpg"), source="minio"))
    with_intake(settings, lambda taking: taking.read(SHAPES["s3"].of("out/a.jpg"), source="aws"))
    counts = queue.upload_counts()
    assert counts["minio"].outcomes == {"recorded": 1, "known": 1}
    assert counts["aws"].outcomes == {"no_rule": 1}
    assert counts["minio"].lags.count == 1
    assert counts["minio"].lags.sum_s >= 0
    assert counts["aws"].lags.count == 0


def test_a_refusal_goes_to_the_endpoints_that_want_to_hear_of_it(operated: Operated, queue: StyleQueue) -> None:
    from stylequeue.delivery.outbox import deliveries_of, whole
    from stylequeue.operator_file import Operator

    text = WAVE + 'notify = ["crm"]\n'
    endpoints = "".join(
        f'[endpoint.{name}]\nsqs = "https://sqs.example/{name}"\n{events}\njobs = "{jobs}"\n'
        for name, events, jobs in (
            ("crm", 'events = ["refused"]', "named"),
            ("usual", "", "all"),
            ("other", 'events = ["refused", "failed"]', "named"),
            ("every", 'events = ["refused"]', "all"),
        )
    )
    taken(operated(text + endpoints), upload(size_bytes=0))
    ledger = queue._ledger
    entries = whole(ledger, asyncio.run(_entries(queue)))
    going = {one.endpoint for one in deliveries_of(entries, Operator.parse(endpoints, name="").endpoints)}
    assert going == {"crm", "every"}


async def _entries(queue: StyleQueue) -> Any:
    return await queue._ledger.asked.entries(behind="0-0", count=10)


def test_both_clients_look_at_uploads_alike(client: Any, settings: Settings, put: Any) -> None:
    put("in/one.jpg", b"12345", ContentType="image/jpeg", Metadata={"Album": "summer"})
    with client(settings) as queue:
        found = queue.find_upload(ImageRef(bucket="uploads", key="in/one.jpg"))
        assert (found.size_bytes, found.content_type, found.metadata) == (5, "image/jpeg", {"album": "summer"})
        assert not found.is_ours
        with pytest.raises(Permanent) as raised:
            queue.find_upload(ImageRef(bucket="uploads", key="in/none.jpg"))
        assert raised.value.code == "object_not_found"
        letter_id = queue.bury_notification("{}", source="here", code="invalid_notice", reason="it is none")
        assert queue.dead_letter(letter_id).message == "{}"
        queue.count_uploads({("here", "recorded"): 3}, {"here": [0.5, 90, 1e6]})
        queue.count_uploads({("here", "recorded"): 1}, {})
        counted = queue.upload_counts()["here"]
        assert counted.outcomes == {"recorded": 4}
        assert counted.lags.up_to_s[1] == 1
        assert counted.lags.up_to_s[60] == 1
        assert counted.lags.up_to_s[300] == 2
        assert counted.lags.count == 3
        assert counted.lags.sum_s == pytest.approx(1_000_090.5)
        assert json.loads(counted.model_dump_json())["lags"]["count"] == 3
