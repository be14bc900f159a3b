"""A certificate that signs itself, for servers and clients of one process that need nobody else's word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ..contract.errors import Code, Unavailable, with_extra

_VALID = timedelta(days=3650)
_CLOCK_SKEW = timedelta(days=1)


def new_certificate(name: str) -> str:
    """A certificate and its key, one after the other, in PEM. Raises Unavailable where `cryptography` is missing."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    except ModuleNotFoundError as error:
        raise Unavailable(
            Code.LOCAL_STACK_FAILED,
            f"the Python package {error.name} is not installed",
            with_extra("local"),
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (certificate.public_bytes(Encoding.PEM) + private).decode()
