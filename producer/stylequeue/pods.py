"""Tells Kubernetes which workers paint: of the pods that are too many it stops those first whose deletion costs least.

The annotation is its own, and best effort, as it says: an idle worker's pod costs 0, another as many seconds as it has
had its job. https://kubernetes.io/docs/reference/labels-annotations-taints/#pod-deletion-cost
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from .contract.errors import InvalidSettings, StyleQueueError
from .contract.worker import LiveWorker
from .ledger import Ledger
from .settings import Settings

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its service account: token, authority and namespace."""
TURN_S = 10.0
"""Between two annotations of a pod at the least, however many keepers there are."""
_MOST = 2**31 - 1
_TIMEOUT_S = 5.0
_PATCH = "application/merge-patch+json"
_GONE = 404

log = logging.getLogger(__name__)


class Refused(Exception):
    """Kubernetes did not do it, as the message says, and would not do it for another pod."""


class Kubernetes:
    """The API of the cluster that this process's own pod is in. Raises InvalidSettings where it is in none."""

    def __init__(self, account: Path = ACCOUNT, environment: Mapping[str, str] = os.environ) -> None:
        self._token = account / "token"  # it changes every hour or so
        try:
            host, port = (environment[f"KUBERNETES_SERVICE_{what}"] for what in ("HOST", "PORT"))
            namespace = (account / "namespace").read_text().strip()
            self._token.read_text()
        except (KeyError, OSError):
            raise InvalidSettings(
                "STYLEQUEUE_POD_DELETION_COST is on, and this is no pod with a service account",
                "leave it out, or start the keeper as docker/kubernetes/components/pod-deletion-cost does",
            ) from None
        host = f"[{host}]" if ":" in host else host
        self._pods = f"https://{host}:{port}/api/v1/namespaces/{quote(namespace, safe='')}/pods"
        self._http = urllib3.PoolManager(ca_certs=str(account / "ca.crt"), timeout=_TIMEOUT_S, retries=False)

    def annotate(self, pod: str, cost: int) -> None:
        """Have a pod of this namespace cost so much; one that is gone costs nothing. Raises Refused."""
        patch = {"metadata": {"annotations": {ANNOTATION: str(cost)}}}
        try:
            headers = {"Authorization": f"Bearer {self._token.read_text().strip()}", "Content-Type": _PATCH}
            url = f"{self._pods}/{quote(pod, safe='')}"
            answer = self._http.request("PATCH", url, body=json.dumps(patch), headers=headers)
        except (OSError, HTTPError) as error:
            raise Refused(f"it does not answer: {error}") from error
        if answer.status != _GONE and not 200 <= answer.status < 300:
            raise Refused(f"it answers {answer.status}; its Role must allow this pod's account to patch pods")


class DeletionCosts:
    """Keeps the annotations of one deployment's workers. Any number at once: they take turns."""

    def __init__(self, settings: Settings, kubernetes: Kubernetes | None = None) -> None:
        self._registry = Ledger(settings).registry
        self._kubernetes = kubernetes or Kubernetes()
        self._trouble = ""

    def run(self, stop: threading.Event) -> None:
        """Turn after turn until `stop`. Trouble is logged once, never raised: nothing else depends on it."""
        while not stop.is_set():
            trouble = ""
            try:
                self.round()
            except StyleQueueError as error:
                trouble = str(error)
            except Refused as error:
                trouble = f"Kubernetes is not told which workers paint: {error}"
            except Exception:
                log.exception("Kubernetes is not told which workers paint")
            if trouble and trouble != self._trouble:
                log.warning("%s", trouble)
            self._trouble = trouble
            stop.wait(TURN_S)

    def round(self) -> None:
        """One turn, if it is ours. Raises Refused and, where Redis does not answer, Unavailable."""
        told = self._registry.costs_told(TURN_S)
        if told is None:
            return
        costs = costs_of(self._registry.workers(), datetime.now(UTC))
        done: dict[str, int] = {}
        try:
            for pod, cost in costs.items():
                if is_news(cost, told.get(pod)):
                    self._kubernetes.annotate(pod, cost)
                    done[pod] = cost
        finally:
            self._registry.tell_costs(done, told.keys() - costs.keys())


def costs_of(workers: Iterable[LiveWorker], now: datetime) -> dict[str, int]:
    """What deleting each pod costs now: the most that any of its workers has at stake."""
    costs: dict[str, int] = defaultdict(int)
    for worker in workers:
        if worker.pod is None:
            continue
        busy_s = (now - worker.job_since).total_seconds() if worker.job_since else 0
        costs[worker.pod] = max(costs[worker.pod], min(_MOST, max(1, int(busy_s))) if worker.job else 0)
    return dict(costs)


def is_news(cost: int, told: int | None) -> bool:
    """Whether Kubernetes is to hear of it: it hears of idle and busy, of another job, and of what has doubled.

    More would be much for its API to write, and change little in which pod goes first.
    """
    return told is None or (cost != told and not told <= cost < 2 * told)
