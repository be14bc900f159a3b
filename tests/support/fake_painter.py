"""A painter that hands the content back after the steps asked for, slowly enough to be interrupted."""

from __future__ import annotations

from stylequeue_worker.engine.stand_in import StandIn

STEP_S = 0.01


class FakePainter(StandIn):
    """Takes `STEP_S` a step."""

    step_s = STEP_S
