"""The command's entry point: a probe is answered before anything else is imported."""

import sys


def main() -> None:
    """Run `stylequeue`."""
    if sys.argv[1:2] == ["probe"]:
        from ._probe import main as answer

        sys.exit(answer(sys.argv[2:]))
    from .cli import main as run

    run()
