"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from .contract.errors import ExitCode, StyleQueueError, Unavailable
from .contract.text import printable

State = Literal["ok", "warning", "bad"]
"""`warning`: what may be well, or is well for now; it does not change the exit code."""
_LABELS: dict[State, str] = {"ok": "ok  ", "warning": "WARN", "bad": "BAD "}


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    state: State
    found: str
    hint: str = ""
    """What to do, where that is not nothing."""
    exit_code: int = ExitCode.DONE
    """Of a command that finds this; 0 unless it is bad."""

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return self.state == "ok"

    def __str__(self) -> str:
        line = printable(f"{_LABELS[self.state]}  {self.what:18} {self.found}")
        return f"{line}\n      {'':18} {printable(self.hint)}" if self.hint else line

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": self.ok}


def exit_code(findings: list[Finding]) -> int:
    """What a command ends with that found all this: the worst that is bad."""
    return max((finding.exit_code for finding in findings), default=ExitCode.DONE)


def finding_of(what: str, ok: bool, found: str, hint: str, code: int = ExitCode.BAD_INPUT) -> Finding:
    """What was looked at: well, or bad with what to do."""
    return Finding(what, "ok", found) if ok else Finding(what, "bad", found, hint, code)


def trouble_of(what: str, error: StyleQueueError) -> Finding:
    """What could not be looked at, for an error."""
    code = ExitCode.NOT_REACHABLE if isinstance(error, Unavailable) else ExitCode.BAD_INPUT
    return Finding(what, "bad", error.message, error.hint, code)
