"""What becomes of a Deployment that KEDA scales, replayed by the formulas of its and Kubernetes's documents.

KEDA itself moves between none and one; from one on it leaves the number to a HorizontalPodAutoscaler, of an external
metric with an average value. https://keda.sh/docs/latest/concepts/scaling-deployments/
https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_TOLERANCE = 0.1
"""By how much the ratio of metric and target may be off 1 before anything is changed."""
_UP_S, _UP_PODS, _UP_SHARE = 15, 4, 1.0
"""What a scaler up may add in so many seconds, the greater one, unless its behaviour says more."""


class Autoscaler:
    """Of one ScaledObject. `replicas` is how many pods there are to be."""

    def __init__(self, scaled: Mapping[str, Any]) -> None:
        spec = scaled["spec"]
        [trigger] = spec["triggers"]
        assert trigger["metricType"] == "AverageValue", "else there is no fallback"
        self._target = float(trigger["metadata"]["targetValue"])
        self._activation = float(trigger["metadata"]["activationTargetValue"])
        self._least, self._most = spec["minReplicaCount"], spec["maxReplicaCount"]
        self._cooldown_s = spec["cooldownPeriod"]
        self._fallback = spec["fallback"]
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        self._stabilization_s = down["stabilizationWindowSeconds"]
        [policy] = down["policies"]
        assert policy["type"] == "Pods"
        self._down_pods, self._down_s = policy["value"], policy["periodSeconds"]
        self.replicas = 0
        self._active_at = -math.inf
        self._failures = 0
        self._wanted: list[tuple[float, int]] = []
        self._changes: list[tuple[float, int]] = []

    def look(self, now_s: float, load: float | None) -> None:
        """One round, with what the gateway answered; None: it did not."""
        self._failures = self._failures + 1 if load is None else 0
        if load is None and self._failures <= self._fallback["failureThreshold"]:
            return  # neither of the two does anything without a number
        if load is None:
            assert self._fallback["behavior"] == "currentReplicasIfHigher"
            stay = max(self.replicas, self._fallback["replicas"])
            load, is_active = stay * self._target, True
        else:
            is_active = load > self._activation
        if is_active:
            self._active_at = now_s
        if self.replicas == 0:
            self._set(now_s, max(1, self._least) if is_active else 0)
        elif not is_active and self._least == 0 and now_s - self._active_at > self._cooldown_s:
            self._set(now_s, 0)
        else:
            self._scale(now_s, load)

    def _scale(self, now_s: float, load: float) -> None:
        ratio = load / (self._target * self.replicas)
        wanted = self.replicas if abs(ratio - 1) <= _TOLERANCE else math.ceil(load / self._target)
        wanted = min(self._most, max(1, self._least, wanted))
        self._wanted = [(at, w) for at, w in self._wanted if now_s - at < self._stabilization_s] + [(now_s, wanted)]
        if wanted < self.replicas:
            stable = min(self.replicas, max(w for _, w in self._wanted))
            gone = -sum(change for at, change in self._changes if now_s - at < self._down_s and change < 0)
            self._set(now_s, max(stable, self.replicas + gone - self._down_pods))
        elif wanted > self.replicas:
            come = sum(change for at, change in self._changes if now_s - at < _UP_S and change > 0)
            began = self.replicas - come
            self._set(now_s, min(wanted, began + max(_UP_PODS, math.ceil(began * _UP_SHARE))))

    def _set(self, now_s: float, replicas: int) -> None:
        if replicas != self.replicas:
            self._changes.append((now_s, replicas - self.replicas))
        self.replicas = replicas
