"""The S3 client: made when it is needed, asked with patience, its errors ours."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from ..contract.errors import Code, StyleQueueError
from ..settings import Settings
from .refusals import errors_as_ours, is_conflict, is_passing, object_name
from .watch import SLOWEST_BYTES_PER_S, Watchman, make_watchable, pause

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from botocore.model import OperationModel
    from mypy_boto3_s3 import S3Client

_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
"""Between two tries where another was faster: the first one, doubling, and the longest."""
_REST_S, _LONGEST_REST_S = 1.0, 20.0
"""The same where the store could not serve us: at most."""


class S3:
    """One client per process. Safe to share between threads and to carry across a fork.

    Every wait hears what is heeded (`watch.heeding`) and ends.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._clients: dict[int, tuple[S3Client, Watchman]] = {}

    @property
    def client(self) -> S3Client:
        """botocore's own, loaded and made at first use."""
        return self._mine()[0]

    def _mine(self) -> tuple[S3Client, Watchman]:
        mine = self._clients.get(os.getpid())
        if mine is None:
            # Clients may be shared between threads, but making them may not; and none survives a fork.
            with self._lock:
                mine = self._clients.get(os.getpid()) or (make_client(self._settings), Watchman())
                self._clients = {os.getpid(): mine}
        return mine

    def close(self) -> None:
        """Give connections back. A later request opens new ones."""
        mine = self._clients.pop(os.getpid(), None)
        if mine is not None:
            mine[0].close()

    @property
    def checks(self) -> bool:
        """Whether checksums are sent along with what is put."""
        return self._settings.s3_checksums == "when_supported"

    def tries(self, at_least: int = 1) -> Iterator[int]:
        """Counts down to 0 what is left of `s3_attempts` tries, with a pause that grows before each but the first."""
        pause_s = _PAUSE_S
        for left in reversed(range(max(self._settings.s3_attempts, at_least))):
            yield left
            pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def watching(self, name: str, size_bytes: int = 0) -> AbstractContextManager[None]:
        """Around a request, and the reading of its answer, that brings or takes so many bytes.

        Raises TooSlow, or what is heeded does.
        """
        limit_s = self._settings.s3_connect_timeout_s + self._settings.s3_read_timeout_s
        return self._mine()[1].watching(name, limit_s + size_bytes / SLOWEST_BYTES_PER_S)

    def call(self, operation: str, *, own: bool, **request: Any) -> Mapping[str, Any]:
        """One request, tried again where the store is busy, or does not answer.

        `own` is where this process writes, or keeps what is its own: not to be let in there is its own fault, and not
        the job's. Raises Changed where a condition does not hold, and else what `errors_as_ours` does.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        name = object_name(request["Bucket"], request.get("Key"))
        rest_s = _REST_S
        with errors_as_ours(name, own=own, pinned="IfMatch" in request or "CopySourceIfMatch" in request):
            for left in self.tries():
                try:
                    with self.watching(name, len(request.get("Body", b""))):
                        answer: Mapping[str, Any] = getattr(self.client, operation)(**request)
                    return answer
                except (ClientError, BotoCoreError) as error:
                    if not left or not is_passing(error):
                        raise
                    if not is_conflict(error):
                        pause(rest_s * random.random())
                        rest_s = min(2 * rest_s, _LONGEST_REST_S)
        raise AssertionError("there is at least one try")

    def head(self, *, own: bool, explain_missing: bool = True, **request: Any) -> Mapping[str, Any]:
        """What HEAD answers. Raises as `call` does, and says why: the answer to HEAD has no body, that to GET has one.

        Unless `explain_missing`, a missing bucket and a missing object are one.
        """
        for left in self.tries():
            try:
                return self.call("head_object", own=own, **request)
            except StyleQueueError as error:
                if error.code == Code.STORE_UNAVAILABLE:
                    raise
                if error.code == Code.OBJECT_NOT_FOUND and not explain_missing:
                    raise
                self.call("get_object", own=own, Range="bytes=0-0", **request)["Body"].close()
                # Whatever it was, it has passed.
                if not left:
                    raise
        raise AssertionError("there is at least one try")


def etag_of(answer: Mapping[str, Any]) -> str | None:
    """The ETag with its quotes, as HTTP has it, and without the mark of weakness that proxies put before it."""
    etag: str | None = answer.get("ETag")
    return '"' + etag.removeprefix("W/").strip('"') + '"' if etag else None


def make_client(settings: Settings) -> S3Client:
    """botocore's own client of the store."""
    import botocore.session
    from botocore.config import Config
    from botocore.handlers import add_expect_header

    access_key, secret_key = (
        secret.get_secret_value() if secret else None for secret in (settings.s3_access_key, settings.s3_secret_key)
    )
    # A session of its own, for none is safe between threads; what it reads of S3's requests all may share.
    session = botocore.session.Session()
    session.register_component("data_loader", _descriptions())
    client = session.create_client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            # Else botocore signs links to us-east-1 and to look-alikes in the way before, which many refuse by now.
            signature_version="s3v4",
            # `S3.call` tries again: its pauses can be ended.
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=settings.s3_connect_timeout_s,
            read_timeout=settings.s3_read_timeout_s,
            tcp_keepalive=True,
            request_checksum_calculation=settings.s3_checksums,
            response_checksum_validation=settings.s3_checksums,
            s3={"addressing_style": settings.s3_addressing},
        ),
    )
    # botocore, told to go on and then to go away, waits for more for ever; and it is one trip to the store more.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    make_watchable(client)
    client.meta.events.register_last("before-parameter-build.s3", _ask_for_a_region_once)
    return cast("S3Client", client)


@cache
def _descriptions() -> Loader:
    """Of services and their requests: long JSON, which each session would read anew, in a tenth of a second."""
    import botocore.session

    loader: Loader = botocore.session.Session().get_component("data_loader")
    return loader


def _ask_for_a_region_once(model: OperationModel, context: dict[str, Any], **_: Any) -> None:
    """Where botocore is sent elsewhere, it asks HeadBucket where that is; and where that is, HeadBucket, for ever."""
    if model.name == "HeadBucket":
        context["s3_redirect"]["redirected"] = True
