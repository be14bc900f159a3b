"""The images and the compose file, as far as they are judged without containers; `make containers` runs them."""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from stylequeue.contract.base import QUEUES
from stylequeue.local.shelf import STYLES
from stylequeue.operator_file.file import OperatorFile
from stylequeue.settings import Settings
from tests.support.processes import needed
from tests.support.roles import RIGHTS

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
REQUIREMENTS = ROOT / "requirements"
TEXT = (DOCKER / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENDING = [name for name, service in SERVICES.items() if service["restart"] == "on-failure"]
LASTING = [name for name in SERVICES if name not in ENDING]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("stylequeue")]
CONFIGURED = [name for name in OURS if "STYLEQUEUE_S3_ACCESS_KEY" in SERVICES[name].get("environment", {})]
PROMETHEUS = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yaml").read_text())
SCHEMA = json.loads((Path(__file__).parent / "support" / "schemas" / "compose-spec.schema.json").read_text())
SECRET = "0123abcd" * 6


def dockerfile() -> dict[str, list[tuple[str, str]]]:
    """By stage, its instructions: (name, arguments), continuation lines joined. "" is what precedes the first FROM."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: dict[str, list[tuple[str, str]]] = {"": []}
    stage = ""
    for line in text.replace("\\\n", " ").splitlines():
        name, _, arguments = line.strip().partition(" ")
        if name == "FROM":
            stages[stage := arguments.partition(" AS ")[2]] = []
        if name:
            stages[stage].append((name, arguments.strip()))
    return stages


STAGES = dockerfile()
IMAGES = {"service": "stylequeue", "worker": "stylequeue-worker"}
IGNORE = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
RUNS = [arguments for stage in STAGES.values() for name, arguments in stage if name == "RUN"]


def effect(stage: str) -> list[tuple[str, str]]:
    """Instructions of a stage and of those it stands on."""
    [(_, source), *rest] = STAGES[stage]
    below = source.partition(" AS ")[0]
    return [*(effect(below) if below in STAGES else []), *rest]


def pins(name: str) -> set[str]:
    return set(re.findall(r"^([\w.\[\]-]+==\S+)", (REQUIREMENTS / f"{name}.txt").read_text(), re.MULTILINE))


def filled(text: str) -> str:
    """As compose reads it, every secret given."""
    return re.sub(r"\$\{\w+(?::-([^}]*)|:\?[^}]*)?\}", lambda found: found[1] or SECRET, text)


class TestImages:
    @pytest.mark.parametrize("stage", IMAGES)
    def test_each_runs_as_a_numbered_user_and_takes_signals(self, stage: str) -> None:
        last = dict(effect(stage))
        uid, _, gid = last["USER"].partition(":")
        assert int(uid) > 0
        assert int(gid) > 0
        assert f"--uid {uid} --gid {gid} " in dict(STAGES["base"])["RUN"]
        assert last["STOPSIGNAL"] == "SIGTERM"
        assert json.loads(last["ENTRYPOINT"])[:2] == ["tini", "--"]
        assert isinstance(json.loads(last["CMD"]), list)

    @pytest.mark.parametrize("stage", IMAGES)
    def test_each_needs_nothing_but_tmp_to_write_to(self, stage: str) -> None:
        variables: dict[str, str] = {}
        for name, arguments in effect(stage):
            if name == "ENV":
                variables |= dict(pair.split("=", 1) for pair in shlex.split(arguments))
        assert variables["HOME"] == "/tmp"
        assert variables["MPLCONFIGDIR"].startswith("/tmp/")
        assert dict(effect(stage))["WORKDIR"] == "/tmp"

    @pytest.mark.parametrize("stage", IMAGES)
    def test_each_says_what_it_is(self, stage: str) -> None:
        labels = " ".join(arguments for name, arguments in effect(stage) if name == "LABEL")
        found = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]+)"', labels))
        assert found["title"] == IMAGES[stage]
        assert found["licenses"] == "Apache-2.0"
        assert found["version"] == "${VERSION}"
        assert found["revision"] == "${REVISION}"
        assert {"description", "base.name"} <= found.keys()

    def test_the_base_is_the_builder_s_to_choose(self) -> None:
        sources = [arguments.partition(" AS ")[0] for stage in STAGES.values() for n, arguments in stage if n == "FROM"]
        assert set(sources) - STAGES.keys() == {"${BASE_IMAGE}"}
        assert STAGES[""] == [("ARG", "BASE_IMAGE=python:3.12-slim")]

    def test_a_worker_takes_from_all_queues(self) -> None:
        assert json.loads(dict(STAGES["worker"])["CMD"]) == ["--queues", ",".join(QUEUES)]

    def test_what_is_built_where_no_target_is_named_is_the_worker(self) -> None:
        assert list(STAGES)[-1] == "worker"

    def test_everything_from_a_registry_is_hashed(self) -> None:
        installs = [command for run in RUNS for command in run.split("&&") if "pip install " in command]
        assert len(installs) >= 5
        for command in installs:
            assert "--require-hashes -r" in command or ("--offline" in command and "--no-deps" in command), command

    def test_no_registry_is_named(self) -> None:
        for file in (path for path in DOCKER.rglob("*") if path.is_file() and path.name != ".env"):
            assert not re.search(r"index-url|--index|pypi", file.read_text()), file

    @pytest.mark.parametrize("device", ["worker", "gpu"])
    def test_each_device_has_its_requirements(self, device: str) -> None:
        text = (REQUIREMENTS / f"{device}.txt").read_text()
        assert re.search(r"^tensorflow==", text, re.MULTILINE)
        assert ("nvidia-cudnn" in text) == (device == "gpu")

    def test_the_light_image_is_light(self) -> None:
        names = {pin.partition("==")[0] for pin in pins("gateway")}
        assert {"fastapi", "uvicorn", "prometheus-client", "celery"} <= names
        assert not {"tensorflow", "numpy", "pillow", "matplotlib"} & names

    @pytest.mark.parametrize("name", ["build", "gateway", "models"])
    def test_what_is_installed_was_tested(self, name: str) -> None:
        assert pins(name)
        assert pins(name) <= pins("dev")

    def test_what_is_added_for_the_networks_replaces_nothing(self) -> None:
        names = {pin.partition("==")[0] for pin in pins("worker")}
        assert {pin for pin in pins("models") if pin.partition("==")[0] in names} <= pins("worker")

    def test_a_linter_finds_nothing(self) -> None:
        hadolint = Path(sys.executable).with_name("hadolint")
        done = subprocess.run([hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    def test_settings_named_exist(self) -> None:
        assert_settings_exist((DOCKER / "Dockerfile").read_text())


class TestContext:
    """What is sent to whoever builds."""

    def holds(self, path: str) -> bool:
        """The last pattern that is for a path, or for what it lies in, decides."""
        parts = path.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        held = True
        for pattern in IGNORE:
            bare = pattern.removeprefix("!")
            anywhere = bare.removeprefix("**/")
            assert "/" not in anywhere, "such patterns are not understood here"
            names = parts if bare != anywhere else above[:1]
            if any(fnmatchcase(name, anywhere) for name in names):
                held = pattern.startswith("!")
        return held

    def test_it_is_sources_and_nothing_else(self) -> None:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        kept = {path for path in listed.split("\0") if path and self.holds(path)}
        folders = {path.partition("/")[0] for path in kept}
        assert folders == {"producer", "worker", "requirements", "pyproject.toml", "README.md", "LICENSE", "NOTICE"}
        sources = {path for path in listed.split("\0") if path.startswith(("producer/", "worker/"))}
        assert sources <= kept

    @pytest.mark.parametrize(
        "path",
        [
            ".git/config", ".env", "docker/.env", "producer/.env", "producer/stylequeue/.git/HEAD", "worker/a/b.key",
            "producer/keys.pem", "requirements/production.env", "producer/stylequeue/__pycache__/a.pyc",
            ".venv/bin/python", "tests/test_docker.py", "demo-output/a.jpg", "worker/.aws/credentials", "docs/x.md",
        ],
    )  # fmt: skip
    def test_no_secret_comes_in(self, path: str) -> None:
        assert not self.holds(path)

    def test_what_is_copied_is_there(self) -> None:
        for stage in STAGES.values():
            for name, arguments in stage:
                if name == "COPY" and not arguments.startswith("--from"):
                    for source in shlex.split(arguments)[:-1]:
                        path = source.replace("${DEVICE}", "worker")
                        assert (ROOT / path).exists(), path
                        assert self.holds(path), path


class TestCompose:
    @pytest.mark.parametrize("file", ["compose.yaml", "compose.gpu.yaml"])
    def test_it_is_what_the_specification_says(self, file: str) -> None:
        document = yaml.safe_load((DOCKER / file).read_text())
        validator = Draft7Validator(SCHEMA)
        assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)] == []
        mistyped = copy.deepcopy(document)
        mistyped["services"]["worker"]["mem_limitt"] = "1g"
        assert not validator.is_valid(mistyped)

    @pytest.mark.parametrize("name", SERVICES)
    def test_no_port_is_published_beyond_loopback(self, name: str) -> None:
        service = SERVICES[name]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service.get("network_mode") != "host"

    @pytest.mark.parametrize("name", SERVICES)
    def test_each_service_is_contained(self, name: str) -> None:
        service = SERVICES[name]
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"]
        assert "/tmp" in service["tmpfs"]
        assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & service.keys()

    @pytest.mark.parametrize("name", SERVICES)
    def test_nobody_is_root(self, name: str) -> None:
        user = SERVICES[name].get("user")
        assert user not in ("0", "root", "0:0")
        assert user or name in OURS, "only of our own images it is known that their users are not root"

    @pytest.mark.parametrize("name", LASTING)
    def test_each_service_s_health_is_looked_at(self, name: str) -> None:
        look = SERVICES[name]["healthcheck"]
        assert not look.get("disable")
        assert look["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "start_period"} <= look.keys()

    def test_health_dies_neither_with_redis_nor_with_the_store(self) -> None:
        looked = {name: SERVICES[name]["healthcheck"]["test"] for name in LASTING if name in OURS}
        assert looked.pop("worker") == ["CMD", "stylequeue", "probe", "live"]
        for name, test in looked.items():
            [port] = re.findall(r"http://127\.0\.0\.1:(\d+)/healthz", test[-1])
            assert int(port) == port_of(name)

    def test_those_that_end_are_waited_for(self) -> None:
        for name, service in SERVICES.items():
            for other, how in service.get("depends_on", {}).items():
                ended = how["condition"] == "service_completed_successfully"
                assert ended == (other in ENDING), (name, other)
        assert set(ENDING) == {"store-setup", "shelf", "keys"}

    def test_what_is_mounted_is_there(self) -> None:
        volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
        for volume in volumes:
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
                assert rest.endswith(":ro"), volume
            else:
                assert source in COMPOSE["volumes"]

    def test_volumes_that_are_ours_are_first_mounted_where_the_image_gives_them_to_its_user(self) -> None:
        [given] = [run for name, run in STAGES["service"] if name == "RUN" and "install -d -o 10001" in run]
        for name in "store-setup", "keys":
            for volume in SERVICES[name]["volumes"]:
                if not volume.startswith("."):
                    assert volume.split(":")[1] in given.split()
        assert SERVICES["seaweedfs"]["user"] == dict(effect("service"))["USER"]
        assert set(SERVICES["seaweedfs"]["depends_on"]) == {"store-setup"}
        assert SERVICES["gateway"]["depends_on"]["keys"]

    def test_what_is_ours_is_built_here(self) -> None:
        for name in OURS:
            build = SERVICES[name]["build"]
            assert build["target"] in IMAGES
            assert SERVICES[name]["image"] == IMAGES[build["target"]]

    def test_workers_can_be_scaled(self) -> None:
        assert not {"container_name", "ports", "hostname"} & SERVICES["worker"].keys()

    @pytest.mark.parametrize(("name", "needs_s"), [("worker", Settings().grace_s), ("gateway", 31), ("listener", 20)])
    def test_it_is_killed_only_when_it_should_have_ended_long_ago(self, name: str, needs_s: float) -> None:
        own = SERVICES[name]["environment"].get("STYLEQUEUE_GRACE_S", needs_s)
        [seconds] = re.findall(r"^(\d+)s$", SERVICES[name]["stop_grace_period"])
        assert float(own) + 5 <= int(seconds) <= float(own) + 20

    def test_redis_forgets_nothing(self) -> None:
        configuration = SERVICES["valkey"]["command"][0]
        for line in "appendonly yes", "maxmemory-policy noeviction":
            assert line in configuration
        assert "valkey:/data" in SERVICES["valkey"]["volumes"]

    def test_the_object_store_makes_no_bucket_by_mistake_and_reports_nothing_home(self) -> None:
        flags = SERVICES["seaweedfs"]["command"]
        assert {"-master.telemetry=false", "-s3.autoCreateBucket=false", "-disableHttp"} <= set(flags)

    def test_all_buckets_are_made(self) -> None:
        flags = SERVICES["seaweedfs"]["command"]
        [buckets] = [flag.removeprefix("-bucket=").split(",") for flag in flags if flag.startswith("-bucket=")]
        assert sorted(buckets) == sorted(Settings().buckets)

    def test_every_secret_must_be_given(self) -> None:
        used = set(re.findall(r"\$\{(\w+)[:}]", TEXT)) - {"S3_PUBLIC_ENDPOINT_URL"}
        assert {"MARK_SECRET", "GATEWAY_REDIS_PASSWORD", "GATEWAY_S3_SECRET_KEY"} <= used
        readme = (DOCKER / "README.md").read_text()
        [names] = re.findall(r"^\(umask 077; for name in ([\w \\\n]+)\ndo echo", readme, re.MULTILINE)
        assert set(names.replace("\\\n", " ").split()) == used
        for name in used:
            assert "${" + name + ":?" in TEXT
            assert not re.search(r"\$\{" + name + r":?-", TEXT)

    def test_settings_named_in_it_exist(self) -> None:
        assert_settings_exist(TEXT)

    @pytest.mark.parametrize("name", CONFIGURED)
    def test_each_service_s_settings_are_valid_and_its_rights_its_own(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for variable, value in SERVICES[name]["environment"].items():
            monkeypatch.setenv(variable, filled(value))
        settings = Settings()
        role = "operator" if name == "shelf" else name
        assert settings.s3_endpoint_url == "http://seaweedfs:8333"
        assert settings.s3_access_key
        assert settings.s3_access_key.get_secret_value() == role
        assert f'"accessKey": "{role}"' in (DOCKER / "store-setup.sh").read_text()
        if name != "shelf":
            assert settings.redis_url.get_secret_value() == f"redis://{role}:{SECRET}@valkey:6379/0"
            assert role in RIGHTS
            assert f"s/>{role.upper()}_PASSWORD/" in SERVICES["valkey"]["command"][0]
        assert settings.mark_secrets_in_clear() == ([SECRET] if name in ("worker", "keeper") else [])

    def test_links_are_for_callers_outside(self) -> None:
        url = filled(SERVICES["gateway"]["environment"]["STYLEQUEUE_S3_PUBLIC_ENDPOINT_URL"])
        assert url == f"http://{SERVICES['seaweedfs']['ports'][0].rpartition(':')[0]}"

    def test_the_operator_s_file_has_a_rule_for_uploads_whose_style_is_there(self) -> None:
        mounts = {name: [v for v in SERVICES[name].get("volumes", ()) if v.startswith("./operator:")] for name in OURS}
        assert {name for name, found in mounts.items() if found} == {"gateway", "listener", "keeper"}
        for name in "gateway", "listener", "keeper":
            [volume] = mounts[name]
            file = Path(SERVICES[name]["environment"]["STYLEQUEUE_OPERATOR_FILE"])
            # Not the file alone: where an editor replaces it, a container would see the old one.
            assert volume == f"./operator:{file.parent}:ro"
        tables = OperatorFile(DOCKER / "operator" / "stylequeue.toml").now
        [rule] = tables.rules
        assert (rule.bucket, rule.prefix) == ("uploads", "in/")
        [style] = tables.templates[rule.template or ""].styles
        assert style.image.bucket == "styles"
        assert style.image.key.removeprefix("shelf/") in STYLES

    def test_the_gpu_file_changes_only_the_worker(self) -> None:
        gpu = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())
        assert list(gpu["services"]) == ["worker"]
        worker = gpu["services"]["worker"]
        assert worker["build"]["args"] == {"DEVICE": "gpu"}
        # By which `require_gpu` ends a worker that sees none.
        assert worker["environment"] == {"CUDA_VISIBLE_DEVICES": "0"}


class TestSeeing:
    def test_prometheus_asks_all_who_export_and_reaches_them(self) -> None:
        targets = {
            job["job_name"]: target.split(":")
            for job in PROMETHEUS["scrape_configs"]
            for fixed in job["static_configs"]
            for target in fixed["targets"]
        }
        assert targets == {name: [name, str(port_of(name))] for name in ("gateway", "keeper")}
        for name in targets:
            assert set(SERVICES[name]["networks"]) & set(SERVICES["prometheus"]["networks"])

    def test_prometheus_has_a_monitor_s_key(self) -> None:
        [gateway] = [job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "gateway"]
        folder, _, file = gateway["authorization"]["credentials_file"].rpartition("/")
        assert f"keys:{folder}:ro" in SERVICES["prometheus"]["volumes"]
        made = SERVICES["keys"]["command"][0]
        assert f"mv monitor.new {file}" in made
        assert "keys new --role monitor" in made
        assert SERVICES["keys"]["volumes"] == [f"keys:{SERVICES['keys']['working_dir']}"]

    def test_prometheus_takes_its_configuration(self) -> None:
        flags = SERVICES["prometheus"]["command"]
        assert "--config.file=/etc/prometheus/prometheus.yaml" in flags
        assert "./prometheus:/etc/prometheus:ro" in SERVICES["prometheus"]["volumes"]
        file = str(DOCKER / "prometheus" / "prometheus.yaml")
        command = [needed("promtool"), "check", "config", "--syntax-only", file]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        for file in PROMETHEUS["rule_files"]:
            assert (DOCKER / "prometheus" / file).exists()

    def test_grafana_has_prometheus_and_the_dashboard(self) -> None:
        grafana = SERVICES["grafana"]
        assert grafana["profiles"] == ["grafana"]
        folder = DOCKER / "grafana" / "provisioning"
        assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in grafana["volumes"]
        [source] = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"]
        assert source["type"] == "prometheus"
        assert source["isDefault"], "the dashboard takes the default one"
        assert source["url"] == "http://prometheus:9090"
        assert grafana["networks"] == SERVICES["prometheus"]["networks"]
        [provider] = yaml.safe_load((folder / "dashboards" / "stylequeue.yaml").read_text())["providers"]
        [dashboard] = [volume for volume in grafana["volumes"] if "dashboard.json" in volume]
        assert dashboard.split(":")[1].rpartition("/")[0] == provider["options"]["path"]


def port_of(name: str) -> int:
    """Where a service of ours answers HTTP, by its command."""
    command = SERVICES[name]["command"]
    named = re.findall(r"--(?:metrics-)?port (\d+)", " ".join(command))
    return int(named[0]) if named else {"gateway": 8000, "listen": 8001}[command[0]]


def assert_settings_exist(text: str) -> None:
    named = set(re.findall(r"STYLEQUEUE_(\w+)", text))
    assert named
    assert {name.lower() for name in named} <= Settings.model_fields.keys()
