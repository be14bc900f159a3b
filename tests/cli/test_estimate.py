"""What a job would take, asked by the command."""

from __future__ import annotations

import json

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.recipe import OptimizeRecipe
from stylequeue.contract.status import Estimate
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.ledger.test_registry import live_worker
from tests.support.command import BAD_INPUT, Command

RATES = {"painterly/adam/vgg16": 2.0}


def test_it_says_what_the_client_estimates(stack: Stack, settings: Settings, redis_url: str) -> None:
    command = Command({**stack.env, "STYLEQUEUE_REDIS_URL": redis_url})
    asked = ["estimate", "--preset", "painterly", "--network", "vgg16", "--size", "2048", "--content-px", "1600x800"]
    assert "unknown: no worker has painted the like" in command(*asked).stdout
    with StyleQueue(settings) as queue:
        queue._ledger.registry.register(live_worker(rates=RATES, memory_bytes=600 * 10**6))
        recipe = OptimizeRecipe(preset="painterly", network="vgg16", size=2048)
        expected = queue.estimate(recipe, content_px=(1600, 800), styles=2, masks=1)
        other = queue.estimate(recipe, content_px=(800, 1600))
    asked += ["--styles", "2", "--masks", "1"]
    assert Estimate(**json.loads(command(*asked, "--json").stdout)) == expected != other
    assert expected.paint_s
    said = command(*asked).stdout
    assert f"painting  {expected.paint_s:.0f} s" in said
    assert "waiting   0 s; workers that can paint it: 1" in said
    assert f"in {expected.tiles} tiles" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--content-px", "1600"], "--content-px '1600' is no width and height"),
        (["--size", "5"], "--size 5 should be greater than or equal to 16"),
        (["--method", "fast", "--steps", "5"], "--steps is no option of --method fast"),
        (["--content-px", "0x5"], "is no width and height"),
    ],
)
def test_what_cannot_be_estimated_is_refused(stylequeue: Command, arguments: list[str], said: str) -> None:
    assert said in stylequeue("estimate", *arguments, exit_code=BAD_INPUT).stderr
