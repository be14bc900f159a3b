"""Notices from a queue of SQS's, also such as came to it through SNS or EventBridge.

A message is deleted once its jobs are on record, and no sooner: who breaks off in between has it delivered again, and
then it is known.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..contract.errors import Code, InvalidSettings, Preempted, StyleQueueError, Unavailable
from ..store.watch import TooSlow, Watchman, heeding, make_watchable
from .intake import Intake
from .patience import Patience

log = logging.getLogger(__name__)

_T = TypeVar("_T")

POLL_S = 20
"""How long SQS holds a request while there is nothing: its most."""
BATCH = 10
"""Messages at once: likewise."""
VISIBILITY_S = 60
"""For so long nobody else gets what was received; it is said again while somebody works at it."""
_LANES = 4
"""Requests for messages under way at once."""
_LATER_S, _LATER_MAX_S = 15, 900
"""When a message comes again whose queue is full: doubles with each time that it came."""
_CONNECT_S, _ANSWER_S = 5, 15
_AWS = re.compile(r"(?:sqs\.(?P<region>[a-z0-9-]+)|(?P<old>[a-z0-9-]+)\.queue)\.amazonaws\.com(?:\.cn)?")
_CODE = re.compile(r"[A-Za-z][\w.-]{0,99}", re.ASCII)
_DENIED = ("AccessDenied", "InvalidClientTokenId", "UnrecognizedClient", "SignatureDoesNotMatch", "ExpiredToken")


class Queue:
    """One queue of SQS's. Safe to share between threads. Keys come by boto3's own chain: role, profile, environment.

    Every method raises Unavailable (`source_unavailable`) where SQS does not do as asked; to make one raises
    InvalidSettings where nothing says the queue's region.
    """

    def __init__(self, url: str, region: str | None) -> None:
        import botocore.session
        from botocore.config import Config

        self._url = url
        place = urlsplit(url)
        aws = _AWS.fullmatch(place.hostname or "")
        config = Config(
            connect_timeout=_CONNECT_S,
            read_timeout=POLL_S + _ANSWER_S,
            retries={"mode": "standard", "total_max_attempts": 2},
        )
        # A session of its own, for none is safe between threads.
        with self._asked():
            self._client: Any = botocore.session.Session().create_client(
                "sqs",
                region_name=region or (aws and (aws["region"] or aws["old"])) or None,
                # What only looks like SQS is where its URL says.
                endpoint_url=None if aws else f"{place.scheme}://{place.netloc}",
                config=config,
            )
        make_watchable(self._client)
        self._watchman = Watchman()

    def receive(self, check: Callable[[], None]) -> list[Mapping[str, Any]]:
        """Up to ten messages, waited for for 20 s. Raises what `check` does, soon after that does."""
        with heeding(check):
            answer = self._call(
                "receive_message",
                POLL_S + 2 * _ANSWER_S,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=POLL_S,
                VisibilityTimeout=VISIBILITY_S,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        return list(answer.get("Messages", ()))

    def hide(self, seconds_by_handle: Mapping[str, int]) -> None:
        """Have nobody get these messages for so many seconds each."""
        entries = [
            {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
            for number, (handle, seconds) in enumerate(seconds_by_handle.items())
        ]
        if entries:
            self._call("change_message_visibility_batch", _ANSWER_S, Entries=entries)

    def delete(self, handles: Sequence[str]) -> None:
        """Have nobody get these messages ever again. What cannot be deleted comes once more."""
        entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)]
        if entries:
            for failed in self._call("delete_message_batch", _ANSWER_S, Entries=entries).get("Failed", ()):
                log.warning("a message of %s comes again: %s", self._url, _code_of(failed))

    def attributes(self) -> Mapping[str, str]:
        """What SQS says of the queue: its ARN, its policy, how many messages there are."""
        found: Mapping[str, str] = self._call("get_queue_attributes", _ANSWER_S, AttributeNames=["All"])["Attributes"]
        return found

    def close(self) -> None:
        """Give connections back."""
        self._client.close()

    def _call(self, operation: str, limit_s: float, **request: Any) -> Mapping[str, Any]:
        with self._asked(), self._watchman.watching(self._url, limit_s):
            answer: Mapping[str, Any] = getattr(self._client, operation)(QueueUrl=self._url, **request)
            return answer

    @contextmanager
    def _asked(self) -> Iterator[None]:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            NoRegionError,
            PartialCredentialsError,
        )

        try:
            yield
        except ClientError as error:
            code = _code_of(error.response.get("Error", {}))
            said, hint = f"refuses us: {code}", "see docs/uploads.md, SQS"
            if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
                said, hint = "is not there", "check the source's `sqs` and `region` in the operator's file"
            elif any(word in code for word in _DENIED):
                hint = "give this process keys that may sqs:ReceiveMessage, DeleteMessage and ChangeMessageVisibility"
            raise Unavailable(Code.SOURCE_UNAVAILABLE, f"queue {self._url} {said}", hint) from None
        except (NoCredentialsError, PartialCredentialsError):
            raise Unavailable(
                Code.SOURCE_UNAVAILABLE,
                f"there are no keys for queue {self._url}",
                "give a role, a profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ) from None
        except NoRegionError:
            raise InvalidSettings(
                f"queue {self._url}: its URL does not say its region",
                "give the source its `region` in the operator's file",
            ) from None
        except (BotoCoreError, TooSlow) as error:
            # What they say may quote what was sent.
            what = f"queue {self._url} does not answer: {type(error).__name__}"
            raise Unavailable(Code.SOURCE_UNAVAILABLE, what, "check the network") from None


class SqsSource:
    """Fetches from a queue and has it taken in."""

    def __init__(self, name: str, url: str, region: str | None = None) -> None:
        self.name = name
        self._url = url
        self._region = region

    async def run(self, intake: Intake, stopping: asyncio.Event) -> None:
        """Until `stopping`: then what was received and is not on record yet is anybody's at once."""

        def check() -> None:
            if stopping.is_set():
                raise Preempted

        queue = Queue(self._url, self._region)
        threads = ThreadPoolExecutor(2 * _LANES, thread_name_prefix="stylequeue-sqs")
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_LANES):
                    group.create_task(_Lane(self.name, queue, check, threads).run(intake, Patience(stopping)))
        finally:
            # To wait for a request under way would hold up all that runs in this loop.
            threads.shutdown(wait=False, cancel_futures=True)
            queue.close()


class _Lane:
    """One request after another."""

    def __init__(self, name: str, queue: Queue, check: Callable[[], None], threads: ThreadPoolExecutor) -> None:
        self._name = name
        self._queue = queue
        self._check = check
        self._threads = threads

    async def run(self, intake: Intake, patience: Patience) -> None:
        while not patience.stopping.is_set():
            try:
                if messages := await self._ask(self._queue.receive, self._check):
                    await self._take(messages, intake, patience)
                else:
                    patience.end()
            except Preempted:
                return
            except StyleQueueError as error:
                log.warning("source=%s %s", self._name, error)
                await patience.pause()

    async def _take(self, messages: Sequence[Mapping[str, Any]], intake: Intake, patience: Patience) -> None:
        handles = [message["ReceiptHandle"] for message in messages]
        bodies = [message["Body"] for message in messages]
        async with self._hidden(handles):
            found = await patience.until(lambda: intake.read_each(bodies, source=self._name), source=self._name)
        if found is None:
            await self._ask(self._queue.hide, dict.fromkeys(handles, 0))
            return
        settled = [all(outcome.is_settled for outcome in outcomes) for outcomes in found]
        later = {
            handle: _again_s(message)
            for handle, message, is_settled in zip(handles, messages, settled, strict=True)
            if not is_settled
        }
        await self._ask(self._queue.delete, [handle for handle in handles if handle not in later])
        if later:
            await self._ask(self._queue.hide, later)
            await patience.pause()

    @asynccontextmanager
    async def _hidden(self, handles: Sequence[str]) -> AsyncIterator[None]:
        """Nobody else gets these messages while the block runs, however long that takes."""

        async def extend() -> None:
            while True:
                await asyncio.sleep(VISIBILITY_S / 3)
                with suppress(Unavailable):  # there is time for another try
                    await self._ask(self._queue.hide, dict.fromkeys(handles, VISIBILITY_S))

        extending = asyncio.create_task(extend())
        try:
            yield
        finally:
            extending.cancel()
            with suppress(asyncio.CancelledError):
                await extending

    async def _ask(self, do: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, do, *args)


def _code_of(told: Mapping[str, Any]) -> str:
    """SQS's word for what is wrong. Its sentence about it may quote what was sent, and is not passed on."""
    code = str(told.get("Code", ""))
    return code if _CODE.fullmatch(code) else "an error without a code"


def _again_s(message: Mapping[str, Any]) -> int:
    """When a message is to come again."""
    times = int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1))
    again_s: int = _LATER_S * 2 ** min(times - 1, 10)
    return min(again_s, _LATER_MAX_S)
