"""Asks for a picture with nothing but Celery: any program that speaks its protocol can.

pip install "celery[redis]"
python examples/plain_celery.py s3://uploads/photo.jpg s3://styles/painting.jpg
"""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import urlsplit

from celery import Celery


def image(address: str) -> dict[str, str]:
    """A picture as a job names it."""
    parts = urlsplit(address)
    return {"bucket": parts.netloc, "key": parts.path.removeprefix("/")}


def paint(photo: str, painting: str) -> dict[str, Any]:
    """What was made. Raises an exception of Celery's making, whose text has a code, a message and a hint."""
    url = os.environ["STYLEQUEUE_REDIS_URL"]
    app = Celery(broker=url, backend=url)
    job = {
        "content": image(photo),
        "styles": [{"image": image(painting)}],
        "output": {"bucket": "results"},
        "recipe": {"method": "fast", "size": 512},
    }
    # docs/schema/job.json has all that a job can say. The job's id will be the task's.
    result = app.send_task("stylequeue.stylize", kwargs={"job": job}, queue="fast")
    return dict(result.get(timeout=600))


if __name__ == "__main__":
    output = paint(*sys.argv[1:3])["output"]
    print(f"s3://{output['bucket']}/{output['key']}")
