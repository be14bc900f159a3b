"""Text that comes from strangers: what of it is refused where it is taken, and how the rest is shown."""

from __future__ import annotations

from typing import Annotated
from unicodedata import category, name

from pydantic import AfterValidator

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what is obeyed, not shown: controls, formats, halves of characters, separators of lines."""
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
"""Letters and marks that show as nothing. Those that choose between two ways to draw a character are none of them."""


def check_text(text: str) -> str:
    """`text`, if all of it can be seen. Raises ValueError.

    Refused are control characters and separators of lines, which end one line and forge the next; characters of
    format, which turn the direction of writing or show as nothing, so that one name looks like another; and what is no
    character: halves of one, and those that Unicode says will never be any.
    """
    for character in "" if _is_plain(text) else text:
        if category(character) in _OBEYED or character in _BLANK or _is_none(ord(character)):
            raise ValueError(f"holds {_named(character)}, which cannot be seen: leave it out")
    return text


def printable(text: str) -> str:
    """`text` in one line, with escapes such as `\\x1b` for all that is obeyed instead of being shown.

    Names, labels and errors come from strangers, and not all of them by way of `check_text`: control characters could
    forge lines, those that turn the direction of writing could show another name than there is. What is printable
    already is left as it is.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or category(character) == "Zs"  # wide and unbroken spaces
        else character.encode("unicode_escape").decode()
        for character in text
    )


def printable_lines(text: str) -> str:
    """The same line by line: for what is set off wherever it is shown."""
    return "\n".join(map(printable, text.split("\n")))


Line = Annotated[str, AfterValidator(printable)]
"""What is said of something, in which strangers' words may be."""
Lines = Annotated[str, AfterValidator(printable_lines)]
"""The same in as many lines as there are."""


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _is_none(code: int) -> bool:
    return 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


def _named(character: str) -> str:
    return f"U+{ord(character):04X} {name(character, '')}".rstrip()
