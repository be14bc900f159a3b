"""Refusals that SeaweedFS never gives: whose fault each is, and which of them pass."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError
from pydantic import SecretStr

from stylequeue.contract.errors import Code, Misconfigured, Permanent, Retryable, StyleQueueError, Unavailable
from stylequeue.contract.events import StoredFile
from stylequeue.settings import Settings
from stylequeue.store import Store
from tests.store.asking import BODY, ORIGIN, PNG, check_refusal, copy, lay_source, look, put
from tests.support.odd_s3 import (
    OddS3,
    breaks_off,
    refuse,
)

JOBS_FAULT = [
    (404, "NoSuchKey", Code.OBJECT_NOT_FOUND),
    (404, "NoSuchVersion", Code.OBJECT_NOT_FOUND),
    (404, "NoSuchBucket", Code.OBJECT_NOT_FOUND),
    (405, "MethodNotAllowed", Code.OBJECT_NOT_FOUND),
    (403, "AccessDenied", Code.ACCESS_DENIED),
    (403, "AllAccessDisabled", Code.ACCESS_DENIED),
    (400, "KMS.DisabledException", Code.ACCESS_DENIED),
    (400, "KMS.NotFoundException", Code.ACCESS_DENIED),
    (403, "InvalidObjectState", Code.OBJECT_ARCHIVED),
    (400, "KeyTooLongError", Code.STORE_REFUSED),
    (400, "InvalidRequest", Code.STORE_REFUSED),
]
MOMENTS_FAULT = [
    (400, "ThrottlingException"),
    (400, "RequestTimeout"),
    (400, "BadDigest"),
    (403, "RequestLimitExceeded"),
    (409, "OperationAborted"),
    (409, "SomethingElse"),
    (429, "TooManyRequests"),
    (500, "InternalError"),
    (503, "SlowDown"),
    (503, "SomethingElse"),
    (504, ""),
]
WORKERS_FAULT = [
    (301, "PermanentRedirect", Code.STORE_UNAVAILABLE),
    (301, "", Code.STORE_UNAVAILABLE),
    (307, "TemporaryRedirect", Code.STORE_UNAVAILABLE),
    (308, "", Code.STORE_UNAVAILABLE),
    (400, "AuthorizationHeaderMalformed", Code.STORE_UNAVAILABLE),
    (400, "IllegalLocationConstraintException", Code.STORE_UNAVAILABLE),
    (400, "ExpiredToken", Code.STORE_UNAVAILABLE),
    (400, "InvalidToken", Code.STORE_UNAVAILABLE),
    (401, "", Code.STORE_UNAVAILABLE),
    (403, "InvalidAccessKeyId", Code.STORE_UNAVAILABLE),
    (403, "SignatureDoesNotMatch", Code.STORE_UNAVAILABLE),
    (403, "RequestTimeTooSkewed", Code.STORE_UNAVAILABLE),
    (403, "QuotaExceeded", Code.STORE_REFUSED),
    (507, "XMinioStorageFull", Code.STORE_REFUSED),
    (507, "", Code.STORE_REFUSED),
    (501, "NotImplemented", Code.STORE_REFUSED),
]
WRITERS_FAULT = [
    (403, "AccessDenied", Code.ACCESS_DENIED),
    (400, "KMS.DisabledException", Code.ACCESS_DENIED),
    (404, "NoSuchBucket", Code.OBJECT_NOT_FOUND),
]
"""This process's where it writes, the job's where it reads."""


GONE = ("NoSuchKey", "NoSuchVersion", "MethodNotAllowed")


Refusals = Sequence[tuple[int, str, Code]]


def check_refusals(method: str, refusals: Refusals, kind: type[StyleQueueError]) -> None:
    """One store that refuses in each of these ways, one after the other."""
    with OddS3() as s3:
        s3.lay("/uploads/a", BODY)
        store = Store(s3.settings(s3_attempts=1))
        for status, code, expected in refusals:
            print(method, status, code)
            s3.oddities = [refuse("PUT" if method == "work" else method, status, code)]
            check_refusal(lambda: do(store, method), kind, expected)


class TestFaults:
    def test_the_jobs_where_it_looks(self) -> None:
        check_refusals("HEAD", JOBS_FAULT, Permanent)

    def test_the_jobs_where_it_reads(self) -> None:
        # What was seen a moment ago and is not there any more may be there again.
        check_refusals("GET", [row for row in JOBS_FAULT if row[1] not in GONE], Permanent)

    @pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchVersion", "MethodNotAllowed"])
    def test_what_goes_between_look_and_read_is_looked_at_again(self, code: str) -> None:
        check_refusals("GET", [(404, code, Code.OBJECT_CHANGED)], Retryable)

    @pytest.mark.parametrize("method", ["HEAD", "GET", "PUT", "work", "DELETE"])
    def test_the_moments(self, method: str) -> None:
        check_refusals(method, [(*row, Code.STORE_UNAVAILABLE) for row in MOMENTS_FAULT], Unavailable)

    @pytest.mark.parametrize("method", ["HEAD", "GET", "PUT", "work", "DELETE"])
    def test_this_process_s(self, method: str) -> None:
        check_refusals(method, WORKERS_FAULT, Misconfigured)

    @pytest.mark.parametrize("method", ["PUT", "work", "DELETE"])
    def test_this_process_s_where_it_writes(self, method: str) -> None:
        check_refusals(method, WRITERS_FAULT, Misconfigured)

    @pytest.mark.parametrize(
        ("status", "code", "expected"),
        [
            (400, "KeyTooLongError", Code.STORE_REFUSED),
            (400, "EntityTooLarge", Code.STORE_REFUSED),
            (400, "XMinioParentIsObject", Code.OUTPUT_EXISTS),
            (409, "XMinioObjectExistsAsDirectory", Code.OUTPUT_EXISTS),
        ],
    )
    def test_the_jobs_where_it_writes(self, status: int, code: str, expected: Code) -> None:
        with OddS3(refuse("PUT", status, code)) as s3:
            check_refusal(lambda: put(Store(s3.settings())), Permanent, expected)
            assert s3.seen == ["PUT /results/a"]

    def test_an_unknown_refusal_of_a_painted_picture_is_tried_again(self) -> None:
        with OddS3(refuse("PUT", 418, "Teapot")) as s3:
            check_refusal(lambda: put(Store(s3.settings())), Unavailable, Code.STORE_REFUSED)

    def test_no_keys_at_all(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        store = Store(Settings(s3_endpoint_url="http://127.0.0.1:9", read_buckets=("uploads",)))
        with pytest.raises(Misconfigured, match="no S3 keys"):
            look(store)


def do(store: Store, method: str, source: StoredFile | None = None) -> object:
    """Something that begins with such a request, or comes to it."""
    match method:
        case "HEAD":
            return look(store)
        case "GET":
            return store.read(look(store), max_bytes=100)
        case "PUT":
            return put(store)
        case "COPY":
            assert source
            return copy(store, source)
        case "work":
            store.put_work("a", BODY, origin=ORIGIN, content_type=PNG)
        case "DELETE":
            store._objects.delete("results", "a")
    return None


# What passes


class TestPassing:
    @pytest.mark.parametrize("method", ["HEAD", "GET", "PUT", "COPY", "DELETE"])
    def test_once_is_nothing(self, method: str) -> None:
        with OddS3() as s3:
            store = Store(s3.settings(s3_attempts=3))
            for status, code in ((400, "ThrottlingException"), (409, "OperationAborted"), (503, "SlowDown")):
                s3.objects.clear()
                s3.lay("/uploads/a", BODY)
                source = lay_source(s3)
                s3.oddities = [refuse(method, status, code, times=1)]
                do(store, method, source)

    @pytest.mark.parametrize("times", [1, 2])
    @pytest.mark.parametrize("what", ["PUT", "COPY", "DELETE", "HEAD", "GET"])
    def test_conflicts_are_asked_again_and_not_for_ever(self, what: str, times: int) -> None:
        with OddS3(refuse(what, 409, "OperationAborted", times=times)) as s3:
            s3.lay("/uploads/a", BODY)
            source = lay_source(s3)
            store = Store(s3.settings(s3_attempts=2))

            if times == 1:
                do(store, what, source)
            else:
                check_refusal(lambda: do(store, what, source), Unavailable, Code.STORE_UNAVAILABLE)
            bucket = "uploads" if what in ("HEAD", "GET") else "results"
            assert s3.seen.count(f"{what} /{bucket}/a") == 2

    def test_a_silent_server_is_given_up(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            store = Store(
                Settings(
                    s3_endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
                    s3_access_key=SecretStr("access"),
                    s3_secret_key=SecretStr("secret"),
                    s3_read_timeout_s=0.2,
                    s3_attempts=2,
                )
            )
            with pytest.raises(Unavailable, match="did not answer for s3://uploads/a") as raised:
                look(store)
            store.close()
        assert raised.value.code == Code.STORE_UNAVAILABLE

    def test_a_body_that_breaks_off_is_read_again(self) -> None:
        with OddS3(breaks_off("GET", times=1)) as s3:
            s3.lay("/uploads/a", BODY)
            store = Store(s3.settings())
            assert store.read(look(store), max_bytes=100) == BODY
            assert s3.seen == ["HEAD /uploads/a", "GET /uploads/a", "GET /uploads/a"]

    def test_a_body_that_always_breaks_off(self) -> None:
        with OddS3(breaks_off("GET", times=9)) as s3:
            s3.lay("/uploads/a", BODY)
            store = Store(s3.settings())
            with pytest.raises(Unavailable, match=ResponseStreamingError.__name__ + "|IncompleteReadError"):
                store.read(look(store), max_bytes=100)
            assert s3.seen.count("GET /uploads/a") == 2  # s3_attempts
