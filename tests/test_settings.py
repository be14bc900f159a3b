from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from stylequeue.contract.errors import ExitCode, InvalidSettings
from stylequeue.settings import Settings
from tests.support.certificates import make_certificates

Set = Callable[..., None]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Set variables by what follows STYLEQUEUE_."""

    def given(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"STYLEQUEUE_{name}", value)

    return given


def refusal(match: str) -> str:
    """What `Settings` says as it refuses; a secret is never part of it."""
    with pytest.raises(InvalidSettings, match=match) as caught:
        Settings.load()
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def test_no_secret_shows(given: Set) -> None:
    given(REDIS_URL="redis://:hunter2@127.0.0.1/0", S3_ACCESS_KEY="name", S3_SECRET_KEY="hunter2")
    settings = Settings.load()
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json() + repr(settings.redis)
    assert settings.redis.password == "hunter2"


class TestOneSetting:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("S3_READ_TIMEOUT_S", "0"),
            ("REDIS_TIMEOUT_S", "inf"),
            ("REDIS_TIMEOUT_S", "nan"),
            ("MAX_IMAGE_BYTES", "many"),
            ("DEPLOYMENT", "a b"),
            ("LOG_LEVEL", "LOUD"),
            ("S3_REGION", "us east 1"),
            ("WORK_BUCKET", "s3://work"),
            ("READ_BUCKETS", '["uploads", "no bucket/"]'),
            ("READ_BUCKETS", '["uploads", 7]'),
            ("REDIS_VERIFY", "perhaps"),
            ("REDIS_URL", "redis://:hunter2@h/abc"),
            ("REDIS_URL", "hunter2"),
            ("S3_ENDPOINT_URL", "127.0.0.1:8333"),
            ("S3_ENDPOINT_URL", "http://:hunter2@h"),
            ("S3_SECRET_KEY", "hunter2\n"),
            ("S3_SECRET_KEY", "hunter2 "),
        ],
    )
    def test_a_wrong_one_is_named_and_its_value_is_not(self, given: Set, name: str, value: str) -> None:
        given(**{name: value})
        refusal(rf"^\[invalid_settings\] STYLEQUEUE_{name}: ")

    @pytest.mark.parametrize("name", sorted(Settings.model_fields))
    @pytest.mark.parametrize("value", ["", " "])
    def test_an_empty_one_is_refused(self, given: Set, name: str, value: str) -> None:
        given(**{name.upper(): value})
        refusal(f"STYLEQUEUE_{name.upper()} is empty")

    def test_all_that_are_wrong_are_named(self, given: Set) -> None:
        given(LEASE_S="soon", GRACE_S="1")
        assert "STYLEQUEUE_GRACE_S" in refusal("STYLEQUEUE_LEASE_S")

    def test_the_constructor_refuses_alike(self) -> None:
        with pytest.raises(InvalidSettings, match="STYLEQUEUE_REDIS_URL") as caught:
            Settings(redis_url=SecretStr("redis://:hunter2@h/abc"))
        assert "hunter2" not in str(caught.value)

    def test_what_is_given_to_the_constructor_goes_before_the_environment(self, given: Set) -> None:
        given(GRACE_S="30", LEASE_S="60")
        settings = Settings(grace_s=40)
        assert (settings.grace_s, settings.lease_s) == (40, 60)


class TestLists:
    def test_they_are_json(self, given: Set) -> None:
        given(READ_BUCKETS='["abc", "def"]')
        assert Settings.load().read_buckets == ("abc", "def")

    @pytest.mark.parametrize("name", ["READ_BUCKETS", "WRITE_BUCKETS"])
    def test_an_empty_one_would_fail_every_job(self, given: Set, name: str) -> None:
        given(**{name: "[]"})
        refusal(f"STYLEQUEUE_{name}")

    @pytest.mark.parametrize("value", ["hunter2", "uploads,styles", '"uploads"', '{"a": 1}', "['a']", "7", '["a"'])
    @pytest.mark.parametrize("name", ["READ_BUCKETS", "WRITE_BUCKETS"])
    def test_one_that_is_none_is_named_and_shown_how(self, given: Set, name: str, value: str) -> None:
        given(**{name: value})
        assert '["a", "b"]' in refusal(f"STYLEQUEUE_{name} is no JSON list")


class TestUnknownVariables:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("READ_BUCKET", "STYLEQUEUE_READ_BUCKETS"),
            ("REDIS_URI", "STYLEQUEUE_REDIS_URL"),
            ("S3_ENDPOINT", "STYLEQUEUE_S3_ENDPOINT_URL"),
            ("WRITEBUCKETS", "STYLEQUEUE_WRITE_BUCKETS"),
            ("S3_SECRET_KEY_FIEL", "STYLEQUEUE_S3_SECRET_KEY_FILE"),
            ("redis_url", "STYLEQUEUE_REDIS_URL"),
        ],
    )
    def test_a_misspelt_one_is_refused_with_what_was_meant(self, given: Set, name: str, meant: str) -> None:
        given(**{name: "hunter2"})
        assert f"did you mean {meant}?" in refusal(f"STYLEQUEUE_{name} is no setting")

    @pytest.mark.parametrize("name", ["FLAVOUR", "DEPLOYMENT_FILE", "GATEWAY_PORT", "GATEWAY_PORT_80", "_", ""])
    def test_any_other_is_refused_as_well(self, given: Set, name: str) -> None:
        given(**{name: "8080"})
        refusal(f"STYLEQUEUE_{name} is no setting")

    def test_those_of_others_and_our_own_inner_ones_are_not_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("_STYLEQUEUE_ANYTHING", "MY_STYLEQUEUE_URL", "STYLEQUEUE"):
            monkeypatch.setenv(name, "x")
        assert Settings.load() == Settings()

    @pytest.mark.parametrize("service", ["", "GATEWAY_", "REDIS_2_"])
    def test_what_kubernetes_says_of_services_is_left_alone(self, given: Set, service: str) -> None:
        given(
            **{
                f"{service}SERVICE_HOST": "10.96.0.17",
                f"{service}SERVICE_PORT": "80",
                f"{service}SERVICE_PORT_HTTP": "80",
                f"{service}SERVICE_PORT_HTTP_ALT": "8080",
                f"{service}PORT": "tcp://10.96.0.17:80",
                f"{service}PORT_80_TCP": "tcp://10.96.0.17:80",
                f"{service}PORT_80_TCP_PROTO": "tcp",
                f"{service}PORT_80_TCP_PORT": "80",
                f"{service}PORT_80_TCP_ADDR": "10.96.0.17",
                f"{service}PORT_53_UDP": "udp://10.96.0.17:53",
                f"{service}PORT_53_UDP_ADDR": "10.96.0.17",
            }
        )
        assert Settings.load().model_fields_set == set()

    @pytest.mark.parametrize("name", sorted(Settings.model_fields))
    def test_no_setting_is_named_as_kubernetes_names_a_service(self, name: str) -> None:
        assert not name.endswith("_port")
        assert "_port_" not in name
        assert "service_host" not in name


SECRETS = ["redis_url", "redis_sentinel_password", "s3_access_key", "s3_secret_key", "mark_secrets"]


class TestFiles:
    def test_every_secret_may_lie_in_one(self) -> None:
        fields = Settings.model_fields.items()
        assert [name for name, field in fields if "Secret" in str(field.annotation)] == SECRETS

    @pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n"])
    def test_secrets_are_read_from_files(self, given: Set, tmp_path: Path, ending: str) -> None:
        for name, text in (("address", "redis://:hunter2@h/3"), ("name", "key"), ("key", "secret")):
            (tmp_path / name).write_text(text + ending, newline="")
        given(REDIS_URL_FILE=f"{tmp_path}/address")
        given(S3_ACCESS_KEY_FILE=f"{tmp_path}/name", S3_SECRET_KEY_FILE=f"{tmp_path}/key")
        settings = Settings.load()
        assert (settings.redis.password, settings.redis.database) == ("hunter2", 3)
        keys = settings.s3_access_key, settings.s3_secret_key
        assert [key and key.get_secret_value() for key in keys] == ["key", "secret"]

    @pytest.mark.parametrize("name", [name.upper() for name in SECRETS])
    @pytest.mark.parametrize("content", [None, b"", b"\n", b"hunter2\xff", "directory"])
    def test_one_that_cannot_be_read_is_refused_by_its_variable(
        self, given: Set, tmp_path: Path, name: str, content: bytes | str | None
    ) -> None:
        path = tmp_path / "hunter2"
        if content == "directory":
            path.mkdir()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        given(**{f"{name}_FILE": str(path)})
        refusal(f"STYLEQUEUE_{name}_FILE: the file")

    @pytest.mark.parametrize("in_file", [False, True])
    def test_the_secrets_of_marks_are_a_list(self, given: Set, tmp_path: Path, in_file: bool) -> None:
        text = json.dumps(["n" * 32, "o" * 40])
        (tmp_path / "marks").write_text(f"{text}\n")
        given(**{"MARK_SECRETS_FILE": f"{tmp_path}/marks"} if in_file else {"MARK_SECRETS": text})
        settings = Settings.load()
        assert settings.mark_secrets_in_clear() == ["n" * 32, "o" * 40]
        assert "nnn" not in repr(settings)

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ('["hunter2"]', "fewer than 32 characters"),
            (json.dumps(["n" * 32, "hunter2"]), "fewer than 32 characters"),
            (json.dumps(["hunter2" + " " * 32]), "blank"),
            ("hunter2" * 5, "no JSON list"),
            (json.dumps({"hunter2": "x"}), "no JSON list"),
        ],
    )
    def test_one_that_could_be_guessed_marks_nothing(self, given: Set, text: str, why: str) -> None:
        given(MARK_SECRETS=text)
        assert why in refusal("STYLEQUEUE_MARK_SECRETS")

    def test_a_secret_is_given_once(self, given: Set, tmp_path: Path) -> None:
        (tmp_path / "address").write_text("redis://h")
        given(REDIS_URL="redis://h", REDIS_URL_FILE=f"{tmp_path}/address")
        refusal("STYLEQUEUE_REDIS_URL and STYLEQUEUE_REDIS_URL_FILE are both given")

    def test_what_lies_in_one_is_looked_at_as_closely(self, given: Set, tmp_path: Path) -> None:
        (tmp_path / "address").write_text("redis://:hunter2@h/abc\n")
        given(REDIS_URL_FILE=f"{tmp_path}/address")
        refusal("STYLEQUEUE_REDIS_URL: its database is not a plain number")


class TestTogether:
    def test_a_visibility_timeout_that_would_double_jobs_is_refused(self, given: Set) -> None:
        given(JOB_TIME_LIMIT_S="100", VISIBILITY_TIMEOUT_S="199")
        refusal("VISIBILITY_TIMEOUT")
        given(VISIBILITY_TIMEOUT_S="200")
        assert Settings.load()

    @pytest.mark.parametrize("name", ["S3_ACCESS_KEY", "S3_SECRET_KEY"])
    def test_half_a_key_pair_is_refused(self, given: Set, name: str) -> None:
        given(**{name: "hunter2"})
        refusal("STYLEQUEUE_S3_ACCESS_KEY and STYLEQUEUE_S3_SECRET_KEY are given together or not at all")

    @pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
    def test_boto3_s_own_address_is_looked_at_where_it_counts(
        self, given: Set, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(name, "hunter2:8333")
        refusal(f"{name}, which boto3 reads where STYLEQUEUE_S3_ENDPOINT_URL is left out: is not http://")
        given(S3_ENDPOINT_URL="http://127.0.0.1:8333")
        assert Settings.load()

    @pytest.mark.parametrize("name", ["REDIS_CA_FILE", "REDIS_CLIENT_CERT_FILE", "REDIS_CLIENT_KEY_FILE"])
    def test_certificates_without_tls_are_refused(self, given: Set, name: str) -> None:
        given(REDIS_URL="redis://:hunter2@h", **{name: "/etc/hosts"})
        refusal(f"STYLEQUEUE_{name} is for TLS, but STYLEQUEUE_REDIS_URL does not begin with rediss://")

    def test_not_to_verify_is_for_tls(self, given: Set) -> None:
        given(REDIS_VERIFY="false")
        refusal("STYLEQUEUE_REDIS_VERIFY is for TLS")
        given(REDIS_URL="rediss://h")
        assert not Settings.load().redis_verify

    @pytest.mark.parametrize("content", [None, "", "no certificate"])
    def test_a_file_without_certificates_is_refused(self, given: Set, tmp_path: Path, content: str | None) -> None:
        if content is not None:
            (tmp_path / "ca.pem").write_text(content)
        given(REDIS_URL="rediss://:hunter2@h", REDIS_CA_FILE=f"{tmp_path}/ca.pem")
        refusal("STYLEQUEUE_REDIS_CA_FILE: no certificates can be read")

    def test_a_client_s_key_that_wants_a_password_is_refused(self, given: Set, tmp_path: Path) -> None:
        make_certificates(tmp_path)
        no_key = "STYLEQUEUE_REDIS_CLIENT_CERT_FILE, STYLEQUEUE_REDIS_CLIENT_KEY_FILE: no certificate with its key"
        given(REDIS_URL="rediss://h", REDIS_CLIENT_CERT_FILE=f"{tmp_path}/server.pem")
        refusal(no_key)  # it is not in the certificate's file
        given(REDIS_CLIENT_KEY_FILE=f"{tmp_path}/locked.key")
        refusal(no_key)
        given(REDIS_CLIENT_KEY_FILE=f"{tmp_path}/server.key", REDIS_CA_FILE=f"{tmp_path}/ca.pem")
        assert Settings.load()

    def test_a_key_without_its_certificate_is_refused(self, given: Set) -> None:
        given(REDIS_URL="rediss://h", REDIS_CLIENT_KEY_FILE="/etc/hosts")
        refusal("STYLEQUEUE_REDIS_CLIENT_KEY_FILE is given without STYLEQUEUE_REDIS_CLIENT_CERT_FILE")

    def test_sentinels_and_their_master_come_together(self, given: Set) -> None:
        given(REDIS_URL="sentinel://:hunter2@h1,h2")
        refusal("STYLEQUEUE_REDIS_SENTINEL_MASTER must be given")
        given(REDIS_SENTINEL_MASTER="paints")
        assert Settings.load().redis.is_sentinel
        given(REDIS_URL="redis://:hunter2@h1")
        refusal("STYLEQUEUE_REDIS_SENTINEL_MASTER is given, but")


def test_all_buckets() -> None:
    settings = Settings(
        upload_bucket="aaa", output_bucket="bbb", work_bucket="ccc", read_buckets=("aaa", "ddd"), write_buckets=("bbb",)
    )
    assert settings.buckets == {
        "aaa": ["upload_bucket", "read_buckets"],
        "bbb": ["output_bucket", "write_buckets"],
        "ccc": ["work_bucket"],
        "ddd": ["read_buckets"],
    }
