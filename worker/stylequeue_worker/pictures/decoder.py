"""Strangers' pictures are decoded in a process of its own, which may be killed; this is the worker's end of it.

The process (`decoding`) has no keys and can open nothing; its memory and processor seconds are limited.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import IO, Any, Final, Self, cast

import numpy as np
import numpy.typing as npt

from stylequeue.contract.errors import Code, Permanent, Retryable, StyleQueueError
from stylequeue.contract.recipe import MAX_SIZE_PX
from stylequeue.settings import Settings

from ..memory import available_bytes
from .formats.still import MAX_BYTES_A_PIXEL, too_costly
from .inputs import Role

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
"""[height, width, channels]: three of sRGB, or one of a mask."""

ROOM_BYTES = 512 * 1024**2
"""For the picture at the size wanted, and what is computed of it: most for a style of 4096 px that is full of holes."""
_COPIES = 3
"""Of the file's bytes."""
_SHARE_OF_AVAILABLE = 0.9
_LOOK_S = 0.1
"""Between two looks whether the picture is still wanted."""
_ENDS_S = 5.0
"""A process has ended so long after its pipes."""
_PIPE_BYTES = 1024**2
_MAX_LINE_BYTES = 64 * 1024
_KEPT_VARIABLES: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")
_CRASHES: Final = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP}


class Decoder:
    """Decodes one picture at a time, in a process that is started anew when it has ended.

    A picture has `cpu_s` processor seconds, and as much memory as the most expensive one of `max_pixels` in a file of
    `max_bytes` needs; less where the machine has less. To be used by one thread: the process ends with it.
    """

    def __init__(self, *, max_pixels: int, max_bytes: int, cpu_s: int) -> None:
        self._max_pixels = max_pixels
        self._cpu_s = cpu_s
        self._memory_bytes = MAX_BYTES_A_PIXEL * max_pixels + _COPIES * max_bytes + ROOM_BYTES
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """With the limits of a deployment."""
        return cls(max_pixels=settings.max_image_pixels, max_bytes=settings.max_image_bytes, cpu_s=settings.image_cpu_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the process, where one was started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Have the process ready by the time the first picture comes."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = _started()
            weakref.finalize(self, _end, self._process)

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            _end(self._process)
        self._process = None

    def decode(
        self,
        data: bytes,
        role: Role = Role.CONTENT,
        size: int | tuple[int, int] | None = None,
        *,
        check: Callable[[], None] = lambda: None,
    ) -> Pixels:
        """The pixels of what `images.decode` gives.

        `check` is called several times a second meanwhile; what it raises ends the process, and goes on. Raises
        Permanent as `images.decode` does, with `image_too_costly` where the picture took all the time or memory that
        one may, with `image_corrupt` where it broke the process; Retryable where the machine is short of memory
        (`out_of_memory`), or somebody killed the process (`worker_lost`).
        """
        memory_bytes = self._memory_bytes
        if left_bytes := available_bytes():
            memory_bytes = min(memory_bytes, int(_SHARE_OF_AVAILABLE * left_bytes))
        room_bytes = memory_bytes - _COPIES * len(data) - ROOM_BYTES
        if room_bytes < 0:
            raise _short_of_memory(memory_bytes)
        request = {
            "role": role,
            "size": size,
            "max_pixels": self._max_pixels,
            "room_bytes": room_bytes,
            "memory_bytes": memory_bytes,
            "cpu_s": self._cpu_s,
            "data_bytes": len(data),
        }
        answer = self._ask(request, data, check)
        if not isinstance(answer, dict):
            return answer
        if "code" in answer:
            raise _refusal(answer)
        if memory_bytes < self._memory_bytes:
            raise _short_of_memory(memory_bytes)
        raise too_costly("decoding it takes more memory than any picture that is in order")

    def _ask(self, request: Mapping[str, object], data: bytes, check: Callable[[], None]) -> Pixels | dict[str, Any]:
        self.start()
        process = cast("subprocess.Popen[bytes]", self._process)
        with ThreadPoolExecutor(1, thread_name_prefix="decoder") as pool:
            exchange = pool.submit(_exchange, process, request, data)
            try:
                while not wait([exchange], _LOOK_S).done:
                    check()
            except BaseException:
                # With the process its pipes end, and so does the thread.
                process.kill()
                raise
        try:
            return exchange.result()
        except (OSError, EOFError, ValueError, TypeError, RecursionError) as error:
            raise self._end_of(process) from error

    def _end_of(self, process: subprocess.Popen[bytes]) -> StyleQueueError:
        """What is said where the process broke off its answer, or gave one that makes no sense."""
        try:
            status = process.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            status = -signal.SIGABRT
        self.close()
        log.warning("the process that decodes pictures has ended with status %d", status)
        if status == -signal.SIGXCPU:
            return too_costly(f"decoding it takes more than {self._cpu_s} processor seconds")
        if -status in _CRASHES:
            return Permanent(Code.IMAGE_CORRUPT, "it breaks its decoder", "save the picture again and upload that")
        return Retryable(
            Code.WORKER_LOST,
            "the process that decodes pictures was killed, perhaps for want of memory",
            "send a smaller picture, or give the worker more memory",
        )


def _started() -> subprocess.Popen[bytes]:
    # Nothing else of the worker's environment, in which the keys of the store are.
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603 - a module of ours
        [sys.executable, "-P", "-m", f"{__package__}.decoding"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pipesize=_PIPE_BYTES if sys.platform == "linux" else -1,
        env=environment,
        cwd=os.path.sep,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # of what was not written yet
            cast("IO[bytes]", pipe).close()


def _exchange(process: subprocess.Popen[bytes], request: Mapping[str, object], data: bytes) -> Pixels | dict[str, Any]:
    """Put a picture in and get its pixels, or what is said against it.

    Raises OSError or EOFError where the process ends; ValueError, TypeError or RecursionError where it makes no sense,
    for a picture may have taken it over.
    """
    requests, answers = cast("IO[bytes]", process.stdin), cast("Any", process.stdout)
    requests.write(json.dumps(request).encode() + b"\n")
    requests.write(data)
    requests.flush()
    line = answers.readline(_MAX_LINE_BYTES)
    if not line:
        raise EOFError
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise TypeError("no answer")
    if "shape" not in answer:
        return answer
    height, width, channels = map(int, answer["shape"])
    most_px = max(cast("int", request["max_pixels"]), MAX_SIZE_PX**2)
    if not 0 < height * width <= most_px or channels != (1 if request["role"] == Role.MASK else 3):
        raise ValueError("not the picture that was asked for")
    pixels = np.empty((height, width, channels), np.uint8)
    if answers.readinto(pixels.data.cast("B")) < pixels.nbytes:
        raise EOFError
    return pixels


def _refusal(answer: Mapping[str, Any]) -> Permanent:
    code, message, hint = (str(answer.get(name))[:_MAX_TEXT] for name in ("code", "message", "hint"))
    return Permanent(code if code in _REFUSALS else Code.IMAGE_CORRUPT, message, hint)


_REFUSALS: Final = {code for code in Code if code.startswith("image_")}
_MAX_TEXT = 500


def _short_of_memory(left_bytes: int) -> Retryable:
    return Retryable(
        Code.OUT_OF_MEMORY,
        f"decoding it takes more than the {left_bytes // 1024**2} MB that the worker's machine has left",
        "send a smaller picture, or give the worker more memory",
    )
