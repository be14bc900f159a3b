"""A web service in front of stylequeue: ask for a picture, ask how far it is, get it.

    pip install fastapi uvicorn
    uvicorn --app-dir examples fastapi_app:app

    curl -X POST localhost:8000/pictures -H 'Content-Type: application/json' \
        -d '{"photo": "photo.jpg", "painting": "wave.jpg", "strength": 0.6}'
    curl localhost:8000/pictures/JOB
    curl -L localhost:8000/pictures/JOB/picture -o picture.jpg
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, Field

from stylequeue import (
    ImageRef,
    InvalidJob,
    Job,
    JobNotFound,
    OptimizeRecipe,
    Output,
    Retryable,
    Style,
    StyleQueue,
    StyleQueueError,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """One client for the whole process: it may be shared between threads, in which FastAPI runs what is not async."""
    with StyleQueue() as queue:
        app.state.queue = queue
        yield


app = FastAPI(title="Pictures", lifespan=lifespan)


def the_queue(request: Request) -> StyleQueue:
    """The process's client."""
    queue: StyleQueue = request.app.state.queue
    return queue


Queue = Annotated[StyleQueue, Depends(the_queue)]


class Wish(BaseModel):
    """What a visitor may choose; the buckets are ours to choose."""

    photo: str
    painting: str
    strength: float = Field(default=0.5, ge=0, le=1)


class Picture(BaseModel):
    """How far it is."""

    id: str
    state: str
    share: float | None = None


@app.post("/pictures", status_code=202)
def ask(wish: Wish, queue: Queue) -> Picture:
    """Hand a job in; the answer has its id."""
    job = Job(
        content=ImageRef(bucket="uploads", key=wish.photo),
        styles=[Style(image=ImageRef(bucket="styles", key=wish.painting))],
        output=Output(bucket="results"),
        recipe=OptimizeRecipe(strength=wish.strength),
        labels={"from": "web"},
    )
    return Picture(id=queue.submit(job), state="queued")


@app.get("/pictures")
def pictures(queue: Queue) -> list[Picture]:
    """The newest that were asked for here."""
    return [Picture(id=job.id, state=job.state) for job in queue.jobs(label={"from": "web"}, limit=20)]


@app.get("/pictures/{job_id}")
def how_far(job_id: str, queue: Queue) -> Picture:
    """How far a picture is."""
    job = queue.status(job_id)
    progress = job.progress.data if job.progress else None
    share = progress.step / progress.steps if progress and progress.steps else None
    return Picture(id=job.id, state=job.state, share=share)


@app.get("/pictures/{job_id}/picture")
def picture(job_id: str, queue: Queue) -> RedirectResponse:
    """The picture itself, from the store."""
    return RedirectResponse(queue.link(job_id, valid_s=600))


@app.exception_handler(StyleQueueError)
def refused(_: Request, error: StyleQueueError) -> JSONResponse:
    """Whatever goes wrong, in one shape: a code for programs, a message and a hint for people."""
    match error:
        case JobNotFound():
            status = 404
        case InvalidJob():
            status = 422
        case Retryable():
            status = 503
        case _:
            status = 409
    return JSONResponse({"code": error.code, "message": error.message, "hint": error.hint}, status)
