"""From pictures to a picture: the engine's steps, one after the other, for as long as the job is ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from PIL.Image import Resampling

from stylequeue import tracing
from stylequeue.contract.errors import Cancelled, Preempted
from stylequeue.contract.events import Face, PaintingReport
from stylequeue.contract.recipe import ResolvedRecipe

from ..engine import BadCheckpoint, Checkpoint, Network, Step
from ..memory import forget_peak, peak_bytes
from ..pictures import images
from ..pictures.contact_sheet import Sample
from ..pictures.decoder import Pixels
from .lease import Holder
from .order import Order
from .rates import Rates
from .workbench import Workbench

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

log = logging.getLogger(__name__)


class PaintingEngine(Protocol):
    """What paints: `engine.Engine`."""

    def networks(self) -> Mapping[str, str]:
        """SHA-256 (hex) of the weights of each network that it can paint with now, by name."""

    @property
    def device(self) -> str:
        """What it computes on, for people."""

    @property
    def precision(self) -> str:
        """The fastest that the device does well."""

    def network(self, recipe: ResolvedRecipe) -> Network:
        """Which network paints `recipe`."""

    def paint(
        self,
        content: np.ndarray,
        styles: Sequence[tuple[np.ndarray, float]],
        recipe: ResolvedRecipe,
        resume: Checkpoint | None = None,
        start: np.ndarray | None = None,
        masks: Sequence[np.ndarray | None] | None = None,
        kept: np.ndarray | None = None,
    ) -> Iterator[Step]:
        """Paint step by step over `start`, or on from the state of a step before; the last step is the result."""


@dataclass(frozen=True)
class Inputs:
    """An order's pictures, read and decoded."""

    content: Pixels
    styles: Sequence[Pixels]
    masks: Sequence[Pixels | None]
    """One for each style."""
    kept: Pixels | None
    """A mask, of what is to be kept."""
    start: Pixels | None


@dataclass
class Painting:
    """What came of painting."""

    picture: Image
    report: PaintingReport
    partial: bool = False
    scales: list[tuple[int, Image]] = field(default_factory=list)
    history: list[Sample] = field(default_factory=list)


def paint(
    engine: PaintingEngine, order: Order, inputs: Inputs, workbench: Workbench, holder: Holder, rates: Rates
) -> Painting:
    """Paint until the engine is done, or somebody wants the picture as it is. Raises as `holder.check` does."""
    scales: list[tuple[int, Image]] = []
    history: list[Sample] = []
    partial = False
    last: Step | None = None
    height, width, _ = inputs.content.shape
    state = workbench.resume(height, width) if holder.record.attempt > 1 else None
    if state is not None:
        log.info("going on from the checkpoint of an attempt before")
        holder.goes_on()
    holder.check()
    if holder.keep and state is None:
        # Nothing was painted, or nothing of it is left.
        raise Cancelled
    forget_peak()
    # Before the first step, the network is compiled for pictures of this shape.
    holder.stage("painting")
    began_s, begun = time.monotonic(), 0.0
    with workbench:
        for step in _steps(engine, order, inputs, state, holder):
            if last is None or step.size_px != last.size_px:
                tracing.event("scale", size_px=step.size_px, step=step.step)
            if last is not None and step.size_px != last.size_px:
                scales.append((last.size_px, images.to_picture(last.picture)))
            history.append(Sample(step.step, step.size_px, step.losses))
            if last is None and step.done < 1:
                # From the first step on: what is before it may have had to be compiled.
                began_s, begun = time.monotonic(), step.done
            last = workbench.newest = step
            try:
                holder.step(step)
            except Preempted:
                workbench.save_if_possible()
                raise
            if holder.keep:
                partial = step.step < step.steps
                break
    if last is None:
        raise RuntimeError("the engine yielded no step")
    if last.cut is None:
        rates.note(order.recipe, order.network.name, (height, width), last.done - begun, time.monotonic() - began_s)
    picture = images.to_picture(last.picture)
    if partial:
        picture = picture.resize((width, height), Resampling.LANCZOS)
    scales.append((last.size_px, picture))
    report = _report(order.network, last, "request" if partial else last.cut)
    return Painting(picture, report, partial, scales, history)


def _steps(
    engine: PaintingEngine, order: Order, inputs: Inputs, state: Checkpoint | None, holder: Holder
) -> Iterator[Step]:
    weights = [style.weight for style in order.job.styles]
    masks = [None if mask is None else images.to_array(mask) for mask in inputs.masks]
    from_state = partial(
        engine.paint,
        images.to_array(inputs.content),
        # As they are: in float32, eight of 4096 px would take 1.6 GB before the engine has planned for them.
        [(style[None], weight) for style, weight in zip(inputs.styles, weights, strict=True)],
        order.recipe,
        start=None if inputs.start is None else images.to_array(inputs.start),
        masks=None if all(mask is None for mask in masks) else masks,
        kept=None if inputs.kept is None else images.to_array(inputs.kept),
    )
    try:
        yield from from_state(resume=state)
    except BadCheckpoint as error:
        log.warning("the checkpoint is none of this painting, starting anew: %s", error)
        if holder.keep:
            raise Cancelled from None
        yield from from_state(resume=None)


def _report(
    network: Network, last: Step, ended_by: Literal["time_budget", "stop_when", "request"] | None
) -> PaintingReport:
    """How the picture of the last step came about; its timings are not known yet."""
    summary = last.summarise()
    return PaintingReport(
        network=network.name,
        network_digest=network.digest,
        precision=summary.precision,
        tiles=summary.tiles,
        steps=last.step,
        ended_by=ended_by or ("steps" if last.step == last.steps else "minimum"),
        losses=dict(summary.losses),
        style_distances=dict(summary.style_distances),
        ssim=summary.ssim,
        timings_s={},
        peak_memory_bytes=peak_bytes(),
        notes=list(summary.notes),
        faces=None if last.faces is None else [Face(*face) for face in last.faces],
        kept_share=None if last.kept_share is None else round(last.kept_share, 3),
    )
