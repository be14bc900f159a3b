"""Pictures on this machine: what is sent, and where what was made goes."""

from __future__ import annotations

import mimetypes
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract.errors import FileUnusable, InvalidJob, InvalidRequest
from ..contract.objects import SUFFIXES, ImageFormat, ImageRef

if TYPE_CHECKING:
    from ..client import StyleQueue

_FORMATS: dict[str, ImageFormat] = {suffix: name for name, suffix in SUFFIXES.items()} | {".jpeg": "jpeg"}
_NAME_A_FILE = "name a file in a directory that is there and can be written to"
_LOOKED_AT = ImageRef(bucket="looked-at", key="not-uploaded-yet")


def source(flag: str, text: str, client: StyleQueue | None) -> ImageRef:
    """The picture that an option names: s3://bucket/key, or a file, which `client` uploads.

    Without a client it is only looked at, and something stands for it. Raises InvalidJob, FileUnusable, and as `upload`
    does.
    """
    if text.startswith("s3://"):
        return address(flag, text)
    path, hint = Path(text), "give a picture file or an address s3://bucket/key"
    try:
        ordinary = path.is_file() or not path.exists()
        if ordinary and client:
            return client.upload(path)
        if ordinary:
            path.open("rb").close()
    except OSError as error:
        raise FileUnusable(f"{flag} {text}: {_reason(error)}", hint) from None
    if not ordinary:
        raise FileUnusable(f"{flag} {text}: no ordinary file", hint)
    return _LOOKED_AT


def address(flag: str, text: str) -> ImageRef:
    """What lies at s3://bucket/key, or will. Raises InvalidJob, which names the option."""
    try:
        return ImageRef.from_uri(text)
    except InvalidJob as error:
        raise InvalidJob(
            f"{flag}: {error.message}", "write s3://bucket/key, and ? or # in a key as %3F or %23"
        ) from None


def format_named(flag: str, name: str) -> ImageFormat | None:
    """The format that a file's or key's suffix asks for, None where it asks for none. Raises InvalidRequest."""
    suffix = Path(name).suffix.lower()
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    guessed, _ = mimetypes.guess_type(f"x{suffix}")
    if guessed and guessed.startswith("image/"):
        raise InvalidRequest(f"{flag} {name}: pictures are not made as {suffix}", f"end it in {', '.join(_FORMATS)}")
    return None


def check_target(path: Path, image_format: ImageFormat, *, flag: str = "-o") -> None:
    """Return if a picture of this format, and a contact sheet beside it, can be written there.

    Raises InvalidRequest where the name asks for another format, FileUnusable where nothing can be written.
    """
    if not path.name:
        raise FileUnusable(f"{flag} {path}: is a directory", _NAME_A_FILE)
    wanted = format_named(flag, str(path))
    if wanted is None and path.suffix:
        raise InvalidRequest(
            f"{flag} {path}: no picture has the suffix {path.suffix}", f"end it in {', '.join(_FORMATS)}"
        )
    if wanted not in (None, image_format):
        hint = f"name it {path.with_suffix(SUFFIXES[image_format])}"
        raise InvalidRequest(f"{flag} {path}: the picture is {image_format}, not {wanted}", hint)
    try:
        odd = [target for target in (path, report_beside(path)) if target.exists() and not target.is_file()]
        # Tried, not asked for: rights are not all that may be in the way. The name is as long as that of what is
        # written before it takes its place.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{report_beside(path).name}.", suffix=".part"):
            pass
    except OSError as error:
        raise FileUnusable(f"{flag} {path}: {_reason(error)}", _NAME_A_FILE) from None
    if odd:
        what = "is a directory" if odd[0].is_dir() else "is no ordinary file"
        raise FileUnusable(f"{flag} {odd[0]}: {what}", _NAME_A_FILE)


def report_beside(path: Path) -> Path:
    """Where a picture's contact sheet goes."""
    return path.with_suffix(".report.png")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
