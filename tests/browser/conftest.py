"""One browser, one gateway and one worker for all these tests, which stay together; a window of its own for each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route, expect, sync_playwright

from stylequeue.client import StyleQueue
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.local.shelf import prepare
from stylequeue.settings import Settings
from tests.conftest import empty_database
from tests.support.deployment import ENDLESS, Deployment, through
from tests.support.gate import ServedGate
from tests.support.processes import needed
from tests.support.proxy import Proxy

WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)
LASTING = "TensorFlow 2019"
"""The method of what is painted until somebody ends it."""
SAMPLES = Path(__file__).parents[2] / "producer/stylequeue/local/samples"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or what there is of its kind."""
    others = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    program = next(others, None) or needed("chromium")
    with sync_playwright() as playwright:
        # Tests are run as root, too, for whom Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def package_settings(stack: Stack) -> Iterator[Settings]:
    """A database for all of them."""
    with empty_database(stack) as settings:
        yield settings


@pytest.fixture(scope="package")
def redis_between(stack: Stack) -> Iterator[Proxy]:
    """What stands between the gateway and Redis."""
    with Proxy(HOST, stack.valkey.port) as proxy:
        yield proxy


@pytest.fixture(scope="package")
def gate(
    stack: Stack, package_settings: Settings, redis_between: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedGate]:
    """A gateway as `stylequeue up` has it, and a worker that hands photographs back, 10 ms a step."""
    keys_file = tmp_path_factory.mktemp("gate") / "keys.json"
    deployment = Deployment(
        stack, package_settings, progress_interval_s=0.1, preview_interval_s=0.3, heartbeat_s=0.5, redis_timeout_s=1
    )
    with deployment, ServedGate(through(deployment.settings, redis_between, None), keys_file) as gate:
        prepare(package_settings, [f"http://{HOST}:{gate.port}"])
        deployment.worker()
        yield gate


def _lasting(route: Route) -> None:
    """Of a job that is handed in: it takes longer than any test."""
    if route.request.method != "PUT":
        return route.fallback()
    job = json.loads(route.request.post_data or "")
    if job["recipe"]["method"] == "optimize":
        job["recipe"]["steps"] = ENDLESS
    return route.continue_(post_data=json.dumps(job))


@dataclass
class Visitor:
    """A window, and all that went wrong in it, or left it for where nothing should."""

    page: Page
    gate: ServedGate
    faults: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)
    """What of the faults is as it should be."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.gate.port}"

    def open(self, key: str = "", *, route: str = "") -> Visitor:
        """Go to the page as the printed address has it."""
        self.page.goto(f"{self.url}/#key={key or self.gate.admin}{route}")
        self.page.get_by_role("button", name="waves").wait_for()
        return self

    def add(self, *pictures: Path | dict[str, Any]) -> None:
        """Choose photographs."""
        self.page.locator(".easel input[type=file]:not([capture])").set_input_files([*pictures])  # type: ignore[arg-type]

    def prepare(self, style: str = "waves", method: str = "") -> None:
        """A photograph and a style."""
        self.add(SAMPLES / "chelsea.jpg")
        self.page.get_by_role("img", name="Photograph: chelsea").wait_for()
        self.page.get_by_role("button", name=style).click()
        if method:
            if not self.page.get_by_label(method).is_visible():
                self.page.get_by_text("More", exact=True).click()
            self.page.get_by_label(method).check()
        if method == LASTING:
            self.page.route("**/v1/jobs/*", _lasting)

    def paint(self) -> str:
        """Press the button; the job's id."""
        self.page.get_by_role("button", name="Paint", exact=True).click()
        self.page.wait_for_url("**/#job=*")
        return self.page.url.split("#job=")[1]

    def expect(self, text: str) -> None:
        """Wait until the page says so."""
        self.page.get_by_text(text).first.wait_for()

    def strangers(self) -> set[str]:
        """Hosts that were asked beside the gateway and the store."""
        own = {urlsplit(self.url).netloc, urlsplit(self.gate.settings.s3_endpoint_url or "").netloc}
        asked = {urlsplit(request.url) for request in self.requests}
        return {where.netloc for where in asked if where.scheme in ("http", "https")} - own


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Somebody's browser: what it keeps is this test's."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def visitor(context: BrowserContext, gate: ServedGate) -> Iterator[Visitor]:
    """A window in it. At the end: no error was told, nothing was refused by the page's policy, nobody else asked."""
    visitor = Visitor(context.new_page(), gate)
    watch(visitor)
    yield visitor
    check(visitor)


def watch(visitor: Visitor) -> None:
    page = visitor.page
    page.on("pageerror", lambda error: visitor.faults.append(str(error)))
    page.on("console", lambda message: visitor.faults.append(told(message)) if message.type == "error" else None)
    # A built-in takes no marks of Playwright's.
    page.on("request", lambda request: visitor.requests.append(request))


def told(message: ConsoleMessage) -> str:
    return f"{message.text} {message.location['url']}"


def check(visitor: Visitor) -> None:
    faults = [fault for fault in visitor.faults if not any(text in fault for text in visitor.forgiven)]
    # A preview may be gone, for the picture is there.
    assert not [fault for fault in faults if "404" not in fault or "preview" not in fault]
    assert not visitor.strangers()


@pytest.fixture
def client(package_settings: Settings) -> Iterator[StyleQueue]:
    """Sees what the gateway sees."""
    with StyleQueue(package_settings) as client:
        yield client
