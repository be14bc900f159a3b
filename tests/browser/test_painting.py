"""The page, in a browser: from a photograph to a painting."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from playwright.sync_api import expect

from stylequeue.client import StyleQueue
from tests.browser.conftest import Visitor


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
    expect(page.get_by_text("Step ", exact=False)).to_be_visible()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download").click()
    assert downloading.value.suggested_filename == "chelsea, in the style of waves.jpg"
    downloading.value.save_as(tmp_path / "painting.jpg")
    with Image.open(tmp_path / "painting.jpg") as painting:
        assert painting.size == (512, 341)
    expect(page.locator("loss-chart canvas")).to_be_visible()
    status = client.status(job_id)
    assert status.state == "succeeded"
    assert status.job is not None
    assert status.job["recipe"]["preset"] == "brushwork"
    # The gallery has it, too, and the key went nowhere but into headers.
    expect(page.locator(".gallery img")).to_be_visible()
    assert not [request.url for request in visitor.requests if visitor.gate.admin in request.url]
