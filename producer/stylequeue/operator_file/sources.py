"""Sources: who tells of uploads, and how it is known."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from .base import Table

MIN_TOKEN_CHARS, MAX_TOKEN_CHARS = 24, 256
MAX_TOKENS = 4
"""Live at once, while a sender changes from one to the next."""


def _check_token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if (
        not MIN_TOKEN_CHARS <= len(text) <= MAX_TOKEN_CHARS
        or not text.isascii()
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError(
            f"is no token: {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} characters of ASCII, none of them a blank; "
            "`openssl rand -hex 32` makes one"
        )
    return token


Token = Annotated[SecretStr, AfterValidator(_check_token)]


class Source(Table):
    """A webhook: whoever has one of the tokens tells of uploads at /v1/notices/NAME."""

    tokens: Annotated[tuple[Token, ...], Field(max_length=MAX_TOKENS)] = ()

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if not self.tokens:
            raise ValueError("a source is a webhook, which has tokens")
        return self
