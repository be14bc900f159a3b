"""What is applied to a cluster, by overlay."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.kustomize import build

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "docker" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())


class Applied:
    """The objects of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.objects = build(directory)

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """All of a kind, by name."""
        found = {each["metadata"]["name"]: each for each in self.objects if each["kind"] == kind}
        assert len(found) == sum(each["kind"] == kind for each in self.objects), f"two {kind}s share a name"
        return found

    def pods(self) -> dict[str, dict[str, Any]]:
        """Templates of pods, by their Deployments' names."""
        return {name: deployment["spec"]["template"] for name, deployment in self.of("Deployment").items()}

    def workers(self) -> dict[str, dict[str, Any]]:
        """Those that paint."""
        return {name: pod for name, pod in self.pods().items() if component_of(pod) == "worker"}


def component_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


def container_of(pod: dict[str, Any]) -> dict[str, Any]:
    [container] = pod["spec"]["containers"]
    return dict(container)


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """The base with all components that go together, as somebody's own overlay has them."""
    directory = tmp_path_factory.mktemp("overlay")
    components = [name for name in COMPONENTS if name not in ("no-keda", "spot")]
    here = os.path.relpath(KUBERNETES, directory)
    wanted = {"resources": [f"{here}/base"], "components": [f"{here}/components/{name}" for name in components]}
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
    return Applied(directory)


@cache
def overlay(name: str) -> Applied:
    return Applied(KUBERNETES / ("base" if name == "base" else f"overlays/{name}"))


@pytest.fixture(params=["base", *OVERLAYS, "everything"])
def applied(request: pytest.FixtureRequest, everything: Applied) -> Applied:
    return everything if request.param == "everything" else overlay(request.param)
