"""The store against answers that SeaweedFS never gives: not whole, not true, or of what lies there already."""

from __future__ import annotations

import base64
import gzip
import random
import time
from typing import Any

import pytest

from stylequeue.contract.errors import Cancelled, Code, Misconfigured, Permanent, Retryable, Unavailable
from stylequeue.contract.events import StoredPicture
from stylequeue.store import JOB_METADATA, ObjectInfo, Store, heeding
from stylequeue.store.objects import unpacked
from tests.store.asking import BODY, NOTHING, ORIGIN, PNG, check_refusal, copy, lay_source, look, put
from tests.support.odd_s3 import (
    OddS3,
    before,
    careless,
    keeps_instead,
    refuse,
    without,
)

PACKED = ObjectInfo("uploads", "a", None, '"e"', 0, content_encoding="gzip")

# Answers that are not whole


class TestAnswers:
    @pytest.mark.parametrize("header", ["ETag", "Content-Length"])
    def test_a_look_without_what_it_is_for(self, header: str) -> None:
        with OddS3(without("HEAD", header)) as s3:
            s3.lay("/uploads/a", BODY)
            check_refusal(lambda: look(Store(s3.settings())), Misconfigured, Code.STORE_REFUSED)

    @pytest.mark.parametrize("missing", ["ETag", "Content-Length"])
    def test_a_body_without_etag_or_length_is_read_all_the_same(self, missing: str) -> None:
        with OddS3(without("GET", missing)) as s3:
            s3.lay("/uploads/a", BODY)
            store = Store(s3.settings())
            assert store.read(look(store), max_bytes=100) == BODY

    @pytest.mark.parametrize("now", [BODY * 2, BODY[:5]], ids=["longer", "shorter"])
    def test_a_body_without_length_that_is_another(self, now: bytes) -> None:
        with OddS3(without("GET", "ETag", "Content-Length"), careless("GET")) as s3:
            s3.lay("/uploads/a", BODY)
            store = Store(s3.settings())
            seen = look(store)
            s3.lay("/uploads/a", now)
            with pytest.raises(Retryable) as raised:
                store.read(seen, max_bytes=100)
        assert raised.value.code == Code.OBJECT_CHANGED

    def test_a_store_that_ignores_the_pin_is_noticed(self) -> None:
        with OddS3(careless("GET")) as s3:
            s3.lay("/uploads/a", BODY)
            store = Store(s3.settings())
            seen = look(store)
            s3.lay("/uploads/a", BODY[::-1])
            with pytest.raises(Retryable) as raised:
                store.read(seen, max_bytes=100)
        assert raised.value.code == Code.OBJECT_CHANGED

    @pytest.mark.parametrize("what", ["HEAD", "GET", ""])
    def test_weak_etags_are_etags(self, what: str) -> None:
        with OddS3() as s3:
            etag = s3.lay("/uploads/a", BODY)
            s3.oddities.append(without(what, ETag=f"W/{etag}"))
            store = Store(s3.settings())
            assert store.read(look(store), max_bytes=100) == BODY
            assert look(store).etag == etag

    @pytest.mark.parametrize("token", ["gzip", "GZIP", "aws-chunked,gzip"])
    def test_gzip_is_unpacked(self, token: str) -> None:
        with OddS3() as s3:
            s3.lay("/uploads/a", gzip.compress(BODY), Content_Encoding=token)
            store = Store(s3.settings())
            assert store.read(look(store), max_bytes=100) == BODY

    @pytest.mark.parametrize("token", ["", "identity", "aws-chunked", "gzip"])
    def test_what_is_not_packed_is_not_unpacked(self, token: str) -> None:
        with OddS3() as s3:
            s3.lay("/uploads/a", BODY, Content_Encoding=token)
            store = Store(s3.settings())
            assert store.read(look(store), max_bytes=100) == BODY

    @pytest.mark.parametrize(
        ("body", "token", "code"),
        [
            (gzip.compress(bytes(10_000_000)), "gzip", Code.IMAGE_TOO_MANY_BYTES),
            (gzip.compress(BODY)[:-9], "gzip", Code.IMAGE_CORRUPT),
            (gzip.compress(BODY)[:12] + b"nonsense" * 3, "gzip", Code.IMAGE_CORRUPT),
            (gzip.compress(BODY) + b"more", "gzip", Code.IMAGE_CORRUPT),
            (BODY, "br", Code.IMAGE_FORMAT_UNSUPPORTED),
            (BODY, "gzip, br", Code.IMAGE_FORMAT_UNSUPPORTED),
        ],
        ids=["a bomb", "cut off", "damaged", "with more behind", "brotli", "both"],
    )
    def test_what_cannot_be_unpacked(self, body: bytes, token: str, code: Code) -> None:
        with OddS3() as s3:
            s3.lay("/uploads/a", body, Content_Encoding=token)
            store = Store(s3.settings())
            seen = look(store)
            check_refusal(lambda: store.read(seen, max_bytes=50_000), Permanent, code)

    @pytest.mark.parametrize(
        "body",
        [gzip.compress(b"") * 400_000, b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 8_000_000],
        ids=["hundreds of thousands of parts", "a name of megabytes"],
    )
    def test_what_takes_long_to_unpack_does_not(self, body: bytes) -> None:
        began_s = time.thread_time()
        with pytest.raises(Permanent) as raised:
            unpacked(body, PACKED, 64 * 1024**2)
        assert raised.value.code == Code.IMAGE_CORRUPT
        assert time.thread_time() - began_s < 0.5, "it took seconds"

    def test_nobody_waits_for_what_is_unpacked_who_need_not(self) -> None:
        def check() -> None:
            raise Cancelled

        with heeding(check), pytest.raises(Cancelled):
            unpacked(gzip.compress(BODY), PACKED, 100)

    def test_what_is_packed_may_have_as_many_bytes_as_the_cap(self) -> None:
        body = random.Random(1).randbytes(3_000_000)
        assert unpacked(gzip.compress(body), PACKED, len(body)) == body
        with pytest.raises(Permanent) as raised:
            unpacked(gzip.compress(body), PACKED, len(body) - 1)
        assert raised.value.code == Code.IMAGE_TOO_MANY_BYTES

    @pytest.mark.parametrize(
        "headers",
        [
            {"x_amz_storage_class": "GLACIER"},
            {"x_amz_storage_class": "DEEP_ARCHIVE"},
            {"x_amz_archive_status": "ARCHIVE_ACCESS"},
            {"x_amz_storage_class": "GLACIER", "x_amz_restore": 'ongoing-request="true"'},
        ],
    )
    def test_an_archived_object_is_seen_by_looking(self, headers: dict[str, str]) -> None:
        with OddS3() as s3:
            s3.lay("/uploads/a", BODY, **headers)
            check_refusal(lambda: look(Store(s3.settings())), Permanent, Code.OBJECT_ARCHIVED)

    @pytest.mark.parametrize(
        "headers",
        [
            {"x_amz_storage_class": "GLACIER_IR"},
            {"x_amz_storage_class": "STANDARD_IA"},
            {"x_amz_storage_class": "GLACIER", "x_amz_restore": 'ongoing-request="false", expiry-date="some day"'},
        ],
    )
    def test_what_only_sounds_archived(self, headers: dict[str, str]) -> None:
        with OddS3() as s3:
            s3.lay("/uploads/a", BODY, **headers)
            store = Store(s3.settings())
            assert store.read(look(store), max_bytes=100) == BODY


# What lies there after a write


class TestWritten:
    def test_one_request_where_the_store_says_what_it_has(self) -> None:
        with OddS3() as s3:
            assert put(Store(s3.settings())).created
            assert s3.seen == ["PUT /results/a"]

    @pytest.mark.parametrize("oddity", [without("PUT", "ETag"), without("PUT", ETag='"not-the-md5"')])
    def test_it_is_looked_up_where_the_store_does_not(self, oddity: Any) -> None:
        etag = '"not-the-md5"'
        with OddS3(oddity, without("HEAD", ETag=etag)) as s3:
            written = put(Store(s3.settings()))
            assert (written.created, written.etag, written.size_bytes) == (True, etag, len(BODY))
            assert s3.seen == ["PUT /results/a", "HEAD /results/a"]

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("kept", [b"", b"something else"])
    def test_what_is_something_else_is_no_success_and_goes(self, kept: bytes, overwrite: bool) -> None:
        with OddS3(keeps_instead(kept), without("PUT", "ETag")) as s3:
            store = Store(s3.settings())
            check_refusal(lambda: put(store, overwrite=overwrite), Unavailable, Code.STORE_UNAVAILABLE)
            assert "/results/a" not in s3.objects

    def test_a_checksum_that_is_another(self) -> None:
        with OddS3(without("PUT", x_amz_checksum_sha256=base64.b64encode(bytes(32)).decode())) as s3:
            store = Store(s3.settings())
            check_refusal(lambda: put(store), Unavailable, Code.STORE_UNAVAILABLE)

    def test_it_is_gone_when_it_is_looked_up(self) -> None:
        with OddS3(without("PUT", "ETag"), refuse("HEAD", 404, "NoSuchKey")) as s3:
            store = Store(s3.settings())
            check_refusal(lambda: put(store), Unavailable, Code.STORE_UNAVAILABLE)

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_broken_picture_of_ours_is_put_right(self, overwrite: bool) -> None:
        with OddS3() as s3:
            store = Store(s3.settings())
            put(store)
            s3.objects["/results/a"] = (b"", s3.objects["/results/a"][1])
            assert put(store, overwrite=overwrite).created
            assert s3.objects["/results/a"][0] == BODY

    def test_overwriting_what_is_deleted_meanwhile(self) -> None:
        """404 to If-Match: it is gone, and that is all."""
        with OddS3() as s3:
            s3.lay("/results/a", b"there")
            s3.oddities = [before("PUT", lambda: s3.objects.pop("/results/a"), number=2)]
            assert put(Store(s3.settings(s3_attempts=1)), overwrite=True).created
            assert s3.objects["/results/a"][0] == BODY

    def test_others_write_again_and_again(self) -> None:
        with OddS3() as s3:
            numbers = iter(range(1000))
            s3.oddities = [before("PUT", lambda: s3.lay("/results/a", b"%d" % next(numbers)), number=None)]
            store = Store(s3.settings(s3_attempts=1))
            check_refusal(lambda: put(store, overwrite=True), Unavailable, Code.STORE_UNAVAILABLE)
            assert s3.seen.count("PUT /results/a") == 5

    def test_an_upload_that_lies_there_broken(self, tmp_path: Any) -> None:
        photo = tmp_path / "photo.png"
        photo.write_bytes(BODY)
        with OddS3() as s3:
            store = Store(s3.settings())
            path = f"/uploads/{store.upload_file(photo).key}"
            s3.lay(path, b"")
            store.upload_file(photo)
            assert s3.objects[path][0] == BODY


class TestCopying:
    def test_one_request_and_a_look_at_the_source(self) -> None:
        with OddS3() as s3:
            source = lay_source(s3)
            written = copy(Store(s3.settings()), source)
            assert (written.created, written.etag) == (True, source.etag)
            assert s3.seen == ["HEAD /results/source", "GET /results/source", "COPY /results/a"]

    def test_the_bytes_are_not_read_where_the_store_says_their_checksum(self) -> None:
        with OddS3() as s3:
            source = lay_source(s3)
            checksum = base64.b64encode(bytes.fromhex(source.sha256)).decode()
            s3.oddities = [without("HEAD", x_amz_checksum_sha256=checksum)]
            copy(Store(s3.settings()), source)
            assert s3.seen == ["HEAD /results/source", "COPY /results/a"]

    def test_what_comes_in_between_is_not_replaced(self) -> None:
        with OddS3() as s3:
            source = lay_source(s3)
            s3.oddities = [before("COPY", lambda: s3.lay("/results/a", b"faster"))]
            check_refusal(lambda: copy(Store(s3.settings(s3_attempts=1)), source), Permanent, Code.OUTPUT_EXISTS)
            assert s3.objects["/results/a"][0] == b"faster"

    def test_overwriting_replaces_what_was_seen_and_then_what_came_in_between(self) -> None:
        with OddS3() as s3:
            source = lay_source(s3)
            s3.lay("/results/a", b"there")
            store = Store(s3.settings(s3_attempts=1))
            there = store.find("results", "a")
            s3.oddities = [before("COPY", lambda: s3.lay("/results/a", b"faster"))]
            assert copy(store, source, overwrite=True, there=there).created
            assert s3.objects["/results/a"][0] == BODY

    def test_a_source_that_goes(self) -> None:
        with OddS3() as s3:
            source = lay_source(s3)
            s3.oddities = [before("COPY", lambda: s3.objects.pop("/results/source"))]
            check_refusal(lambda: copy(Store(s3.settings(s3_attempts=1)), source), Permanent, Code.OBJECT_NOT_FOUND)

    @pytest.mark.parametrize(
        ("status", "code"),
        [(403, "AccessDenied"), (501, "NotImplemented"), (405, "MethodNotAllowed"), (400, "InvalidRequest")],
    )
    def test_where_copies_are_forbidden_it_is_read_and_written(self, status: int, code: str) -> None:
        with OddS3(refuse("COPY", status, code)) as s3:
            source = lay_source(s3)
            written = copy(Store(s3.settings()), source)
            assert written.created
            assert s3.objects["/results/a"][0] == BODY
            assert written.metadata[JOB_METADATA] == "another"
            assert s3.seen[-2:] == ["GET /results/source", "PUT /results/a"]

    def test_read_and_written_it_replaces_nothing_either(self) -> None:
        with OddS3(refuse("COPY", 403, "AccessDenied")) as s3:
            source = lay_source(s3)
            s3.oddities.append(before("PUT", lambda: s3.lay("/results/a", b"faster")))
            check_refusal(lambda: copy(Store(s3.settings(s3_attempts=1)), source), Permanent, Code.OUTPUT_EXISTS)

    @pytest.mark.parametrize("kept", [b"", b"something else"])
    def test_a_copy_that_is_something_else(self, kept: bytes) -> None:
        with OddS3(keeps_instead(kept), without("COPY", "ETag")) as s3:
            source = lay_source(s3)
            check_refusal(lambda: copy(Store(s3.settings()), source), Unavailable, Code.STORE_UNAVAILABLE)

    def test_a_copy_without_etag_is_looked_up(self) -> None:
        with OddS3(without("COPY", "ETag")) as s3:
            source = lay_source(s3)
            assert copy(Store(s3.settings()), source).size_bytes == len(BODY)
            assert s3.seen[-1] == "HEAD /results/a"


# Before anything is painted


class TestOutput:
    BESIDE = ("a.json", "a.report.png")

    def test_one_list(self) -> None:
        with OddS3() as s3:
            s3.lay("/results/ab", b"beside nothing of ours")
            assert Store(s3.settings()).look_at_output("results", "a", self.BESIDE) == NOTHING
            assert s3.seen == ["GET /results"]

    @pytest.mark.parametrize("name", ["a", *BESIDE])
    @pytest.mark.parametrize("others", [0, 30])
    def test_what_lies_there_is_seen(self, name: str, others: int) -> None:
        """Also where so much begins with the same that a list has no room for it."""
        with OddS3() as s3:
            for number in range(others):
                s3.lay(f"/results/a!{number}", b"another's")
            etag = s3.lay(f"/results/{name}", b"there")
            place = Store(s3.settings()).look_at_output("results", "a", self.BESIDE)
            found = [place.picture, *place.beside]
            assert [(there.key, there.etag) for there in found if there] == [(name, etag)]
            assert place.mark is None

    def test_who_may_not_list_looks_at_each(self) -> None:
        with OddS3(refuse("GET /results", 403, "AccessDenied")) as s3:
            s3.lay("/results/a.json", b"there")
            [found] = Store(s3.settings()).look_at_output("results", "a", self.BESIDE).beside
            assert found.key == "a.json"

    def test_who_may_not_look_may_still_write(self) -> None:
        with OddS3(refuse("HEAD", 403, "AccessDenied"), refuse("GET /results", 403, "AccessDenied")) as s3:
            store = Store(s3.settings())
            assert store.look_at_output("results", "a", self.BESIDE) == NOTHING
            assert put(store).created

    def test_a_bucket_that_took_no_write_is_tried_before_the_next_painting(self) -> None:
        with OddS3(refuse("PUT", 403, "AccessDenied", times=2)) as s3:
            store = Store(s3.settings())
            with pytest.raises(Misconfigured):
                put(store)
            check_refusal(lambda: store.look_at_output("results", "a"), Misconfigured, Code.ACCESS_DENIED)
            assert store.look_at_output("results", "a") == NOTHING, "mended by now"
            tried = len(s3.seen)
            assert store.look_at_output("results", "a") == NOTHING
            assert len(s3.seen) == tried + 1, "and not tried again"
            assert list(s3.objects) == []


class TestProbes:
    @pytest.mark.parametrize("careless_in", [(), ("two",), ("one", "two")])
    def test_each_bucket_that_workers_write_is_tried(self, careless_in: tuple[str, ...]) -> None:
        with OddS3(*(careless(f"PUT /{bucket}") for bucket in careless_in)) as s3:
            store = Store(s3.settings(write_buckets=("one", "two")))
            assert store.honours_conditional_writes() is not bool(careless_in)
            assert not any("results" in seen for seen in s3.seen)
            assert s3.objects == {}

    def test_what_cannot_be_deleted_stays_behind_with_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        with OddS3(refuse("DELETE", 403, "AccessDenied")) as s3:
            assert Store(s3.settings()).honours_conditional_writes()
        assert [seen.split()[0] for seen in s3.seen] == ["PUT", "PUT", "DELETE"]
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert ".stylequeue-probe-" in record.message

    def test_what_was_never_put_is_not_said_to_stay_behind(self, caplog: pytest.LogCaptureFixture) -> None:
        with OddS3(refuse("PUT", 403, "AccessDenied")) as s3, pytest.raises(Misconfigured):
            Store(s3.settings()).honours_conditional_writes()
        assert [seen.split()[0] for seen in s3.seen] == ["PUT"]
        assert caplog.records == []

    @pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
    def test_the_work_bucket_is_tried_in_every_way(self, method: str) -> None:
        with OddS3() as s3:
            store = Store(s3.settings())
            store.check_work()
            assert s3.objects == {}
            s3.oddities = [refuse(f"{method} /work", 403, "AccessDenied")]
            with pytest.raises((Misconfigured, Permanent)) as raised:
                store.check_work()
            assert raised.value.code == Code.ACCESS_DENIED

    def test_read_buckets_must_be_there_and_need_not_be_listed(self) -> None:
        with OddS3(refuse("GET /uploads", 403, "AccessDenied")) as s3:
            store = Store(s3.settings())
            store.check_reading()
            s3.oddities.append(refuse("GET /results", 404, "NoSuchBucket"))
            with pytest.raises(Permanent, match="no such bucket") as raised:
                store.check_reading()
        assert raised.value.code == Code.OBJECT_NOT_FOUND


def test_a_picture_without_its_bucket() -> None:
    """For completeness of the side files: what another deployment deleted is no trouble of ours."""
    picture = StoredPicture(
        bucket="results", key="a", etag='"e"', sha256="", width_px=1, height_px=1, size_bytes=1, content_type=PNG
    )
    with OddS3(refuse("", 404, "NoSuchBucket")) as s3:
        how: Any = {"origin": ORIGIN, "content_type": "application/json", "overwrite": False}
        assert not Store(s3.settings()).write_beside(picture, "a.json", b"{}", **how)
