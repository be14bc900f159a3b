"""What the store's refusals mean: errors as ours, sorted by whose fault they are. One table, by S3's codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ..contract.errors import Code, Misconfigured, Permanent, Retryable, StyleQueueError, Unavailable

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError
    from typing_extensions import TypeIs


class Changed(Retryable):
    """What lies there is not, or no longer, what the request was for."""

    def __init__(self, name: str) -> None:
        super().__init__(
            Code.OBJECT_CHANGED,
            f"{name} was replaced or deleted between looking and asking for it",
            "put other pictures under other keys",
        )


def object_name(bucket: str, key: str | None) -> str:
    """What errors call an object, or a bucket."""
    return f"bucket {bucket!r}" if key is None else f"s3://{bucket}/{key}"


class Whose(Enum):
    """Whose fault a refusal is."""

    JOB = "the job's"
    MOMENT = "the moment's"
    WORKER = "this process's"
    PLACE = "the job's where it names what to read, this process's where it writes"
    UNKNOWN = "the job's where it names what to read, the moment's where a picture that is painted cannot be stored"


_KINDS: dict[Whose, type[StyleQueueError]] = {
    Whose.JOB: Permanent,
    Whose.MOMENT: Unavailable,
    Whose.WORKER: Misconfigured,
    Whose.PLACE: Permanent,
    Whose.UNKNOWN: Permanent,
}
_KINDS_OWN: dict[Whose, type[StyleQueueError]] = {**_KINDS, Whose.PLACE: Misconfigured, Whose.UNKNOWN: Unavailable}
"""Where the request is about a place of this process's own."""


@dataclass(frozen=True)
class _Meaning:
    """What a refusal means. `text` and `hint` are ours: the store's own words may quote what is secret."""

    whose: Whose
    code: Code
    text: str
    hint: str


_SET_KEYS = "check STYLEQUEUE_S3_ACCESS_KEY and STYLEQUEUE_S3_SECRET_KEY, or this machine's AWS role"

_BUSY = _Meaning(
    Whose.MOMENT, Code.STORE_UNAVAILABLE, "the store could not serve {name}: {why}", "it is tried again later"
)
_CONFLICT = _Meaning(
    Whose.MOMENT, Code.STORE_UNAVAILABLE, "another request for {name} was under way: {why}", "it is tried again later"
)
_KEYS = _Meaning(Whose.WORKER, Code.STORE_UNAVAILABLE, "the store does not accept our S3 keys: {why}", _SET_KEYS)
_CLOCK = _Meaning(
    Whose.WORKER,
    Code.STORE_UNAVAILABLE,
    "by the store's clock this machine's is wrong: {why}",
    "set this machine's clock",
)
_ELSEWHERE = _Meaning(
    Whose.WORKER,
    Code.STORE_UNAVAILABLE,
    "the store sends us elsewhere for {name}: {why}",
    "set STYLEQUEUE_S3_REGION to the buckets' region, STYLEQUEUE_S3_ENDPOINT_URL to where the store itself answers",
)
_FULL = _Meaning(
    Whose.WORKER, Code.STORE_REFUSED, "the store has no room for {name}: {why}", "make room, or raise the quota"
)
_LACKING = _Meaning(
    Whose.WORKER,
    Code.STORE_REFUSED,
    "the store lacks what the request for {name} needs: {why}",
    "see the operations guide, the store; older ones want STYLEQUEUE_S3_CHECKSUMS=when_required",
)
_NO_BUCKET = _Meaning(Whose.PLACE, Code.OBJECT_NOT_FOUND, "{name}: there is no such bucket", "check the bucket's name")
_DENIED = _Meaning(
    Whose.PLACE,
    Code.ACCESS_DENIED,
    "the store denies access to {name}",
    "grant it to these S3 keys, and the use of the KMS key if it is encrypted with one; "
    "it may also not exist, where they may not list the bucket",
)
_ENCRYPTED = _Meaning(
    Whose.PLACE,
    Code.ACCESS_DENIED,
    "the KMS key of {name} cannot be used: {why}",
    "enable the KMS key, and let these S3 keys use it",
)
_MISSING = _Meaning(Whose.JOB, Code.OBJECT_NOT_FOUND, "there is no object {name}", "check bucket, key and version")
_ARCHIVED = _Meaning(
    Whose.JOB,
    Code.OBJECT_ARCHIVED,
    "{name} lies in an archive",
    "restore it, and submit the job again once that is done",
)
_IN_THE_WAY = _Meaning(
    Whose.JOB,
    Code.OUTPUT_EXISTS,
    "the store keeps objects as files, and one lies where {name} needs a directory, or the other way round: {why}",
    "choose another output key",
)
_NOT_TAKEN = _Meaning(
    Whose.JOB, Code.STORE_REFUSED, "the store does not take what {name} should be: {why}", "choose another key, or less"
)
_OTHER = _Meaning(
    Whose.UNKNOWN, Code.STORE_REFUSED, "the store refused the request for {name}: {why}", "see what the store logged"
)

_BY_CODE: dict[str, _Meaning] = {
    code: meaning
    for meaning, codes in {
        _BUSY: "SlowDown RequestTimeout RequestTimeoutException Throttling ThrottlingException ThrottledException "
        "RequestThrottled RequestThrottledException RequestLimitExceeded BandwidthLimitExceeded LimitExceededException "
        "TooManyRequests TooManyRequestsException ProvisionedThroughputExceededException EC2ThrottledException "
        "TransactionInProgressException PriorRequestNotComplete ServiceUnavailable InternalError "
        "IncompleteBody BadDigest XAmzContentChecksumMismatch XAmzContentSHA256Mismatch "
        "KMS.ThrottlingException",
        _CONFLICT: "OperationAborted ConditionalRequestConflict",
        _KEYS: "InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken ExpiredTokenException InvalidToken "
        "InvalidTokenId InvalidClientTokenId TokenRefreshRequired RequestExpired AuthFailure Unauthorized "
        "UnauthorizedAccess UnrecognizedClientException MissingAuthenticationToken MissingSecurityHeader "
        "CredentialsNotSupported InvalidSecurity NotSignedUp AccountProblem",
        _CLOCK: "RequestTimeTooSkewed RequestInTheFuture",
        _ELSEWHERE: "PermanentRedirect AuthorizationHeaderMalformed AuthorizationQueryParametersError "
        "IllegalLocationConstraintException InvalidLocationConstraint InvalidRegion TemporaryRedirect Redirect",
        _FULL: "QuotaExceeded QuotaExceededException ServiceQuotaExceeded StorageQuotaExceeded InsufficientStorage "
        "XMinioStorageFull XMinioAdminBucketQuotaExceeded XMinioQuotaExceeded",
        _LACKING: "NotImplemented InvalidBucketState",
        _NO_BUCKET: "NoSuchBucket InvalidBucketName",
        _DENIED: "AccessDenied AccessForbidden AllAccessDisabled InvalidPayer",
        _MISSING: "NoSuchKey NoSuchVersion",
        _ARCHIVED: "InvalidObjectState",
        _IN_THE_WAY: "XMinioParentIsObject XMinioObjectExistsAsDirectory",
        _NOT_TAKEN: "KeyTooLongError InvalidURI XMinioInvalidObjectName EntityTooLarge",
    }.items()
    for code in codes.split()
}
_BY_STATUS: dict[int, _Meaning] = {
    **dict.fromkeys((301, 302, 303, 307, 308), _ELSEWHERE),
    401: _KEYS,
    403: _DENIED,
    404: _MISSING,
    408: _BUSY,
    409: _CONFLICT,
    425: _BUSY,
    429: _BUSY,
    501: _LACKING,
    507: _FULL,
}


def archived(name: str) -> Permanent:
    """That an object lies in an archive, as it is seen before anybody asks for it."""
    return Permanent(_ARCHIVED.code, _ARCHIVED.text.format(name=name), _ARCHIVED.hint)


@contextmanager
def errors_as_ours(name: str, *, own: bool = False, pinned: bool = False) -> Iterator[None]:
    """Turn botocore's errors about the object `name` into ours.

    Permanent: the job's own fault. Unavailable: the moment's. Misconfigured: this process's. Changed: a condition does
    not hold; of a `pinned` request also where there is nothing any more.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        raise _refusal(name, error, own=own, pinned=pinned) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise Misconfigured(Code.STORE_UNAVAILABLE, "there are no S3 keys to sign in with", _SET_KEYS) from None
    except (BotoCoreError, HTTPError) as error:
        # Not the error's own text: it may quote an address with a signature.
        raise Unavailable(
            Code.STORE_UNAVAILABLE,
            f"the store did not answer for {name}: {type(error).__name__}",
            "check STYLEQUEUE_S3_ENDPOINT_URL and the network",
        ) from None


def _refusal(name: str, error: ClientError, *, own: bool, pinned: bool) -> StyleQueueError:
    meaning = _meaning(error)
    if _status(error) == 412 or (pinned and meaning is _MISSING):
        return Changed(name)
    kind = (_KINDS_OWN if own else _KINDS)[meaning.whose]
    why = f"{_code(error)} ({_status(error)})"
    return kind(meaning.code, meaning.text.format(name=name, why=why), meaning.hint)


def is_conflict(error: ClientError | BotoCoreError) -> bool:
    """Whether the store is busy with another request for the same object."""
    return _is_refusal(error) and _meaning(error) is _CONFLICT


def is_passing(error: ClientError | BotoCoreError) -> bool:
    """Whether the same request may be served in a moment."""
    from botocore.exceptions import ConnectionError as NotConnected
    from botocore.exceptions import HTTPClientError

    return (
        _meaning(error).whose is Whose.MOMENT
        if _is_refusal(error)
        else isinstance(error, (NotConnected, HTTPClientError))
    )


def _is_refusal(error: ClientError | BotoCoreError) -> TypeIs[ClientError]:
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError)


def _meaning(error: ClientError) -> _Meaning:
    code, status = _code(error), _status(error)
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code.startswith("KMS."):
        return _ENCRYPTED
    if code == "MethodNotAllowed" and error.operation_name in ("HeadObject", "GetObject"):
        return _MISSING  # the version is a delete marker
    return _BY_STATUS.get(status) or (_BUSY if status >= 500 else _OTHER)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
