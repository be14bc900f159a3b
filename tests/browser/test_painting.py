"""The page, in a browser: from a photograph to a painting, and what may be done on the way."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from stylequeue.client import StyleQueue
from stylequeue.settings import Settings
from tests.browser.conftest import LASTING, SAMPLES, Visitor, check, watch
from tests.support.by_hand import refuse
from tests.support.gate import ServedGate


def test_from_a_photograph_to_a_download(visitor: Visitor, client: StyleQueue, tmp_path: Path) -> None:
    page = visitor.open().page
    assert visitor.gate.admin not in page.url
    paint = page.get_by_role("button", name="Paint", exact=True)
    expect(paint).to_be_disabled()
    visitor.prepare()
    expect(paint).to_be_enabled()
    expect(page.locator("#takes")).not_to_be_empty()
    job_id = visitor.paint()
    expect(page.get_by_role("heading", name="chelsea, in the style of waves")).to_be_visible()
    visitor.expect("Step ")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download").click()
    assert downloading.value.suggested_filename == "chelsea, in the style of waves.jpg"
    downloading.value.save_as(tmp_path / "painting.jpg")
    with Image.open(tmp_path / "painting.jpg") as painting:
        assert painting.size == (512, 341)
    expect(page.locator("loss-chart canvas")).to_be_hidden()
    page.get_by_text("How it was painted").click()
    expect(page.locator("loss-chart canvas")).to_be_visible()
    expect(page.get_by_role("heading", name="How close it comes to the style")).to_be_visible()
    status = client.status(job_id)
    assert status.state == "succeeded"
    assert status.job is not None
    assert status.job["recipe"]["preset"] == "brushwork"
    # The gallery has it, too, and the key went nowhere but into headers.
    expect(page.locator(f".gallery [data-job='{job_id}'] img")).to_be_visible()
    assert not [request.url for request in visitor.requests if visitor.gate.admin in request.url]


def test_before_and_after_by_a_slider(visitor: Visitor) -> None:
    page = visitor.open().page
    visitor.prepare(method="Sketch")
    visitor.paint()
    slider = page.get_by_role("slider", name="How much is shown of Before and of After")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "40 percent Before, the rest After"
    clip = page.locator(".pair .upper").evaluate("image => getComputedStyle(image).clipPath")
    assert clip == "inset(0px 60% 0px 0px)"
    box = page.locator(".pair").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 20)
    expect(slider).to_have_value("75")


@pytest.mark.parametrize(
    ("button", "state", "says"),
    [("Finish now, keep it", "succeeded", "stopped before it was done"), ("Cancel", "cancelled", "You cancelled it.")],
)
def test_a_picture_is_ended_early(visitor: Visitor, client: StyleQueue, button: str, state: str, says: str) -> None:
    page = visitor.open().page
    visitor.prepare(method=LASTING)
    job_id = visitor.paint()
    visitor.expect("Step ")
    page.get_by_role("button", name=button).click()
    visitor.expect(says)
    assert client.status(job_id).state == state
    if state == "cancelled":
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete this picture").click()
        expect(page.get_by_role("heading", name="Your photograph")).to_be_attached()
        assert page.locator(f".gallery [data-job='{job_id}']").count() == 0


def test_painted_again_with_one_thing_changed_and_compared(visitor: Visitor, client: StyleQueue) -> None:
    page = visitor.open().page
    visitor.prepare(style="facets", method="Sketch")
    first = visitor.paint()
    page.get_by_role("button", name="Change and paint again").click()
    visitor.expect("As before. Change one thing")
    expect(page.get_by_role("button", name="facets")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("slider", name="Strength").fill("0.8")
    second = visitor.paint()
    page.get_by_role("link", name="Compare with the one before").click()
    assert page.url.endswith(f"#compare={first},{second}")
    expect(page.get_by_role("slider")).to_be_visible()
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator(".row.two img")).to_have_count(2)
    recipes = [job.job["recipe"] for job in client.statuses([first, second]) if job and job.job]
    assert recipes[0] | {"strength": 0.8} == recipes[1]
    # Any two others are chosen in the gallery.
    page.get_by_role("button", name="Compare two").click()
    for job_id in (second, first):
        page.locator(f"[data-job='{job_id}'] button").click()
    page.wait_for_url(f"**/#compare={second},{first}")


def test_several_photographs_and_a_blend_of_two_styles(visitor: Visitor, client: StyleQueue) -> None:
    page = visitor.open().page
    visitor.add(SAMPLES / "chelsea.jpg", SAMPLES / "coffee.jpg")
    expect(page.locator(".easel img")).to_have_count(2)
    page.get_by_role("button", name="waves").click()
    page.locator(".shelf input[type=file]").set_input_files(SAMPLES / "swirls.jpg")
    own = page.get_by_role("button", name="swirls", exact=True).first
    expect(own).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="waves").click()
    for is_chosen in ("false", "true"):  # the own one last
        own.click()
        expect(own).to_have_attribute("aria-pressed", is_chosen)
    page.get_by_role("slider", name="Blend").fill("0.75")
    expect(page.get_by_text("25 % swirls, 75 % waves")).to_be_visible()  # as the tiles lie
    page.get_by_label("Sketch").check()
    page.get_by_role("button", name="Paint 2 pictures").click()
    page.wait_for_url("**/#set=*")
    visitor.expect("All 2 are done.")
    jobs = [job for job in client.jobs() if job.labels.get("set") == page.url.split("#set=")[1]]
    assert {job.labels["photo"] for job in jobs} == {"chelsea", "coffee"}
    for job in jobs:
        assert job.job is not None
        first, second = job.job["styles"]
        assert (first["image"]["key"], second["image"]["bucket"]) == ("shelf/waves.jpg", "uploads")
        assert (first["weight"], second["weight"]) == (0.75, 0.25)
    # The address alone leads there, too.
    page.reload()
    visitor.expect("All 2 are done.")


def test_a_row_of_strengths(visitor: Visitor) -> None:
    page = visitor.open().page
    visitor.prepare(method="Sketch")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("A row of four strengths").check()
    page.get_by_role("button", name="Paint 4 pictures").click()
    visitor.expect("All 4 are done.")
    assert page.locator(".row .called").all_inner_texts() == [f"Strength {share} %" for share in (25, 50, 75, 100)]
    expect(page.locator(".row img:not(.dim)")).to_have_count(4)


def test_two_browsers_show_one_truth(visitor: Visitor, browser: Browser) -> None:
    page = visitor.open().page
    visitor.prepare(method=LASTING)
    job_id = visitor.paint()
    with closing(browser.new_context()) as context:
        other = Visitor(context.new_page(), visitor.gate)
        watch(other)
        other.page.goto(f"{visitor.url}/#key={visitor.gate.key('read')}&job={job_id}")
        expect(other.page.get_by_role("heading", name="chelsea, in the style of waves")).to_be_visible()
        other.expect("Step ")
        page.get_by_role("button", name="Finish now, keep it").click()
        for window in (visitor, other):
            window.expect("stopped before it was done")
            expect(window.page.get_by_role("link", name="Download")).to_be_visible()
            # Also where the photograph is not at hand.
            expect(window.page.get_by_role("slider", name="How much is shown of Before and of After")).to_be_visible()
        check(other)


def test_who_may_look_and_not_paint_has_a_gallery(visitor: Visitor, client: StyleQueue) -> None:
    page, gate = visitor.page, visitor.gate
    page.goto(f"{visitor.url}/#key={gate.key('read', 'looker')}")
    expect(page.get_by_role("heading", name="Nothing has been painted yet")).to_be_visible()
    with closing(page.context.browser.new_context()) as context:  # type: ignore[union-attr]
        other = Visitor(context.new_page(), gate)
        watch(other)
        other.open(gate.key("submit", "looker"))
        other.prepare(method="Sketch")
        job_id = other.paint()
        expect(other.page.get_by_role("link", name="Download")).to_be_visible()
        check(other)
    card = page.locator(f".gallery [data-job='{job_id}']")
    expect(card.locator("img")).to_be_visible()
    assert [request for request in visitor.requests if f"{job_id}/thumbnail" in request.url]
    assert not [request for request in visitor.requests if f"{job_id}/result" in request.url]
    assert client.look(job_id, "thumbnail").size_bytes <= 60_000
    card.get_by_role("link").click()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    for name in ("Change and paint again", "Delete this picture", "Finish now, keep it", "Choose photographs"):
        assert page.get_by_role("button", name=name).count() == 0, name
    assert page.get_by_role("link", name="New painting", exact=True).count() == 0


def test_another_browser_paints_again(visitor: Visitor, browser: Browser, client: StyleQueue) -> None:
    """All it takes lies in the store, and is told to who might name it."""
    page = visitor.open().page
    visitor.prepare(style="facets", method="Sketch")
    page.locator(".shelf input[type=file]").set_input_files(SAMPLES / "swirls.jpg")
    own = page.get_by_role("button", name="swirls", exact=True).first
    expect(own).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="facets").click()
    page.get_by_role("slider", name="Blend").fill("0.25")
    first = visitor.paint()
    with closing(browser.new_context()) as context:
        other = Visitor(context.new_page(), visitor.gate)
        watch(other)
        other.page.goto(f"{visitor.url}/#key={visitor.gate.admin}&job={first}")
        expect(other.page.get_by_role("slider", name="How much is shown of Before and of After")).to_be_visible()
        other.page.get_by_role("button", name="Change and paint again").click()
        other.expect("As before. Change one thing")
        expect(other.page.get_by_role("img", name="Photograph: chelsea")).to_be_visible()
        for name in ("swirls", "facets"):
            pressed = other.page.get_by_role("button", name=name, exact=True).first
            expect(pressed).to_have_attribute("aria-pressed", "true")
        other.page.get_by_role("slider", name="Strength").fill("0.8")
        second = other.paint()
        expect(other.page.get_by_role("link", name="Compare with the one before")).to_be_visible()
        assert not [request for request in other.requests if request.url.endswith("/v1/uploads")], "it lies there"
        check(other)
    before, after = (job.job for job in client.statuses([first, second]) if job)
    assert before
    assert after
    assert after["recipe"] == before["recipe"] | {"strength": 0.8}
    assert (after["content"], after["styles"]) == (before["content"], before["styles"])


def test_where_pictures_pass_through_the_gateway(
    visitor: Visitor, client: StyleQueue, tmp_path: Path, package_settings: Settings
) -> None:
    settings = package_settings.model_copy(update={"gateway_stream": True})
    with ServedGate(settings, tmp_path / "keys.json") as gate:
        visitor.gate = gate
        page = visitor.open().page
        visitor.prepare(method="Sketch")
        busy = {"code": "rate_limited", "detail": "too many at once"}
        page.route("**/v1/uploads/*", lambda route: route.fulfill(status=429, json=busy), times=1)
        job_id = visitor.paint()
        visitor.forgiven.append("429")
        job = client.status(job_id).job
        assert job
        assert job["content"]["etag"], "no other is painted"
        expect(page.get_by_role("link", name="Download")).to_be_visible()
        expect(page.locator(".gallery img").first).to_be_visible()
        asked = {urlsplit(request.url).netloc for request in visitor.requests if request.url.startswith("http")}
        assert asked == {urlsplit(visitor.url).netloc}, "the store is out of reach"
        page.close()  # its stream ends before the gateway does


def test_who_looks_after_the_service_sees_how_it_fares(visitor: Visitor, client: StyleQueue) -> None:
    refuse(client, "nothing-painted")
    page = visitor.open().page
    page.get_by_text("Behind the pictures").click()
    strip = page.locator(".fleet")
    expect(strip.locator("summary")).to_contain_text(
        re.compile("1 painter (ready|at work), [0-9]+ waiting, [0-9]+ given up")
    )
    strip.get_by_role("button", name="Pause: queue bulk").click()
    expect(strip.get_by_role("button", name="Resume: queue bulk")).to_be_visible()
    assert client.load("bulk").paused
    strip.get_by_role("button", name="Resume: queue bulk").click()
    expect(strip.get_by_role("button", name="Pause: queue bulk")).to_be_visible()
    strip.get_by_role("button", name="Drop: nothing-painted").click()
    expect(strip.locator("summary")).not_to_contain_text("given up")
    assert client.dead_letters() == []
    page.goto(f"{visitor.url}/#key={visitor.gate.key('monitor')}")
    expect(page.get_by_role("heading", name="No pictures here")).to_be_visible()
    expect(strip.get_by_role("rowheader", name="bulk")).to_be_visible()
    assert strip.get_by_role("button").count() == 0
    page.goto(f"{visitor.url}/#key={visitor.gate.key('submit')}")
    expect(page.get_by_role("heading", name="Begin with a photograph")).to_be_visible()
    assert strip.count() == 0
