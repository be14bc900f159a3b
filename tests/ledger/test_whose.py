"""Whose id and whose task: a message speaks only for the job whose id, Celery task and text it has."""

from __future__ import annotations

import pytest

from stylequeue.contract.errors import JobNotFound
from stylequeue.contract.job import Job
from stylequeue.ledger import ClaimAnswer, Ledger
from stylequeue.ledger.names import job_of_task_key, record_key
from tests.support.jobs import make_job
from tests.support.ledger import FAILED

MINE = make_job(id="mine")


def claim(ledger: Ledger, job: Job, task_id: str = "", *, recorded: bool = False) -> ClaimAnswer:
    return ledger.claim(job, task_id=task_id or job.id, worker="tester", recorded=recorded)


def refuse(ledger: Ledger, task_id: str, *, job: str = "", named: str = "", on_record: bool = True) -> str:
    return ledger.refuse(
        task_id, queue="paint", message="{}", data=FAILED, job=job, named=named, on_record=on_record
    ).verdict


def other(**fields: object) -> Job:
    return make_job(labels={"whose": "a stranger's"}, **fields)


class TestGarbage:
    @pytest.mark.parametrize("on_record", [True, False])
    def test_under_a_jobs_id(self, ledger: Ledger, on_record: bool) -> None:
        ledger.accept([MINE])
        before = ledger.redis.hgetall(record_key("mine"))
        assert refuse(ledger, "mine", on_record=on_record) == "foreign"
        assert ledger.redis.hgetall(record_key("mine")) == before

    @pytest.mark.parametrize("task_id", ["task-1", "a task/with: odd\u2028 name", "mine:events", "x" * 255])
    def test_under_a_jobs_task(self, ledger: Ledger, task_id: str) -> None:
        assert claim(ledger, MINE, task_id).is_heard
        assert ledger.has_task(task_id)
        assert refuse(ledger, task_id) == "foreign"
        assert not ledger.has_task("another")

    def test_under_a_second_senders_task(self, ledger: Ledger) -> None:
        claim(ledger, MINE, "task-1")
        assert claim(ledger, MINE, "task-2").verdict == "held"
        assert refuse(ledger, "task-2") == "foreign"
        assert ledger.task_ids(ledger.record("mine")) == ["task-1", "task-2"]

    @pytest.mark.parametrize("state", ["queued", "running", "failed"])
    def test_of_another_text_ends_nothing(self, ledger: Ledger, state: str) -> None:
        ledger.accept([MINE])
        if state != "queued":
            fence = claim(ledger, MINE).record.fence
        if state == "failed":
            ledger.finish("mine", fence=fence, data=FAILED)
        for text in ("", "{}", other(id="mine").canonical_json()):
            assert refuse(ledger, "mine", job=text, named="mine") == "foreign"
        assert ledger.record("mine").state == state

    def test_of_the_very_text_under_another_task(self, ledger: Ledger) -> None:
        ledger.accept([MINE])
        assert refuse(ledger, "theirs", job=MINE.canonical_json(), named="mine") == "refused"
        assert ledger.record("mine").state == "queued"

    def test_of_the_very_text_under_its_own_task(self, ledger: Ledger) -> None:
        """A newer producer wrote it, and this worker, or any, cannot read it."""
        record = claim(ledger, MINE, "task-1").record
        ledger.put_back(record, error="came to harm")
        assert refuse(ledger, "task-1", job=MINE.canonical_json(), named="mine") == "ended"
        assert ledger.record("mine").state == "failed"
        with pytest.raises(JobNotFound):
            ledger.record("task-1")

    def test_of_the_very_text_does_not_end_it_while_it_is_painted(self, ledger: Ledger) -> None:
        claim(ledger, MINE)
        assert refuse(ledger, "mine", job=MINE.canonical_json(), named="mine") == "foreign"
        assert ledger.record("mine").state == "running"

    @pytest.mark.parametrize("task_id", ["", "no id of a job/", "mine:events", "-x", "x" * 129])
    def test_under_what_can_be_no_id(self, ledger: Ledger, task_id: str) -> None:
        ledger.accept([MINE])
        assert refuse(ledger, task_id) == "buried"
        assert len(ledger.dead_letters()) == 1

    def test_under_an_unused_id_blocks_nothing(self, ledger: Ledger) -> None:
        assert refuse(ledger, "mine") == "refused"
        answer = ledger.accept([MINE])[0]
        assert (answer.verdict, answer.gave_way) == ("new", True)
        assert ledger.record("mine").state == "queued"
        assert ledger.dead_letters() == []
        assert ledger.count("failed") == 0
        assert refuse(ledger, "mine") == "foreign"
        assert ledger.accept([MINE])[0].verdict == "known"

    def test_that_an_operator_dropped_blocks_nothing(self, ledger: Ledger) -> None:
        refuse(ledger, "mine")
        ledger.delete("mine")
        assert claim(ledger, MINE).verdict == "yours"

    def test_under_a_deleted_jobs_id_is_only_buried(self, ledger: Ledger) -> None:
        ledger.accept([MINE])
        ledger.cancel("mine", keep=False)
        ledger.delete("mine")
        assert refuse(ledger, "mine") == "buried"
        assert claim(ledger, MINE).verdict == "gone", "and does not bring it back either"


class TestAnothersJob:
    def test_under_a_jobs_id(self, ledger: Ledger) -> None:
        ledger.accept([MINE])
        answer = claim(ledger, other(id="theirs"), "mine")
        assert (answer.verdict, answer.is_heard, answer.record.task_id) == ("yours", False, "theirs")
        assert ledger.task_ids(ledger.record("theirs")) == ["theirs"]
        assert ledger.task_ids(ledger.record("mine")) == ["mine"]

    def test_under_a_jobs_task(self, ledger: Ledger) -> None:
        claim(ledger, MINE, "task-1")
        answer = claim(ledger, other(id="theirs"), "task-1")
        assert (answer.verdict, answer.is_heard, answer.record.task_id) == ("yours", False, "theirs")
        assert ledger.redis.get(job_of_task_key("task-1")) == "mine"

    def test_that_is_known_under_a_jobs_task(self, ledger: Ledger) -> None:
        ledger.accept([other(id="theirs")])
        claim(ledger, MINE, "task-1")
        assert not claim(ledger, other(id="theirs"), "task-1", recorded=True).is_heard
        assert ledger.task_ids(ledger.record("theirs")) == ["theirs"]

    @pytest.mark.parametrize("task_id", ["mine", "task-1", "task-2"])
    def test_of_the_same_id(self, ledger: Ledger, task_id: str) -> None:
        claim(ledger, MINE, "task-1")
        claim(ledger, MINE, "task-2")
        answer = claim(ledger, other(id="mine"), task_id)
        assert (answer.verdict, answer.is_heard) == ("conflict", False)

    def test_of_the_same_id_under_a_task_of_its_own(self, ledger: Ledger) -> None:
        claim(ledger, MINE, "task-1")
        answer = claim(ledger, other(id="mine"), "theirs")
        assert (answer.verdict, answer.is_heard) == ("conflict", True)
        assert not ledger.has_task("theirs")

    def test_whose_id_is_anothers_task(self, ledger: Ledger) -> None:
        """Else its end would be told to the other's sender."""
        claim(ledger, MINE, "task-1")
        assert ledger.accept([other(id="task-1")])[0].verdict == "conflict"
        for task_id, is_heard in (("task-1", False), ("theirs", True)):
            answer = claim(ledger, other(id="task-1"), task_id)
            assert (answer.verdict, answer.is_heard, answer.found) == ("conflict", is_heard, None)
        assert ledger.task_ids(ledger.record("mine")) == ["task-1"]

    def test_that_ended_is_told_to_its_own_senders(self, ledger: Ledger) -> None:
        record = claim(ledger, other(id="theirs")).record
        ledger.finish("theirs", fence=record.fence, data=FAILED)
        ledger.accept([MINE])
        assert not claim(ledger, other(id="theirs"), "mine").is_heard
        assert claim(ledger, other(id="theirs"), "once-more").is_heard

    def test_that_was_deleted_leaves_its_tasks_free(self, ledger: Ledger) -> None:
        record = claim(ledger, MINE, "task-1").record
        claim(ledger, MINE, "task-2")
        ledger.finish("mine", fence=record.fence, data=FAILED)
        ledger.delete("mine")
        for task_id in ("task-1", "task-2"):
            assert not ledger.has_task(task_id)
        assert claim(ledger, other(id="theirs"), "task-1").is_heard


@pytest.mark.parametrize("task_id", ["mine:events", "mine:tasks", "a\nb", "\u0000", "é" * 255, "%s{}", "../.."])
def test_no_name_of_a_task_is_anything_but_a_name(ledger: Ledger, task_id: str) -> None:
    """A stream has the key that the first would have as a job."""
    claim(ledger, MINE)
    assert claim(ledger, other(id="theirs"), task_id).verdict == "yours"
    assert ledger.task_ids(ledger.record("theirs")) == [task_id]
    assert refuse(ledger, task_id) == "foreign"
