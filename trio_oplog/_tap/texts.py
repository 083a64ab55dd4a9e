"""One message of a transport may hold several JSON texts, or one with line breaks in it."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

_ADJACENT: Final = re.compile(r"[}\]][ \t\r\n]*[{\[]")
_ADJACENT_BYTES: Final = re.compile(rb"[}\]][ \t\r\n]*[{\[]")
_BLANKS: Final = re.compile(r"[ \t\r\n]*")

T = TypeVar("T", str, bytes)


def json_texts(message: T) -> list[T]:
    """The JSON texts of a message, each as one that a line client could have sent but for line breaks inside of it.

    Args:
        message: A message, as it came.

    Returns:
        The message itself where it can only be one text.  Else each JSON text in it; where it is no sequence of JSON texts,
        each of its lines that is not blank.
    """
    if isinstance(message, str):
        if "\n" not in message.strip() and _ADJACENT.search(message) is None:
            return [message]
        return _split(message)
    if b"\n" not in message.strip() and _ADJACENT_BYTES.search(message) is None:
        return [message]
    try:
        text = message.decode()
    except UnicodeDecodeError:
        return [line for line in message.split(b"\n") if line.strip()]
    return [part.encode() for part in _split(text)]


def _split(text: str) -> list[str]:
    import json  # noqa: PLC0415 -- what starts a server has no time for it

    decode = json.JSONDecoder(parse_int=_number, parse_float=_number).raw_decode
    found: list[str] = []
    at = _blanks(text, 0)
    try:
        while at < len(text):
            _, end = decode(text, at)
            found.append(text[at:end])
            at = _blanks(text, end)
    except (ValueError, RecursionError):
        return [line for line in text.split("\n") if line.strip()]
    return found


def _blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match is not None else at


def _number(spelling: str) -> Any:
    return spelling  # none of a million digits costs anything
