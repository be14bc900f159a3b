"""A file is put into a bucket, and a picture comes out."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stylequeue.client import StyleQueue
from stylequeue.contract.events import Succeeded
from stylequeue.local import Stack
from stylequeue.local.gateway import answers
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from stylequeue.uploads.doctor import examine
from stylequeue.variables import variable_of
from tests.support import pictures
from tests.support.cloud import REGION, Cloud, cloud
from tests.support.deployment import Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.listening import jobs, listening, operated, until

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")

RULES = """
[[rule]]
name = "painted"
bucket = "uploads"
prefix = "in/"
styles = ["s3://styles/wave.jpg"]
recipe = {method = "optimize", size = 64, steps = 2}
queue = "paint"
"""
FAST = RULES.replace('"optimize", size = 64, steps = 2', '"fast"').replace('queue = "paint"', 'queue = "fast"')


@pytest.fixture
def aws() -> Iterator[Cloud]:
    with cloud() as made:
        yield made


def put(s3: Any, key: str, bucket: str = "uploads") -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=pictures.jpeg(), ContentType="image/jpeg")


def painted(queue: StyleQueue, directory: Path) -> Image.Image:
    """The picture of the only job that there is."""
    until(lambda: [job for job in jobs(queue) if job.ended], "the job has ended")
    [job] = jobs(queue)
    assert isinstance(job.outcome, Succeeded), job.outcome
    queue.download(job.id, directory / "picture.jpg")
    picture = Image.open(io.BytesIO((directory / "picture.jpg").read_bytes()))
    picture.load()
    assert job.outcome.data.output.key.startswith("in/photo-")
    return picture


def test_seaweedfs_tells_of_it(tmp_path: Path) -> None:
    with Stack(settings=Settings(), announced=["uploads/in/"]) as stack:
        token = stack.seaweedfs.notices_token
        settings = operated(stack.settings, tmp_path, f'[source.seaweedfs]\ntokens = ["{token}"]\n', RULES)
        port = stack.seaweedfs.notices_port
        command = [sys.executable, "-m", "stylequeue.cli", "listen", "--host", HOST, "--port", str(port)]
        listener = stack.process("listener", command, env={variable_of("operator_file"): str(settings.operator_file)})
        with Deployment(stack, settings) as deployment:
            deployment.start("fake")
            listener.wait_until(lambda: answers(port), START_TIMEOUT_S)
            s3 = deployment.queue._store._client
            put(s3, "wave.jpg", "styles")
            put(s3, "in/photo.jpg")
            deployment.until_ready()
            assert painted(deployment.queue, tmp_path).format == "JPEG"
            assert deployment.queue.upload_counts()["seaweedfs"].outcomes["recorded"] == 1
            # And who asks whether all is well is told so, and which leg is not once the store's token is an old one.
            until(deployment.queue.is_listening, "it says that it listens")
            assert [finding for finding in examine(settings, wait_s=START_TIMEOUT_S) if not finding.ok] == []
            operated(settings, tmp_path, f'[source.seaweedfs]\ntokens = ["{token[::-1]}"]\n', RULES)
            [bad] = [finding for finding in examine(settings, wait_s=1) if not finding.ok]
            assert (bad.what, "the store's notifier (address /v1/notices/seaweedfs, token" in bad.hint) == (
                "rule painted",
                True,
            )


def announced(aws: Cloud, settings: Settings, directory: Path, rules: str) -> Settings:
    url = aws.queue()
    aws.announce(url)
    put(aws.client("s3"), "wave.jpg", "styles")
    source = f'[source.photos]\nsqs = "{url}"\nregion = "{REGION}"\n'
    return operated(aws.settings(settings), directory, source, rules)


def test_a_queue_tells_of_it(stack: Stack, settings: Settings, aws: Cloud, tmp_path: Path) -> None:
    there = announced(aws, settings, tmp_path, RULES)
    with Deployment(stack, there) as deployment, listening(there):
        deployment.start("fake")
        put(aws.client("s3"), "in/photo.jpg")
        deployment.until_ready()
        assert painted(deployment.queue, tmp_path).format == "JPEG"


@pytest.mark.slow
def test_a_queue_tells_of_it_and_it_is_really_painted(aws: Cloud, model_dir: Path, tmp_path: Path) -> None:
    with Stack(settings=aws.settings(Settings(model_dir=model_dir))) as own:
        # Its own Redis, the cloud's store.
        there = announced(aws, own.settings, tmp_path, FAST)
        env = {
            variable_of(name): str(getattr(there, name)) for name in ("s3_endpoint_url", "s3_region", "s3_addressing")
        }
        env |= {variable_of("s3_access_key"): "nobody", variable_of("s3_secret_key"): "nothing"}
        with listening(there), StyleQueue(there) as queue:
            put(aws.client("s3"), "in/photo.jpg")
            own.worker(env=env, timeout_s=START_TIMEOUT_S)
            assert painted(queue, tmp_path).size[0] > 64
