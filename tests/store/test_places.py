"""What lies beside a picture, and pictures that are copied, on SeaweedFS."""

from __future__ import annotations

from typing import Any

import pytest

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.events import StoredPicture
from stylequeue.store import JOB_METADATA, Origin, Store
from tests.store.conftest import PNG, look, put, stored


class TestBeside:
    """What belongs to a picture, where several write pictures to one key."""

    @pytest.fixture
    def mine(self, store: Store, key: str) -> StoredPicture:
        return stored(put(store, key, b"mine", "f1"))

    def beside(self, store: Store, picture: StoredPicture, body: bytes, **how: Any) -> bool:
        given: Any = {
            "origin": Origin("job of f1", "f1"),
            "content_type": "application/json",
            "overwrite": False,
            **how,
        }
        return store.write_beside(picture, picture.key + ".json", body, **given) is not None

    def read(self, store: Store, picture: StoredPicture) -> bytes:
        return store.read(look(store, picture.key + ".json"), max_bytes=100)

    @pytest.mark.parametrize("just_stored", [False, True])
    def test_it_lies_there_and_may_be_told_again(self, store: Store, mine: StoredPicture, just_stored: bool) -> None:
        for body in (b"once", b"twice"):
            assert self.beside(store, mine, body, just_stored=just_stored)
            assert self.read(store, mine) == body

    def test_where_another_picture_lies_by_now_nothing_is_put_beside_it(
        self, store: Store, mine: StoredPicture
    ) -> None:
        put(store, mine.key, b"theirs", "f2", overwrite=True)
        assert not self.beside(store, mine, b"of mine")
        assert not store.exists("results", mine.key + ".json")

    def test_nor_where_none_does(self, store: Store, mine: StoredPicture) -> None:
        store._client.delete_object(Bucket="results", Key=mine.key)
        assert not self.beside(store, mine, b"of mine")
        assert not store.exists("results", mine.key + ".json")

    @pytest.mark.parametrize("just_stored", [False, True])
    def test_what_lies_beside_another_picture_stays(self, store: Store, mine: StoredPicture, just_stored: bool) -> None:
        theirs = stored(put(store, mine.key, b"theirs", "f2", overwrite=True))
        assert self.beside(store, theirs, b"of theirs", origin=Origin("theirs", "f2"))
        assert not self.beside(store, mine, b"of mine", just_stored=just_stored)
        assert self.read(store, theirs) == b"of theirs"

    @pytest.mark.parametrize("same", ["job", "picture"])
    def test_what_is_of_the_same_job_or_picture_is_replaced(self, store: Store, mine: StoredPicture, same: str) -> None:
        origin = Origin("job of f1", "before") if same == "job" else Origin("another", "f1")
        assert self.beside(store, mine, b"before", origin=origin)
        assert self.beside(store, mine, b"of mine")
        assert self.read(store, mine) == b"of mine"

    def test_copied_beside(self, store: Store, mine: StoredPicture) -> None:
        origin = Origin("job of f1", "f1")
        how: Any = {"origin": origin, "content_type": PNG, "overwrite": False}
        sheet = store.write_beside(mine, mine.key + ".report.png", b"sheet", **how)
        assert sheet
        copy = stored(put(store, f"copy-of-{mine.key}", b"mine", "f1"))
        key = copy.key + ".report.png"
        copied = store.copy_beside(sheet, copy, key, origin=Origin("its job", "f1"), overwrite=False)
        assert copied == store.proven(store.find("results", key), origin)
        assert store.read(look(store, key), max_bytes=100) == b"sheet"


class TestCopying:
    def copy(self, store: Store, source: Any, key: str, **changes: Any) -> Any:
        given = {"origin": Origin("the copy's", "f1"), "overwrite": False, **changes}
        given.setdefault("there", store.find("results", key))
        return store.copy(stored(source), ("results", key), **given)

    def test_bytes_and_metadata(self, store: Store, key: str) -> None:
        source = put(store, key, b"picture", "f1")
        written = self.copy(store, source, f"copy-of-{key}")
        assert written.created
        assert look(store, f"copy-of-{key}").metadata == written.metadata
        assert written.metadata[JOB_METADATA] == "the copy's"
        assert store.proven(store.find("results", f"copy-of-{key}"), Origin("any", "f1")), "marked for where it lies"
        assert store.read(look(store, f"copy-of-{key}"), max_bytes=100) == b"picture"
        assert not self.copy(store, source, key).created, "onto itself"

    def test_what_is_another_object_now_is_not_copied(self, store: Store, key: str) -> None:
        source = put(store, key, b"picture", "f1")
        put(store, key, b"replaced")
        with pytest.raises(Permanent, match="no longer, what is on record") as raised:
            self.copy(store, source, f"copy-of-{key}")
        assert raised.value.code == Code.OBJECT_NOT_FOUND
        assert not store.exists("results", f"copy-of-{key}")

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_the_same_picture_at_the_target_is_enough(self, store: Store, key: str, overwrite: bool) -> None:
        source = put(store, key, b"picture", "f1")
        there = put(store, f"copy-of-{key}", b"the same, painted elsewhere", "f1")
        store._client.delete_object(Bucket="results", Key=key)
        written = self.copy(store, source, f"copy-of-{key}", overwrite=overwrite)
        assert (written.created, written.etag) == (False, there.etag)

    def test_another_object_at_the_target(self, store: Store, key: str) -> None:
        source = put(store, key, b"picture", "f1")
        put(store, f"copy-of-{key}", b"in the way", "f2")
        with pytest.raises(Permanent) as raised:
            self.copy(store, source, f"copy-of-{key}")
        assert raised.value.code == Code.OUTPUT_EXISTS
        assert self.copy(store, source, f"copy-of-{key}", overwrite=True).created
        assert store.read(look(store, f"copy-of-{key}"), max_bytes=100) == b"picture"
