"""Every method of the client where Redis does not answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stylequeue.client import StyleQueue
from stylequeue.client_events import EventCalls
from stylequeue.client_fleet import FleetCalls
from stylequeue.client_uploads import UploadCalls
from stylequeue.contract.errors import Code, Unavailable
from stylequeue.contract.events import UploadRefusedData
from stylequeue.contract.recipe import FastRecipe
from tests.client.conftest import OFTEN, REFUSAL
from tests.support.jobs import make_job
from tests.support.proxy import Proxy

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


REFUSED = UploadRefusedData(
    code="image_empty", message="it has no bytes", rule="wave", bucket="uploads", key="in/a.jpg"
)
CALLS: dict[str, Callable[[StyleQueue], object]] = {
    "submit": lambda queue: queue.submit(make_job()),
    "submit_each": lambda queue: queue.submit_each([make_job()]),
    "statuses": lambda queue: queue.statuses(["j"]),
    "glances": lambda queue: queue.glances(["j"]),
    "jobs": lambda queue: queue.jobs(),
    "look": lambda queue: queue.look("j"),
    "groups": lambda queue: queue.groups(),
    "link": lambda queue: queue.link("j"),
    "newest_position": lambda queue: queue.newest_position(),
    "dead_letter": lambda queue: queue.dead_letter("j"),
    "status": lambda queue: queue.status("j"),
    "watch": lambda queue: next(queue.watch("j")),
    "wait": lambda queue: queue.wait("j"),
    "download": lambda queue: queue.download("j", "nowhere"),
    "cancel": lambda queue: queue.cancel("j"),
    "retry": lambda queue: queue.retry("j"),
    "delete": lambda queue: queue.delete("j"),
    "dead_letters": lambda queue: queue.dead_letters(),
    "replay": lambda queue: queue.replay("j"),
    "drop": lambda queue: queue.drop("j"),
    "events": lambda queue: next(queue.events()),
    "workers": lambda queue: queue.workers(),
    "fleet": lambda queue: queue.fleet(),
    "drain": lambda queue: queue.drain("one@here"),
    "undrain": lambda queue: queue.undrain("one@here"),
    "pause": lambda queue: queue.pause("bulk"),
    "resume": lambda queue: queue.resume("bulk"),
    "census": lambda queue: queue.census(),
    "load": lambda queue: queue.load("bulk"),
    "estimate": lambda queue: queue.estimate(FastRecipe()),
    "upload_position": lambda queue: queue.upload_position("j"),
    "keep_upload_position": lambda queue: queue.keep_upload_position("j", "{}"),
    "notifications_wanted_again": lambda queue: queue.notifications_wanted_again(),
    "tell_refused": lambda queue: queue.tell_refused("j", REFUSED),
    "bury_notification": lambda queue: queue.bury_notification("{}", source="here", code="c", reason="none"),
    "count_uploads": lambda queue: queue.count_uploads({("here", "known"): 1}, {}),
    "note_upload_probe": lambda queue: queue.note_upload_probe("p", source="here", rules=[]),
    "upload_probe": lambda queue: queue.upload_probe("p"),
    "say_listening": lambda queue: queue.say_listening(),
    "is_listening": lambda queue: queue.is_listening(),
    "upload_counts": lambda queue: queue.upload_counts(),
}


def test_every_method_is_among_the_calls() -> None:
    methods = {
        name
        for name, value in {**vars(EventCalls), **vars(FleetCalls), **vars(UploadCalls), **vars(StyleQueue)}.items()
        if callable(value) and not name.startswith("_")
    }
    asks_nothing = {"close", "for_tenant", "take_turn", "job"}
    asks_nothing |= {"upload", "upload_stream", "upload_form", "discard", "read", "shelf"}
    asks_nothing |= {"find_upload", "list_uploads", "keeps_versions"}
    raises_nothing = {"readiness"}
    assert methods - {"submit_many", *asks_nothing, *raises_nothing} == set(CALLS), "of Redis"


def test_readiness_says_where_the_trouble_is(behind: StyleQueue, proxy: Proxy) -> None:
    assert behind.readiness() == {}
    proxy.refuse()
    reasons = behind.readiness()
    assert list(reasons) == ["redis"]
    assert "127.0.0.1" in reasons["redis"]


@pytest.mark.parametrize("name", CALLS)
def test_every_method_says_so_where_redis_is_away(behind: StyleQueue, proxy: Proxy, name: str) -> None:
    proxy.refuse()
    with pytest.raises(Unavailable) as caught:
        CALLS[name](behind)
    assert caught.value.code == Code.BROKER_UNAVAILABLE


@pytest.mark.parametrize("redis_timeout_s", [0.2])
@pytest.mark.parametrize("name", ["submit", "cancel", "workers"])
def test_every_method_gives_up_where_redis_is_silent(behind: StyleQueue, proxy: Proxy, name: str) -> None:
    proxy.half_open()
    with pytest.raises(Unavailable):
        CALLS[name](behind)


@pytest.mark.parametrize(("name", "command"), [("submit", b"lpush")])
@pytest.mark.parametrize("trouble", [REFUSAL, b""], ids=["refused", "cut off"])
def test_what_celery_raises_is_translated(
    behind: StyleQueue, proxy: Proxy, name: str, command: bytes, trouble: bytes
) -> None:
    for _ in range(OFTEN):
        proxy.answer_once(command, trouble)
    with pytest.raises(Unavailable) as caught:
        CALLS[name](behind)
    assert caught.value.hint
