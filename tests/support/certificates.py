"""Certificates of an authority of our own, made with OpenSSL's command."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.processes import needed

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(directory: Path, *arguments: str) -> None:
    """Run OpenSSL there."""
    subprocess.run([needed("openssl"), *arguments], cwd=directory, check=True, capture_output=True)


def make_certificates(directory: Path) -> None:
    """Write ca.pem; server.pem and server.key, for localhost, signed by it; locked.key, that key with a password."""
    (directory / "names").write_text("subjectAltName=DNS:localhost\n")
    own = ("-days", "2", "-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE")
    openssl(directory, "req", "-x509", *_KEY, "-nodes", *own, "-keyout", "ca.key", "-out", "ca.pem")
    openssl(directory, "req", *_KEY, "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl(directory, "x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")
    openssl(directory, "ec", "-in", "server.key", "-aes256", "-passout", "pass:locked", "-out", "locked.key")
