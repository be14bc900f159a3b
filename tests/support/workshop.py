"""Makers of jobs against an S3 in memory: whatever lies there, and whatever the ledger says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from stylequeue.contract.errors import StyleQueueError
from stylequeue.contract.events import SucceededData
from stylequeue.contract.job import Job
from stylequeue.ledger import Ledger
from stylequeue.ledger.answers import ReserveAnswer
from stylequeue.settings import Settings
from stylequeue.store import Store
from stylequeue_worker.pictures.decoder import Decoder
from stylequeue_worker.work.maker import Maker
from tests.support import pictures
from tests.support.fake_painter import FakePainter
from tests.support.jobs import make_job
from tests.support.ledger import claim
from tests.support.odd_s3 import OddS3
from tests.support.roles import as_role

LOOKS = ["GET /results", "HEAD /uploads/content.jpg", "HEAD /uploads/style.jpg"]
LOOK_THERE, READ_THERE = "HEAD /results/out.jpg", "GET /results/out.jpg"
READS = ["GET /uploads/content.jpg", "GET /uploads/style.jpg"]


class Workshop:
    """A maker of jobs with one content, one style and `out.jpg`; the ledger answers what `painted` says."""

    def __init__(self, s3: OddS3, decoder: Decoder) -> None:
        self.s3 = s3
        self.painted: SucceededData | None = None
        for name in ("content", "style"):
            s3.lay(f"/uploads/{name}.jpg", pictures.jpeg())
        self.store = Store(s3.settings())
        ledger: Any = SimpleNamespace(reserve=self._reserve)
        self.maker = Maker(s3.settings(), ledger, self.store, FakePainter(), decoder)

    def _reserve(self, *_: object, **how: Any) -> ReserveAnswer:
        if self.painted is None or how["forget"]:
            self.painted = None
            return ReserveAnswer("paint", "")
        return ReserveAnswer("reuse", json.dumps({"data": self.painted.model_dump(mode="json")}))

    def job(self, **fields: Any) -> Job:
        image = {"bucket": "uploads", "key": "content.jpg"}
        style = {"image": {"bucket": "uploads", "key": "style.jpg"}}
        output = {"bucket": "results", "key": "out.jpg", **fields.pop("output", {})}
        recipe = {"method": "optimize", "size": 64, "steps": 1, **fields.pop("recipe", {})}
        return make_job(content=image, styles=[style], output=output, recipe=recipe, **fields)

    def make(self, attempt: int = 1, tenant: str | None = None, **fields: Any) -> SucceededData:
        record = SimpleNamespace(id="a", run=1, attempt=attempt, fence=1, tenant=tenant, scope=None)
        self.s3.seen.clear()
        return self.maker.make(self.job(**fields), undisturbed(record))

    @property
    def seen(self) -> list[str]:
        """What the store was asked, the looks that are made at once in the order of `LOOKS`."""
        looks = [*LOOKS, LOOK_THERE]
        seen = self.s3.seen
        first = next((n for n, asked in enumerate(seen) if asked not in looks or asked in seen[:n]), len(seen))
        return [*sorted(seen[:first], key=looks.index), *seen[first:]]

    def fail(self, **fields: Any) -> StyleQueueError:
        with pytest.raises(StyleQueueError) as raised:
            self.make(**fields)
        return raised.value


class LedgerWorkshop:
    """A maker of jobs that are on record in a ledger of the test's own."""

    def __init__(self, s3: OddS3, ledger: Ledger, maker: Maker) -> None:
        self.s3 = s3
        self.ledger = ledger
        self.maker = maker

    def begin(self, job: Job, **accepted: Any) -> Any:
        """The job's holder, once it was accepted so."""
        self.ledger.accept([job], **accepted)
        return undisturbed(claim(self.ledger, job).record)

    def make(self, job: Job, **accepted: Any) -> SucceededData:
        holder = self.begin(job, **accepted)
        self.s3.seen.clear()
        made = self.maker.make(job, holder)
        painted = json.dumps({"job_id": job.id, "data": made.model_dump(mode="json")})
        self.ledger.finish(job.id, fence=holder.record.fence, data=made, painted=painted)
        return made


@contextmanager
def ledger_workshop(settings: Settings, decoder: Decoder, *uris: str, **update: Any) -> Iterator[LedgerWorkshop]:
    """One in whose store pictures lie under `uris`, and whose settings are updated so."""
    with OddS3() as s3:
        for uri in uris:
            s3.lay(uri, pictures.jpeg())
        ledger, at_store = Ledger(as_role(settings, "worker")), s3.settings().model_copy(update=update)
        yield LedgerWorkshop(s3, ledger, Maker(at_store, ledger, Store(at_store), FakePainter(), decoder))
        ledger.close()


def undisturbed(record: Any) -> Any:
    """A holder of the job on that record, whom nobody stops and who tells nobody."""
    nothing = lambda *_: None  # noqa: E731
    return SimpleNamespace(
        record=record,
        keep=False,
        stage=nothing,
        goes_on=nothing,
        step=nothing,
        check=nothing,
        still_wanted=nothing,
        preview=None,
        left_work=False,
    )
