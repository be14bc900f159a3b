"""Docker or podman, and a compose project of it, by their commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENGINE = os.environ.get("ENGINE") or next(filter(shutil.which, ("docker", "podman")), "docker")
_TIMEOUT_S = 600


def engine(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the engine's command. Raises CalledProcessError, with what it said printed."""
    return run([ENGINE, *arguments], check=check, **options)


def run(command: Sequence[str], *, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it said is printed where it failed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, **options)
    if check and done.returncode:
        print(*command, done.stdout, done.stderr, sep="\n")
        done.check_returncode()
    return done


def compose_command() -> list[str]:
    """The program that reads compose files: docker's own, else podman-compose."""
    if Path(ENGINE).name == "docker":
        return [ENGINE, "compose"]
    beside = Path(sys.executable).with_name("podman-compose")
    return [str(beside) if beside.exists() else "podman-compose"]


@dataclass(frozen=True)
class Container:
    """One container of a project."""

    name: str

    def inspect(self) -> dict[str, Any]:
        """All that the engine knows of it."""
        [found] = json.loads(engine("inspect", self.name).stdout)
        return dict(found)

    @property
    def service(self) -> str:
        """Whose container it is."""
        return str(self.inspect()["Config"]["Labels"]["com.docker.compose.service"])

    @property
    def host(self) -> str:
        """How it calls itself."""
        return str(self.inspect()["Config"]["Hostname"])

    @property
    def is_running(self) -> bool:
        """Whether its first process lives."""
        return bool(self.inspect()["State"]["Running"])

    def processes(self) -> list[dict[str, str]]:
        """Of each process in it, what the kernel says."""
        columns = ["hpid"] if Path(ENGINE).name == "podman" else ["-o", "pid"]
        _, *pids = engine("top", self.name, *columns).stdout.split()
        found = []
        for pid in pids:
            try:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                continue  # it ended meanwhile
            found.append(dict(line.split(":\t", 1) for line in lines if ":\t" in line))
        return found

    def healthy(self) -> bool:
        """Whether its health check passes, now."""
        if Path(ENGINE).name == "podman":  # whose own needs systemd
            return engine("healthcheck", "run", self.name, check=False).returncode == 0
        return bool(self.inspect()["State"]["Health"]["Status"] == "healthy")

    def changed(self) -> set[str]:
        """Paths of its root file system that are not as in its image, but for where something is mounted."""
        mounted = {mount["Destination"] for mount in self.inspect()["Mounts"]} | {"/tmp"}
        mounted |= {
            "/etc/hosts",
            "/etc/hostname",
            "/etc/resolv.conf",
            "/etc/mtab",
            "/run/.containerenv",
            "/run/secrets",
        }
        mounted |= {"/dev", "/proc", "/sys", "/.dockerenv"}
        lines = engine("diff", self.name).stdout.splitlines()
        paths = {line.split(maxsplit=1)[1] for line in lines if line.strip()}
        return {
            path
            for path in paths
            if not any(
                place == path or place.startswith(f"{path}/") or path.startswith(f"{place}/") for place in mounted
            )
        }


@dataclass(frozen=True)
class Project:
    """A compose file that is run under a name of its own."""

    file: Path
    name: str
    secrets: dict[str, str]

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run compose on it."""
        command = [*compose_command(), "--project-name", self.name, "--file", str(self.file), *arguments]
        return run(command, check=check, env={**os.environ, **self.secrets}, cwd=self.file.parent)

    def down(self) -> None:
        """End and remove all of it, volumes included, also what compose leaves behind."""
        self.compose("down", "--volumes", "--timeout", "30", check=False)
        if left := [container.name for container in self.containers()]:
            engine("rm", "--force", "--volumes", *left, check=False)
            self.compose("down", "--volumes", check=False)

    def containers(self, service: str | None = None) -> list[Container]:
        """Its containers, or a service's, those that have ended included."""
        wanted = [f"label=com.docker.compose.project={self.name}"]
        wanted += [f"label=com.docker.compose.service={service}"] if service else []
        filters = [part for label in wanted for part in ("--filter", label)]
        listed = engine("ps", "--all", *filters, "--format", "{{.Names}}").stdout.split()
        return [Container(name) for name in sorted(listed)]

    def __getitem__(self, service: str) -> Container:
        """The one container of a service."""
        [container] = self.containers(service)
        return container
