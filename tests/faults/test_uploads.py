"""Uploads that are told of by whoever likes, as often as they like, while those who listen die."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidSettings
from stylequeue.contract.objects import ImageRef, event_key, report_key
from stylequeue.local import Stack
from stylequeue.settings import Settings
from stylequeue.uploads.intake import Intake
from stylequeue.uploads.notices import Notice
from tests.benchmarks import bench_uploads as bench
from tests.support import by_hand
from tests.support.jobs import make_job

UPLOADS = 2000


@pytest.mark.slow
def test_39_a_burst_while_a_listener_is_killed(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "operator.toml"
    path.write_text(bench.RULES)
    _, jobs, accepted = bench.storm(stack, settings.model_copy(update={"operator_file": path}), UPLOADS)
    assert (jobs, accepted) == (UPLOADS, UPLOADS)


RESULTS_WATCHED = """
[[rule]]
name = "again"
bucket = "results"
prefix = "watched/"
styles = ["s3://styles/wave.jpg"]
output = {key = "done/{stem}-{version}.{format}"}
"""


def test_41_our_own_output_under_a_watched_prefix(settings: Settings, tmp_path: Path) -> None:
    """No rule writes there, which is refused at the start; but a job may, and what lies beside its picture is ours."""
    path = tmp_path / "operator.toml"
    path.write_text(RESULTS_WATCHED)
    settings = settings.model_copy(update={"operator_file": path, "read_buckets": ("uploads", "styles", "results")})
    path.write_text(RESULTS_WATCHED.replace("done/", "watched/deep/"))
    with pytest.raises(InvalidSettings, match="may be an upload to rule 'again'"):
        asyncio.run(taken(settings, []))
    path.write_text(RESULTS_WATCHED)
    with StyleQueue(settings) as queue:
        store = queue._store
        store._client.put_object(Bucket="results", Key="watched/theirs.jpg", Body=b"theirs")
        picture = by_hand.paint(queue, make_job(output={"bucket": "results", "key": "watched/ours.jpg"})).output
        keys = [picture.key, event_key(picture.key), report_key(picture.key), "watched/theirs.jpg"]
        found = [queue.find_upload(ImageRef(bucket="results", key=key)) for key in keys]
        told = [Notice("here", "results", one.key, etag=one.etag, size_bytes=one.size_bytes) for one in found]
        assert asyncio.run(taken(settings, told)) == ["ours", "ours", "ours", "recorded"]
        for key in keys:
            store._client.delete_object(Bucket="results", Key=key)


async def taken(settings: Settings, notices: list[Notice]) -> list[str]:
    async with AsyncStyleQueue(settings) as queue:
        return [outcome.verdict for outcome in await Intake(queue).take(notices)]
