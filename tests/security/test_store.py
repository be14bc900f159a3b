"""What somebody may try who can write where we do: objects under our keys, their metadata, the ledger's word."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Cancelled, Code, FileUnusable, Permanent, StyleQueueError, Unavailable
from stylequeue.contract.events import StoredFile, SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.objects import ImageRef, checkpoint_key, event_key, preview_key, report_key, thumbnail_key
from stylequeue.ledger import Ledger, mark_secrets, names
from stylequeue.ledger.answers import ReserveAnswer
from stylequeue.settings import Settings
from stylequeue.store import MARK_METADATA, Mark, Origin, Store, heeding
from stylequeue.store.marks import Marks
from stylequeue.telling import Teller
from stylequeue_worker.pictures.decoder import Decoder
from stylequeue_worker.work.workbench import Workbench
from tests.support.by_hand import paint
from tests.support.hostile_server import Answer, answering, for_ever, saying
from tests.support.jobs import make_job
from tests.support.odd_s3 import OddS3, before, careless, refuse, without
from tests.support.workshop import READS, Workshop

FOREIGN = b"somebody else's"
OUT = "/results/out.jpg"
SIDES = (event_key("out.jpg"), report_key("out.jpg"), thumbnail_key("out.jpg"))
SECRET, OLDER = "s" * 32, "o" * 32
PLACE = ("results", "out.jpg")
MARK = Mark(Origin("job", "fingerprint"), "ab" * 32, 7)
OTHERS = {"width-px": "7", "height-px": "8", "painting": "{}"}


def marks(*secrets: str) -> Marks:
    return Marks(lambda: secrets)


# A mark by itself


def test_a_mark_proves_what_it_was_made_for() -> None:
    assert marks(SECRET).read(*PLACE, marks(SECRET).metadata(*PLACE, MARK, OTHERS)) == MARK


@pytest.mark.parametrize(
    "changed",
    [
        {"stylequeue-fingerprint": "another"},
        {"stylequeue-job": "another"},
        {"sha256": "cd" * 32},
        {"size-bytes": "8"},
        {"size-bytes": "07"},
        {"width-px": "8"},
        {"height-px": "9"},
        {"painting": '{"network": "mine"}'},
        {"painting": None},
        {MARK_METADATA: ""},
        {MARK_METADATA: None},
        {MARK_METADATA: "0" * 64},
        {MARK_METADATA: "\xfc" * 64},
    ],
    ids=str,
)
def test_a_mark_beside_other_metadata_proves_nothing(changed: dict[str, str | None]) -> None:
    said = {**marks(SECRET).metadata(*PLACE, MARK, OTHERS), **changed}
    assert marks(SECRET).read(*PLACE, {name: value for name, value in said.items() if value is not None}) is None


@pytest.mark.parametrize("place", [("results", "other.jpg"), ("other", "out.jpg"), ("results/out", ".jpg")])
def test_a_mark_that_is_copied_elsewhere_proves_nothing(place: tuple[str, str]) -> None:
    assert marks(SECRET).read(*place, marks(SECRET).metadata(*PLACE, MARK, OTHERS)) is None


def test_secrets_are_rolled() -> None:
    """First all believe the new one, then all sign with it, then nobody believes the old one any more."""
    old, new = (marks(secret).metadata(*PLACE, MARK, OTHERS) for secret in (OLDER, SECRET))
    assert marks(OLDER, SECRET).metadata(*PLACE, MARK, OTHERS) == old
    assert marks(SECRET, OLDER).metadata(*PLACE, MARK, OTHERS) == new
    for both in (marks(OLDER, SECRET), marks(SECRET, OLDER)):
        assert both.read(*PLACE, old) == both.read(*PLACE, new) == MARK
    assert marks(SECRET).read(*PLACE, old) is None


def test_without_a_secret_nothing_is_proven() -> None:
    assert MARK_METADATA not in marks().metadata(*PLACE, MARK, OTHERS)
    assert marks().read(*PLACE, marks("").metadata(*PLACE, MARK, OTHERS)) is None


def test_no_more_is_copied_than_a_mark_vouches_for() -> None:
    assert "x" not in marks(SECRET).metadata(*PLACE, MARK, {**OTHERS, "x": "y", MARK_METADATA: "z"})


@pytest.mark.parametrize(("twice", "proven"), [(False, True), (True, False)])
def test_names_of_metadata_in_capitals(twice: bool, proven: bool) -> None:
    """Some stores write them so; of two that differ in nothing else, neither is believed."""
    with OddS3() as s3:
        store = Store(s3.settings())
        store.write("results", "a", b"picture", origin=MARK.origin, content_type="image/png", overwrite=False)
        body, headers = s3.objects["/results/a"]
        loud = {name.upper().replace("X-AMZ-META-", "x-amz-meta-"): value for name, value in headers.items()}
        s3.objects["/results/a"] = (body, {**loud, **({"x-amz-meta-Sha256": "ab" * 32} if twice else {})})
        there = store.find("results", "a")
        assert there
        assert (store.mark_of(there) is not None) is proven


# A picture


@pytest.fixture
def workshop(decoder: Decoder) -> Iterator[Workshop]:
    with OddS3() as s3:
        yield Workshop(s3, decoder)


def lies(workshop: Workshop, path: str) -> bytes:
    return workshop.s3.objects[path][0]


def nothing_was_read(workshop: Workshop) -> bool:
    return not {*READS} & {*workshop.seen} and not any(asked.startswith("PUT") for asked in workshop.seen)


def forged(workshop: Workshop, **others: Any) -> dict[str, str]:
    """All that a picture of ours says, but for its mark."""
    done = workshop.make(output={"key": "probe.jpg", **others})
    _, headers = workshop.s3.objects["/results/probe.jpg"]
    assert headers["x-amz-meta-stylequeue-fingerprint"] == done.fingerprint
    return {
        **headers,
        "x-amz-meta-sha256": hashlib.sha256(FOREIGN).hexdigest(),
        "x-amz-meta-size-bytes": str(len(FOREIGN)),
    }


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("mark", ["none", "another's", "of before there were marks"])
def test_foreign_bytes_with_our_metadata_are_no_picture(workshop: Workshop, attempt: int, mark: str) -> None:
    headers = forged(workshop)
    if mark == "none":
        del headers[f"x-amz-meta-{MARK_METADATA}"]
    elif mark == "of before there were marks":
        headers = {name: value for name, value in headers.items() if MARK_METADATA not in name and "job" not in name}
    workshop.s3.objects[OUT] = (FOREIGN, headers)
    assert workshop.fail(attempt=attempt).code == Code.OUTPUT_EXISTS
    assert nothing_was_read(workshop)
    assert lies(workshop, OUT) == FOREIGN


def test_a_picture_of_ours_copied_elsewhere_with_its_mark_is_none(workshop: Workshop) -> None:
    workshop.make(output={"key": "probe.jpg"})
    workshop.s3.objects[OUT] = workshop.s3.objects["/results/probe.jpg"]
    assert workshop.fail().code == Code.OUTPUT_EXISTS
    assert nothing_was_read(workshop)


@pytest.mark.parametrize("attempt", [1, 2])
def test_other_bytes_under_our_mark_are_not_believed(workshop: Workshop, attempt: int) -> None:
    """Not even of the same size: the picture is painted, and lies there again."""
    done = workshop.make()
    body, headers = workshop.s3.objects[OUT]
    workshop.s3.objects[OUT] = (FOREIGN.ljust(len(body)), headers)
    again = workshop.make(attempt=attempt)
    assert not again.reused
    assert hashlib.sha256(lies(workshop, OUT)).hexdigest() == again.output.sha256 == done.output.sha256


def test_a_checksum_of_the_store_s_own_is_enough(workshop: Workshop) -> None:
    """And one of foreign bytes is enough to know them."""
    workshop.make()
    workshop.s3.oddities = [without(f"HEAD {OUT}", x_amz_checksum_sha256="A" * 43 + "=")]
    assert not workshop.make(output={"overwrite": True}).reused


@pytest.mark.parametrize("what", ["mark", "bytes"])
def test_what_came_there_while_it_was_painted_is_not_believed_either(workshop: Workshop, what: str) -> None:
    """The store says 412, and what lies there says that it is the picture."""
    headers = forged(workshop)
    workshop.s3.oddities = [before(f"PUT {OUT}", lambda: workshop.s3.objects.update({OUT: (FOREIGN, headers)}))]
    assert workshop.fail().code == Code.OUTPUT_EXISTS
    assert lies(workshop, OUT) == FOREIGN


# What lies beside it


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("forge", [False, True])
def test_a_foreign_object_beside_the_picture_is_seen_before_painting(
    workshop: Workshop, side: str, forge: bool
) -> None:
    workshop.s3.objects[f"/results/{side}"] = (FOREIGN, forged(workshop, report=True) if forge else {})
    error = workshop.fail(output={"report": True, "thumbnail": True})
    assert (error.code, side in error.message) == (Code.OUTPUT_EXISTS, True)
    assert nothing_was_read(workshop)
    assert lies(workshop, f"/results/{side}") == FOREIGN


def test_a_thumbnail_is_reused_as_carefully(workshop: Workshop) -> None:
    honest = workshop.make(output={"key": "before.jpg", "thumbnail": True}).model_dump(mode="json")
    theirs = workshop.s3.lay("/secrets/theirs.webp", FOREIGN)
    workshop.s3.lay("/results/theirs.webp", FOREIGN)
    true = {"etag": theirs, "sha256": hashlib.sha256(FOREIGN).hexdigest(), "size_bytes": len(FOREIGN)}
    for n, bucket in enumerate(("secrets", "results")):
        lie = {**honest, "thumbnail_file": {"bucket": bucket, "key": "theirs.webp", **true}}
        answer = ReserveAnswer("reuse", json.dumps({"data": lie}))
        workshop.maker.ledger = SimpleNamespace(reserve=lambda *_, answer=answer, **__: answer)  # type: ignore[assignment]
        done = workshop.make(output={"key": f"{n}.jpg", "thumbnail": True})
        assert done.reused
        assert lies(workshop, f"/results/{n}.jpg.thumb.webp") not in (FOREIGN, b"")
        assert not any("/secrets" in asked for asked in workshop.seen)


def test_where_no_contact_sheet_goes_anything_may_lie(workshop: Workshop) -> None:
    workshop.s3.lay(f"/results/{SIDES[1]}", FOREIGN)
    workshop.make()
    assert lies(workshop, f"/results/{SIDES[1]}") == FOREIGN


def test_a_job_that_overwrites_says_so(workshop: Workshop) -> None:
    for side in SIDES:
        workshop.s3.lay(f"/results/{side}", FOREIGN)
    done = workshop.make(output={"report": True, "overwrite": True})
    assert done.report_file
    assert hashlib.sha256(lies(workshop, f"/results/{SIDES[1]}")).hexdigest() == done.report_file.sha256


@pytest.mark.parametrize("same", ["job", "picture"])
def test_what_the_job_itself_left_beside_is_no_stranger_s(workshop: Workshop, same: str) -> None:
    fingerprint = workshop.make(output={"key": "probe.jpg"}).fingerprint
    origin = Origin("mine", "before") if same == "job" else Origin("another", fingerprint)
    place = StoredFile(bucket="results", key="out.jpg", etag="", sha256="", size_bytes=0)
    how: Any = {"content_type": "application/json", "overwrite": False, "just_stored": True}
    workshop.store.write_beside(place, SIDES[0], b"{}", origin=origin, **how)
    workshop.make(id="mine")


def test_a_foreign_contact_sheet_is_not_taken_for_ours(workshop: Workshop) -> None:
    workshop.make(output={"report": True})
    path = f"/results/{SIDES[1]}"
    body, headers = workshop.s3.objects[path]
    workshop.s3.objects[path] = (FOREIGN.ljust(len(body)), headers)
    again = workshop.make(attempt=2, output={"report": True})
    assert again.report_file
    assert hashlib.sha256(lies(workshop, path)).hexdigest() == again.report_file.sha256


class House:
    """Jobs that were painted, as a worker leaves them, and who tells and deletes."""

    def __init__(self, settings: Settings, s3: OddS3) -> None:
        self.s3 = s3
        self.queue = StyleQueue(settings)
        self.teller: Teller = self.queue._teller

    def painted(self, **output: Any) -> Job:
        job = make_job(output={"bucket": "results", "key": "out.jpg", **output})
        paint(self.queue, job)
        return job

    def tell(self, job: Job) -> None:
        ledger = self.queue._ledger
        self.teller.tell(ledger.record(job.id), ledger.outcome(job.id))

    def untold(self) -> list[Any]:
        return list(self.queue._ledger.redis.zrange(names.UNTOLD_KEY, 0, -1))


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    with OddS3() as s3:
        house = House(s3.settings(redis_url=settings.redis_url), s3)
        with house.queue:
            yield house


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_stranger_s_that_came_later_is_left_where_the_event_goes(
    house: House, overwrite: bool, caplog: pytest.LogCaptureFixture
) -> None:
    job = house.painted(overwrite=overwrite)
    house.s3.lay(f"/results/{SIDES[0]}", FOREIGN)
    house.tell(job)
    event = house.queue._ledger.outcome(job.id).encode()
    assert house.s3.objects[f"/results/{SIDES[0]}"][0] == (event if overwrite else FOREIGN)
    assert ("does not lie beside its picture" in caplog.text) is not overwrite
    assert house.untold() == [], "and the job is told of all the same"


def test_an_event_that_lies_there_word_for_word_needs_no_mark(house: House) -> None:
    """Put there by a worker of before there were marks, and told again."""
    job = house.painted()
    event = house.queue._ledger.outcome(job.id).encode()
    house.s3.lay(f"/results/{SIDES[0]}", event)
    house.tell(job)
    assert house.untold() == []


@pytest.mark.parametrize("foreign", SIDES)
def test_deleting_a_job_deletes_nothing_of_others(house: House, foreign: str) -> None:
    job = house.painted()
    _, headers = house.s3.objects[f"/results/{foreign}"]
    house.s3.objects[f"/results/{foreign}"] = (FOREIGN, headers)
    house.queue.delete(job.id)
    assert {path: body for path, (body, _) in house.s3.objects.items()} == {f"/results/{foreign}": FOREIGN}


def test_deleting_takes_no_secret(house: House) -> None:
    """What is on record is known by its bytes: a client need not have what workers mark with."""
    job = house.painted()
    with StyleQueue(house.queue.settings.model_copy(update={"mark_secrets": ()})) as backend:
        backend.submit(make_job())
        backend.delete(job.id)
    assert house.s3.objects == {}


# What the ledger says of pictures to reuse


def reusing(workshop: Workshop, painted: dict[str, Any], *, report: bool = False) -> SucceededData:
    """Have a job find that in the ledger; it is to forget it, and paint."""
    forgot: list[bool] = []

    def reserve(*_: object, forget: bool, **__: object) -> ReserveAnswer:
        forgot.append(forget)
        return ReserveAnswer("paint", "") if forget else ReserveAnswer("reuse", json.dumps({"data": painted}))

    workshop.maker.ledger = SimpleNamespace(reserve=reserve)  # type: ignore[assignment]
    done = workshop.make(output={"report": report})
    assert forgot == ([False] if done.reused else [False, True])
    return done


def test_a_record_that_was_edited_leads_to_no_other_object(workshop: Workshop) -> None:
    honest = workshop.make(output={"key": "before.jpg"}).model_dump(mode="json")
    etag = workshop.s3.lay("/results/theirs.jpg", FOREIGN)
    secret_etag = workshop.s3.lay("/secrets/theirs.jpg", FOREIGN)
    true = {"sha256": hashlib.sha256(FOREIGN).hexdigest(), "size_bytes": len(FOREIGN)}
    copied = workshop.s3.objects["/results/before.jpg"]
    workshop.s3.objects["/results/copied.jpg"] = (FOREIGN, copied[1])
    edits: list[dict[str, Any]] = [
        {"bucket": "secrets", "key": "theirs.jpg", "etag": secret_etag, **true},
        {"bucket": "uploads", "key": "content.jpg"},
        {"key": "theirs.jpg", "etag": etag, **true},
        {"key": "copied.jpg", "etag": etag, **true},
        {"key": "nowhere.jpg"},
        {"key": ""},
        {"key": "../secrets/theirs.jpg"},
        {"bucket": "", "key": "theirs.jpg"},
        {"etag": '"another"'},
        {"etag": ""},
        {"sha256": "00" * 32},
        {"size_bytes": 1},
    ]
    for edit in edits:
        workshop.s3.objects.pop(OUT, None)
        done = reusing(workshop, {**honest, "output": {**honest["output"], **edit}})
        assert not done.reused, edit
        assert f"COPY {OUT}" not in workshop.seen, edit
        assert not any("/secrets" in asked for asked in workshop.seen), edit
        assert hashlib.sha256(lies(workshop, OUT)).hexdigest() == done.output.sha256


def test_a_picture_of_another_fingerprint_is_not_reused(workshop: Workshop) -> None:
    other = workshop.make(output={"key": "before.jpg", "quality": 1})
    assert not reusing(workshop, other.model_dump(mode="json")).reused


def test_what_the_record_tells_of_the_painting_is_not_repeated(workshop: Workshop) -> None:
    """It is known from the picture itself, where it is signed."""
    honest = workshop.make(output={"key": "before.jpg"}).model_dump(mode="json")
    lie = {**honest, "engine_version": "0", "recipe": None, "report": {**honest["report"], "network": "theirs"}}
    done = reusing(workshop, lie)
    assert done.reused
    assert "theirs" not in done.model_dump_json()


def test_bytes_that_are_replaced_under_an_etag_that_stays_are_not_reused(workshop: Workshop) -> None:
    """As of a store whose ETags say nothing of what lies there."""
    honest = workshop.make(output={"key": "before.jpg"})
    body, headers = workshop.s3.objects["/results/before.jpg"]
    workshop.s3.objects["/results/before.jpg"] = (FOREIGN.ljust(len(body)), headers)
    workshop.s3.oddities = [without("HEAD /results/before.jpg", ETag=honest.output.etag), careless("GET")]
    assert not reusing(workshop, honest.model_dump(mode="json")).reused


def test_a_source_that_is_replaced_while_it_is_copied(workshop: Workshop) -> None:
    """The copy names the ETag that was looked at; a store that does not heed it copies other bytes, which go."""
    honest = workshop.make(output={"key": "before.jpg"}).model_dump(mode="json")
    swap = partial(workshop.s3.lay, "/results/before.jpg", FOREIGN)
    workshop.s3.oddities = [before("COPY", swap)]
    assert not reusing(workshop, honest).reused


def test_a_contact_sheet_is_reused_as_carefully(workshop: Workshop) -> None:
    honest = workshop.make(output={"key": "before.jpg", "report": True}).model_dump(mode="json")
    theirs = workshop.s3.lay("/secrets/theirs.png", FOREIGN)
    workshop.s3.lay("/results/theirs.png", FOREIGN)
    true = {"etag": theirs, "sha256": hashlib.sha256(FOREIGN).hexdigest(), "size_bytes": len(FOREIGN)}
    assert reusing(workshop, honest, report=True).reused
    for bucket in ("secrets", "results"):
        for path in (OUT, *(f"/results/{side}" for side in SIDES)):
            workshop.s3.objects.pop(path, None)
        sheet = {"bucket": bucket, "key": "theirs.png", **true}
        done = reusing(workshop, {**honest, "report_file": sheet}, report=True)
        assert done.report_file
        assert lies(workshop, f"/results/{SIDES[1]}") != FOREIGN
        assert not any("/secrets" in asked for asked in workshop.seen)


# Uploads


@pytest.mark.parametrize("checksum", [True, False])
def test_other_bytes_under_the_hash_of_an_upload_are_replaced(tmp_path: Path, checksum: bool) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"my photograph")
    key = hashlib.sha256(b"my photograph").hexdigest() + ".png"
    with OddS3() as s3:
        s3.lay(f"/uploads/{key}", b"their picture")
        if checksum:
            s3.oddities = [without("HEAD", x_amz_checksum_sha256="A" * 43 + "=")]
        image = Store(s3.settings()).upload_file(photo)
        assert s3.objects[f"/uploads/{key}"][0] == b"my photograph"
        assert image.etag == '"' + hashlib.md5(b"my photograph", usedforsecurity=False).hexdigest() + '"'


@pytest.mark.parametrize(
    "suffix", [".p\u202eng", ".p\nng", ".p\u200bng", ".p\x1b[2Jng", ".p\\ng", ".p\udcffng", ".\u2028"]
)
def test_a_suffix_that_no_key_can_have_is_refused_before_anything_is_stored(tmp_path: Path, suffix: str) -> None:
    photo = tmp_path / f"photo{suffix}"
    photo.write_bytes(b"my photograph")
    with OddS3() as s3:
        with pytest.raises(FileUnusable) as caught:
            Store(s3.settings()).upload_file(photo)
        assert s3.objects == {}
    assert caught.value.message.isprintable()
    assert "suffix" in caught.value.message


def test_a_job_paints_what_was_uploaded_for_it_or_nothing(workshop: Workshop, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(lies(workshop, "/uploads/content.jpg"))
    image = workshop.store.upload_file(photo)
    assert workshop.store.look(image).etag == image.etag
    workshop.s3.lay(f"/uploads/{image.key}", FOREIGN)
    with pytest.raises(Permanent, match="another object than the one that the job names") as raised:
        workshop.store.look(image)
    assert raised.value.code == Code.OBJECT_CHANGED
    assert Store(workshop.s3.settings()).upload_file(photo) == image, "and it is put right by whoever has the file"


# The work bucket


def bench(store: Store, job_id: str = "mine", fingerprint: str = "f") -> Workbench:
    holder: Any = SimpleNamespace(record=SimpleNamespace(id=job_id), left_work=False, still_wanted=lambda: None)
    bench = Workbench(store, Settings(), holder, fingerprint)
    picture = np.zeros((16, 16, 3), np.float32)
    bench.newest = Any  # type: ignore[assignment]
    bench.newest = SimpleNamespace(state={"step": np.array(3)}, picture=picture)  # type: ignore[assignment]
    return bench


def checkpoint(fingerprint: str = "f", step: int = 9) -> bytes:
    file = io.BytesIO()
    np.savez(file, fingerprint=np.array(fingerprint), step=np.array(step))
    return file.getvalue()


def test_a_forged_checkpoint_is_not_gone_on_from(caplog: pytest.LogCaptureFixture) -> None:
    path = f"/work/{checkpoint_key('mine')}"
    with OddS3() as s3:
        store = Store(s3.settings())
        s3.lay(path, checkpoint())
        assert bench(store).resume(16, 16) is None
        del s3.objects[path]
        bench(store).save()
        resumed = bench(store).resume(16, 16)
        assert resumed
        assert resumed["step"] == 3
        s3.objects[path] = (checkpoint().ljust(len(s3.objects[path][0])), s3.objects[path][1])
        assert bench(store).resume(16, 16) is None, "other bytes under our mark"
        s3.objects[path] = s3.objects.pop(path)
        bench(store, "other").save()
        s3.objects[path] = s3.objects[f"/work/{checkpoint_key('other')}"]
        assert bench(store).resume(16, 16) is None, "another job's"


def test_foreign_objects_in_the_work_bucket_are_neither_replaced_nor_deleted(caplog: pytest.LogCaptureFixture) -> None:
    """A job's id is its sender's choice, and the bucket may hold more than ours."""
    with OddS3() as s3:
        store = Store(s3.settings())
        keys = checkpoint_key("mine"), preview_key("mine")
        for key in keys:
            s3.lay(f"/work/{key}", FOREIGN)
        for save in (bench(store).save, bench(store)._show):
            with pytest.raises(Permanent) as raised:
                save()
            assert raised.value.code == Code.OUTPUT_EXISTS
        store.delete_work("mine")
        assert [s3.objects[f"/work/{key}"][0] for key in keys] == [FOREIGN] * 2
        s3.objects.clear()
        ours = bench(store)
        for _ in range(2):
            ours.save()
            ours.newest = SimpleNamespace(**vars(ours.newest))  # type: ignore[assignment]
        bench(store).save()
        store.delete_work("mine")
        assert s3.objects == {}


# The secret


def test_without_a_setting_all_have_the_secret_that_redis_keeps(settings: Settings) -> None:
    none_set = settings.model_copy(update={"mark_secrets": ()})
    with closing(Ledger(none_set)) as one, closing(Ledger(none_set)) as two:
        [secret] = mark_secrets(one)
        assert mark_secrets(two) == [secret]
        assert len(secret) >= 32
        one.redis.delete(names.MARKS_KEY)
        assert mark_secrets(two) == mark_secrets(one) != [secret], "and all have the same again should it be lost"
    with closing(Ledger(settings.model_copy(update={"mark_secrets": (SecretStr(SECRET),)}))) as told:
        assert mark_secrets(told) == [SECRET]


# A store that means ill, or what stands between


@contextmanager
def hostile(answer: Answer, **changes: Any) -> Iterator[Store]:
    own: dict[str, Any] = {
        "s3_access_key": SecretStr("a"),
        "s3_secret_key": SecretStr("b"),
        "s3_addressing": "path",
        "s3_connect_timeout_s": 0.2,
        "s3_read_timeout_s": 0.5,
        "s3_attempts": 2,
        **changes,
    }
    with answering(answer) as port:
        store = Store(Settings(s3_endpoint_url=f"http://127.0.0.1:{port}", **own))
        yield store
        store.close()


def look(store: Store) -> object:
    return store.look(ImageRef(bucket="uploads", key="a"))


def read(store: Store) -> object:
    """Of an object that was looked at while all was well."""
    from stylequeue.store import ObjectInfo

    return store.read(ObjectInfo("uploads", "a", None, '"e"', 10), max_bytes=100)


def write(store: Store) -> object:
    how: Any = {"origin": MARK.origin, "content_type": "image/png", "overwrite": True}
    return store.write("results", "a", b"picture", **how)


def listed(store: Store) -> object:
    return store.look_at_output("results", "a", ("a.json",))


OK = "HTTP/1.1 200 OK\r\n"
CHUNKED = f'{OK}ETag: "e"\r\nTransfer-Encoding: chunked\r\n\r\n'
ILL: dict[str, tuple[Answer, Callable[[Store], object]]] = {
    "a status line that never ends": (for_ever("", b"H", every_s=0.05), look),
    "headers that never end": (for_ever(OK, b"x: y\r\n", every_s=0.05), look),
    "headers that never end, to GET": (for_ever(OK, b"x: y\r\n", every_s=0.05), read),
    "headers that never end, to PUT": (for_ever(OK, b"x: y\r\n", every_s=0.05), write),
    "headers that never end, to a list": (for_ever(OK, b"x: y\r\n", every_s=0.05), listed),
    "a body that drips": (for_ever(CHUNKED, b"1\r\nx\r\n", every_s=0.3), read),
    "an answer to PUT that drips": (for_ever(CHUNKED, b"1\r\nx\r\n", every_s=0.05), write),
    "a body without end": (for_ever(CHUNKED, b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"), read),
    "an answer to PUT without end": (for_ever(CHUNKED, b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"), write),
    "a list without end": (for_ever(CHUNKED, b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"), listed),
    "a refusal without end": (
        for_ever(CHUNKED.replace("200 OK", "503 No"), b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"),
        read,
    ),
    "go on, and away": (saying("HTTP/1.1 100 Continue\r\n"), write),
    "go on, for ever": (for_ever("", b"HTTP/1.1 100 Continue\r\n\r\n", every_s=0.05), write),
    "nothing": (lambda _: time.sleep(60), look),
    "ask again next year": (
        saying(
            "HTTP/1.1 503 Slow Down\r\nRetry-After: 31536000\r\nx-amz-retry-after: 31536000\r\n"
            "Content-Length: 0\r\n\r\n"
        ),
        look,
    ),
    "go elsewhere": (saying("HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"), write),
    "the end of a body that was longer": (saying(f'{OK}ETag: "e"\r\nContent-Length: 10\r\n\r\nshort'), read),
    "more than HEAD said": (saying(f'{OK}ETag: "e"\r\nContent-Length: 20\r\n\r\n' + "x" * 20), read),
    "no HTTP": (saying("SSH-2.0-OpenSSH_9.2\r\n"), look),
    "no XML": (saying(f"{OK}Content-Length: 3\r\n\r\n<<<"), listed),
}
BOUND_S = 10
"""Of two tries of 0.7 s, a pause of a second, and a machine that is busy."""


@pytest.mark.parametrize("what", ILL)
def test_a_store_that_means_ill_is_given_up(what: str) -> None:
    answer, asked = ILL[what]
    with hostile(answer) as store:
        began_at = time.monotonic()
        with pytest.raises(StyleQueueError):
            asked(store)
        assert time.monotonic() - began_at < BOUND_S


@pytest.mark.parametrize("what", [what for what, (_, asked) in ILL.items() if "never" in what or "drips" in what])
def test_nobody_waits_for_it_who_need_not(what: str) -> None:
    """A cancelled job, a worker that is told to stop: the wait is over at once, however long it might have been."""
    answer, asked = ILL[what]
    begun = threading.Event()

    def begins(connection: Any) -> None:
        begun.set()
        answer(connection)

    def check() -> None:
        if begun.is_set():
            raise Cancelled

    with hostile(begins, s3_read_timeout_s=600) as store, heeding(check):
        began_at = time.monotonic()
        with pytest.raises(Cancelled):
            asked(store)
        assert time.monotonic() - began_at < BOUND_S


def test_nor_between_two_tries() -> None:
    ends_at = time.monotonic() + 0.3

    def check() -> None:
        if time.monotonic() > ends_at:
            raise Cancelled

    with OddS3(refuse("HEAD", 503, "SlowDown")) as s3, heeding(check), pytest.raises(Cancelled):
        look(Store(s3.settings(s3_attempts=100)))


def upload(store: Store, tmp_path: Path) -> object:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"my photograph")
    return store.upload_file(photo)


@pytest.mark.parametrize(
    "asked",
    [
        lambda store, _: write(store),
        upload,
        lambda store, _: store.put_work("a", b"checkpoint", origin=MARK.origin, content_type="image/png"),
    ],
    ids=["a picture", "an upload", "a checkpoint"],
)
def test_a_key_that_is_taken_and_is_not_there_is_given_up(
    tmp_path: Path, asked: Callable[[Store, Path], object]
) -> None:
    """HEAD says 404 and PUT says 412, for ever."""
    with OddS3(refuse("HEAD", 404, "NoSuchKey"), refuse("PUT", 412, "PreconditionFailed")) as s3:
        with pytest.raises(Unavailable, match="again and again"):
            asked(Store(s3.settings(s3_attempts=1)), tmp_path)
        assert len([one for one in s3.seen if one.startswith("PUT")]) == 5
