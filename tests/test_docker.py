"""The image and the compose file, as far as they can be judged without a container engine."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from stylequeue.contract.base import QUEUES
from stylequeue.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def dockerfile() -> list[list[tuple[str, str]]]:
    """Instructions of each stage: (name, arguments), continuation lines joined. The first is what precedes FROM."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: list[list[tuple[str, str]]] = [[]]
    for line in text.replace("\\\n", " ").splitlines():
        name, _, arguments = line.strip().partition(" ")
        if name == "FROM":
            stages.append([])
        if name:
            stages[-1].append((name, arguments.strip()))
    return stages


STAGES = dockerfile()
FINAL = dict(STAGES[-1])
RUNS = [arguments for stage in STAGES for name, arguments in stage if name == "RUN"]


class TestImage:
    def test_it_runs_as_a_numbered_user_of_its_own(self) -> None:
        user = FINAL["USER"]
        assert int(user) > 0
        assert f"--uid {user} " in FINAL["RUN"]

    def test_signals_reach_the_worker(self) -> None:
        assert FINAL["STOPSIGNAL"] == "SIGTERM"
        for name in "ENTRYPOINT", "CMD":
            assert isinstance(yaml.safe_load(FINAL[name]), list)  # the exec form is JSON, which is YAML

    def test_it_takes_from_all_queues(self) -> None:
        assert yaml.safe_load(FINAL["CMD"]) == ["--queues", ",".join(QUEUES)]

    def test_everything_from_a_registry_is_hashed(self) -> None:
        installs = [run for run in RUNS if " install " in run]
        assert len(installs) >= 4
        for run in installs:
            for command in run.split("&&"):
                if " install " in command:
                    assert "--require-hashes -r" in command or "--offline --no-deps" in command, command

    def test_no_registry_is_named(self) -> None:
        for file in (path for path in DOCKER.rglob("*") if path.is_file()):
            assert not re.search(r"index-url|--index|pypi", file.read_text()), file

    @pytest.mark.parametrize("device", ["worker", "gpu"])
    def test_each_device_has_its_requirements(self, device: str) -> None:
        pins = (ROOT / "requirements" / f"{device}.txt").read_text()
        assert re.search(r"^tensorflow==", pins, re.MULTILINE)
        assert ("nvidia-cudnn" in pins) == (device == "gpu")

    def test_what_is_copied_exists_and_is_not_ignored(self) -> None:
        ignore = (ROOT / ".dockerignore").read_text().splitlines()
        assert "*" in ignore
        for stage in STAGES:
            for name, arguments in stage:
                if name == "COPY" and not arguments.startswith("--from"):
                    for source in shlex.split(arguments)[:-1]:
                        path = source.replace("${DEVICE}", "worker")
                        assert (ROOT / path).exists(), path
                        assert "!" + path.split("/")[0] in ignore, path

    def test_settings_named_in_it_exist(self) -> None:
        assert_settings_exist((DOCKER / "Dockerfile").read_text())


class TestCompose:
    @pytest.mark.parametrize("name", SERVICES)
    def test_no_port_is_published_beyond_loopback(self, name: str) -> None:
        service = SERVICES[name]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service.get("network_mode") != "host"

    @pytest.mark.parametrize("name", SERVICES)
    def test_each_service_has_a_memory_limit_and_gains_no_privileges(self, name: str) -> None:
        assert SERVICES[name]["mem_limit"]
        assert "no-new-privileges:true" in SERVICES[name]["security_opt"]
        assert not SERVICES[name].get("privileged")

    def test_workers_can_be_scaled(self) -> None:
        assert not {"container_name", "ports", "hostname"} & SERVICES["worker"].keys()

    def test_a_worker_is_killed_only_when_it_should_have_ended_long_ago(self) -> None:
        own = SERVICES["worker"]["environment"].get("STYLEQUEUE_GRACE_S", Settings().grace_s)
        (seconds,) = re.findall(r"^(\d+)s$", SERVICES["worker"]["stop_grace_period"])
        assert float(own) + 5 <= int(seconds) <= float(own) + 20

    def test_somebody_keeps_house_while_no_worker_is_running(self) -> None:
        keeper = SERVICES["keeper"]
        assert [*keeper["entrypoint"], *keeper["command"]] == ["stylequeue", "keeper"]
        assert keeper["healthcheck"] == {"disable": True}, "the image's own asks for a worker"
        for same in ("image", "build", "environment", "depends_on"):
            assert keeper[same] == SERVICES["worker"][same]

    def test_redis_forgets_nothing(self) -> None:
        configuration = SERVICES["valkey"]["command"][0]
        for line in "appendonly yes", "maxmemory-policy noeviction", "user default on >$$VALKEYCLI_AUTH ":
            assert line in configuration
        assert any(volume.endswith(":/data") for volume in SERVICES["valkey"]["volumes"])

    def test_the_object_store_makes_no_bucket_by_mistake_and_reports_nothing_home(self) -> None:
        flags = SERVICES["seaweedfs"]["command"]
        assert {"-master.telemetry=false", "-s3.autoCreateBucket=false", "-disableHttp"} <= set(flags)

    def test_all_buckets_are_made(self) -> None:
        flags = SERVICES["seaweedfs"]["command"]
        (buckets,) = (flag.removeprefix("-bucket=").split(",") for flag in flags if flag.startswith("-bucket="))
        assert sorted(buckets) == sorted(Settings().buckets)

    def test_every_secret_must_be_given(self) -> None:
        text = (DOCKER / "compose.yaml").read_text()
        used = set(re.findall(r"\$\{(\w+)", text))
        assert used == {
            "VALKEY_PASSWORD",
            "MARK_SECRET",
            *(f"S3_{of}{what}_KEY" for of in ("", "WORKER_") for what in ("ACCESS", "SECRET")),
        }
        for command in re.findall(
            r"^\(umask 077; for name in ([\w ]+)$", (DOCKER / "README.md").read_text(), re.MULTILINE
        ):
            assert set(command.split()) == used
        for name in used:
            assert "${" + name + ":?" in text
            assert not re.search(r"\$\{" + name + r":?-", text)

    def test_settings_named_in_it_exist(self) -> None:
        assert_settings_exist((DOCKER / "compose.yaml").read_text())

    def test_the_services_settings_are_valid(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in SERVICES["worker"]["environment"].items():
            monkeypatch.setenv(name, re.sub(r"\$\{\w+(:\?[^}]+)?\}", "0123abcd" * 4, value))
        settings = Settings()
        assert settings.redis_url.get_secret_value() == f"redis://:{'0123abcd' * 4}@valkey:6379/0"
        assert settings.mark_secrets_in_clear() == ["0123abcd" * 4]
        assert settings.s3_endpoint_url == "http://seaweedfs:8333"

    def test_the_gpu_file_changes_only_the_worker(self) -> None:
        gpu = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())
        assert list(gpu["services"]) == ["worker"]
        assert gpu["services"]["worker"]["build"]["args"] == {"DEVICE": "gpu"}


def assert_settings_exist(text: str) -> None:
    named = set(re.findall(r"STYLEQUEUE_(\w+)", text))
    assert named
    assert {name.lower() for name in named} <= Settings.model_fields.keys()
