"""The page for who has no mouse, does not see it, sees it large, or has little room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import LASTING, SAMPLES, Visitor, check, watch
from tests.support.gate import ServedGate
from tests.support.processes import wait_for

EVERY_MS = 5000
"""Of the page's clock, at most so often it says something."""
SAMPLE = SAMPLES / "chelsea.jpg"
LOOKS = [(width, theme) for width in (320, 1280) for theme in ("light", "dark")]
WIDTHS_PX = (1440, 320, 768, 1440)
"""To and fro: what was as wide as there was room must give it back."""


def violations(page: Page) -> list[str]:
    """What axe finds wrong, in words."""
    page.evaluate(f"window.axe || (() => {{ {Axe().axe_script} }})()")
    found: list[dict[str, Any]] = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


def looked_at(page: Page, phase: str) -> None:
    """In both themes and widths nothing is wrong; in no width anything is cut off."""
    for width, theme in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert violations(page) == [], (phase, width, theme)
    for width in WIDTHS_PX:
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (phase, width)


@pytest.fixture
def calm(browser: Browser, gate: ServedGate) -> Iterator[Visitor]:
    """Somebody who wants no motion: colours do not change while they are measured, either."""
    with closing(browser.new_context(reduced_motion="reduce")) as context:
        visitor = Visitor(context.new_page(), gate)
        watch(visitor)
        yield visitor
        check(visitor)


def test_nothing_is_wrong_by_the_rules_of_access_in_any_phase(calm: Visitor) -> None:
    page = calm.open().page
    assert violations(page) == [], "empty"
    page.get_by_text("Behind the pictures").click()
    calm.prepare(method=LASTING)
    page.get_by_role("button", name="facets").click()
    looked_at(page, "prepared")
    calm.paint()
    calm.expect("Step ")
    looked_at(page, "painting")
    page.get_by_role("button", name="Finish now, keep it").click()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    page.get_by_text("How it was painted").click()
    looked_at(page, "painted")


def test_the_whole_way_by_keyboard(visitor: Visitor) -> None:
    page = visitor.open().page
    page.on("filechooser", lambda chooser: chooser.set_files(SAMPLE))
    tab_to(page, "To the picture")
    tab_to(page, "Choose photographs")
    page.keyboard.press("Enter")
    expect(page.get_by_role("img", name="Photograph: chelsea")).to_be_visible()
    tab_to(page, "swirls")
    page.keyboard.press("Space")
    tab_to(page, "Brushwork")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Sketch")).to_be_checked()
    tab_to(page, "Strength")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("55 %")).to_be_visible()
    tab_to(page, "Paint")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="chelsea, in the style of swirls")).to_be_focused()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    tab_to(page, "Download")
    with page.expect_download():
        page.keyboard.press("Enter")


def tab_to(page: Page, name: str) -> None:
    """By the tab key, as far as need be; what has the focus can be seen to have it."""
    for _ in range(40):
        page.keyboard.press("Tab")
        has_focus = page.evaluate(
            """() => {
                const there = document.activeElement;
                const named = there.getAttribute('aria-label') || there.labels?.[0]?.innerText || there.innerText || '';
                const seen = there.closest('.picker') ?? there;
                return [named.trim(), getComputedStyle(seen).outlineStyle !== 'none' || there.type === 'range'];
            }"""
        )
        if has_focus[0].startswith(name):
            assert has_focus[1], f"nobody sees that {name} has the focus"
            return
    raise AssertionError(f"the tab key does not lead to {name}")


def test_what_happens_is_said_but_not_too_often(visitor: Visitor) -> None:
    page = visitor.page
    page.clock.install()
    visitor.open()
    page.evaluate(
        """() => {
            window.heard = [];
            const there = document.getElementById('said');
            new MutationObserver(() => heard.push([performance.now(), there.textContent]))
                .observe(there, {childList: true, characterData: true, subtree: true});
        }"""
    )
    visitor.prepare(method=LASTING)
    visitor.paint()
    wait_for(lambda: page.evaluate("heard.length"), 30, "something to be said")
    visitor.expect("Step ")
    page.clock.run_for(EVERY_MS)
    wait_for(lambda: page.evaluate("heard.length") > 1, 30, "more to be said")
    page.get_by_role("button", name="Finish now, keep it").click()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    page.clock.run_for(EVERY_MS)
    last = "chelsea, in the style of waves: stopped early."
    wait_for(lambda: page.evaluate("heard.at(-1)[1]") == last, 30, "the end to be said")
    heard: list[tuple[float, str]] = page.evaluate("heard")
    assert any("percent" in text for _, text in heard)
    # A browser's timers round to its clock's steps.
    assert all(later - earlier >= EVERY_MS - 100 for (earlier, _), (later, _) in pairwise(heard)), heard


def test_twice_as_large(browser: Browser, gate: ServedGate) -> None:
    """200 % of a window of 1280 pixels is one of 640, whose pixels are twice as large."""
    with closing(browser.new_context(viewport={"width": 640, "height": 400}, device_scale_factor=2)) as context:
        visitor = Visitor(context.new_page(), gate)
        watch(visitor)
        page = visitor.open().page
        visitor.prepare()
        assert page.evaluate("document.documentElement.scrollWidth") <= 640
        page.get_by_role("button", name="Paint", exact=True).scroll_into_view_if_needed()
        expect(page.get_by_role("button", name="Paint", exact=True)).to_be_in_viewport()
        check(visitor)
