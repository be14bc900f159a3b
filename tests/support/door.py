"""What a worker does with a message, from the bytes to the result: in this process, with a maker of the test's own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

from celery.result import AsyncResult

from stylequeue.broker.app import make_app
from stylequeue.contract.errors import JobEnded
from stylequeue.contract.events import FailedData, StoredPicture, SucceededData
from stylequeue.contract.job import TASK_NAME, Job
from stylequeue.contract.plain_json import read_json
from stylequeue.contract.recipe import resolve
from stylequeue.ledger import Ledger, TerminalData
from stylequeue.settings import Settings
from stylequeue.telling import Teller
from stylequeue_worker.process.app import timing_of
from stylequeue_worker.process.inspection import MAX_BURIED_BYTES
from stylequeue_worker.process.message import Refused, read_message
from stylequeue_worker.process.parent import Parent
from stylequeue_worker.work.stylist import Delivery, NotNow, NotOurs, Stylist
from tests.support.jobs import NO_REPORT
from tests.support.messages import encoded, message
from tests.support.roles import as_role

QUEUE = "paint"


class Door:
    """One worker. `during`, where set, is called while it paints; `makes` is how its next job ends, if not well."""

    def __init__(self, settings: Settings) -> None:
        settings = as_role(settings, "worker")
        self.app = make_app(settings)
        self.ledger = Ledger(settings)
        self.during: Callable[[], object] = lambda: None
        self.makes: TerminalData | None = None
        self.painted: list[str] = []
        store: Any = SimpleNamespace(
            is_ours=lambda *_: True, write_beside=lambda *_, **__: None, delete_work=lambda *_: None
        )
        nobody: Any = SimpleNamespace()
        teller = Teller(self.app, self.ledger, store)
        messages: Any = SimpleNamespace(send_due=lambda: 0)
        self.stylist = Stylist(
            settings, nobody, decoder=nobody, ledger=self.ledger, store=store, messages=messages, teller=teller
        )
        self.stylist.maker = cast(
            "Any",
            SimpleNamespace(make=self._make, engine=SimpleNamespace(networks=lambda: {"vgg19": "0", "fast": "0"})),
        )
        self.parent = Parent(self.app, settings)
        self.parent.__dict__["_teller"] = teller

    def _make(self, job: Job, _holder: object) -> TerminalData:
        self.painted.append(job.id)
        during, self.during = self.during, lambda: None
        during()
        makes, self.makes = self.makes, None
        return makes or picture_of(job)

    def take(self, raw: bytes | dict[str, Any], queue: str = QUEUE) -> None:
        """Do with a message what parent and child do."""
        raw = json.dumps(raw).encode() if isinstance(raw, dict) else raw
        try:
            handed_on = json.loads(read_message(raw, {TASK_NAME}).as_message(queue))
        except Refused as refused:
            text = raw[:MAX_BURIED_BYTES].decode(errors="backslashreplace")
            self.parent._refuse(queue=queue, raw=text, fault=refused.fault)
            return
        args, kwargs, _ = read_json(base64.b64decode(handed_on["body"]))
        headers = handed_on["headers"]
        delivery = Delivery(
            task_id=headers["id"],
            worker="door",
            queue=handed_on["properties"]["delivery_info"]["routing_key"],
            recorded=bool(headers.get("stylequeue_recorded")),
            timing=timing_of(SimpleNamespace(**{name: headers[name] for name in ("timelimit", "eta", "expires")})),
        )
        with suppress(JobEnded, NotOurs):
            try:
                self.stylist.stylize(args, kwargs, delivery)
            except NotNow:
                raise AssertionError("it goes back, to come again") from None

    def result(self, task_id: str) -> AsyncResult[Any]:
        """What a sender sees."""
        return self.app.AsyncResult(task_id)

    def letters(self) -> list[tuple[str, str]]:
        """Dead letters: ids and codes."""
        return [(letter.id, letter.code) for letter in self.ledger.dead_letters()]

    def close(self) -> None:
        self.app.close()
        self.ledger.close()


def picture_of(job: Job) -> SucceededData:
    picture = StoredPicture(
        bucket=job.output.bucket,
        key=job.output_key,
        etag="e",
        sha256="s",
        width_px=1,
        height_px=1,
        size_bytes=1,
        content_type="image/jpeg",
    )
    return SucceededData(
        output=picture,
        fingerprint=job.id,
        recipe=resolve(job.recipe),
        engine_version="1",
        report=NO_REPORT,
    )


TOO_SLOW = FailedData(code="time_limit", message="too slow")


def call(job: Job | dict[str, Any], *, task_id: str, args: list[Any] | None = None, **headers: Any) -> dict[str, Any]:
    """A message as plain Celery sends it."""
    fields = job.model_dump(mode="json", exclude_none=True) if isinstance(job, Job) else job
    body = encoded([args or [], {"job": fields}, {"callbacks": None}])
    return message(task=TASK_NAME, headers={"id": task_id, **headers}, body=body)
