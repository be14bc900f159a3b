"""Runs one command that ends when its starter ends, however that ends; then removes the files it is told to.

    python supervise.py SECONDS [FILE_OR_DIRECTORY ...] -- COMMAND ...

The starter holds the other end of this process's standard input. Closing it, or dying by any signal, is the word to
stop: the command gets SIGTERM, after SECONDS its whole process group SIGKILL. The first line on standard output is
the command's process id; the exit status is the command's (128 + n for signal n).

A program of its own and not a `preexec_fn`: forking a process that has threads can deadlock, the kernel's
parent-death signal follows the starting thread rather than the process, and a killed starter removes no files.
It imports the standard library alone, so that it starts in the time of a bare interpreter.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path


def _die_with_guard() -> None:
    """In the command, before it runs: SIGKILL when the guard itself is killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # 1: PR_SET_PDEATHSIG


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # nothing of it is left
        os.killpg(pid, signal.SIGKILL)


def _stop_when_starter_ends(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    os.read(0, 1)  # returns when the other end is closed
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        _kill_group(child.pid)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Run the command to its end; its exit status."""
    split = arguments.index("--")
    grace_s, leftovers = float(arguments[0]), [Path(a) for a in arguments[1:split]]
    child = subprocess.Popen(  # noqa: S603 - running what it is given is its purpose
        arguments[split + 1 :],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,  # the log; standard output is the line to the starter
        process_group=0,
        preexec_fn=_die_with_guard,  # no threads yet
    )
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    os.write(1, b"%d\n" % child.pid)
    os.close(1)
    threading.Thread(target=_stop_when_starter_ends, args=(child, grace_s), daemon=True).start()
    status = child.wait()
    _kill_group(child.pid)
    for path in leftovers:
        _remove(path)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
