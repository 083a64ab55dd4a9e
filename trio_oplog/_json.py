"""Reading JSON without changing it: known fields become values, everything else stays the exact text.

Two readers stand behind one door.  The strict one (msgspec) is several times faster than ``json`` and reads all of the
traffic of well-behaved peers.  What it refuses, the tolerant one reads again: slowly, field by field, accepting what
Python's ``json`` accepts (``NaN``, lone surrogates, UTF-16, a field of the wrong type beside a good one), so that a peer
cannot hide a call from the log by writing it oddly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import NoneType
from typing import Any, Final, Generic, TypeAlias, TypeVar, get_args

from msgspec import MsgspecError, Raw, Struct, UnsetType
from msgspec.json import Decoder
from msgspec.structs import fields

Text: TypeAlias = bytes | bytearray | memoryview | str
"""JSON text as a peer may hand it over."""

ABSENT: Final = Raw(b"")
"""The value of a raw field that the text does not hold.  Compare by identity, or ask for its length."""

S = TypeVar("S", bound=Struct)

# What the strict reader raises for text that it does not take.  UnicodeError: a str that has no UTF-8.
_REFUSED = (MsgspecError, UnicodeError, RecursionError)
_UNREADABLE = (ValueError, RecursionError)

_NOT_BLANK = re.compile(r"[^ \t\n\r]")

# For the extent of values, not for the values: integers as floats, because int() refuses thousands of digits.
_skimmer = json.JSONDecoder(parse_int=float)
_skim = _skimmer.decode
_value_end = _skimmer.raw_decode


class Reader(Generic[S]):
    """Reads JSON objects into one msgspec Struct.

    Every field of the Struct must be optional and be one of: ``Raw`` (default ``ABSENT``), another such Struct (``None`` for
    what is no object), a list of such Structs, ``str``, ``int`` or ``bool``.  A field that the text lacks, or that has another
    type there, keeps its default (a string: becomes empty).  Of a repeated key the last counts, as in ``json``.

    Args:
        shape: The Struct.
    """

    def __init__(self, shape: type[S]) -> None:
        self._shape = shape
        self._decode = Decoder(shape).decode

    def read(self, text: Text | Raw) -> S | None:
        """Read one object.

        Args:
            text: The text.  Raw fields of the answer may share its memory.

        Returns:
            The Struct, or ``None`` when this is no JSON object.
        """
        try:
            return self._decode(text)
        except _REFUSED:
            return self.read_tolerantly(text)

    def read_tolerantly(self, text: Text | Raw) -> S | None:
        """Like ``read``, as ``json`` would from the start."""
        try:
            values = _members(_decoded(text))
            return None if values is None else _build(values, self._shape)
        except _UNREADABLE:
            return None


def elements(text: Text | Raw) -> list[str] | None:
    """The exact texts of the elements of a JSON array, read as ``json`` would; ``None`` when it is no array."""
    try:
        return _elements(_decoded(text))
    except _UNREADABLE:
        return None


def encoded(text: str) -> bytes:
    r"""The UTF-8 of a JSON text.  A lone surrogate, which has none, becomes the JSON escape that means it (``\udXXX``)."""
    return text.encode("utf-8", "backslashreplace")


def _members(text: str) -> dict[str, str] | None:
    return dict(_parts(text)) if isinstance(_skim(text), dict) else None


def _elements(text: str) -> list[str] | None:
    return [part for _, part in _parts(text)] if isinstance(_skim(text), list) else None


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """The name (of an array's element: ``""``) and exact text of each part of an object or array that ``json`` has read."""
    opening = _skip_blank(text, 0)
    at = _skip_blank(text, opening + 1)
    while text[at] not in "]}":
        name = ""
        if text[opening] == "{":
            name, colon = _value_end(text, at)
            at = _skip_blank(text, _skip_blank(text, colon) + 1)
        _, end = _value_end(text, at)
        yield name, text[at:end]
        at = _skip_blank(text, end)
        if text[at] == ",":
            at = _skip_blank(text, at + 1)


def _skip_blank(text: str, at: int) -> int:
    found = _NOT_BLANK.search(text, at)
    return found.start() if found else len(text)


def _decoded(text: Text | Raw) -> str:
    if isinstance(text, str):
        return text
    data = bytes(text)
    return data.decode(json.detect_encoding(data), "surrogatepass")


def _build(values: dict[str, str], shape: type[S]) -> S:
    return shape(
        **{
            field.name: _convert(values[field.encode_name], field.type, field.default)
            for field in fields(shape)
            if field.encode_name in values
        }
    )


def _convert(text: str, wanted: Any, default: Any) -> Any:
    if wanted is Raw:
        return Raw(encoded(text))
    wanted = next(kind for kind in get_args(wanted) if kind not in (NoneType, UnsetType))
    if isinstance(wanted, type) and issubclass(wanted, Struct):
        values = _members(text)
        return None if values is None else _build(values, wanted)
    if inner := get_args(wanted):
        parts = _elements(text)
        return default if parts is None else [_build(_members(part) or {}, inner[0]) for part in parts]
    value = _skim(text)
    if wanted is int and type(value) is float:
        return _integer(text, default)
    if type(value) is wanted:
        return value
    # Not the default: a method that is a number, say, is still there, and its message no response.
    return "" if wanted is str and value is not None else default


def _integer(text: str, default: Any) -> Any:
    try:
        return int(text)
    except ValueError:  # a fraction, an exponent, NaN, or thousands of digits
        return default
