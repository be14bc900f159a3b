"""`stylequeue probe`: what an orchestrator asks of a worker, answered from a file that the worker keeps.

Standard library only, and little of it: it is asked every few seconds, beside every worker. The worker writes the file
with `text`, and all that is to be judged is judged there; here it is only looked whether what was said still holds.
"""

import os
import sys
import time
from collections.abc import Iterable

PROBES = {
    "started": "whether it got ready for its first job; until then nothing else is to be asked",
    "live": "whether its processes go on; never whether Redis or the store do",
    "ready": "whether it would take a job now",
}
FILE_VARIABLE = "STYLEQUEUE_HEALTH_FILE"
_FORMAT = "stylequeue-health 1"
"""First line of the file. Each other one: a probe, until when by the monotonic clock, and what holds so long."""
_YES, _NO, _USAGE = 0, 1, 2
_HELP = f"""Usage: stylequeue probe {"|".join(PROBES)} [FILE]

Ask the worker that keeps FILE, or the one that {FILE_VARIABLE} names:

{chr(10).join(f"  {probe:9}{what}" for probe, what in PROBES.items())}

Exit codes: {_YES} yes, {_NO} no, {_USAGE} the question is none. Neither Redis nor the store is asked."""


def text(holds: Iterable[tuple[str, float, str]]) -> str:
    """What the file says: which probe it concerns, until when something holds (`inf`: for good), and what."""
    return "\n".join((_FORMAT, *(f"{probe} {until_s:.3f} {what}" for probe, until_s, what in holds), ""))


def troubles(probe: str, said: str, now_s: float) -> list[str]:
    """What of all that concerns a probe does not hold, by what the file says; a worker is ready only if it lives."""
    head, *lines = said.splitlines() or [""]
    if head != _FORMAT:
        return [f"its file is not that of a worker of this version: it begins with {head[:40]!r}"]
    found = []
    for line in lines:
        concerned, until_s, what = line.split(" ", 2)
        if (concerned == probe or probe == "ready") and now_s > float(until_s):
            found.append(what)
    return found


def main(arguments: list[str]) -> int:
    """Answer one question, and return the exit code."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        print(_HELP)
        return _YES
    path = arguments[1] if len(arguments) == 2 else os.environ.get(FILE_VARIABLE)
    if len(arguments) not in (1, 2) or arguments[0] not in PROBES or not path:
        print(_HELP, file=sys.stderr)
        return _USAGE
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes a third of the time
            said = file.read()
    except OSError as error:
        print(f"no: {path}: {error.strerror}")
        return _NO
    try:
        found = troubles(arguments[0], said, time.monotonic())
    except ValueError:
        found = ["its file cannot be read"]
    print(f"no: {'; '.join(found)}" if found else "yes")
    return _NO if found else _YES
