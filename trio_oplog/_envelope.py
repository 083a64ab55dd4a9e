"""Step 1: one frame -> the JSON-RPC messages in it.

Source: JSON-RPC 2.0, sections 4 (request), 5 (response) and 6 (batch).  The ``jsonrpc`` member is not asked for: Codex
never sends it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from trio_oplog._json import ABSENT, Reader, Text, elements, encoded, read_tolerantly
from trio_oplog._limits import name

Frame: TypeAlias = Text
"""One frame as a transport hands it over: text, or UTF-8 in any bytes-like object."""

RequestKey: TypeAlias = str | int | Decimal | tuple[str, str]
"""What an id is compared by.  Two keys are equal when the ids have one type and one value."""


class Message(Struct, gc=False):
    """One JSON-RPC message.  Raw fields may share the frame's memory: copy what is to outlive the frame.

    A request or notification has a ``method``; a response has none.  Fields that the message lacks are ``ABSENT``.
    """

    method: str | None = None
    id: Raw = ABSENT
    params: Raw = ABSENT
    result: Raw = ABSENT
    error: Raw = ABSENT


_decode = Decoder(Message | list[Raw]).decode
_message = Reader(Message)
_string = Decoder(str).decode
_QUOTE: Final = ord('"')
_NUMBER_BEGINS: Final = frozenset(b"-0123456789")


def read(frame: Frame) -> Sequence[Message]:
    """The messages in a frame: one, or those of a batch in their order; none when it holds no JSON-RPC.

    Never raises for anything a peer can send.
    """
    try:
        message = _decode(frame)
    except (MsgspecError, UnicodeError, RecursionError):
        return reread(frame)
    if message.__class__ is Message:
        return (message,)
    return [part for part in map(_message.read, message) if part is not None]


def reread(frame: Frame) -> Sequence[Message]:
    """Like ``read``, with the tolerant reader alone: for a frame that the strict one refuses, or takes without looking."""
    message = read_tolerantly(frame, Message)
    if message is not None:
        return (message,)
    return [part for part in map(_message.read, elements(frame) or ()) if part is not None]


def is_sound(frame: Frame) -> bool:
    """Whether a frame is UTF-8 throughout.  The strict reader does not look into what it skips; who keeps a part asks here."""
    if isinstance(frame, str):
        return True
    try:
        str(frame, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


class RequestId(NamedTuple):
    """The id of a request: ``key`` to compare by, ``text`` to show (a string as it is, a number in its JSON spelling)."""

    key: RequestKey
    text: str


def read_id(raw: Raw) -> RequestId | None:
    """The id of a request or response; ``None`` for what is no id: absent, null, a bool, an array, an object.

    Numbers are compared by their exact value: 2**53 and 2**53 + 1 differ, 1 and 1.0 are one number.
    """
    spelling = bytes(raw)
    first = spelling[0] if spelling else None
    if first == _QUOTE:
        return _string_id(spelling)
    if first not in _NUMBER_BEGINS:
        return None
    return _number_id(spelling.decode())


def _string_id(spelling: bytes) -> RequestId:
    try:
        text = _string(spelling)
    except MsgspecError:
        text = json.loads(spelling)
    shown = name(text)
    # A long id is compared by its digest, so that an open call holds no more than a name of it.
    return RequestId(text if shown == text else ("sha256", sha256(encoded(text)).hexdigest()), shown)


def _number_id(spelling: str) -> RequestId | None:
    key: RequestKey
    try:
        key = int(spelling) if spelling.lstrip("-").isdecimal() else Decimal(spelling)
    except InvalidOperation:  # an exponent beyond any Decimal: only its spelling is left to compare
        key = ("number", spelling)
    except ValueError:  # more digits than Python reads as a number
        return None
    return RequestId(key, name(spelling))
