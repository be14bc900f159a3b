"""`stylequeue listen`: uploads become jobs by the operator's rules."""

from __future__ import annotations

from ..contract.errors import InvalidSettings
from . import console, deployment
from .options import HostOption, PortOption, ProxiesOption


def listen(
    host: HostOption = "127.0.0.1", port: PortOption = 8001, forwarded_allow_ips: ProxiesOption = "127.0.0.1"
) -> None:
    """Make jobs of uploads, by the rules of the operator's file, until SIGTERM (needs the extra `gateway`)."""
    with console.errors_told(as_json=False):
        deployment.needs("gateway", fastapi="FastAPI", uvicorn="uvicorn")
        settings = deployment.settings()
        if settings.operator_file is None:
            raise InvalidSettings(
                "STYLEQUEUE_OPERATOR_FILE is not set, and without rules no upload becomes a job",
                "name a file with sources and rules: docs/uploads.md",
            )
        from ..gateway.listening import main

        main(settings, host=host, port=port, forwarded_allow_ips=forwarded_allow_ips)
