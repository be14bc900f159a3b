"""The store against SeaweedFS."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stylequeue.contract.errors import Code, InvalidJob, Misconfigured, Permanent, Retryable
from stylequeue.contract.objects import ImageRef
from stylequeue.local import Stack
from stylequeue.settings import Settings
from stylequeue.store import MARK_METADATA, ObjectInfo, Origin, Store
from tests.store.conftest import PNG, look, put, stored


class TestRoundTrip:
    def test_bytes_size_and_metadata_come_back(self, store: Store, key: str) -> None:
        body = os.urandom(3 * 1024 * 1024 + 1)
        written = store.write(
            "results",
            key,
            body,
            origin=Origin("a", "f"),
            content_type=PNG,
            metadata={"width-px": "7", "of-no-concern": "x"},
            overwrite=False,
        )
        assert written.created
        info = look(store, key)
        assert info.size_bytes == written.size_bytes == len(body)
        assert info.etag == written.etag
        assert info.metadata == written.metadata
        said = {"stylequeue-fingerprint": "f", "stylequeue-job": "a", "width-px": "7", "size-bytes": str(len(body))}
        mark = {"sha256": hashlib.sha256(body).hexdigest(), MARK_METADATA: info.metadata[MARK_METADATA]}
        assert info.metadata == said | mark
        assert store.read(info, max_bytes=len(body)) == body

    @pytest.mark.parametrize(
        "name",
        [
            "plus+and %2B and space.png",
            "größe/筆/🎨.png",
            "?query&amp;=#fragment;:@$,'\"<>|^`{}[]~*()!.png",
            "%C3%BC%",
            "ends with a space ",
            "...dots..",
            "k" * 200 + "/" + "l" * 200,
        ],
    )
    def test_odd_keys_name_what_they_say(self, store: Store, name: str) -> None:
        key = f"{uuid.uuid4().hex}/{name}"
        put(store, key, name.encode())
        assert store.read(look(store, key), max_bytes=1000) == name.encode()
        with pytest.raises(Permanent):
            look(store, key.replace("+", " ").replace("%2B", "+").replace("%C3%BC", "ü") + "x")

    def test_a_key_of_1024_bytes(self, store: Store) -> None:
        key = "/".join(
            [uuid.uuid4().hex, "é" * 120, "k" * 249, "l" * 249, "m" * 250]
        )  # SeaweedFS takes 255 between slashes
        assert len(key.encode()) == 1024
        put(store, key, b"long")
        assert store.read(look(store, key), max_bytes=4) == b"long"

    def test_an_empty_object(self, store: Store, key: str) -> None:
        put(store, key, b"")
        assert store.read(look(store, key), max_bytes=10) == b""


class TestReading:
    def test_buckets_off_the_list_are_refused_before_any_request(self) -> None:
        nowhere = Store(Settings(s3_endpoint_url="http://127.0.0.1:9"))
        with pytest.raises(Permanent) as raised:
            look(nowhere, "a", bucket="private")
        assert raised.value.code == Code.BUCKET_NOT_ALLOWED
        with pytest.raises(Permanent) as raised:
            nowhere.write("uploads", "a", b"", origin=Origin("a", "f"), content_type=PNG, overwrite=True)
        assert raised.value.code == Code.BUCKET_NOT_ALLOWED

    def test_a_missing_object(self, store: Store, key: str) -> None:
        with pytest.raises(Permanent, match=f"no object s3://results/{key}") as raised:
            look(store, key)
        assert raised.value.code == Code.OBJECT_NOT_FOUND

    def test_a_missing_bucket_says_so(self, stack: Stack) -> None:
        store = Store(stack.settings.model_copy(update={"read_buckets": ("misspelt",)}))
        with pytest.raises(Permanent, match="no such bucket") as raised:
            look(store, "a", bucket="misspelt")
        assert raised.value.code == Code.OBJECT_NOT_FOUND
        with pytest.raises(Permanent, match="no such bucket"):
            store.check_bucket("misspelt")
        store.check_bucket("results")
        store.close()

    def test_wrong_keys_are_the_workers_trouble_and_stay_secret(self, stack: Stack) -> None:
        wrong = "wrong-secret-that-nobody-sees"
        settings = stack.settings.model_copy(update={"s3_secret_key": SecretStr(wrong)})
        store = Store(settings)
        assert settings.s3_access_key
        for attempt in (
            lambda: look(store, "a", bucket="uploads"),
            lambda: put(store, "a", b"", "f"),
            lambda: store.check_bucket("uploads"),
        ):
            with pytest.raises(Misconfigured, match="STYLEQUEUE_S3_SECRET_KEY") as raised:
                attempt()
            assert wrong not in str(raised.value)
            assert settings.s3_access_key.get_secret_value() not in str(raised.value)
        store.close()

    def test_too_many_bytes_are_refused_unread(self, store: Store, key: str) -> None:
        put(store, key, b"x" * 101)
        with pytest.raises(Permanent, match="101 bytes, at most 100") as raised:
            store.read(look(store, key), max_bytes=100)
        assert raised.value.code == Code.IMAGE_TOO_MANY_BYTES

    def test_an_object_replaced_after_the_look(self, store: Store, key: str) -> None:
        put(store, key, b"before")
        seen = look(store, key)
        put(store, key, b"after!")
        with pytest.raises(Retryable) as raised:
            store.read(seen, max_bytes=100)
        assert raised.value.code == Code.OBJECT_CHANGED

    def test_an_object_deleted_after_the_look(self, store: Store, key: str) -> None:
        put(store, key, b"before")
        seen = look(store, key)
        store._client.delete_object(Bucket="results", Key=key)
        with pytest.raises(Retryable) as raised:
            store.read(seen, max_bytes=100)
        assert raised.value.code == Code.OBJECT_CHANGED
        with pytest.raises(Permanent) as gone:
            look(store, key)
        assert gone.value.code == Code.OBJECT_NOT_FOUND

    def test_versions_are_read_by_their_id(self, stack: Stack) -> None:
        store = Store(stack.settings)
        bucket = f"versioned-{uuid.uuid4().hex}"
        store._client.create_bucket(Bucket=bucket)
        store._client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        ours = Store(stack.settings.model_copy(update={"read_buckets": (bucket,), "write_buckets": (bucket,)}))
        first = ours.write(bucket, "a", b"first", origin=Origin("a", "f1"), content_type=PNG, overwrite=False)
        ours.write(bucket, "a", b"second", origin=Origin("a", "f2"), content_type=PNG, overwrite=True)
        old = ours.look(ImageRef(bucket=bucket, key="a", version_id=first.version_id))
        assert old.version == first.version_id is not None
        assert ours.read(old, max_bytes=100) == b"first"
        newest = ours.look(ImageRef(bucket=bucket, key="a"))
        assert ours.read(newest, max_bytes=100) == b"second"
        assert newest.version != old.version
        with pytest.raises(Permanent) as raised:
            ours.look(ImageRef(bucket=bucket, key="a", version_id="no-such-version"))
        assert raised.value.code == Code.OBJECT_NOT_FOUND
        store.close()
        ours.close()


class TestWriting:
    def test_the_same_picture_twice_is_the_first_ones(self, store: Store, key: str) -> None:
        first = put(store, key, b"first bytes", "f1")
        second = put(store, key, b"other bytes, same picture", "f1")
        assert first.created
        assert not second.created
        assert (second.etag, second.size_bytes) == (first.etag, len(b"first bytes"))

    @pytest.mark.parametrize("there", ["f1", None])
    def test_another_object_is_never_replaced(self, store: Store, key: str, there: str | None) -> None:
        put(store, key, b"there", there)
        with pytest.raises(Permanent) as raised:
            put(store, key, b"ours", "f2")
        assert raised.value.code == Code.OUTPUT_EXISTS
        assert store.read(look(store, key), max_bytes=100) == b"there"

    def test_overwrite_replaces_it(self, store: Store, key: str) -> None:
        put(store, key, b"there", "f1")
        assert put(store, key, b"ours", "f2", overwrite=True).created
        assert store.read(look(store, key), max_bytes=100) == b"ours"

    def test_of_many_at_once_one_wins(self, store: Store, key: str) -> None:
        def attempt(number: int) -> bool:
            return bool(put(store, key, f"bytes of {number}".encode(), "same").created)

        with ThreadPoolExecutor(8) as pool:
            created = list(pool.map(attempt, range(16)))
        assert created.count(True) == 1
        assert store.read(look(store, key), max_bytes=100) == f"bytes of {created.index(True)}".encode()


class TestKeys:
    """Stores that keep objects as files take some keys for others, and one for a directory."""

    @pytest.mark.parametrize("name", ["a/", "a//", "/a", "a//b", "//a/b", "a\\b"])
    def test_to_write_to_they_are_refused(self, store: Store, key: str, name: str) -> None:
        name = f"{'/' if name.startswith('/') else ''}{key}/{name}"
        source = put(store, key, b"picture", "f1")
        how: Any = {"origin": Origin("a", "f1"), "overwrite": True}
        for attempt in (
            lambda: put(store, name, b"picture", "f1"),
            lambda: store.look_at_output("results", name),
            lambda: store.copy(stored(source), ("results", name), there=None, **how),
            lambda: store.write_beside(stored(source), name, b"event", content_type=PNG, **how),
        ):
            with pytest.raises(InvalidJob, match="some stores take it for another key"):
                attempt()

    def test_one_that_begins_with_another_s(self, store: Store, key: str) -> None:
        for name in (key, f"{key}/b"):
            put(store, name, name.encode(), "f1")
        for name in (key, f"{key}/b"):
            assert store.read(look(store, name), max_bytes=100) == name.encode()

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_another_s_that_begins_with_it(self, store: Store, key: str, overwrite: bool) -> None:
        """SeaweedFS has made a directory of it by then: it says that something lies there, and that nothing does."""
        source = put(store, f"source-of-{key}", b"picture", "f1")
        put(store, f"{key}/b", b"below", "f1")
        origin = Origin("a", "f1")
        for attempt in (
            lambda: put(store, key, b"picture", "f1", overwrite=overwrite),
            lambda: store.copy(stored(source), ("results", key), there=None, origin=origin, overwrite=overwrite),
        ):
            with pytest.raises(Permanent, match="as a directory") as raised:
                attempt()
            assert raised.value.code == Code.OUTPUT_EXISTS
        assert store.read(look(store, f"{key}/b"), max_bytes=100) == b"below"


class TestClientSide:
    def test_uploads_are_named_by_content_and_stored_once(self, store: Store, tmp_path: Path) -> None:
        content = os.urandom(1000)
        one, two = tmp_path / "photo.JPG", tmp_path / "copy of it.jpg"
        one.write_bytes(content)
        two.write_bytes(content)
        image = store.upload_file(one)
        stored_at = store._client.head_object(Bucket="uploads", Key=image.key)
        key = hashlib.sha256(content).hexdigest() + ".jpg"
        assert image == ImageRef(bucket="uploads", key=key, etag=stored_at["ETag"])
        assert store.upload_file(two) == image
        again = store._client.head_object(Bucket="uploads", Key=image.key)
        assert again["LastModified"] == stored_at["LastModified"]
        assert again["ContentType"] == "image/jpeg"
        assert store.read(store.look(image), max_bytes=1000) == content

    def test_an_upload_workers_would_refuse_is_not_sent(self, stack: Stack, tmp_path: Path) -> None:
        store = Store(stack.settings.model_copy(update={"max_image_bytes": 10}))
        photo = tmp_path / "photo.jpg"
        photo.write_bytes(b"x" * 11)
        with pytest.raises(Permanent) as raised:
            store.upload_file(photo)
        assert raised.value.code == Code.IMAGE_TOO_MANY_BYTES

    def test_a_download_is_complete_or_absent(self, store: Store, key: str, tmp_path: Path) -> None:
        put(store, key, b"picture")
        target = tmp_path / "out.png"
        target.write_bytes(b"an older and longer file")
        store.download("results", key, target)
        assert target.read_bytes() == b"picture"
        with pytest.raises(Permanent, match="no object"):
            store.download("results", key + "x", tmp_path / "absent.png")
        assert list(tmp_path.iterdir()) == [target]

    def test_a_download_of_what_it_was(self, store: Store, key: str, tmp_path: Path) -> None:
        written = put(store, key, b"picture")
        store.download("results", key, tmp_path / "out.png", etag=written.etag)
        assert (tmp_path / "out.png").read_bytes() == b"picture"
        put(store, key, b"replaced")
        with pytest.raises(Permanent, match="another object now") as raised:
            store.download("results", key, tmp_path / "other.png", etag=written.etag)
        assert raised.value.code == Code.OBJECT_CHANGED
        assert not (tmp_path / "other.png").exists()

    def test_the_workers_lists_do_not_bind_it(self, stack: Stack, key: str, tmp_path: Path) -> None:
        store = Store(stack.settings.model_copy(update={"read_buckets": (), "write_buckets": ()}))
        photo = tmp_path / "photo.png"
        photo.write_bytes(key.encode())
        image = store.upload_file(photo)
        store.download(image.bucket, image.key, tmp_path / "back.png")
        assert (tmp_path / "back.png").read_bytes() == key.encode()
        store.close()


def _read_in_child(store: Store, info: ObjectInfo, answers: Any) -> None:
    answers.put(store.read(info, max_bytes=100))


class TestProcess:
    def test_a_fork_gets_a_client_of_its_own(self, store: Store, key: str) -> None:
        put(store, key, b"shared")
        info = look(store, key)
        fork = multiprocessing.get_context("fork")
        answers = fork.Queue()
        child = fork.Process(target=_read_in_child, args=(store, info, answers))
        child.start()
        assert answers.get(timeout=30) == b"shared"
        child.join()
        assert store.read(info, max_bytes=100) == b"shared"

    def test_threads_share_one_client(self, stack: Stack) -> None:
        store = Store(stack.settings)
        with ThreadPoolExecutor(8) as pool:
            clients = list(pool.map(lambda _: store._client, range(32)))
        assert len(set(map(id, clients))) == 1
        store.close()

    def test_importing_and_making_it_is_light(self) -> None:
        program = (
            "import sys, stylequeue.store, stylequeue.settings\n"
            "stylequeue.store.Store(stylequeue.settings.Settings())\n"
            "print([m for m in ('boto3', 'botocore') if m in sys.modules])"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert result.stdout == "[]\n"

    def test_what_s3_understands_is_read_once(self, store: Store, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is long, and each client would else take a tenth of a second to read it."""
        assert not store.exists("results", key)
        monkeypatch.delattr("botocore.loaders.JSONFileLoader.load_file")
        with closing(Store(store._settings)) as another:
            assert not another.exists("results", key)
