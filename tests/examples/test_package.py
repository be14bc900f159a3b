"""The wheel as a backend installs it, alone: what it needs it names, and what the README says works."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stylequeue.testing import Service
from tests.examples.wheels import BIN, ROOT, install, run

PRODUCER = ROOT / "producer" / "stylequeue"
OWN = {"stylequeue", "stylequeue_worker"}
PLAIN_CELERY = "celery[redis]"
"""All that the README's program without this package needs."""


@pytest.fixture(scope="session")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def imported(path: Path) -> Iterator[str]:
    """Top-level modules that a file imports when it runs."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    guarded = [node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for_types_only = {inner for node in guarded for statement in node.body for inner in ast.walk(statement)}
    for node in nodes:
        if node in for_types_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def named(metadata: Message, extra: str = "") -> set[str]:
    """Distributions that the wheel asks for, with what an extra adds."""
    every = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    asked_for = [one for one in every if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {canonicalize_name(one.name) for one in asked_for}


def test_what_the_producer_imports_the_wheel_asks_for(metadata: Message) -> None:
    extras = {
        "gateway": {"gateway", "metrics"},
        "uploads/webhook.py": {"gateway"},
        "metrics.py": {"metrics"},
        "local": {"local"},
        "tracing": {"otel"},
        "testing.py": {"local", "testing"},
    }
    distributions = packages_distributions()
    undeclared = {}
    for path in sorted(PRODUCER.rglob("*.py")):
        place = path.relative_to(PRODUCER).as_posix()
        there = named(metadata).union(
            *(named(metadata, extra) for extra in extras.get(place, extras.get(place.partition("/")[0], ())))
        )
        modules = set(imported(path)) - OWN - set(sys.stdlib_module_names)
        missing = {name for name in modules if not {canonicalize_name(d) for d in distributions[name]} & there}
        if missing:
            undeclared[place] = missing
    assert undeclared == {}


def test_the_extras_are_those_that_the_documents_name(metadata: Message) -> None:
    assert set(metadata.get_all("Provides-Extra", [])) == {
        "worker",
        "gpu",
        "models",
        "gateway",
        "metrics",
        "otel",
        "local",
        "testing",
        "dev",
    }
    assert {"tensorflow", "numpy", "pillow"} <= named(metadata, "worker")
    assert not named(metadata) & {"tensorflow", "numpy", "pillow", "matplotlib"}
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_wheel_holds_what_is_no_python_too(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for name in (
        "stylequeue/__init__.pyi",
        "stylequeue/py.typed",
        "stylequeue/ledger/claim.lua",
        "stylequeue/local/samples/astronaut.jpg",
        "stylequeue_worker/stand_in.py",
    ):
        assert name in names
    assert not [name for name in names if name.startswith(("tests", "examples")) or "__pycache__" in name]


@pytest.mark.slow
def test_the_wheel_alone_submits(
    wheel: Path, readme: list[str], service: Service, env: dict[str, str], tmp_path: Path
) -> None:
    python = install(tmp_path, str(wheel))
    backend, *_ = readme
    # Another key than the program that stands for itself: nothing may lie there.
    said = run(python, "-c", backend.replace("photo-wave.jpg", "wheel.jpg"), cwd=tmp_path, env=env)
    assert said.splitlines()[-1] == "io.stylequeue.job.succeeded.v1"
    assert (tmp_path / "wheel.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    listed = run(tmp_path / "environment" / "bin" / "stylequeue", "list", "--json", cwd=tmp_path, env=env)
    assert service.queue.jobs(limit=1)[0].id in listed


@pytest.mark.slow
def test_celery_alone_submits(readme: list[str], service: Service, env: dict[str, str], tmp_path: Path) -> None:
    assert f'pip install "{PLAIN_CELERY}"' in (ROOT / "README.md").read_text()
    python = install(tmp_path, PLAIN_CELERY)
    _, plain_celery, *_ = readme
    run(python, "-c", plain_celery + "print(result.get()['output']['key'])", cwd=tmp_path, env=env)
    assert service.queue.jobs(limit=1)[0].state == "succeeded"


@pytest.mark.slow
def test_a_users_tests_need_the_extra_testing_alone(wheel: Path, tmp_path: Path) -> None:
    python = install(tmp_path, f"{wheel}[testing]")
    tests = ROOT / "examples" / "tests"
    options = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "-o", f"pythonpath={tests.parent}")
    assert "3 passed" in run(python, "-m", "pytest", *options, "--rootdir", tests.parent, tests, cwd=tmp_path)
    assert "tensorflow" not in run(BIN / "uv", "pip", "list", "--python", python)
