"""What the doctor finds where something is wrong, or missing; test_up has it look at a deployment that is well."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from stylequeue import doctor
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import ExitCode
from stylequeue.settings import Settings


@pytest.fixture(autouse=True)
def no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine paints nothing: what the doctor would say of it takes TensorFlow's loading."""
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    monkeypatch.setattr(doctor, "_PING_S", 0.1)


def findings(settings: Settings, **changes: object) -> dict[str, doctor.Finding]:
    """By what was looked at."""
    with StyleQueue(settings.model_copy(update=changes)) as queue:
        return {finding.what: finding for finding in doctor.examine(queue)}


def bad(settings: Settings, **changes: object) -> dict[str, int]:
    """The exit codes of what is not as it should be; each says what to do."""
    found = {what: finding for what, finding in findings(settings, **changes).items() if not finding.ok}
    assert all(finding.hint for finding in found.values())
    return {what: finding.exit_code for what, finding in found.items()}


def test_all_is_there_but_a_worker(settings: Settings) -> None:
    assert bad(settings) == {"workers": ExitCode.BAD_INPUT}
    assert findings(settings)["conditional writes"].exit_code == ExitCode.DONE


def test_a_bucket_that_is_not_there(settings: Settings) -> None:
    assert bad(settings, work_bucket="nowhere") == {"workers": ExitCode.BAD_INPUT, "bucket nowhere": ExitCode.BAD_INPUT}


def test_no_redis(settings: Settings) -> None:
    assert bad(settings, redis_url=SecretStr("redis://127.0.0.1:1/0")) == {"redis": ExitCode.NOT_REACHABLE}


def test_no_store(settings: Settings) -> None:
    found = bad(settings, s3_endpoint_url="http://127.0.0.1:1", s3_attempts=1)
    assert found.pop("workers") == ExitCode.BAD_INPUT
    assert "conditional writes" in found
    assert "bucket results" in found
    assert set(found.values()) == {ExitCode.NOT_REACHABLE}
