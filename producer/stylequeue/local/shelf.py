"""What the page finds in the store of this machine: styles on its shelf, and buckets that open to browsers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files

from ..asking_pictures import SHELF
from ..settings import Settings
from ..store import Store

BUCKET = "styles"
STYLES = ("facets.jpg", "swirls.jpg", "waves.jpg")


def prepare(settings: Settings, origins: Sequence[str]) -> None:
    """Set the buckets' rules, for pages of `origins` beside those of the settings, and put the sample styles on the
    shelf: where the deployment has such a bucket, and nothing lies there by that name.
    """
    origins = tuple(dict.fromkeys((*settings.browser_origins, *origins)))
    with closing(Store(settings.model_copy(update={"browser_origins": origins}))) as store:
        store.upload_rules.set_lifecycle()
        store.upload_rules.set_cors()
        if BUCKET in settings.buckets:
            for name in STYLES:
                store.exchange.put_new(BUCKET, SHELF + name, (files(__package__) / "samples" / name).read_bytes())
