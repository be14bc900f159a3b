"""What the page finds in the store of this machine: styles on its shelf, and buckets that open to browsers."""

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
    """Set the buckets' rules, for pages of `origins` beside those of the settings, and put the samples on the shelf."""
    origins = tuple(dict.fromkeys((*settings.browser_origins, *origins)))
    with closing(Store(settings.model_copy(update={"browser_origins": origins}))) as store:
        store.upload_rules.set_lifecycle()
        store.upload_rules.set_cors()
    put_samples(settings)


def put_samples(settings: Settings) -> None:
    """Put the sample styles on the shelf, if the deployment has such a bucket: where nothing lies by those names."""
    if BUCKET in settings.buckets:
        with closing(Store(settings)) as store:
            for name in STYLES:
                store.exchange.put_new(BUCKET, SHELF + name, (files(__package__) / "samples" / name).read_bytes())


if __name__ == "__main__":  # docker/compose.yaml's
    try:
        put_samples(Settings.load())
    except StyleQueueError as error:
        sys.exit(str(error))
