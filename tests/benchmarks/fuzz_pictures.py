"""Decodes mutated pictures for so many seconds: `python -m tests.benchmarks.fuzz_pictures SECONDS [SEED]`.

A crash, a hang, more memory than may be or an exception that nobody catches is written to `bench-output/fuzz`, and ends
the program with exit code 1.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from tests.support.fuzzing import fuzz

OUTPUT = Path("bench-output/fuzz")


def main(seconds: float, seed: int) -> int:
    ends_at, files, findings = time.monotonic() + seconds, 0, set()
    for finding in fuzz(seed):
        files += 1
        if finding and finding.what not in findings:
            findings.add(finding.what)
            path = OUTPUT / hashlib.sha256(finding.data).hexdigest()[:16]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(finding.data)
            print(f"{path}: {finding.what}", flush=True)
        if time.monotonic() > ends_at:
            break
    print(f"{files} files, {len(findings)} findings, seed {seed}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**6))
