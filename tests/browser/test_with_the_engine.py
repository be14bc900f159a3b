"""The whole way with the engine that ships: a photograph is dropped, and a painting comes out."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import BrowserContext, expect

from stylequeue.local import Process, Stack
from stylequeue.local.server import HOST
from stylequeue.local.shelf import prepare
from tests.browser.conftest import SAMPLES, Visitor, check, watch
from tests.support.gate import ServedGate

DROP = """([element, name, body]) => {
    const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type: 'image/jpeg' }));
    for (const kind of ['dragover', 'drop']) {
        element.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
    }
}"""


@pytest.fixture
def visitor(stack: Stack, real_worker: Process, context: BrowserContext, tmp_path: Path) -> Iterator[Visitor]:
    with ServedGate(stack.settings, tmp_path / "keys.json") as gate:
        prepare(stack.settings, [f"http://{HOST}:{gate.port}"])
        visitor = Visitor(context.new_page(), gate)
        watch(visitor)
        yield visitor
        check(visitor)
        context.close()  # its stream ends before the gateway does


def drop(visitor: Visitor, where: str, picture: Path) -> None:
    element = visitor.page.locator(where).element_handle()
    visitor.page.evaluate(DROP, [element, picture.name, base64.b64encode(picture.read_bytes()).decode()])


@pytest.mark.slow
def test_a_photograph_is_dropped_and_a_painting_comes_out(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open().page
    drop(visitor, ".easel", SAMPLES / "chelsea.jpg")
    expect(page.get_by_role("img", name="Photograph: chelsea")).to_be_visible()
    drop(visitor, ".shelf", SAMPLES / "swirls.jpg")
    expect(page.get_by_role("button", name="swirls", exact=True).first).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Sketch").check()
    page.get_by_label("Size").select_option("320")
    visitor.paint()
    with page.expect_download(timeout=120_000) as downloading:
        page.get_by_role("link", name="Download").click(timeout=120_000)
    downloading.value.save_as(tmp_path / "painting.jpg")
    with Image.open(tmp_path / "painting.jpg") as painting, Image.open(SAMPLES / "chelsea.jpg") as photo:
        assert painting.size == (320, 213)
        difference = ImageChops.difference(painting.convert("RGB"), photo.convert("RGB").resize(painting.size))
        assert sum(ImageStat.Stat(difference).mean) / 3 > 20  # of 255: it is painted
