"""Which queues a worker can serve with the networks that it has."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from stylequeue.contract.base import QUEUES
from stylequeue.contract.errors import CannotServe, Code, ExitCode
from stylequeue.ledger import Ledger
from stylequeue.ledger.registry import LiveWorker
from stylequeue.settings import Settings
from stylequeue_worker.process.registration import require_networks, require_the_fleets_networks
from tests.ledger.test_registry import live_worker


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


OURS, OTHERS = {"vgg16": "a" * 64}, {"vgg16": "b" * 64}


class Fleet:
    """The live workers that a registry knows of."""

    def __init__(self, *workers: LiveWorker) -> None:
        self._workers = workers

    def workers(self) -> list[LiveWorker]:
        return list(self._workers)


def having(name: str, networks: dict[str, str], **fields: Any) -> LiveWorker:
    return live_worker(name, networks=networks, **fields)


@pytest.mark.parametrize(
    "others",
    [
        (),
        (having("a", OURS), having("b", {"fast": "c" * 64})),
        (having("new", OTHERS),),
        (having("a", OTHERS, draining="finish"),),
        (having("a", OURS), having("b", OTHERS)),
        (having("a", OURS), having("b", OURS), having("c", OTHERS)),
    ],
    ids=["alone", "the same", "what it said before", "one that is drained", "as many", "the odd one is another"],
)
def test_it_has_the_networks_of_the_fleet(others: tuple[LiveWorker, ...]) -> None:
    fleet: Any = Fleet(*others)
    require_the_fleets_networks(having("new", OURS), fleet)


@pytest.mark.parametrize("others", [("b",), ("b", "b", "a"), ("c", "b", "b")])
def test_one_with_other_weights_than_the_rest_is_refused(others: tuple[str, ...]) -> None:
    fleet: Any = Fleet(*(having(f"w{n}@h", {"vgg16": which * 64}) for n, which in enumerate(others)))
    with pytest.raises(CannotServe) as caught:
        require_the_fleets_networks(having("new", {"fast": "f" * 64, **OURS}), fleet)
    assert (caught.value.code, caught.value.exit_code) == (Code.NETWORK_UNAVAILABLE, ExitCode.CANNOT_SERVE)
    first = next(n for n, which in enumerate(others) if which == "b")
    assert f"vgg16 {'b' * 12}" in caught.value.message
    assert f"w{first}@h" in caught.value.message
    assert "workers drain" in caught.value.hint


def test_without_redis_nobody_knows_and_it_starts(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    require_the_fleets_networks(having("new", OURS), Ledger(away).registry)
    assert "which networks the other workers have" in caplog.text
