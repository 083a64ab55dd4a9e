"""Step 1: one frame -> the JSON-RPC messages in it.

Source: JSON-RPC 2.0, sections 4 (request), 5 (response) and 6 (batch).  The ``jsonrpc`` member is not asked for: Codex
never sends it.
"""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from hashlib import sha256
from typing import Any, Final, TypeAlias

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from trio_oplog._json import ABSENT, LONG, Parts, Reader, Text, outline, split
from trio_oplog._recording.limits import SHORT_NAME, name

Frame: TypeAlias = Text
"""One frame as a transport hands it over: text, or UTF-8 in any bytes-like object."""

RequestKey: TypeAlias = str | int | Decimal | tuple[str, str]
"""What an id is compared by.  Two keys are equal when the ids have one type and one value."""


class Envelope(Struct, gc=False):
    """What every JSON-RPC message has: a request or notification has a ``method``, a response has none.

    Raw fields may share the frame's memory: copy what is to outlive the frame.
    """

    method: str | None = None
    id: Raw = ABSENT


class Message(Envelope, gc=False):
    """A message of which nothing is known but the envelope."""

    params: Raw = ABSENT
    result: Raw = ABSENT
    error: Raw = ABSENT


REFUSED: Final = (MsgspecError, UnicodeError, RecursionError)
"""What the strict reader raises for a text that it does not take."""


class Peek(Struct, gc=False):
    """The method and the id of a message."""

    method: str | None = None
    id: int | str | None = None


_peek = Decoder(Peek).decode


def peek(frame: Frame) -> Peek | None:
    """Decode only ``method`` and ``id`` of a frame.

    Args:
        frame: The frame.

    Returns:
        ``None`` when that does not tell: several messages, no JSON, an id that is not its own key (see ``read_key``), or a long
        frame that is as quickly read as peeked into.  A frame that is no JSON, or no UTF-8, may look like a message.
    """
    if len(frame) >= LONG:
        brief = outline(frame)
        if brief is None:
            return None
        frame = brief
    try:
        seen = _peek(frame)
    except (*REFUSED, TypeError):  # TypeError: a subclass of str
        return None
    if seen.id.__class__ is str and (not seen.id or len(seen.id) > SHORT_NAME):  # emptied, or not its own key
        return None
    return seen


def messages(frame: Frame) -> Parts | None:
    """The messages of a frame of any shape, each as its exact text: for frames of which ``peek`` does not tell.

    Returns:
        ``None`` when the frame holds no JSON-RPC.
    """
    if not isinstance(frame, str | bytes | bytearray | memoryview):
        raise TypeError("a frame is text or bytes")
    return split(str.__str__(frame) if isinstance(frame, str) else frame)  # msgspec takes no subclass of str


def is_utf8(frame: Frame) -> bool:
    """Whether a frame is UTF-8 throughout.  The strict reader does not look into what it skips."""
    if isinstance(frame, str) or (isinstance(frame, bytes) and frame.isascii()):  # as nearly always
        return True
    try:
        if len(frame) <= _PIECE:
            str(frame, "utf-8")
        else:
            # The text of a long frame could take four times its memory.
            decode, view = getincrementaldecoder("utf-8")().decode, memoryview(frame)
            for start in range(0, len(view), _PIECE):
                decode(view[start : start + _PIECE])
            decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


_PIECE: Final = 1024 * 1024
_message = Reader(Message)


def read_request(frame: Frame, method: str) -> Message | None:
    """The message of a frame that holds one message alone, of this method.

    Returns:
        The message, whose raw parts may share the frame's memory; ``None`` for any other frame.
    """
    seen = peek(frame)
    if seen is not None:
        if seen.method != method:
            return None
        if is_utf8(frame):
            return _message.read(frame)
    parts = messages(frame)
    if parts is None or parts.escaped or parts.is_array:
        return None
    message = _message.read(parts.texts[0])
    return message if message is not None and message.method == method else None


RequestId: TypeAlias = tuple[RequestKey, str]
"""The id of a request: the key to compare by, and the text to show (a string as it is, a number in its JSON spelling)."""

# Longer than any integer that _plain_id reads, so that what has one value has one kind of key.
_NUMBER_MAX: Final = 4_400
_EXACT: Final = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[InvalidOperation])

_SHORT: Final = 1 << 63
# Ids are numbers of 64 bits at the most, wherever they are numbers.
_LONGEST_NUMBER: Final = 20

_QUOTE: Final = ord('"')
_NUMBER_BEGINS: Final = frozenset(b"-0123456789NI")  # NaN and Infinity: numbers to Python's json
_plain_id = Decoder(int | str).decode


def read_id(raw: Raw) -> RequestId | None:
    """The id of a request or response; ``None`` for what is no id: absent, null, a bool, an array, an object.

    Numbers are compared by their exact value: 2**53 and 2**53 + 1 differ, 1 and 1.0 are one number.  Of numbers beyond
    reason (over 4 400 characters, an exponent over 10**18, NaN) the spelling is compared.
    """
    try:
        key = _plain_id(raw)
    except MsgspecError:
        return _read_odd_id(bytes(raw))
    if isinstance(key, str):
        return _string_id(key)
    if 0 < key < _SHORT:
        return key, str(key)
    return key, name(bytes(raw).decode())


def read_key(raw: Raw) -> RequestKey | None:
    """The key alone of an id."""
    try:
        key = _plain_id(raw)
    except MsgspecError:
        identity = _read_odd_id(bytes(raw))
        return identity[0] if identity else None
    return key if key.__class__ is int else _string_id(key)[0]


def _read_odd_id(spelling: bytes) -> RequestId | None:
    """An id that is neither an integer of sane length nor a string without lone surrogates, if it is one at all."""
    first = spelling[0] if spelling else None
    if first == _QUOTE:
        return _string_id(json.loads(spelling))
    if first not in _NUMBER_BEGINS:
        return None
    text = spelling.decode()
    try:
        if len(text) <= _NUMBER_MAX and text[-1].isdigit():
            return Decimal(text, _EXACT), name(text)
    except InvalidOperation:  # an exponent beyond any Decimal
        pass
    # Only its spelling is left to compare; as a digest, because it may be as long as a frame.
    return ("number", _digest(text)), name(text)


def _string_id(text: str) -> RequestId:
    shown = name(text)
    # A long id is compared by its digest, so that an open call holds no more than a name of it.
    return text if shown == text else ("string", _digest(text)), shown


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def respelled(key: Any) -> str | int | None:
    """The same number or text as an id of the other type; ``None`` where there is none."""
    if key.__class__ is int:
        return str(key)
    if key.__class__ is str and len(key) < _LONGEST_NUMBER and key.isascii() and key.removeprefix("-").isdecimal():
        number = int(key)
        return number if str(number) == key else None
    return None
