"""What would be applied to a cluster: valid by strict schemas, and each name in it is somebody's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from jsonschema import Draft202012Validator

from stylequeue._probe import PROBES
from stylequeue.cli import command
from stylequeue.contract.base import QUEUES
from stylequeue.settings import Settings
from stylequeue.variables import PREFIX
from tests.kubernetes.conftest import (
    COMPONENTS,
    KUBERNETES,
    OVERLAYS,
    ROOT,
    Applied,
    component_of,
    container_of,
    overlay,
)
from tests.kubernetes.kustomize import CLUSTERS, build, documents

SCHEMAS = ROOT / "tests/support/schemas"
NAMESPACE = "stylequeue"
SECRETS = {each["metadata"]["name"]: set(each["stringData"]) for each in documents(KUBERNETES / "secrets.example.yaml")}
KUSTOMIZES = (1, 21)
"""The first kubectl that knows components."""


@cache
def validator(kind: str) -> Draft202012Validator:
    ours = SCHEMAS / f"keda-{kind.lower()}-v1alpha1.schema.json"
    if ours.exists():
        return Draft202012Validator(json.loads(ours.read_text()))
    known = json.loads((SCHEMAS / "kubernetes-1.37.json").read_text())
    return Draft202012Validator({**known, "$ref": f"#/$defs/{kind}"})


def faults(found: Mapping[str, Any]) -> list[str]:
    return [error.message for error in validator(found["kind"]).iter_errors(found)]


class TestSchemas:
    def test_each_object_is_valid(self, applied: Applied) -> None:
        assert {each["kind"]: faults(each) for each in applied.objects if faults(each)} == {}

    def test_so_are_the_secrets_that_are_not_there(self) -> None:
        for each in documents(KUBERNETES / "secrets.example.yaml"):
            assert not faults(each)
            assert set(each["stringData"].values()) == {""}, "no value is in a file"

    @pytest.mark.parametrize(
        ("kind", "path"),
        [
            ("Deployment", ("spec", "template", "spec", "containers", 0, "livenessProb")),
            ("NetworkPolicy", ("spec", "podSelecter")),
            ("PodDisruptionBudget", ("spec", "maxUnavailible")),
            ("ScaledObject", ("spec", "cooldownPeriods")),
            ("ScaledObject", ("spec", "triggers", 0, "metaData")),
            ("TriggerAuthentication", ("spec", "secretTargetRef", 0, "parametre")),
        ],
    )
    def test_what_is_misspelt_is_not(self, kind: str, path: tuple[str | int, ...]) -> None:
        spoilt = next(each for each in build(KUBERNETES / "base") if each["kind"] == kind)
        assert not faults(spoilt)
        within: Any = spoilt
        for part in path[:-1]:
            within = within[part]
        within[path[-1]] = "x"
        assert faults(spoilt)


def pods_selected(applied: Applied, selector: Mapping[str, Any]) -> set[str]:
    assert selector.keys() == {"matchLabels"}
    wanted = selector["matchLabels"].items()
    return {name for name, pod in applied.pods().items() if wanted <= pod["metadata"]["labels"].items()}


class TestReferences:
    def test_each_is_in_the_namespace_and_there_once(self, applied: Applied) -> None:
        names = [(each["kind"], each["metadata"]["name"]) for each in applied.objects]
        assert len(set(names)) == len(names)
        for each in applied.objects:
            expected = None if each["kind"] in CLUSTERS else NAMESPACE
            assert each["metadata"].get("namespace") == expected
        assert list(applied.of("Namespace")) == [NAMESPACE]

    def test_each_deployment_selects_its_own_pods_alone(self, applied: Applied) -> None:
        for name, deployment in applied.of("Deployment").items():
            assert pods_selected(applied, deployment["spec"]["selector"]) == {name}

    def test_each_service_leads_to_a_port_of_its_own_pods(self, applied: Applied) -> None:
        services = applied.of("Service")
        assert set(services) == {"stylequeue-gateway", "stylequeue-keeper", "stylequeue-listener"}
        for name, service in services.items():
            assert pods_selected(applied, {"matchLabels": service["spec"]["selector"]}) == {name}
            [port] = service["spec"]["ports"]
            [there] = container_of(applied.pods()[name])["ports"]
            assert (port["targetPort"], port["port"]) == (there["name"], there["containerPort"])
            args = container_of(applied.pods()[name])["args"]
            assert args[args.index("--metrics-port" if name.endswith("keeper") else "--port") + 1] == str(port["port"])

    def test_probes_ask_ports_and_probes_that_there_are(self, applied: Applied) -> None:
        for name, pod in applied.pods().items():
            container = container_of(pod)
            ports = {port["name"] for port in container.get("ports", [])}
            kinds = ("startup", "liveness", "readiness")
            probes = {kind: container[f"{kind}Probe"] for kind in kinds if f"{kind}Probe" in container}
            if component_of(pod) == "worker":
                asked = {kind: probe["exec"]["command"] for kind, probe in probes.items()}
                short = {"startup": "started", "liveness": "live", "readiness": "ready"}
                assert asked == {kind: ["stylequeue", "probe", probe] for kind, probe in short.items()}
                assert set(short.values()) == set(PROBES)
                assert not ports, "nothing comes in"
            else:
                for probe in probes.values():
                    assert probe["httpGet"]["port"] in ports
                    # They are asked in tests/gateway, tests/uploads and tests/metrics.
                    there = {"/healthz"} if name == "stylequeue-keeper" else {"/healthz", "/readyz"}
                    assert probe["httpGet"]["path"] in there

    def test_volumes_and_secrets(self, applied: Applied) -> None:
        for name, pod in applied.pods().items():
            volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
            mounts = {mount["name"]: mount for mount in container_of(pod)["volumeMounts"]}
            assert mounts.keys() == volumes.keys(), name
            held = {
                mounts[volume]["mountPath"]: SECRETS[there["secret"]["secretName"]]
                for volume, there in volumes.items()
                if "secret" in there
            }
            for variable, value in environment(pod).items():
                if value.startswith(tuple(held)):
                    path, _, key = value.rpartition("/")
                    assert key in held[path], variable
            keys = {value.rpartition("/")[2] for value in environment(pod).values()}
            assert all(held[path] <= keys for path in held), f"{name} mounts what it does not read"

    def test_every_secret_is_somebodys(self) -> None:
        text = "\n".join(path.read_text() for path in sorted((KUBERNETES / "base").iterdir()))
        assert {name for name in SECRETS if not re.search(rf"\b{name}\b", text)} == set()

    def test_settings_exist_and_are_valid(
        self, applied: Applied, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        [settings] = applied.of("ConfigMap").values()
        for pod in applied.pods().values():
            [source] = container_of(pod)["envFrom"]
            assert source == {"configMapRef": {"name": settings["metadata"]["name"]}}
            with monkeypatch.context() as env:
                for variable, value in {**settings["data"], **environment(pod)}.items():
                    if value.startswith("/run/secrets/"):
                        (tmp_path / Path(value).name).write_text(FILLED[Path(value).name])
                        env.setenv(variable, str(tmp_path / Path(value).name))
                    elif variable.startswith(PREFIX):
                        env.setenv(variable, value)
                assert Settings.load().deployment == "default"

    def test_settings_that_are_commented_out_exist(self) -> None:
        named = re.findall(r"^\s*# (STYLEQUEUE_\w+): (\S+)$", (KUBERNETES / "base/settings.yaml").read_text(), re.M)
        assert named
        Settings(**{name.removeprefix(PREFIX).lower(): value for name, value in named})

    def test_images_are_those_of_compose(self, applied: Applied) -> None:
        services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
        for pod in applied.pods().values():
            name, _, tag = container_of(pod)["image"].partition(":")
            assert name == services[component_of(pod)]["image"]
            assert tag in ("", "gpu")

    def test_commands_are_the_commands(self, everything: Applied) -> None:
        """As the images' entry points have them: `stylequeue worker --name worker ...`, and `stylequeue ...`."""
        from stylequeue_worker.__main__ import app as worker

        for pod in everything.pods().values():
            is_worker = component_of(pod) == "worker"
            of: Any = typer.main.get_command(worker if is_worker else command.app)
            arguments = list(container_of(pod)["args"])
            if not is_worker:
                of = of.commands[arguments.pop(0)]
            of.make_context("stylequeue", arguments)

    def test_priorities(self, applied: Applied) -> None:
        classes = applied.of("PriorityClass")
        used = {name: pod["spec"]["priorityClassName"] for name, pod in applied.pods().items()}
        assert set(used.values()) == set(classes)
        values = [classes[f"stylequeue-{name}"]["value"] for name in ("service", "fast", "paint", "bulk")]
        assert values == sorted(values, reverse=True)

    def test_the_account_is_the_keepers_alone(self, applied: Applied) -> None:
        accounts = {name: pod["spec"].get("serviceAccountName") for name, pod in applied.pods().items()}
        mounted = {name for name, pod in applied.pods().items() if pod["spec"]["automountServiceAccountToken"]}
        there = applied.of("ServiceAccount")
        assert mounted == ({"stylequeue-keeper"} if there else set())
        assert {name for name in accounts.values() if name} == set(there)
        if there:
            [role], [binding] = applied.of("Role").values(), applied.of("RoleBinding").values()
            assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
            assert binding["roleRef"]["name"] == role["metadata"]["name"]
            [subject] = binding["subjects"]
            assert (subject["name"], subject["namespace"]) == (*there, NAMESPACE)
            assert environment(applied.pods()["stylequeue-keeper"])["STYLEQUEUE_POD_DELETION_COST"] == "true"


FILLED = {
    "redis-url": "redis://worker:p@redis.example:6379/0",
    "s3-access-key": "key",
    "s3-secret-key": "secret",
    "mark-secrets": json.dumps(["0123456789abcdef" * 2]),
}


def environment(pod: Mapping[str, Any]) -> dict[str, str]:
    """A container's variables; what Kubernetes fills in has the name of a pod."""
    found = {each["name"]: each.get("value", "pod-0") for each in container_of(dict(pod))["env"]}
    assert len(found) == len(container_of(dict(pod))["env"]), "one is given twice"
    return found


class TestPods:
    def test_each_keeps_to_the_strictest_standard(self, applied: Applied) -> None:
        for name, pod in applied.pods().items():
            spec, container = pod["spec"], container_of(pod)
            who = {key: spec["securityContext"][key] for key in ("runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup")}
            assert who == {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}, name
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
            assert all(volume.keys() <= {"name", "emptyDir", "secret"} for volume in spec["volumes"])
            assert spec["enableServiceLinks"] is False

    def test_each_may_write_where_it_must_and_has_limits(self, applied: Applied) -> None:
        for pod in applied.pods().values():
            empty = {volume["name"]: volume["emptyDir"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume}
            at = {mount["mountPath"]: mount["name"] for mount in container_of(pod)["volumeMounts"]}
            written = {"/tmp", "/run/stylequeue"} if component_of(pod) == "worker" else {"/tmp"}
            assert {at[path] for path in written} == set(empty)
            assert all("sizeLimit" in volume for volume in empty.values())
            assert container_of(pod)["resources"]["limits"]["memory"]
            assert container_of(pod)["resources"]["requests"].keys() == {"cpu", "memory"}
            assert (
                pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == pod["metadata"]["labels"]
            )

    def test_a_worker_for_each_queue(self, applied: Applied) -> None:
        args = {
            pod["metadata"]["labels"]["stylequeue/queue"]: container_of(pod)["args"]
            for pod in applied.workers().values()
        }
        assert args == {queue: ["--queues", queue] for queue in QUEUES}

    def test_they_differ_in_nothing_else(self, applied: Applied) -> None:
        alike = []
        for pod in applied.workers().values():
            text = yaml.safe_dump(pod)
            text = text.replace(pod["metadata"]["labels"]["stylequeue/queue"], "QUEUE")
            alike.append(re.sub(r"(cpu|memory): \S+", r"\1: N", text))
        assert len(set(alike)) == 1

    def test_each_has_the_time_to_end_that_it_takes(self, applied: Applied) -> None:
        for name, pod in applied.pods().items():
            has_s = pod["spec"]["terminationGracePeriodSeconds"]
            if component_of(pod) == "worker":
                takes_s = float(environment(pod).get("STYLEQUEUE_GRACE_S", Settings().grace_s))
                assert takes_s + 3 <= has_s <= takes_s + 20, name
            elif name == "stylequeue-gateway":
                from stylequeue.gateway.server import _DRAIN_S

                assert float(environment(pod)["STYLEQUEUE_GATEWAY_NOTICE_S"]) + _DRAIN_S + 5 <= has_s

    def test_workers_may_all_be_evicted_the_rest_one_at_a_time(self, applied: Applied) -> None:
        budgets = applied.of("PodDisruptionBudget")
        covered = {name for budget in budgets.values() for name in pods_selected(applied, budget["spec"]["selector"])}
        assert covered == {"stylequeue-gateway", "stylequeue-keeper"}
        for name, budget in budgets.items():
            assert budget["spec"]["maxUnavailable"] == 1
            assert applied.of("Deployment")[name]["spec"]["replicas"] == 2

    def test_who_is_scaled_has_no_number_of_its_own(self, applied: Applied) -> None:
        assert not any("replicas" in applied.of("Deployment")[name]["spec"] for name in applied.workers())


class TestNetwork:
    def allowed(self, applied: Applied, name: str, direction: str) -> Iterator[tuple[str, Any]]:
        """Protocols and ports that a pod may reach, or be reached at; policies that select it add up."""
        selecting = [
            policy["spec"]
            for policy in applied.of("NetworkPolicy").values()
            if name in pods_selected(applied, policy["spec"]["podSelector"])
        ]
        assert any(direction in policy["policyTypes"] for policy in selecting), "nothing says no"
        for policy in selecting:
            for rule in policy.get(direction.lower(), []):
                assert rule.get("ports"), "all ports"
                yield from ((port["protocol"], port["port"]) for port in rule["ports"])

    def test_nothing_comes_in_but_where_it_is_served(self, applied: Applied) -> None:
        for name, pod in applied.pods().items():
            ports = {("TCP", port["name"]) for port in container_of(pod).get("ports", [])}
            assert set(self.allowed(applied, name, "Ingress")) == ports, name

    def test_out_go_names_redis_the_store_and_traces(self, applied: Applied) -> None:
        usual = {("UDP", 53), ("TCP", 53), ("TCP", 6379), ("TCP", 443), ("TCP", 8333), ("TCP", 4318)}
        for name in applied.pods():
            tells = name == "stylequeue-keeper" and applied.of("ServiceAccount")
            assert set(self.allowed(applied, name, "Egress")) == usual | ({("TCP", 6443)} if tells else set()), name


class TestComponents:
    def test_a_gpu_for_each_worker(self, everything: Applied) -> None:
        for pod in everything.workers().values():
            container = container_of(pod)
            assert container["image"] == "stylequeue-worker:gpu"
            assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
            # By which `require_gpu` ends a worker that sees none.
            assert environment(pod)["CUDA_VISIBLE_DEVICES"] == "0"
        others = [pod for pod in everything.pods().values() if component_of(pod) != "worker"]
        assert not any("gpu" in json.dumps(pod) for pod in others)

    def test_they_go_together(self, everything: Applied) -> None:
        """What one tolerates does not take the place of what another one does."""
        for pod in everything.workers().values():
            tolerated = {each["key"] for each in pod["spec"]["tolerations"]}
            assert tolerated == {"nvidia.com/gpu", "cloud.google.com/gke-spot"}
            assert pod["spec"]["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
            assert pod["spec"]["terminationGracePeriodSeconds"] == 15
            assert environment(pod)["STYLEQUEUE_GRACE_S"] == "12"

    def test_spot_machines_of_others(self) -> None:
        for pod in overlay("spot").workers().values():
            required = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            keys = {term["matchExpressions"][0]["key"] for term in required["nodeSelectorTerms"]}
            assert {each["key"] for each in pod["spec"]["tolerations"]} <= keys

    def test_without_keda_nothing_of_it_is_left(self) -> None:
        objects = build(KUBERNETES / "overlays/no-keda")
        assert not [each for each in objects if each["apiVersion"].startswith("keda")]
        assert len(objects) == len(build(KUBERNETES / "base")) - 3

    def test_each_overlay_is_the_base_with_its_component(self) -> None:
        assert set(OVERLAYS) <= set(COMPONENTS)
        for name in OVERLAYS:
            [overlay] = documents(KUBERNETES / "overlays" / name / "kustomization.yaml")
            assert (overlay["resources"], overlay["components"]) == (["../../base"], [f"../../components/{name}"])


def kubectl() -> tuple[str, ...] | None:
    """What builds kustomizations here, if anything does that knows components."""
    program = shutil.which("kubectl")
    if program is None:
        return None
    said = subprocess.run([program, "version", "--client"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"v(\d+)\.(\d+)", said)
    return (program, "kustomize") if version and tuple(map(int, version.groups())) >= KUSTOMIZES else None


@pytest.mark.skipif(kubectl() is None, reason="needs kubectl 1.21 or later")
def test_kubectl_merges_them_likewise(everything: Applied) -> None:
    for applied in everything, overlay("no-keda"):
        asked = [*(kubectl() or ()), str(applied.directory)]
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        assert not done.stderr, "nothing in it is out of date"
        merged = yaml.load_all(done.stdout, yaml.CSafeLoader)
        assert sorted(map(plain, merged)) == sorted(map(plain, applied.objects))


def plain(found: Mapping[str, Any]) -> str:
    return json.dumps(found, sort_keys=True)
