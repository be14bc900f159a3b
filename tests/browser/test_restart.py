"""All that stands behind the page ends and comes back, in the middle of a painting."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect
from pydantic import SecretStr

from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.local.shelf import prepare
from stylequeue.settings import Settings
from tests.browser.conftest import LASTING, Visitor, check, watch
from tests.browser.test_faults import forgiven
from tests.support.deployment import Deployment
from tests.support.gate import ServedGate
from tests.support.lasting_valkey import LastingValkey


@pytest.mark.slow
def test_draft_and_jobs_are_there(stack: Stack, settings: Settings, context: BrowserContext, tmp_path: Path) -> None:
    valkey, keys_file = LastingValkey(tmp_path), tmp_path / "keys.json"
    valkey.wait_ready()
    there = settings.model_copy(update={"redis_url": SecretStr(valkey.url())})
    try:
        with Deployment(stack, there, progress_interval_s=0.1, heartbeat_s=0.5, redis_timeout_s=1) as deployment:
            with ServedGate(deployment.settings, keys_file) as gate:
                prepare(there, [f"http://{HOST}:{gate.port}"])
                worker = deployment.worker()
                visitor = Visitor(context.new_page(), gate)
                watch(visitor)
                page = visitor.open().page
                visitor.prepare(method=LASTING)
                job_id = visitor.paint()
                visitor.expect("Step ")
                page.get_by_role("link", name="New painting", exact=True).click()
                page.get_by_label("Sketch").check()
            worker.stop()
            valkey.restart()
            visitor.expect("The painting service does not answer.")
            with ServedGate(deployment.settings, keys_file, port=gate.port):
                deployment.worker("second")
                expect(page.get_by_text("does not answer")).to_have_count(0)
                for _ in range(2):
                    expect(page.get_by_role("img", name="Photograph: chelsea")).to_be_visible()
                    expect(page.get_by_label("Sketch")).to_be_checked()
                    expect(page.locator(f".gallery [data-job='{job_id}'] img")).to_be_visible()
                    page.reload()
                page.goto(f"{visitor.url}/#job={job_id}")
                visitor.expect("Step ")
                page.get_by_role("button", name="Finish now, keep it").click()
                expect(page.get_by_role("link", name="Download")).to_be_visible()
                forgiven(visitor, "ERR_", "503")
                check(visitor)
                context.close()  # its stream ends before the gateway does
            assert deployment.queue.status(job_id).state == "succeeded"
    finally:
        valkey.stop()
