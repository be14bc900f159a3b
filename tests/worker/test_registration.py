"""Which queues a worker can serve with the networks that it has."""

from __future__ import annotations

import pytest

from stylequeue.contract.base import QUEUES
from stylequeue.contract.errors import CannotServe, ExitCode
from stylequeue_worker.process.registration import require_networks


@pytest.mark.parametrize("networks", [("vgg16", "fast"), ("vgg19", "fast"), ("vgg19", "vgg16", "fast")])
def test_all_queues(networks: tuple[str, ...]) -> None:
    require_networks(QUEUES, networks)


@pytest.mark.parametrize(("networks", "lacking"), [((), "fast"), (("vgg16",), "fast"), (("fast",), "vgg19 or vgg16")])
def test_a_queue_without_its_network(networks: tuple[str, ...], lacking: str) -> None:
    with pytest.raises(CannotServe, match=f"needs {lacking}") as caught:
        require_networks(QUEUES, networks)
    assert caught.value.exit_code == ExitCode.CANNOT_SERVE
    assert f"models pull {lacking.split()[0]}" in caught.value.hint


def test_it_may_take_from_the_others() -> None:
    with pytest.raises(CannotServe) as caught:
        require_networks(QUEUES, ["fast"])
    assert caught.value.hint.endswith("--queues fast")
    require_networks(["fast"], ["fast"])
