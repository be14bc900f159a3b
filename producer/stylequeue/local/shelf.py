"""What a store is given first: when uploads go, styles on the shelf, buckets that open to browsers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files

from ..asking_pictures import SHELF
from ..contract.errors import StyleQueueError
from ..settings import Settings
from ..store import Store

BUCKET = "styles"
STYLES = ("facets.jpg", "swirls.jpg", "waves.jpg")


def prepare(settings: Settings, origins: Sequence[str]) -> None:
    """Set all that a page needs, too: buckets are open to those of `origins` beside those of the settings."""
    origins = tuple(dict.fromkeys((*settings.browser_origins, *origins)))
    with closing(Store(settings.model_copy(update={"browser_origins": origins}))) as store:
        store.upload_rules.set_cors()
    set_up(settings)


def set_up(settings: Settings) -> None:
    """Have uploads go once no job can want them, and put the sample styles on the shelf.

    The latter if the deployment has such a bucket: where nothing lies by those names.
    """
    with closing(Store(settings)) as store:
        store.upload_rules.set_lifecycle()
        for name in STYLES if BUCKET in settings.buckets else ():
            store.exchange.put_new(BUCKET, SHELF + name, (files(__package__) / "samples" / name).read_bytes())


if __name__ == "__main__":  # docker/compose.yaml's
    try:
        set_up(Settings.load())
    except StyleQueueError as error:
        sys.exit(str(error))
