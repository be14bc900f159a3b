"""Checks the types of users' programs as users do: mypy --strict and pyright, without pydantic's plugin.

The programs are `examples/`, the snippets of README.md and `tests/typing/user_program.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def snippets() -> list[str]:
    """The Python snippets of README.md, in their order."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def main() -> int:
    """Run both checkers; the exit code is that of the worse."""
    with tempfile.TemporaryDirectory() as directory:
        for number, text in enumerate(snippets()):
            (Path(directory) / f"readme_{number}.py").write_text(text)
        programs = [ROOT / "examples", ROOT / "tests" / "typing", Path(directory)]
        config = {
            "include": [str(path) for path in programs],
            "extraPaths": [str(ROOT / "examples")],
            "pythonVersion": "3.11",
            # As pyright has it: basedpyright's own modes ask for more.
            "typeCheckingMode": "strict",
            "enableTypeIgnoreComments": False,
            "reportUnnecessaryTypeIgnoreComment": "error",
        }
        (Path(directory) / "pyrightconfig.json").write_text(json.dumps(config))
        commands = [
            [BIN / "mypy", "--config-file=", "--strict", "--python-version=3.11", *programs],
            [BIN / "basedpyright", "--project", directory, "--pythonpath", sys.executable],
        ]
        # By turns, so that what they say is not mixed.
        return max(subprocess.run(command, cwd=ROOT).returncode for command in commands)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
