"""Step 1: one frame -> the JSON-RPC messages in it.

Source: JSON-RPC 2.0, sections 4 (request), 5 (response) and 6 (batch).  The ``jsonrpc`` member is not asked for: Codex
never sends it.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from hashlib import sha256
from typing import Final, Generic, TypeAlias, TypeVar

from msgspec import MsgspecError, Raw, Struct, ValidationError
from msgspec.json import Decoder

from trio_oplog._json import ABSENT, LONG, Reader, Text, elements, objects, outline
from trio_oplog._recording.limits import NAME_MAX_BYTES, name

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


M = TypeVar("M", bound=Envelope)

_REFUSED = (MsgspecError, UnicodeError, RecursionError)
_read_envelopes = Decoder(Envelope | list[Raw]).decode


class Peek(Struct, gc=False):
    """What a first look at a frame of one message tells."""

    method: str | None = None
    id: int | str | None = None


_look_at = Decoder(Peek).decode
# Of any script within NAME_MAX_BYTES, so that such an id is its own key.
_SHORT_ID: Final = NAME_MAX_BYTES // 4


def peek(frame: Frame) -> Peek | None:
    """The method and the id of a frame, without looking into the rest of it.

    Args:
        frame: The frame.

    Returns:
        ``None`` when a peek does not tell: several messages, no JSON, or an id that is not its own key (see ``read_key``).
        A frame that is no JSON, or no UTF-8, may look like a message.
    """
    if len(frame) >= LONG:
        brief = outline(frame)
        if brief is None:
            return None
        frame = brief
    try:
        seen = _look_at(frame)
    except (*_REFUSED, TypeError):  # TypeError: a subclass of str
        return None
    if seen.id.__class__ is str and (not seen.id or len(seen.id) > _SHORT_ID):  # perhaps it is only emptied
        return None
    return seen


class FrameReader(Generic[M]):
    """Reads the messages of frames in one pass, into a shape that names the parts worth having.

    Args:
        shape: What a message is read into; see ``Reader`` for what its fields may be.
        methods: The methods that matter; ``None`` is among them when responses, which have no method, do.
    """

    def __init__(self, shape: type[M], methods: Container[str | None]) -> None:
        self._methods = methods
        self._decode = Decoder(shape | list[shape]).decode  # type: ignore[valid-type]
        self._message = Reader(shape)

    def read(self, frame: Frame) -> M | Sequence[M] | None:
        """What a frame holds, when it matters.  Never raises for anything a peer can send.

        Returns:
            The message, or those of a batch in their order when one of them matters; an empty sequence for what does not matter;
            ``None`` when the frame holds no JSON-RPC.
        """
        try:
            found = self._decode(frame)
        except ValidationError:
            # A field of an unexpected type.  Most such frames are none of our business: see before reading them slowly.
            return self._read_odd(frame)
        except _REFUSED:
            return self._reread(frame)
        except TypeError:
            if not isinstance(frame, str):
                raise
            return self.read(str.__str__(frame))  # msgspec takes no subclass of str
        if found.__class__ is list:
            return self._choose(frame, found)
        if found.method in self._methods:
            return found if frame.__class__ is str or _is_utf8(frame) else self._reread(frame)
        return ()

    def _choose(self, frame: Frame, found: Sequence[M]) -> M | Sequence[M] | None:
        """The messages of a batch, when one of them matters."""
        if not found:
            return None
        if not any(message.method in self._methods for message in found):
            return ()
        return found if _is_utf8(frame) else self._reread(frame)

    def _read_odd(self, frame: Frame) -> M | Sequence[M] | None:
        try:
            message = _read_envelopes(frame)
        except _REFUSED:
            return self._reread(frame)
        if message.__class__ is list:
            return self._choose(frame, [part for part in map(self._message.read, message) if part is not None])
        return self._reread(frame) if message.method in self._methods else ()

    def _reread(self, frame: Frame) -> M | Sequence[M] | None:
        """With the tolerant reader alone: for a frame that the strict one refuses, or takes without looking into all of it."""
        methods = [part.get("method") for part in objects(frame)]
        if not methods:
            return None
        # What is no string is some method still, and its message no response.
        if not any((method if method is None else str(method)) in self._methods for method in methods):
            return ()
        message = self._message.read_tolerantly(frame)
        if message is not None:
            return message
        parts = [self._message.read(part) for part in elements(frame) or ()]
        return [part for part in parts if part is not None] or None


def _is_utf8(frame: Frame) -> bool:
    """Whether a frame is UTF-8 throughout.  The strict reader does not look into what it skips."""
    if isinstance(frame, str) or (isinstance(frame, bytes) and frame.isascii()):  # as nearly always
        return True
    try:
        str(frame, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


RequestId: TypeAlias = tuple[RequestKey, str]
"""The id of a request: the key to compare by, and the text to show (a string as it is, a number in its JSON spelling)."""

# Longer than any integer that _plain_id reads, so that what has one value has one kind of key.
_NUMBER_MAX: Final = 4_400
_EXACT: Final = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[InvalidOperation])

_SHORT: Final = 1 << 63

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
