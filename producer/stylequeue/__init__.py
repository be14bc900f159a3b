"""Neural style transfer by message queue: submit a job, get a painted picture and an event.

    from stylequeue import ImageRef, Job, Output, Style, StyleQueue

Public is what `__init__.pyi` lists, and `stylequeue.testing`; all other modules are the package's own and may change.
Importing this package is cheap: a name loads what it needs when it is first used.
"""

from functools import cache
from importlib import import_module


def __getattr__(name: str) -> object:
    homes = _homes()
    if name == "__all__":
        return sorted(homes)
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{homes[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_homes())


@cache
def _homes() -> dict[str, str]:
    """Which module each public name comes from: as the type checkers' file says, which is the only list of them."""
    import ast
    from pkgutil import get_data

    stub = ast.parse(get_data(__name__, "__init__.pyi") or b"")
    imports = [statement for statement in stub.body if isinstance(statement, ast.ImportFrom)]
    return {alias.name: statement.module or "" for statement in imports for alias in statement.names}
