"""Whoever can write to the work bucket can write checkpoints: a bad one costs no more than the steps it stood for."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stylequeue.contract.objects import checkpoint_key
from stylequeue.store import Origin, Store
from stylequeue_worker.engine import Checkpoint
from stylequeue_worker.work import checkpoints
from stylequeue_worker.work.workbench import Workbench
from tests.support.odd_s3 import OddS3

FINGERPRINT = "of-this-picture"
STATE: Checkpoint = {
    "step": np.array(7),
    "best": np.array(np.inf),
    "cut": np.array(""),
    "picture": np.random.default_rng(0).random((1, 48, 64, 3), np.float32),
}
GOOD = checkpoints.pack(FINGERPRINT, STATE)
MB = 1024**2


def archive(method: int = zipfile.ZIP_STORED, /, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as written:
        for name, body in members.items():
            written.writestr(f"{name}.npy", body)
    return file.getvalue()


def array_file(header: str, body: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + body


def pickled() -> bytes:
    file = io.BytesIO()
    np.savez(file, fingerprint=np.array(FINGERPRINT), picture=np.array([print], dtype=object))
    return file.getvalue()


def inflating() -> bytes:
    """A megabyte that NumPy would make a gigabyte of."""
    file = io.BytesIO()
    packed = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
    with packed, packed.open("picture.npy", "w", force_zip64=True) as member:
        member.write(array_file("{'descr': '<f4', 'fortran_order': False, 'shape': (268435456,), }"))
        for _ in range(1024):
            member.write(bytes(MB))
    return file.getvalue()


def of_shape(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    return archive(picture=array_file(header, bytes(64)))


def flipped() -> bytes:
    damaged = bytearray(GOOD)
    damaged[GOOD.rindex(b"\x93NUMPY") + 200] ^= 1
    return bytes(damaged)


BAD: dict[str, Callable[[], bytes]] = {
    "nothing": bytes,
    "rubbish": lambda: b"\xff" * 5000,
    "cut": lambda: GOOD[: len(GOOD) // 2],
    "a bit flipped": flipped,
    "an object": pickled,
    "inflating": inflating,
    "packed": lambda: archive(zipfile.ZIP_DEFLATED, fingerprint=array_file("{}")),
    "very many parts": lambda: archive(zipfile.ZIP_STORED, **{f"part{number}": b"" for number in range(100)}),
    "a part that is no array": lambda: archive(picture=b"rubbish"),
    "an array of 4 TB": lambda: of_shape("(1000000000000,)"),
    "an array of a side that is no number of a machine": lambda: of_shape(f"({10**90},)"),
    "an array of sides that make nothing": lambda: of_shape("(0, 1000000000000)"),
    "an array in another order": lambda: of_shape("(4, 4)", order="True"),
    "an array of arrays": lambda: of_shape("(1,)", "[('a', '<f4', (16,))]"),
    "an array of numbers that there are not": lambda: of_shape("(2,)", "'<f3'"),
    "text of what is no character": lambda: archive(
        fingerprint=array_file("{'descr': '<U1', 'fortran_order': False, 'shape': (), }", b"\xff" * 4)
    ),
    "text of what is no character, elsewhere": lambda: archive(
        fingerprint=array_file("{'descr': '<U1', 'fortran_order': False, 'shape': (), }", b"a\0\0\0"),
        picture=array_file("{'descr': '<U16', 'fortran_order': False, 'shape': (1,), }", b"\xff" * 64),
    ),
    "a header that is a program": lambda: archive(picture=array_file("__import__('os').getpid()")),
    "a header without end": lambda: archive(picture=array_file("(" * 100)),
    "a long header": lambda: archive(picture=b"\x93NUMPY\1\0" + struct.pack("<H", 60_000) + b"{" * 60_000),
    "another version of arrays": lambda: archive(picture=b"\x93NUMPY\3\0" + bytes(200)),
    "a size past its end": lambda: GOOD.replace(struct.pack("<4xQ", 0), struct.pack("<4xQ", 2**60))[:300],
    "no fingerprint": lambda: archive(step=GOOD[GOOD.index(b"\x93NUMPY") :][:136]),
}


def test_what_is_packed_comes_back() -> None:
    fingerprint, state = checkpoints.unpack(GOOD)
    assert fingerprint == FINGERPRINT
    assert state.keys() == STATE.keys()
    assert all(np.array_equal(state[name], STATE[name]) for name in STATE)


def test_what_numpy_wrote_before_comes_back() -> None:
    """As workers of before this version saved it."""
    file = io.BytesIO()
    np.savez(file, fingerprint=np.array(FINGERPRINT), **STATE)  # type: ignore[arg-type]
    assert checkpoints.unpack(file.getvalue())[0] == FINGERPRINT


@pytest.mark.parametrize("name", BAD)
def test_a_bad_one_takes_no_memory_and_is_none(name: str) -> None:
    data = BAD[name]()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"."):
            checkpoints.unpack(data)
        assert tracemalloc.get_traced_memory()[1] < MB
    finally:
        tracemalloc.stop()


class Bench:
    """The work bucket of a job."""

    def __init__(self, s3: OddS3) -> None:
        self.store = Store(s3.settings())
        holder: Any = SimpleNamespace(record=SimpleNamespace(id="a"))
        self.workbench = Workbench(self.store, s3.settings(), holder, FINGERPRINT)

    def resume(self, data: bytes) -> Checkpoint | None:
        self.put(data)
        return self.workbench.resume(48, 64)

    def put(self, data: bytes) -> None:
        """As a worker of ours would, whose deployment's secret somebody else may have as well."""
        self.store.put_work(checkpoint_key("a"), data, origin=Origin("a", FINGERPRINT), content_type="any/thing")


@pytest.fixture
def bench() -> Iterator[Bench]:
    with OddS3() as s3:
        yield Bench(s3)


def test_a_good_one_is_gone_on_from(bench: Bench) -> None:
    state = bench.resume(GOOD)
    assert state
    assert int(state["step"]) == 7


@pytest.mark.parametrize("name", ["rubbish", "inflating", "an object", "very many parts"])
def test_a_bad_one_is_forgotten(bench: Bench, name: str) -> None:
    assert bench.resume(BAD[name]()) is None


def test_one_of_another_picture_is_forgotten(bench: Bench) -> None:
    assert bench.resume(checkpoints.pack("of-another-picture", STATE)) is None


def test_one_larger_than_the_jobs_picture_allows_is_not_even_read(bench: Bench) -> None:
    most = checkpoints.max_bytes(48, 64)
    assert len(GOOD) < most
    large = checkpoints.pack(FINGERPRINT, {**STATE, "more": np.zeros(most, np.uint8)})
    assert bench.resume(large) is None


def test_what_the_engine_remembers_of_the_largest_picture_is_allowed() -> None:
    """Picture, newest, two means and an average."""
    arrays = {name: np.zeros((1, 480, 640, 3), np.float32) for name in "abcde"}
    numbers = {f"number{n}": np.array(n) for n in range(10)}
    assert len(checkpoints.pack("f" * 64, {**arrays, **numbers})) <= checkpoints.max_bytes(480, 640)
