"""The command where a worker paints."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from stylequeue.client import StyleQueue
from stylequeue.contract.objects import ImageRef
from tests.support.command import JOB_FAILED, Command


def test_from_files_to_a_file(stylequeue: Command, service: StyleQueue, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    done = stylequeue(
        "submit", "--content", photo, "--style", photo, "--style", photo, "--weight", "1", "--weight", "2",
        "--method", "fast", "--size", "64", "--strength", "0.5", "--report", "--wait", "-o", out,
    )  # fmt: skip
    assert done.stdout.strip() == str(out)
    with Image.open(out) as image:
        assert (image.format, image.size) == ("PNG", (64, 43))
    with Image.open(tmp_path / "out.report.png") as image:
        assert image.format == "PNG"
    for stage in ("queued", "done"):
        assert stage in done.stderr, "progress is shown"


def test_for_machines(stylequeue: Command, service: StyleQueue, photograph: ImageRef) -> None:
    uri = f"s3://{photograph.bucket}/{photograph.key}"
    done = stylequeue(
        "submit", "--content", uri, "--style", uri, "--size", "32", "--steps", "2", "--network", "vgg16",
        "--label", "user=42", "--deadline", "2h", "--to", "s3://results/cli/picture.webp", "--overwrite",
        "--wait", "--json",
    )  # fmt: skip
    outcome = json.loads(done.stdout)
    assert outcome["output"]["key"] == "cli/picture.webp"
    assert outcome["output"]["content_type"] == "image/webp"
    assert outcome["labels"] == {"user": "42"}
    assert done.stderr == ""

    record = json.loads(stylequeue("status", outcome["id"], "--json").stdout)
    assert record["state"] == "succeeded"
    events = [json.loads(line) for line in stylequeue("watch", outcome["id"], "--json").stdout.splitlines()]
    assert events[0]["type"].endswith("accepted.v1")
    assert events[-1] == record["outcome"]


def test_for_people(stylequeue: Command, service: StyleQueue, photo: Path) -> None:
    submitted = stylequeue("submit", "--content", photo, "--style", photo, "--method", "fast", "--size", "32")
    job_id = submitted.stdout.strip()
    watched = stylequeue("watch", job_id).stdout
    assert "accepted" in watched
    assert f"s3://results/{job_id}.jpg" in watched
    assert "succeeded" in stylequeue("status", job_id).stdout


def test_a_job_that_fails(stylequeue: Command, service: StyleQueue) -> None:
    uri = "s3://uploads/nowhere.jpg"
    done = stylequeue("submit", "--content", uri, "--style", uri, "--wait", exit_code=JOB_FAILED)
    assert "object_not_found" in done.stderr
    assert "check bucket" in done.stderr
    done = stylequeue("submit", "--content", uri, "--style", uri, "--wait", "--json", exit_code=JOB_FAILED)
    assert json.loads(done.stderr)["error"]["code"] == "object_not_found"
    assert done.stdout == ""
