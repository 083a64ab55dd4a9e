"""Step 3: size limits: what of a peer's text is kept, and digests of what is not.  Pure functions of text and limit."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Final, NamedTuple

from trio_oplog._operation import ArgumentsMeta

NAME_MAX_BYTES: Final = 1_024
"""Longest identifier kept (a tool, an id, a user), in bytes of UTF-8: 1 024.  Real ones are below 100."""

# A character is at most this many bytes of UTF-8, so short texts need not be measured.
_WIDEST = 4


class Kept(NamedTuple):
    """What was kept of a text.  ``total_bytes`` and ``sha256`` are those of the whole text, and ``None`` when it was not cut."""

    text: str
    total_bytes: int | None = None
    sha256: str | None = None


def cut(text: str, limit: int) -> Kept:
    """The longest prefix of a text that fits, ending on a character boundary.

    Args:
        text: The text.  Lone surrogates, which UTF-8 cannot hold, count as U+FFFD.
        limit: Its most bytes of UTF-8, at least 0.
    """
    if len(text) * _WIDEST <= limit and text.isascii():
        return Kept(text)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        data = text.encode()
    if len(data) <= limit:
        return Kept(text)
    # Only the last character can be incomplete: "ignore" takes off exactly its bytes.
    return Kept(data[:limit].decode("utf-8", "ignore"), len(data), sha256(data).hexdigest())


def name(text: str) -> str:
    """An identifier that a peer wrote, cut to ``NAME_MAX_BYTES``."""
    return cut(text, NAME_MAX_BYTES).text


def keep_arguments(text: bytes, limit: int) -> tuple[bytes | None, ArgumentsMeta | None]:
    """The arguments of a call: their exact text when it fits, else its size and digest.

    Text that only Python reads as JSON (``NaN``, ``Infinity``) never fits: embedded in a record it would break the record for
    every other reader.

    Args:
        text: The exact JSON text in UTF-8; something has read it as JSON before.
        limit: Its most bytes.
    """
    if len(text) <= limit and not _is_beyond_json(text):
        return text, None
    return None, ArgumentsMeta(size_bytes=len(text), sha256=sha256(text).hexdigest())


def _is_beyond_json(text: bytes) -> bool:
    if b"N" not in text and b"I" not in text:  # the common case, at the speed of memchr
        return False
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return True
    return False


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
