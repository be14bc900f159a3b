"""Has a photo painted in the style of a painting, and fetches the picture.

python examples/backend.py photo.jpg painting.jpg picture.jpg
"""

from __future__ import annotations

import sys

from stylequeue import Job, JobEnded, OptimizeRecipe, Output, Progress, Style, StyleQueue


def paint(queue: StyleQueue, photo: str, painting: str, picture: str) -> None:
    """Write to `picture` what comes of `photo`. Raises JobEnded where nothing does, with a code and what to do."""
    job = Job(
        content=queue.upload(photo),
        styles=[Style(image=queue.upload(painting))],
        output=Output(bucket=queue.settings.output_bucket),
        recipe=OptimizeRecipe(size=512, strength=0.6),
        labels={"asked-by": "examples/backend.py"},
    )
    queue.submit(job)
    for event in queue.watch(job.id):
        if isinstance(event, Progress):
            print(f"{event.data.stage}: step {event.data.step} of {event.data.steps}")
        else:
            print(event.kind)
    done = queue.wait(job.id)
    queue.download(done.output, picture)
    print(f"{picture}: {done.output.width_px} x {done.output.height_px} px")


if __name__ == "__main__":
    with StyleQueue() as queue:
        try:
            paint(queue, *sys.argv[1:4])
        except JobEnded as error:
            sys.exit(f"{error.message}: {error.hint}")
