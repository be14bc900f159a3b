"""How a picture is made, against an S3 in memory: in which order the store is asked, and how often."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stylequeue.contract.errors import Code, InvalidJob, Misconfigured, Permanent, Unavailable
from stylequeue.contract.objects import checkpoint_key
from stylequeue.ledger.answers import ReserveAnswer
from stylequeue.store import Origin
from stylequeue_worker.work import checkpoints
from stylequeue_worker.work.order import Order
from tests.support import pictures
from tests.support.odd_s3 import refuse
from tests.support.workshop import LOOK_THERE, LOOKS, READ_THERE, READS, Workshop


class TestCalls:
    def test_of_a_painted_picture(self, workshop: Workshop) -> None:
        assert not workshop.make().reused
        assert workshop.seen == [*LOOKS, *READS, "PUT /results/out.jpg"]

    def test_of_one_with_a_contact_sheet(self, workshop: Workshop) -> None:
        workshop.make(output={"report": True})
        assert workshop.seen == [*LOOKS, *READS, "PUT /results/out.jpg", "PUT /results/out.jpg.report.png"]

    def test_of_one_in_place_of_another(self, workshop: Workshop) -> None:
        workshop.s3.lay("/results/out.jpg", b"there")
        workshop.make(output={"overwrite": True})
        writes = ["PUT /results/out.jpg", "HEAD /results/out.jpg", "PUT /results/out.jpg"]
        assert workshop.seen == [*LOOKS, LOOK_THERE, *READS, *writes]

    def test_of_a_reused_one(self, workshop: Workshop) -> None:
        workshop.painted = workshop.make(output={"key": "before.jpg"})
        assert workshop.make().reused
        before = ["HEAD /results/before.jpg", "GET /results/before.jpg"]
        assert workshop.seen == [*LOOKS, *before, "COPY /results/out.jpg"]
        assert workshop.s3.objects["/results/out.jpg"][0] == workshop.s3.objects["/results/before.jpg"][0]

    def test_a_reused_one_tells_nothing_of_the_other_job(self, workshop: Workshop) -> None:
        workshop.s3.lay("/uploads/private/start.jpg", pictures.jpeg())
        theirs = {"bucket": "uploads", "key": "private/start.jpg"}
        ours = {"bucket": "uploads", "key": "content.jpg"}
        start = {"init": "image", "init_image": theirs}
        workshop.painted = workshop.make(
            id="private-id", output={"key": "private/out.jpg"}, recipe=start, labels={"private": "private"}
        )
        again = workshop.make(recipe={"init": "image", "init_image": ours})
        assert again.reused, "the same bytes under another key"
        assert again.report.timings_s == {}
        assert "private" not in again.model_dump_json()
        _, headers = workshop.s3.objects["/results/out.jpg"]
        assert "private" not in str(headers)

    def test_what_is_kept_is_read_after_the_rest_and_makes_another_picture(self, workshop: Workshop) -> None:
        without = workshop.make(output={"key": "without.jpg"}).fingerprint
        workshop.s3.lay("/uploads/keep.png", pictures.png())
        keep: dict[str, Any] = {"keep_mask": {"bucket": "uploads", "key": "keep.png"}}
        one = workshop.make(**keep).fingerprint
        assert "HEAD /uploads/keep.png" in workshop.s3.seen
        assert workshop.s3.seen[-3:] == [READS[0], "GET /uploads/keep.png", "PUT /results/out.jpg"]
        workshop.s3.lay("/uploads/keep.png", pictures.grey_with_alpha_png())
        other = workshop.make(**keep, output={"key": "other.jpg"}).fingerprint
        assert len({without, one, other}) == 3

    def test_a_missing_mask_of_what_is_kept_costs_no_download(self, workshop: Workshop) -> None:
        error = workshop.fail(keep_mask={"bucket": "uploads", "key": "keep.png"})
        assert error.code == Code.OBJECT_NOT_FOUND
        assert error.message.startswith("keep mask: ")
        assert "GET /uploads/content.jpg" not in workshop.s3.seen

    def test_a_broken_mask_of_what_is_kept_is_named(self, workshop: Workshop) -> None:
        workshop.s3.lay("/uploads/keep.png", pictures.html_page())
        error = workshop.fail(keep_mask={"bucket": "uploads", "key": "keep.png"})
        assert error.code == Code.IMAGE_NOT_RECOGNISED
        assert error.message.startswith("keep mask s3://uploads/keep.png: ")

    @pytest.mark.parametrize("attempt", [1, 2])
    def test_of_one_that_lies_there_already(self, workshop: Workshop, attempt: int) -> None:
        first = workshop.make()
        again = workshop.make(attempt=attempt)
        assert again.output == first.output
        assert again.reused is (attempt == 1), "an attempt before this one is no other job"
        assert workshop.seen == [*LOOKS, LOOK_THERE, READ_THERE]

    def test_of_one_that_lies_there_broken(self, workshop: Workshop) -> None:
        first = workshop.make()
        _, headers = workshop.s3.objects["/results/out.jpg"]
        workshop.s3.objects["/results/out.jpg"] = (b"", headers)
        assert workshop.make(attempt=2).output == first.output
        assert len(workshop.s3.objects["/results/out.jpg"][0]) == first.output.size_bytes

    def test_of_one_whose_contact_sheet_is_missing(self, workshop: Workshop) -> None:
        workshop.make(output={"report": True})
        del workshop.s3.objects["/results/out.jpg.report.png"]
        assert workshop.make(attempt=2, output={"report": True}).report_key == "out.jpg.report.png"
        assert "/results/out.jpg.report.png" in workshop.s3.objects

    @pytest.mark.parametrize(
        "painted",
        ["", "{", "[]", "{}", "null", "[" * 100_000, '{"data": null}', '{"data": {"output": {"frame": 1}}}'],
        ids=lambda text: text[:20],
    )
    def test_of_a_reused_one_that_a_newer_worker_painted(self, workshop: Workshop, painted: str) -> None:
        asked: list[bool] = []

        def reserve(*_: object, forget: bool, **__: object) -> ReserveAnswer:
            asked.append(forget)
            return ReserveAnswer("paint", "") if forget else ReserveAnswer("reuse", painted)

        workshop.maker.ledger = SimpleNamespace(reserve=reserve)  # type: ignore[assignment]
        assert not workshop.make().reused, "what cannot be read is painted again"
        assert asked == [False, True]

    def test_of_one_that_lies_there_and_that_a_newer_worker_painted(self, workshop: Workshop) -> None:
        there = workshop.store.write(
            "results",
            "out.jpg",
            b"picture",
            origin=Origin("a", workshop.make(output={"key": "other.jpg"}).fingerprint),
            content_type="image/jpeg",
            metadata={"painting": '{"frame": 1}', "width-px": "1", "height-px": "1"},
            overwrite=False,
        )
        again = workshop.make(attempt=2)
        assert (again.output.etag, again.report.network) == (there.etag, "stand-in")
        assert READS[0] in workshop.seen

    def test_of_reused_ones_that_are_gone_again_and_again(self, workshop: Workshop) -> None:
        painted = workshop.make(output={"key": "before.jpg"})
        del workshop.s3.objects["/results/before.jpg"]
        asked = []

        def reserve(*_: object, **how: Any) -> ReserveAnswer:
            asked.append(how["forget"])
            return ReserveAnswer("reuse", json.dumps({"data": painted.model_dump(mode="json")}))

        workshop.maker.ledger = SimpleNamespace(reserve=reserve)  # type: ignore[assignment]
        assert isinstance(workshop.fail(), Unavailable)
        assert asked == [False, True, True]

    def test_of_a_reused_one_that_is_gone(self, workshop: Workshop) -> None:
        workshop.painted = workshop.make(output={"key": "before.jpg"})
        del workshop.s3.objects["/results/before.jpg"]
        assert not workshop.make().reused
        assert workshop.seen[-2:] == [READS[0], "PUT /results/out.jpg"]


class TestCheckpoints:
    @pytest.mark.parametrize("step", [np.array(2), np.array("2"), None])
    def test_one_that_the_engine_cannot_go_on_from_is_forgotten(
        self, workshop: Workshop, step: np.ndarray | None
    ) -> None:
        done = workshop.make(recipe={"steps": 3})
        del workshop.s3.objects["/results/out.jpg"]
        state = {} if step is None else {"step": step}
        packed, origin = checkpoints.pack(done.fingerprint, state), Origin("a", done.fingerprint)
        workshop.store.put_work(checkpoint_key("a"), packed, origin=origin, content_type="any/thing")
        painted = workshop.make(attempt=2, recipe={"steps": 3})
        assert painted.output.sha256 == done.output.sha256
        assert f"GET /work/{checkpoint_key('a')}" in workshop.s3.seen


class TestOutputFirst:
    """What the picture cannot go to is known before anything is read."""

    def test_a_bucket_that_is_not_for_pictures(self, workshop: Workshop) -> None:
        assert workshop.fail(output={"bucket": "uploads"}).code == Code.BUCKET_NOT_ALLOWED
        assert workshop.seen == []

    @pytest.mark.parametrize("key", ["a/", "/a.jpg", "a//b.jpg"])
    def test_a_key_that_stores_lose(self, workshop: Workshop, key: str) -> None:
        with pytest.raises(InvalidJob, match="some stores take it for another key"):
            workshop.job(output={"key": key})

    @pytest.mark.parametrize("attempt", [1, 2])
    def test_another_object(self, workshop: Workshop, attempt: int) -> None:
        workshop.s3.lay("/results/out.jpg", b"there")
        assert workshop.fail(attempt=attempt).code == Code.OUTPUT_EXISTS
        assert workshop.seen == [*LOOKS, LOOK_THERE]

    def test_another_picture_of_ours(self, workshop: Workshop) -> None:
        workshop.make(output={"quality": 1})
        assert workshop.fail().code == Code.OUTPUT_EXISTS
        assert workshop.seen == [*LOOKS, LOOK_THERE]

    @pytest.mark.parametrize("whole", [True, False])
    def test_this_jobs_own_that_a_worker_of_another_version_stored(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, whole: bool
    ) -> None:
        before = workshop.make(id="mine")
        if not whole:
            how: Any = {"content_type": "image/jpeg", "overwrite": True}
            workshop.store.write("results", "out.jpg", b"half", origin=Origin("mine", "f+partial"), **how)
        monkeypatch.setattr("stylequeue.contract.job.METADATA_POLICY", 0)
        assert workshop.fail(id="mine").code == Code.OUTPUT_EXISTS, "a job of before that had its id"
        assert workshop.fail(id="another", attempt=2).code == Code.OUTPUT_EXISTS
        done = workshop.make(id="mine", attempt=2)
        assert done.fingerprint != before.fingerprint
        assert workshop.make(id="mine", attempt=3).output == done.output

    def test_a_stranger_in_the_place_of_this_jobs_own(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workshop.make(id="mine")
        monkeypatch.setattr("stylequeue.contract.job.METADATA_POLICY", 0)
        fetch = workshop.maker._fetch

        def meanwhile(order: Order, holder: Any) -> Any:
            workshop.s3.lay("/results/out.jpg", b"theirs")
            return fetch(order, holder)

        monkeypatch.setattr(workshop.maker, "_fetch", meanwhile)
        assert workshop.fail(id="mine", attempt=2).code == Code.OUTPUT_EXISTS
        assert workshop.s3.objects["/results/out.jpg"][0] == b"theirs"

    def test_half_of_this_picture_kept_by_another_job(self, workshop: Workshop) -> None:
        whole = workshop.make(output={"key": "other.jpg"}).fingerprint
        how: Any = {"content_type": "image/jpeg", "overwrite": False}
        workshop.store.write("results", "out.jpg", b"half", origin=Origin("b", f"{whole}+partial"), **how)
        assert workshop.fail().code == Code.OUTPUT_EXISTS
        assert workshop.seen == [*LOOKS, LOOK_THERE]
        # Kept by an attempt before this one it is what this one would store, if it is still to be kept.
        assert workshop.fail(attempt=2).code == Code.OUTPUT_EXISTS
        assert READS[0] in workshop.seen

    def test_a_bucket_that_took_no_picture(self, workshop: Workshop) -> None:
        workshop.s3.oddities = [refuse("PUT /results", 403, "AccessDenied", times=2)]
        assert isinstance(workshop.fail(), Misconfigured)
        assert workshop.seen[-1] == "PUT /results/out.jpg"
        assert isinstance(workshop.fail(), Misconfigured)
        assert not set(workshop.seen) & {*READS, "PUT /results/out.jpg"}, "tried, and nothing painted"
        workshop.make()

    def test_a_missing_style_costs_no_download(self, workshop: Workshop) -> None:
        del workshop.s3.objects["/uploads/style.jpg"]
        error = workshop.fail()
        assert isinstance(error, Permanent)
        assert error.message.startswith("style 1")
        assert "GET /uploads/content.jpg" not in workshop.seen


@pytest.mark.parametrize("preset", ["painterly", "brushwork"])
@pytest.mark.parametrize(("scale", "longest_px"), [(0.5, 32), (1, 64), (2, 128)])
def test_styles_are_painted_with_at_their_scale(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, preset: str, scale: float, longest_px: int
) -> None:
    engine = workshop.maker.engine
    seen: list[int] = []

    def paint(content: np.ndarray, styles: list[tuple[np.ndarray, float]], *given: Any, **more: Any) -> Any:
        seen.extend(max(picture.shape) for picture in (content, *(style for style, _ in styles)))
        return type(engine).paint(engine, content, styles, *given, **more)

    monkeypatch.setattr(engine, "paint", paint)
    workshop.make(recipe={"preset": preset, "style_scale": scale})
    assert seen == [64, longest_px]


@pytest.mark.parametrize(
    ("recipe", "how"), [({}, "optimize brushwork"), ({"preset": "gatys-2016"}, "optimize gatys-2016")]
)
def test_a_contact_sheet_says_how_it_was_painted(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, recipe: dict[str, Any], how: str
) -> None:
    captions: list[str] = []

    def sheet(*, caption: str, **_: Any) -> bytes:
        captions.append(caption)
        return b"sheet"

    monkeypatch.setattr("stylequeue_worker.work.maker.contact_sheet", sheet)
    workshop.make(recipe=recipe, output={"report": True})
    [caption] = captions
    assert caption.startswith(f"{how} · 64 px · stand-in · ")
