"""What each of a job's pictures is for, and what errors call it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from stylequeue.contract.errors import Code, Permanent, StyleQueueError
from stylequeue.contract.objects import ImageRef


class Role(StrEnum):
    """What a picture is for: it decides what its transparent parts mean, and which sizes will do."""

    CONTENT = "content"
    STYLE = "style"
    MASK = "mask"
    INIT = "init image"


@dataclass(frozen=True)
class Input:
    """One of a job's pictures."""

    role: Role
    image: ImageRef
    number: int | None = None
    """Of a style, from 1; of a mask, that of its style; None: there is one alone, of masks that of what is kept."""

    @property
    def name(self) -> str:
        """`content`, `style 2`, `mask 2`, `keep mask`, `init image`."""
        if self.number is None:
            return "keep mask" if self.role == Role.MASK else str(self.role)
        return f"{self.role} {self.number}"

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Whatever error of ours leaves the block, its message begins with this picture's name and address.

        Where the memory does not suffice, that is Permanent with `out_of_memory`.
        """
        address = f"s3://{self.image.bucket}/{self.image.key}"
        try:
            yield
        except StyleQueueError as error:
            # The store's messages have the address already.
            subject = self.name if address in error.message else f"{self.name} {address}"
            error.message = f"{subject}: {error.message}"
            raise
        except MemoryError:
            raise Permanent(
                Code.OUT_OF_MEMORY,
                f"{self.name} {address}: reading it took more memory than the worker has",
                "send a smaller picture, or give the worker more memory",
            ) from None
