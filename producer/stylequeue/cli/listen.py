"""`stylequeue listen`: uploads become jobs by the operator's rules."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from ..contract.errors import InvalidSettings
from . import console, deployment


def listen(
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8001,
    forwarded_allow_ips: Annotated[
        str, typer.Option(help="Addresses of proxies whose X-Forwarded-For and -Proto are believed, by commas; or *.")
    ] = "127.0.0.1",
) -> None:
    """Make jobs of uploads, by the rules of the operator's file, until SIGTERM (needs the extra `gateway`)."""
    with console.errors_told(as_json=False):
        if find_spec("fastapi") is None or find_spec("uvicorn") is None:
            raise InvalidSettings("FastAPI or uvicorn is not installed", 'pip install "stylequeue[gateway]"')
        settings = deployment.settings()
        if settings.operator_file is None:
            raise InvalidSettings(
                "STYLEQUEUE_OPERATOR_FILE is not set, and without rules no upload becomes a job",
                "name a file with sources and rules: docs/uploads.md",
            )
        from ..gateway.listening import main

        main(settings, host=host, port=port, forwarded_allow_ips=forwarded_allow_ips)
