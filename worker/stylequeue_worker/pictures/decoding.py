"""The process in which strangers' pictures are decoded: `python -m stylequeue_worker.pictures.decoding`.

What it is asked comes by its standard input, a line of JSON and the file's bytes; what it answers goes by its standard
output, a line of JSON and perhaps pixels. Once it has loaded what it needs it opens nothing any more: no file, no
connection. `decoder` is the other end.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.objects import CONTENT_TYPES

from ..memory import give_back
from . import images
from .inputs import Role

_SAMPLE_PX = 32
_MAX_LINE_BYTES = 64 * 1024
_BLOCK_BYTES = 1024**2
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NONE = (0, 0)
_LIBRARY = ctypes.CDLL(None)


def serve(requests: IO[bytes], answers: IO[bytes], held_bytes: int | None) -> None:
    """Decode what comes until nothing more does. `held_bytes` of address space are not the pictures'."""
    while line := requests.readline(_MAX_LINE_BYTES):
        request = json.loads(line)
        _limit(request, held_bytes)
        data = requests.read(request["data_bytes"])
        head, pixels = _answer(request, data)
        answers.write(json.dumps(head).encode() + b"\n")
        if pixels is not None:
            answers.write(np.ascontiguousarray(pixels).data)
        answers.flush()
        del data, pixels
        # It would be the painting's.
        give_back()


def _answer(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], np.ndarray | None]:
    size = request["size"]
    try:
        picture = images.decode(
            data,
            Role(request["role"]),
            tuple(size) if isinstance(size, list) else size,
            max_pixels=request["max_pixels"],
            room_bytes=request["room_bytes"],
        )
        pixels = np.atleast_3d(np.asarray(picture))
        return {"shape": pixels.shape}, pixels
    except Permanent as error:
        return {"code": error.code, "message": error.message, "hint": error.hint}, None
    except MemoryError:
        return {"out_of_memory": True}, None
    except Exception as error:  # of ours or a library's: a file that makes one is not in order
        what = f"it cannot be decoded: {type(error).__name__}: {error}"
        return {
            "code": Code.IMAGE_CORRUPT,
            "message": what[:200],
            "hint": "save the picture again and upload that",
        }, None


def _limit(request: dict[str, Any], held_bytes: int | None) -> None:
    """Past it memory is refused, and the system ends the process by SIGXCPU."""
    ends_s = math.ceil(time.process_time()) + request["cpu_s"]
    resource.setrlimit(resource.RLIMIT_CPU, (ends_s, resource.RLIM_INFINITY))
    if held_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (held_bytes + request["memory_bytes"], resource.RLIM_INFINITY))


def _end_with_the_worker() -> None:
    """Also where it is killed in the middle of a picture; between two pictures the input's end says so."""
    if sys.platform == "linux":
        _LIBRARY.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _LIBRARY.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _load() -> None:
    """Load what is loaded when first used, for nothing can be loaded later."""
    sample = Image.new("RGB", (_SAMPLE_PX, _SAMPLE_PX), "red")
    for image_format, role in product(CONTENT_TYPES, Role):
        images.decode(images.encode(sample, image_format, 90), role, _SAMPLE_PX, max_pixels=_SAMPLE_PX**2)
    # What `encode` needs to write, Pillow would take as well to hand pixels over.
    ImageFile.MAXBLOCK = _BLOCK_BYTES


def _confine() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, _NONE)
    resource.setrlimit(resource.RLIMIT_FSIZE, _NONE)
    resource.setrlimit(resource.RLIMIT_NPROC, _NONE)
    # What is open stays so.
    resource.setrlimit(resource.RLIMIT_NOFILE, _NONE)


def _address_space_bytes() -> int | None:
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return None


def main() -> None:
    """Answer on what is the standard output now; whatever prints, prints to nowhere from then on."""
    _end_with_the_worker()
    _load()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    held_bytes = _address_space_bytes()
    _confine()
    serve(requests, answers, held_bytes)


if __name__ == "__main__":
    main()
