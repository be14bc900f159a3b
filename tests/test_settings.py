from __future__ import annotations

import pytest

from stylequeue.contract.errors import InvalidSettings
from stylequeue.settings import Settings


def test_no_secret_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLEQUEUE_REDIS_URL", "redis://:hunter2@127.0.0.1/0")
    monkeypatch.setenv("STYLEQUEUE_S3_SECRET_KEY", "hunter2")
    settings = Settings.load()
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.redis_url.get_secret_value().endswith("hunter2@127.0.0.1/0")


def test_lists_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLEQUEUE_READ_BUCKETS", '["a", "b"]')
    assert Settings.load().read_buckets == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value"),
    [("S3_READ_TIMEOUT_S", "0"), ("MAX_IMAGE_BYTES", "many"), ("DEPLOYMENT", "a b"), ("LOG_LEVEL", "LOUD")],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"STYLEQUEUE_{name}", value)
    with pytest.raises(InvalidSettings, match=f"STYLEQUEUE_{name}"):
        Settings.load()


def test_a_wrong_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLEQUEUE_READ_BUCKETS", "hunter2")
    with pytest.raises(InvalidSettings, match="read_buckets") as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


def test_a_visibility_timeout_that_would_double_jobs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLEQUEUE_JOB_TIME_LIMIT_S", "100")
    monkeypatch.setenv("STYLEQUEUE_VISIBILITY_TIMEOUT_S", "199")
    with pytest.raises(InvalidSettings, match="VISIBILITY_TIMEOUT"):
        Settings.load()
    monkeypatch.setenv("STYLEQUEUE_VISIBILITY_TIMEOUT_S", "200")
    assert Settings.load()
