"""A thousand jobs in a storm: nothing is lost, nothing is done twice.

    make soak [JOBS=1000] [SEED=1]

Ends with 1 where anything is not as it should be, and with a table in any case. The same seed strikes the same blows.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import mkdtemp

from rich.console import Console
from rich.table import Table

from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.storm import Storm

JOBS = int(os.environ.get("JOBS", "1000"))
SEED = int(os.environ.get("SEED", "1"))
LIMIT_S = 120 + JOBS


def main() -> int:
    console = Console()
    with Stack(settings=Settings()) as stack, Storm(stack, jobs=JOBS, seed=SEED, time_limit_s=LIMIT_S) as storm:
        report = storm.rage()
        table = Table("", "", title=f"a storm over {JOBS} jobs, seed {SEED}", show_header=False)
        for row in report.rows():
            table.add_row(*row)
        console.print(table)
        for fault in report.broken:
            console.print(fault, style="red", markup=False)
        if report.broken:
            directory = Path(mkdtemp(prefix="stylequeue-soak-"))
            for name, log in storm.logs():
                (directory / f"{name}.log").write_text(log)
            console.print(f"the workers' logs are in {directory}")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
