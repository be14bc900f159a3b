"""The page, in a browser: from a photograph to a painting, and what may be done on the way."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from stylequeue.client import StyleQueue
from tests.browser.conftest import SAMPLES, Visitor, check, watch

LASTING = "TensorFlow 2019"
"""Ten seconds of the fake painter's."""


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
    expect(page.locator("loss-chart canvas")).to_be_visible()
    expect(page.locator(".curves li")).to_contain_text(re.compile(r"to the style \W[0-9]+ %"))
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
    [("Stop and keep", "succeeded", "stopped before it was done"), ("Cancel", "cancelled", "You cancelled it.")],
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
    page.get_by_role("button", name="Paint again, changed").click()
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
    page.get_by_role("slider", name="Blend").fill("0.75")
    page.get_by_label("Sketch").check()
    page.get_by_role("button", name="Paint 2 pictures").click()
    page.wait_for_url("**/#set=*")
    visitor.expect("All 2 are done.")
    jobs = [job for job in client.jobs() if job.labels.get("set") == page.url.split("#set=")[1]]
    assert {job.labels["photo"] for job in jobs} == {"chelsea", "coffee"}
    for job in jobs:
        assert job.job is not None
        first, second = job.job["styles"]
        assert (first["image"]["bucket"], second["image"]["key"]) == ("uploads", "shelf/waves.jpg")
        assert (first["weight"], second["weight"]) == (0.25, 0.75)
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
        other.page.get_by_role("button", name="Stop and keep").click()
        other.expect("This key may look, but not paint.")
        page.get_by_role("button", name="Stop and keep").click()
        for window in (visitor, other):
            window.expect("stopped before it was done")
            expect(window.page.get_by_role("link", name="Download")).to_be_visible()
        # Of a refusal browsers tell in the console.
        other.faults = [fault for fault in other.faults if "403" not in fault]
        check(other)
