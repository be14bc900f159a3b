"""What is to be painted: a job, with all that is known of it before its pictures are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from stylequeue.contract.cost import style_size_px
from stylequeue.contract.job import Job, fingerprint
from stylequeue.contract.recipe import ResolvedOptimizeRecipe, ResolvedRecipe
from stylequeue.ledger import Record
from stylequeue.store import ObjectInfo, Origin, Place, Store, output_exists

from ..engine import ENGINE_VERSION, Network
from ..pictures.inputs import Input, Role
from ..pictures.metadata import Provenance


@dataclass(frozen=True)
class Found:
    """One of a job's pictures, as it lies in the store."""

    input: Input
    info: ObjectInfo

    @property
    def version(self) -> str:
        """Names these bytes."""
        return self.info.version


@dataclass(frozen=True)
class Order:
    """A job's pictures as they lie in the store, its recipe with every field filled, and what they make together."""

    job: Job
    recipe: ResolvedRecipe
    network: Network
    place: Place
    """What lies where the picture is to go: nothing, the same picture, or what may be replaced."""
    overwrite: bool | str
    """Whether the picture may take the place of another; an ETag: of that one."""
    content: Found
    styles: tuple[Found, ...]
    masks: tuple[Found | None, ...]
    """One for each style."""
    kept: Found | None
    """The mask of what is to be kept."""
    init: Found | None
    fingerprint: str

    @classmethod
    def take(
        cls, job: Job, recipe: ResolvedRecipe, network: Network, store: Store, looks: Executor, *, record: Record
    ) -> Self:
        """Look at all of a job's pictures, several at once (`looks`), and read none: a missing style should not cost
        the content's download.

        Where the output goes is looked at as well, with what is to lie beside it: that it cannot go there should not
        cost the painting. Raises Permanent with `output_exists` where something else lies there, with
        `bucket_not_allowed` where it names what the record's scope does not hold, and otherwise as the store does.
        """
        if record.scope:
            # Its sender's client looked as well; but the message that brought it is anybody's who can send one.
            record.scope.check(job, tenant=record.tenant)
        key = job.output_key
        store.check_target(job.output.bucket, key)
        numbered = list(enumerate(job.styles, 1))
        inputs = [
            Input(Role.CONTENT, job.content),
            *(Input(Role.STYLE, style.image, n) for n, style in numbered),
            *(Input(Role.MASK, style.mask, n) for n, style in numbered if style.mask),
            *([Input(Role.MASK, job.keep_mask)] if job.keep_mask else []),
            *([Input(Role.INIT, job.init_image)] if job.init_image else []),
        ]
        place, *found = _at_once(
            looks,
            [
                partial(store.look_at_output, job.output.bucket, key, job.side_keys),
                *(partial(_look, store, picture) for picture in inputs),
            ],
        )
        pictures = iter(found)
        content = next(pictures)
        styles = tuple(next(pictures) for _ in numbered)
        masks = tuple(next(pictures) if style.mask else None for style in job.styles)
        kept = next(pictures) if job.keep_mask else None
        init = next(pictures, None)
        order = cls(
            job=job,
            recipe=recipe,
            network=network,
            place=place,
            overwrite=job.output.overwrite or _of_attempt_before(place, job, record) or False,
            content=content,
            styles=styles,
            masks=masks,
            kept=kept,
            init=init,
            fingerprint=fingerprint(
                content_version=content.version,
                init_version=init.version if init else None,
                style_versions=tuple(style.version for style in styles),
                style_weights=tuple(style.weight for style in job.styles),
                mask_versions=tuple(mask.version if mask else None for mask in masks) if any(masks) else (),
                keep_version=kept.version if kept else None,
                recipe=recipe,
                output=job.output,
                network_digest=network.digest,
                engine_version=ENGINE_VERSION,
                tenant=record.tenant,
            ),
        )
        # An attempt before this one may have stored what there was of the picture, and come to harm then.
        ours = {order.fingerprint, order.partial_fingerprint} if record.attempt > 1 else {order.fingerprint}
        is_ours = place.mark is not None and place.mark.origin.fingerprint in ours
        if place.picture and not (is_ours or order.overwrite):
            raise output_exists(place.picture)
        if not job.output.overwrite:
            store.refuse_strangers(place.beside, order.origin)
        return order

    @property
    def origin(self) -> Origin:
        """Marks what is made for it."""
        return Origin(self.job.id, self.fingerprint)

    def origin_of(self, *, partial: bool) -> Origin:
        """Marks its picture, whole or as it was before it was finished."""
        return Origin(self.job.id, self.partial_fingerprint) if partial else self.origin

    @property
    def partial_fingerprint(self) -> str:
        """Of the picture as it is before it is finished: never taken for the whole, should another job want that."""
        return f"{self.fingerprint}+partial"

    @property
    def method(self) -> str:
        """Of the recipe, in words: with its preset, where it has one."""
        recipe = self.recipe
        return f"{recipe.method} {recipe.preset}" if isinstance(recipe, ResolvedOptimizeRecipe) else recipe.method

    def provenance(self, fingerprint: str) -> Provenance | None:
        """What the picture of this fingerprint, whole or not, says of how it came about; None: it is to say nothing."""
        if self.job.output.provenance == "none":
            return None
        return Provenance(fingerprint, self.method, self.network.name, ENGINE_VERSION)

    @property
    def style_size_px(self) -> int:
        """Longest side at which the style pictures are looked at."""
        return style_size_px(self.recipe)


def _of_attempt_before(place: Place, job: Job, record: Record) -> str | None:
    """The ETag of what lies there, if an attempt before this one stored it: a worker of another version, by another
    fingerprint, or one that was to keep what there was.
    """
    is_its_own = record.attempt > 1 and place.mark is not None and place.mark.origin.job_id == job.id
    return place.picture.etag if place.picture and is_its_own else None


def _at_once(pool: Executor, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What they return, in their order. When all have come to an end, raises what the first of them did that failed."""
    begun = [pool.submit(copy_context().run, call) for call in calls]
    wait(begun)
    return [one.result() for one in begun]


def _look(store: Store, picture: Input) -> Found:
    with picture.named_in_errors():
        return Found(picture, store.look(picture.image))
