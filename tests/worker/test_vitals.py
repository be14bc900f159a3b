"""What a worker says of itself, and what `stylequeue probe` makes of it, by a clock of the test's own."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stylequeue import _probe
from stylequeue.settings import Settings
from stylequeue_worker.process.listening import Listening
from stylequeue_worker.process.registration import announce, listen_to_child
from stylequeue_worker.process.vitals import BEAT_S, DEAF_S, STILL_S, Vitals
from stylequeue_worker.work.lease import STOP_FILE_VARIABLE
from tests.ledger.test_registry import live_worker
from tests.support.processes import wait_for

HEARTBEAT_S = 4.0
LIMIT_S = 600.0
WAIT_S = 60


class Life:
    """A worker's, whose moments come when the test says so."""

    def __init__(self, path: Path) -> None:
        self.now_s = self.heard_s = 1000.0
        self.path = path
        settings = Settings(health_file=path, heartbeat_s=HEARTBEAT_S, job_time_limit_s=LIMIT_S, grace_s=20)
        self.vitals = Vitals(settings, clock=lambda: self.now_s)
        self.vitals.begin()

    def troubles(self, probe: str) -> list[str]:
        return _probe.troubles(probe, self.path.read_text(), self.now_s)

    def goes_on(self, for_s: float, *, redis: bool = True, heard: bool = True, moved_s: float | None = None) -> None:
        """Beat after beat; `redis`: it answers the registry; `heard`: it answers the consumer."""
        for _ in range(int(for_s / BEAT_S)):
            self.now_s += BEAT_S
            self.heard_s = self.now_s if heard else self.heard_s
            self.vitals._say(("ready", "the store does not answer"), 45)
            if redis:
                self.vitals.child_said(moved_s=moved_s)
                self.vitals.registered()
            self.vitals.listens(heard_s=self.heard_s, expects=moved_s is None)


@pytest.fixture
def life(tmp_path: Path) -> Life:
    tmp_path.chmod(0o755)
    return Life(tmp_path / "alive")


def test_a_worker_that_begins_lives_and_is_not_started(life: Life) -> None:
    life.now_s += 240
    assert life.troubles("live") == []
    assert life.troubles("started")
    assert life.troubles("ready")
    life.goes_on(10)
    assert [life.troubles(probe) for probe in _probe.PROBES] == [[], [], []]


def test_a_child_that_loads_for_long_does_not_end_it(life: Life) -> None:
    for _ in range(500):
        life.now_s += BEAT_S
        life.vitals.listens(heard_s=life.now_s, expects=True)
    assert life.troubles("live") == []
    assert life.troubles("started")


def test_a_child_that_is_ready_is_heard_at_once_whatever_redis_does(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STOP_FILE_VARIABLE, str(tmp_path / "stop"))
    stop = threading.Event()
    listening = threading.Thread(target=listen_to_child, args=(life.vitals, 0.01, stop))
    listening.start()
    try:
        life.vitals.connects()
        assert life.troubles("started")
        announce(live_worker(), moved_s=None)
        wait_for(lambda: not life.troubles("started"), WAIT_S, "the child's word")
        announce(live_worker(), moved_s=life.now_s - LIMIT_S - STILL_S - 1)
        wait_for(lambda: life.troubles("live"), WAIT_S, "its word that its painting stands still")
    finally:
        stop.set()
        listening.join(WAIT_S)
    assert any("Redis" in trouble for trouble in life.troubles("ready"))


def test_a_loop_that_stands_still_is_dead(life: Life) -> None:
    life.goes_on(60)
    life.now_s += STILL_S - 1
    assert life.troubles("live") == []
    life.now_s += 2
    assert "loop" in life.troubles("live")[0]


def test_without_redis_it_lives_and_is_not_ready(life: Life) -> None:
    life.goes_on(60)
    for _ in range(10):
        life.now_s += 30
        life.vitals.connects()
    assert life.troubles("live") == []
    assert any("Redis" in trouble for trouble in life.troubles("ready"))
    life.goes_on(10)
    assert life.troubles("ready") == []


def test_redis_that_vanishes_without_a_word_makes_nobody_deaf(life: Life) -> None:
    life.goes_on(60)
    life.goes_on(300, redis=False, heard=False)
    assert life.troubles("live") == []
    assert life.troubles("ready")


def test_a_consumer_that_hears_nothing_while_redis_answers_is_not_ready_and_then_dead(life: Life) -> None:
    life.goes_on(60)
    life.goes_on(2 * DEAF_S + BEAT_S, heard=False)
    assert life.troubles("live") == []
    assert any("takes no messages" in trouble for trouble in life.troubles("ready"))
    life.goes_on(STILL_S, heard=False)
    assert any("takes no messages" in trouble for trouble in life.troubles("live"))
    life.goes_on(BEAT_S)
    assert life.troubles("ready") == [], "it may come to itself"


def test_one_that_paints_expects_no_message_and_may_take_its_time_limit(life: Life) -> None:
    life.goes_on(60)
    began_s = life.now_s
    life.goes_on(LIMIT_S, heard=False, moved_s=began_s)
    assert life.troubles("ready") == []
    life.goes_on(STILL_S + BEAT_S, heard=False, moved_s=began_s)
    assert "painting" in life.troubles("live")[0]


def test_a_drained_one_is_not_ready_and_lives(life: Life) -> None:
    life.goes_on(60)
    life.vitals.drained(is_drained=True)
    life.goes_on(10)
    assert life.troubles("live") == []
    assert life.troubles("ready") == ["it is drained"]
    life.vitals.drained(is_drained=False)
    life.goes_on(10)
    assert life.troubles("ready") == []


def test_one_that_stops_is_not_ready_and_has_its_grace(life: Life) -> None:
    life.goes_on(60)
    life.vitals.stops()
    assert life.troubles("ready") == ["it is to stop"]
    life.now_s += STILL_S + 19
    assert life.troubles("live") == []


class Consumer:
    """Celery's, as far as it is asked here."""

    def __init__(self, *queues: str) -> None:
        self.heeds = list(queues)
        self.app = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=self.heeds)))
        self.task_consumer = SimpleNamespace(channel=SimpleNamespace(active_queues=self.heeds))

    def cancel_task_queue(self, queue: str) -> None:
        self.heeds.remove(queue)

    def add_task_queue(self, queue: str) -> None:
        self.heeds.append(queue)


def test_closed_queues_are_not_listened_to(life: Life) -> None:
    ear, consumer, own = Listening(life.vitals), Consumer("fast", "paint"), ("fast", "paint")
    for closed, left in [({"paint"}, ["fast"]), ({"paint", "bulk", "fast"}, []), ({"bulk"}, ["fast", "paint"])]:
        ear.close(closed)
        ear.adjust(consumer, own)
        ear.adjust(consumer, own)
        assert consumer.heeds == left


CODE = """
import sys
before = set(sys.modules)
from stylequeue._entry import main
sys.argv = ["stylequeue", "probe", *sys.argv[1:]]
try:
    main()
finally:
    print("loaded", *sorted(set(sys.modules) - before))
"""


def answer(*arguments: str, **env: str) -> tuple[int, str, set[str]]:
    """Exit code, words, and the modules that were loaded for it."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], env=env, capture_output=True, text=True, check=False
    )
    said, _, loaded = done.stdout.rpartition("loaded ")
    return done.returncode, said.strip(), set(loaded.split())


def test_the_answer_needs_nothing_but_python(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    path.write_text(_probe.text([("live", float("inf"), "unused"), ("ready", 1.0, "the store does not answer")]))
    code, said, loaded = answer("live", str(path))
    assert (code, said) == (0, "yes")
    ours = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert ours == {"stylequeue", "stylequeue._entry", "stylequeue._probe"}
    assert not loaded & {"json", "re", "typing", "asyncio", "logging"}, "what takes Python milliseconds to import"
    assert answer("ready", STYLEQUEUE_HEALTH_FILE=str(path))[:2] == (1, "no: the store does not answer")


@pytest.mark.parametrize(
    "said", ["", "something else\n", "stylequeue-health 2\n", f"{_probe._FORMAT}\nlive soon this\n"]
)
def test_a_file_that_is_none_of_ours_is_no_sign_of_life(said: str, tmp_path: Path) -> None:
    path = tmp_path / "alive"
    path.write_text(said)
    assert answer("live", str(path))[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code"), [((), 2), (("alive",), 2), (("live",), 2), (("live", "a", "b"), 2), (("-h",), 0)]
)
def test_questions_that_are_none(arguments: Any, code: int) -> None:
    assert answer(*arguments)[0] == code


def test_no_file_is_no_sign_of_life(tmp_path: Path) -> None:
    assert answer("started", str(tmp_path / "nowhere"))[:2] == (
        1,
        f"no: {tmp_path / 'nowhere'}: No such file or directory",
    )
