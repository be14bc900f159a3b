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
_LOOKED_AT = ImageRef(bucket="looked-at", key="not-uploaded-yet")


def source(flag: str, text: str, client: StyleQueue | None) -> ImageRef:
    """The picture that an option names: s3://bucket/key, or a file, which `client` uploads.

    Without a client it is only looked at, and something stands for it. Raises InvalidJob, FileUnusable, and as `upload`
    does.
    """
    if text.startswith("s3://"):
        try:
            return ImageRef.from_uri(text)
        except InvalidJob as error:
            raise InvalidJob(f"{flag}: {error.message}", error.hint) from None
    path, hint = Path(text), "give a picture file or an address s3://bucket/key"
    try:
        if path.exists() and not path.is_file():
            raise FileUnusable(f"{flag} {text}: no ordinary file", hint)
        if client:
            return client.upload(path)
        path.open("rb").close()
    except OSError as error:
        if isinstance(error, FileUnusable) and error.errno is None:
            raise
        raise FileUnusable(f"{flag} {text}: {reason(error)}", hint) from None
    return _LOOKED_AT


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
    wanted = format_named(flag, str(path))
    if wanted is None and path.suffix:
        raise InvalidRequest(
            f"{flag} {path}: no picture has the suffix {path.suffix}", f"end it in {', '.join(_FORMATS)}"
        )
    if wanted not in (None, image_format):
        hint = f"name it {path.with_suffix(SUFFIXES[image_format])}"
        raise InvalidRequest(f"{flag} {path}: the picture is {image_format}, not {wanted}", hint)
    for target in (path, report_beside(path)):
        if target.exists() and not target.is_file():
            what = "a directory" if target.is_dir() else "no ordinary file"
            raise FileUnusable(f"{flag} {path}: {target} is {what}", "name a file")
    try:
        # Tried, not asked for: rights are not all that may be in the way. The name is as long as that of what is
        # written before it takes its place.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{report_beside(path).name}.", suffix=".part"):
            pass
    except OSError as error:
        hint = "name a file in a directory that is there and can be written to"
        raise FileUnusable(f"{flag} {path}: {reason(error)}", hint) from None


def report_beside(path: Path) -> Path:
    """Where a picture's contact sheet goes."""
    return path.with_suffix(".report.png")


def reason(error: OSError) -> str:
    """What the system says is wrong, in the words of a sentence."""
    return (error.strerror or str(error)).lower()
