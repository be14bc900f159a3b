"""Who may ask the gateway: keys, each with its tenant, its role and its reach, in a file that is edited while it runs.

A key is `sq_<id>_<secret>_<crc32>`: scanners of leaks know it when they see it, and a typing error is told from a key
that there is none of. Only the key's SHA-256 is kept: 256 random bits cannot be guessed, and need no slow hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import secrets
import stat
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..contract.base import check_tenant
from ..contract.errors import FileUnusable, InvalidRequest, InvalidSettings
from ..contract.scope import Scope
from ..contract.text import check_text
from ..operator_file.base import Name
from ..settings import Settings
from ..variables import why

log = logging.getLogger(__name__)

Role = Literal["read", "submit", "admin", "monitor"]
"""`read` looks at jobs and pictures; `submit` hands jobs in as well; `admin` all there is; `monitor` sees how the
deployment fares, and no job."""
ROLES: tuple[Role, ...] = get_args(Role)
INCLUDES: dict[Role, frozenset[Role]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"read", "submit"}),
    "admin": frozenset(ROLES),
    "monitor": frozenset({"monitor"}),
}
"""What each role may do beside what is its own."""
MAX_NOTE_CHARS = 200
MAX_TEMPLATES = 32
_KEY = re.compile(r"sq_([0-9a-f]{12})_[0-9a-f]{64}_[0-9a-f]{8}", re.ASCII)
_UNKNOWN = hashlib.sha256(b"nobody's").hexdigest()


class Key(BaseModel):
    """One key as it is kept: all but its secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the whole key.")
    tenant: Annotated[str, AfterValidator(check_tenant)] | None = Field(
        default=None, description="Whose jobs it sees and hands in; null: all are seen, and handed in as nobody's."
    )
    role: Role
    scope: Scope | None = Field(
        default=None, description="What its jobs may read and write; null: whatever workers may."
    )
    templates: tuple[Name, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TEMPLATES,
        description="By which alone its jobs are painted; null: however they say.",
    )
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    note: Annotated[str, AfterValidator(check_text)] = Field(default="", max_length=MAX_NOTE_CHARS)

    @model_validator(mode="after")
    def _reaches_no_further_than_it_must(self) -> Self:
        if self.role == "monitor" and self.tenant is not None:
            raise ValueError("a monitor's key has no tenant: it sees no job")
        if (self.tenant is None) != (self.scope is None):
            raise ValueError("a tenant's key, and no other, says what its jobs may read and write")
        if self.templates is not None and self.role != "submit":
            raise ValueError("a key that is bound to templates hands jobs in: its role is submit")
        return self

    def is_live(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    keys: tuple[Key, ...] = ()


def scope_of_tenants(settings: Settings) -> Scope:
    """What a tenant's key reaches that says nothing else: a folder of its own wherever pictures are put, and all that
    is to be read in other buckets, the styles."""
    own = "/{tenant}/*"
    put = (settings.upload_bucket, *settings.write_buckets)
    return Scope(
        read=tuple(bucket + (own if bucket in put else "/*") for bucket in settings.read_buckets),
        write=tuple(bucket + own for bucket in settings.write_buckets),
    )


def make(
    *,
    role: Role,
    tenant: str | None = None,
    scope: Scope | None = None,
    templates: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    note: str = "",
) -> tuple[str, Key]:
    """A new key, which nobody sees again, and what is kept of it. Raises InvalidRequest."""
    key_id = secrets.token_hex(6)
    body = f"sq_{key_id}_{secrets.token_hex(32)}"
    text = f"{body}_{_checksum(body)}"
    try:
        key = Key(
            id=key_id,
            sha256=_digest(text),
            tenant=tenant,
            role=role,
            scope=scope,
            templates=None if templates is None else tuple(templates),
            created_at=datetime.now(UTC).replace(microsecond=0),
            expires_at=expires_at,
            note=note,
        )
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'key'}: {fault['msg']}" for fault in error.errors())
        raise InvalidRequest(faults, "see `stylequeue keys new --help`") from None
    return text, key


def is_mistyped(text: str) -> bool:
    """Whether `text` looks like a key and is none that was ever made."""
    body, _, checksum = text.rpartition("_")
    return _KEY.fullmatch(text) is None or not compare_digest(_checksum(body), checksum)


class KeyRing:
    """The keys of a file. Looked at anew whenever it has changed: a key that is revoked is refused at once.

    Raises InvalidSettings where there is no such file, where others than its owner may read it, or where it is no list
    of keys. Later such a change is logged, and what was known stays in force; where the file is gone, no key is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._load()

    def find(self, text: str) -> Key | None:
        """The key that `text` is, if it is one and has not expired."""
        self._look_again()
        found = self._keys.get(parts[1]) if (parts := _KEY.fullmatch(text)) else None
        # Also where there is no key of that id: how long it takes says nothing of which there are.
        same = compare_digest(_digest(text), found.sha256 if found else _UNKNOWN)
        return found if found and same and found.is_live(datetime.now(UTC)) else None

    def has(self, key: Key) -> bool:
        """Whether a key that was found is in force still, and as it was."""
        self._look_again()
        return self._keys.get(key.id) == key and key.is_live(datetime.now(UTC))

    def _look_again(self) -> None:
        try:
            seen = _identity(self.path.stat())
        except OSError as error:
            if self._seen is not None:
                log.error("the file of keys cannot be looked at, no key is in force: %s", why(error))
            self._seen, self._keys = None, {}
            return
        if seen != self._seen:
            try:
                self._load()
            except InvalidSettings as error:
                self._seen = seen
                log.error("the file of keys has changed, what was in force stays so: %s", error)

    def _load(self) -> None:
        keys, self._seen = _read(self.path)
        self._keys = {key.id: key for key in keys}


def listed(path: Path) -> tuple[Key, ...]:
    """All keys of a file, none where it does not exist. Raises InvalidSettings."""
    return _read(path)[0] if path.exists() else ()


def add(path: Path, key: Key) -> None:
    """Put a key into the file, which is made where there is none. Raises InvalidSettings, FileUnusable."""
    with _edited(path) as keys:
        keys.append(key)


def revoke(path: Path, key_id: str) -> Key:
    """Take a key out of the file, and return it. Raises InvalidRequest where it has none of that id."""
    with _edited(path) as keys:
        found = next((key for key in keys if key.id == key_id), None)
        if found is None:
            raise InvalidRequest(f"no key {key_id!r}", "`stylequeue keys list` shows the ids")
        keys.remove(found)
    return found


def _read(path: Path) -> tuple[tuple[Key, ...], tuple[int, int, int]]:
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(
            f"STYLEQUEUE_KEYS_FILE: the file cannot be read: {why(error)}", "`stylequeue keys new` makes one"
        ) from None
    # Another's file that the group may read is how secrets are mounted: root's, for a group of this process alone.
    others = stat.S_IRWXO | (stat.S_IRWXG if status.st_uid == os.geteuid() else stat.S_IWGRP)
    if status.st_mode & others:
        raise InvalidSettings("STYLEQUEUE_KEYS_FILE: others than its owner may open it", "chmod 600 it")
    try:
        return _File.model_validate_json(text).keys, _identity(status)
    except ValidationError as error:
        at = ".".join(map(str, error.errors(include_input=False)[0]["loc"])) or "its whole"
        raise InvalidSettings(
            f"STYLEQUEUE_KEYS_FILE: it is no list of keys: {at}: {error.errors(include_input=False)[0]['msg']}",
            "`stylequeue keys new` and `revoke` write it",
        ) from None


@contextmanager
def _edited(path: Path) -> Iterator[list[Key]]:
    """The file's keys, which are written back in one piece; one editor at a time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = list(listed(path))
            yield keys
            text = _File(keys=tuple(keys)).model_dump_json(indent=2, exclude_none=True) + "\n"
            # A temporary file is its owner's alone.
            with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(path)
    except OSError as error:
        raise FileUnusable(
            f"the file of keys cannot be written: {why(error)}", "check STYLEQUEUE_KEYS_FILE", because=error
        ) from None


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
