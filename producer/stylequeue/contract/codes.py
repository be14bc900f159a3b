"""The stable codes of all that can go wrong, and what each leads to: an HTTP status, an exit code.

`errors.py` has the errors that carry them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class Code(StrEnum):
    """Stable error codes, as they appear in events, results and `--json` output."""

    INVALID_JOB = "invalid_job"
    """The message does not fit the job schema."""
    SCHEMA_TOO_NEW = "schema_too_new"
    """A newer version wrote it than this worker, or this client, understands."""
    MESSAGE_MALFORMED = "message_malformed"
    """What lay on the queue is no message of Celery's."""
    MESSAGE_TOO_LARGE = "message_too_large"
    UNKNOWN_TASK = "unknown_task"
    """A message for a task that the worker does not have."""
    CALLBACKS_REFUSED = "callbacks_refused"
    """The message asks for tasks to be called when it is done (link, chain, chord), which no worker here does."""
    JOB_NOT_FOUND = "job_not_found"
    JOB_CONFLICT = "job_conflict"
    JOB_OPEN = "job_open"
    """The job has not ended, so that this cannot be done with it."""
    JOB_SUCCEEDED = "job_succeeded"
    """The job has its picture, so that this cannot be done with it."""
    INVALID_REQUEST = "invalid_request"
    """An argument of a call, or an option, that cannot be used as it is."""
    QUEUE_FULL = "queue_full"
    JOBS_REFUSED = "jobs_refused"
    """Some of the jobs that were submitted together; each has an error of its own."""
    TIMEOUT = "timeout"
    """The job has not ended in the time it was waited for; it goes on."""

    BUCKET_NOT_ALLOWED = "bucket_not_allowed"
    """The bucket is not on the worker's allow-list."""
    ACCESS_DENIED = "access_denied"
    """The store refused the worker's credentials for this object."""
    OBJECT_NOT_FOUND = "object_not_found"
    OBJECT_CHANGED = "object_changed"
    """The object was replaced between looking at it and reading it."""
    OBJECT_ARCHIVED = "object_archived"
    """The object lies in an archive, from which somebody has to restore it first."""
    OUTPUT_EXISTS = "output_exists"
    """Another picture already lies under the output key."""

    IMAGE_EMPTY = "image_empty"
    IMAGE_NOT_RECOGNISED = "image_not_recognised"
    """The bytes are no picture at all (an HTML error page saved as .jpg, say)."""
    IMAGE_FORMAT_UNSUPPORTED = "image_format_unsupported"
    """A picture, but not JPEG, PNG or WebP."""
    IMAGE_TRUNCATED = "image_truncated"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_TOO_MANY_BYTES = "image_too_many_bytes"
    IMAGE_TOO_MANY_PIXELS = "image_too_many_pixels"
    IMAGE_TOO_COSTLY = "image_too_costly"
    """Reading the picture takes more time or memory than one that is in order does."""
    IMAGE_TOO_SMALL = "image_too_small"
    IMAGE_TOO_NARROW = "image_too_narrow"
    """At the size asked for, the shorter side would fall under the limit."""
    IMAGE_TRANSPARENT = "image_transparent"
    """Nothing is painted in a style."""

    NETWORK_UNAVAILABLE = "network_unavailable"
    """The network the recipe names is not on this worker's disk."""
    DEVICE_UNAVAILABLE = "device_unavailable"
    """The GPU that the worker was started for is not there, or TensorFlow cannot use it."""
    INSUFFICIENT_MEMORY = "insufficient_memory"
    """The machine has no room for the smallest painting."""
    RECIPE_UNSUPPORTED = "recipe_unsupported"
    """A valid recipe that the model at hand cannot honour."""
    NOT_FINITE = "not_finite"
    """The optimisation ran into NaN or infinity."""
    OUT_OF_MEMORY = "out_of_memory"
    """The painting took more memory than the worker has."""

    DEADLINE_PASSED = "deadline_passed"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    """The worker had to stop."""
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    """Every attempt the job had came to harm; the hint has the last error. A dead letter."""
    LEASE_RAN_OUT = "lease_ran_out"
    """The worker was not heard of any more."""
    TIME_LIMIT = "time_limit"
    """The attempt ran into the worker's hard time limit, or into its sender's."""
    WORKER_LOST = "worker_lost"
    """The process that painted was killed from outside."""
    LEASE_LOST = "lease_lost"
    EVENTS_LOST = "events_lost"
    ENDPOINT_NOT_FOUND = "endpoint_not_found"
    """The operator's file has no such endpoint."""
    WORKER_NOT_FOUND = "worker_not_found"
    """No worker of this name is on record: it ended, or never was."""
    DELIVERY_NOT_FOUND = "delivery_not_found"
    """No such event is on its way to an endpoint, nor was in the last days."""
    EVENT_NOT_HANDLED = "event_not_handled"
    """Consumers of a group took the event again and again, and none was done with it. A dead letter."""
    DELIVERY_GIVEN_UP = "delivery_given_up"
    """An endpoint would not take the event, however often it was sent. A dead letter."""
    INVALID_NOTICE = "invalid_notice"
    """What came where uploads are told of is no notification of a store's. A dead letter."""
    BROKER_UNAVAILABLE = "broker_unavailable"
    """Redis does not answer."""
    BROKER_REFUSED = "broker_refused"
    """Redis answers, and does not do as asked: a wrong password, no memory left, a replica, ..."""
    SOURCE_UNAVAILABLE = "source_unavailable"
    """What notices of uploads are fetched from does not answer, or does not let us in."""
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_REFUSED = "store_refused"
    """The store understood the request and will not serve it, for a reason that has no code of its own here."""
    FILE_UNUSABLE = "file_unusable"
    """A file on the machine where the command runs cannot be read or written; of a gateway, the operator's file."""
    INTERRUPTED = "interrupted"
    """The command was broken off while it waited; the job goes on."""
    LOCAL_STACK_FAILED = "local_stack_failed"
    """A part of the embedded stack is not installed or did not start."""
    UNAUTHENTICATED = "unauthenticated"
    """The request bears no key, or one that is not, or no longer, known."""
    FORBIDDEN = "forbidden"
    """The key is known, and its role or reach does not go so far."""
    ADDRESS_NOT_FOUND = "address_not_found"
    """Nothing is served under the request's path."""
    METHOD_NOT_ALLOWED = "method_not_allowed"
    """What is served under the request's path knows no such method."""
    MEDIA_TYPE_UNSUPPORTED = "media_type_unsupported"
    """The request's body is of a type that is not read there."""
    BODY_TOO_LARGE = "body_too_large"
    """The request's body has more bytes than are read there."""
    BODY_TOO_SLOW = "body_too_slow"
    """The request's body came more slowly than it is waited for."""
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable"
    """The picture has none of the bytes that the request's Range names."""
    RATE_LIMITED = "rate_limited"
    """The tenant asks more often than it may."""
    TOO_MANY_OPEN_JOBS = "too_many_open_jobs"
    """The tenant has as many open jobs as it may."""
    JOB_TOO_COSTLY = "job_too_costly"
    """The job takes more painting than one job of its tenant may."""
    STOPPING = "stopping"
    """The gateway was told to stop: another one answers."""

    INVALID_SETTINGS = "invalid_settings"
    INTERNAL_ERROR = "internal_error"
    """A fault of ours; the worker's log has the traceback under the job's id."""


STATUS: Mapping[Code, int] = {
    Code.INVALID_JOB: 422,
    Code.SCHEMA_TOO_NEW: 422,
    Code.MESSAGE_MALFORMED: 422,
    Code.MESSAGE_TOO_LARGE: 413,
    Code.UNKNOWN_TASK: 422,
    Code.CALLBACKS_REFUSED: 422,
    Code.JOB_NOT_FOUND: 404,
    Code.JOB_CONFLICT: 409,
    Code.JOB_OPEN: 409,
    Code.JOB_SUCCEEDED: 409,
    Code.INVALID_REQUEST: 400,
    Code.QUEUE_FULL: 503,
    Code.JOBS_REFUSED: 422,
    Code.TIMEOUT: 504,
    Code.BUCKET_NOT_ALLOWED: 403,
    Code.ACCESS_DENIED: 502,
    Code.OBJECT_NOT_FOUND: 404,
    Code.OBJECT_CHANGED: 410,
    Code.OBJECT_ARCHIVED: 409,
    Code.OUTPUT_EXISTS: 409,
    Code.IMAGE_EMPTY: 422,
    Code.IMAGE_NOT_RECOGNISED: 422,
    Code.IMAGE_FORMAT_UNSUPPORTED: 415,
    Code.IMAGE_TRUNCATED: 422,
    Code.IMAGE_CORRUPT: 422,
    Code.IMAGE_TOO_MANY_BYTES: 413,
    Code.IMAGE_TOO_MANY_PIXELS: 422,
    Code.IMAGE_TOO_COSTLY: 422,
    Code.IMAGE_TOO_SMALL: 422,
    Code.IMAGE_TOO_NARROW: 422,
    Code.IMAGE_TRANSPARENT: 422,
    Code.NETWORK_UNAVAILABLE: 503,
    Code.DEVICE_UNAVAILABLE: 503,
    Code.INSUFFICIENT_MEMORY: 503,
    Code.RECIPE_UNSUPPORTED: 422,
    Code.NOT_FINITE: 422,
    Code.OUT_OF_MEMORY: 503,
    Code.DEADLINE_PASSED: 409,
    Code.CANCELLED: 409,
    Code.PREEMPTED: 503,
    Code.ATTEMPTS_EXHAUSTED: 502,
    Code.LEASE_RAN_OUT: 502,
    Code.TIME_LIMIT: 504,
    Code.WORKER_LOST: 502,
    Code.LEASE_LOST: 409,
    Code.EVENTS_LOST: 410,
    Code.ENDPOINT_NOT_FOUND: 404,
    Code.WORKER_NOT_FOUND: 404,
    Code.DELIVERY_NOT_FOUND: 404,
    Code.EVENT_NOT_HANDLED: 502,
    Code.DELIVERY_GIVEN_UP: 502,
    Code.INVALID_NOTICE: 422,
    Code.BROKER_UNAVAILABLE: 503,
    Code.BROKER_REFUSED: 503,
    Code.SOURCE_UNAVAILABLE: 503,
    Code.STORE_UNAVAILABLE: 503,
    Code.STORE_REFUSED: 502,
    Code.FILE_UNUSABLE: 409,
    Code.INTERRUPTED: 500,
    Code.LOCAL_STACK_FAILED: 500,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.ADDRESS_NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.MEDIA_TYPE_UNSUPPORTED: 415,
    Code.BODY_TOO_LARGE: 413,
    Code.BODY_TOO_SLOW: 408,
    Code.RANGE_NOT_SATISFIABLE: 416,
    Code.RATE_LIMITED: 429,
    Code.TOO_MANY_OPEN_JOBS: 429,
    Code.JOB_TOO_COSTLY: 422,
    Code.STOPPING: 503,
    Code.INVALID_SETTINGS: 500,
    Code.INTERNAL_ERROR: 500,
}
"""What a request is answered with that ends in this error."""


def status_of(code: str) -> int:
    """The HTTP status of a code; of one that only a newer version knows, 500."""
    return STATUS[Code(code)] if code in STATUS else 500


class ExitCode(IntEnum):
    """What the command, and a worker, end with."""

    DONE = 0
    JOB_FAILED = 1
    """The job ended without a picture; or something went wrong that has no code of its own here."""
    BAD_INPUT = 2
    """Settings, options or a job that cannot be used as they are."""
    NOT_REACHABLE = 3
    """Redis, the store or a worker does not answer: the same command may work later."""
    CANNOT_SERVE = 4
    """This machine lacks what it should paint with: a device, a network, memory."""
    INTERRUPTED = 130
    """Broken off by Ctrl-C; as a shell has it."""
    PIPE_CLOSED = 141
    """Whoever read the output has gone; as a shell has it."""
