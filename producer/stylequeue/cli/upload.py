"""`stylequeue upload`: pictures from this machine, put where others, or a rule, look for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from ..contract.errors import FileUnusable, InvalidRequest
from ..contract.objects import ImageRef
from . import console, deployment, files
from .options import JsonOption


def upload(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="FILE... s3://BUCKET/FOLDER/", help="The last one says where the files go."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Put files into a folder of the store under their own names, in the place of whatever lies there.

    A single file may go under a key of its own: s3://BUCKET/KEY. Prints where each is.
    """
    with deployment.client(as_json=as_json) as client:
        *sources, target = paths
        if not sources:
            raise InvalidRequest("nothing to put there", "name files, and then where they go: s3://bucket/folder/")
        places = [_place(source, target, is_alone=len(sources) == 1) for source in sources]
        for source, place in zip(map(Path, sources), places, strict=True):
            if source.exists() and not source.is_file():
                raise FileUnusable(f"{source}: no ordinary file", "name picture files")
            put = client.upload(source, to=place)
            uri = f"s3://{put.bucket}/{put.key}"
            console.show_json({"uri": uri, "etag": put.etag}) if as_json else console.show(uri)


def _place(source: str, target: str, *, is_alone: bool) -> ImageRef:
    """Where a file goes. Raises InvalidRequest, InvalidJob."""
    if not target.startswith("s3://"):
        raise InvalidRequest(f"{target}: the last argument says where the files go", "end with s3://bucket/folder/")
    if target.endswith("/"):
        return files.address(source, target + quote(Path(source).name))
    if not is_alone:
        raise InvalidRequest(f"{target}: several files go into a folder", "end it with a slash")
    return files.address(source, target)
