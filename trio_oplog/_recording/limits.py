"""Step 5: size limits: what of a peer's text is kept, and digests of what is not.  Pure functions of text and limit."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from trio_oplog._json import is_json, is_read_at_once
from trio_oplog._operation import ArgumentsMeta

NAME_MAX_BYTES: Final = 1_024
"""Longest identifier kept (a tool, an id, a user), in bytes of UTF-8: 1 024.  Real ones are below 100."""

SHORT_NAME: Final = NAME_MAX_BYTES // 4
"""So many characters are within ``NAME_MAX_BYTES`` in any script."""

# How much deeper than its frame a record may come to stand in whatever it is shown in, the reader's own calls among it.
_NESTING: Final = 300
_LONG: Final = 4_096
_N: Final = ord("N")
_I: Final = ord("I")


def cut(text: str, limit: int) -> tuple[str, int | None, str | None]:
    """The longest prefix of a text that fits, ending on a character boundary.

    Args:
        text: The text.  Lone surrogates, which UTF-8 cannot hold, count as U+FFFD.
        limit: Its most bytes of UTF-8, at least 0.

    Returns:
        The prefix; when it is not the whole text also the whole text's size in bytes of UTF-8 and its SHA-256 in hex digits.
    """
    if len(text) <= limit and text.isascii():  # most texts need not be measured
        return text, None, None
    try:
        data = text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        data = text.encode()
    if len(data) <= limit:
        return text, None, None
    # Only the last character can be incomplete: "ignore" takes off exactly its bytes.
    return data[:limit].decode("utf-8", "ignore"), len(data), sha256(data).hexdigest()


def name(text: str) -> str:
    """An identifier that a peer wrote, cut to ``NAME_MAX_BYTES``."""
    if len(text) <= NAME_MAX_BYTES and text.isascii():  # nearly every one
        return text
    return cut(text, NAME_MAX_BYTES)[0]


def optional_name(text: str | None) -> str | None:
    """Like ``name``; ``None`` for an empty one."""
    if not text or (len(text) <= NAME_MAX_BYTES and text.isascii()):
        return text or None
    return cut(text, NAME_MAX_BYTES)[0]


def keep_arguments(text: bytes, limit: int) -> tuple[bytes | None, ArgumentsMeta | None]:
    """The arguments of a call: their exact text when it fits, else its size and digest.

    Text that only Python reads as JSON (``NaN``, ``Infinity``) never fits: embedded in a record it would break the record for
    every other reader.  Neither does text that is nested so deeply that a record of it, in a list of records, in an answer, might
    be too much for a reader that could just read the frame.

    Args:
        text: The exact JSON text in UTF-8; something has read it as JSON before.
        limit: Its most bytes.
    """
    if len(text) <= limit:
        # Nearly all are neither, which is seen at the speed of memchr.
        if not (_N in text or _I in text or (len(text) > 2 * _NESTING and _may_be_deep(text))):
            return text, None
        nested = _NESTING * b"[" + text + _NESTING * b"]"
        if is_read_at_once(nested) or is_json(nested):
            return text, None
    return None, ArgumentsMeta(size_bytes=len(text), sha256=sha256(text).hexdigest())


def _may_be_deep(text: bytes) -> bool:
    # To count in a long text takes longer than to read it.
    return len(text) > _LONG or text.count(b"[") + text.count(b"{") > _NESTING
