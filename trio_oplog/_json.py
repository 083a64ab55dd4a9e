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
from functools import cache
from types import NoneType
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast, get_args

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

LONG: Final = 16_384
"""From how many bytes or characters on ``outline`` looks at a text."""

_LONG_STRING: Final = 1_024
_STRINGS_AT_MOST: Final = 32
# A quote, what may stand before it inside a string, and nothing, in the type of the text.
_MARKS: Final[dict[type, tuple[Any, Any, Any]]] = {bytes: (b'"', b"\\", b""), str: ('"', "\\", "")}

_ESCAPED = re.compile("[\udc80-\udcff]")
_NOT_BLANK = re.compile(r"[^ \t\n\r]")

# For the extent of values, not for the values: integers as floats, because int() refuses thousands of digits.
_skimmer = json.JSONDecoder(parse_int=float)
_skim = _skimmer.decode
_value_end = _skimmer.raw_decode


class Reader(Generic[S]):
    """Reads JSON objects into one msgspec Struct.

    Every field of the Struct must be optional and be one of: ``Raw`` (default ``ABSENT``), another such Struct (``None`` for
    what is no object), a list of Structs without ``Raw``, ``str``, ``int`` or ``bool``; a second and third kind in the union,
    where peers write one for another, may be ``str`` or a Struct without ``Raw``.  A field that the text lacks, or that has
    another type there, keeps its default (a string: becomes empty).  Of a repeated key the last counts, as in ``json``.

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

    def read_tolerantly(self, text: Text | Raw, *, escaped: bool = False) -> S | None:
        """Like ``read``, as ``json`` would from the start.

        Args:
            text: The text.
            escaped: Whether the text came from ``messages()`` with surrogates in place of bytes that are no UTF-8.  Raw fields
                then are those exact bytes again.
        """
        try:
            plain = decoded(text)
            # Surrogates of a part's are those of a text that was read as a last resort.
            escaped = escaped or (isinstance(text, Raw) and _ESCAPED.search(plain) is not None)
            values = _members(plain)
            return None if values is None else _build(values, self._shape, "surrogateescape" if escaped else "backslashreplace")
        except _UNREADABLE:
            return None


def outline(text: Text) -> bytes | str | None:
    """A long object with its long strings emptied, where that pays: what is left is read in no time.

    Most long texts are a few long strings (an image, a log), and the end of a string is found at the speed of memchr.  What
    is left reads as the whole does, but that strings of over 1 024 characters are empty.  They are not looked into: where the
    whole is no JSON because of what stands in them, what is left may be some.

    Args:
        text: The text, JSON or not.

    Returns:
        What is left, in the type of the text; ``None`` for a short text, one of many strings or with quotes in strings, and
        what is no object in UTF-8.
    """
    if len(text) < LONG or text.__class__ not in _MARKS:
        return None
    quote, escape, nothing = _MARKS[text.__class__]
    whole: Any = text
    if whole[:1] not in ("{", b"{") or whole[1:2] == b"\0":  # UTF-16, say
        return None
    kept: list[Any] = []
    start = end = 0
    for _ in range(_STRINGS_AT_MOST):
        begin = whole.find(quote, end)
        if begin < 0:
            return nothing.join([*kept, whole[start:]])  # type: ignore[no-any-return]
        end = whole.find(quote, begin + 1) + 1
        if not end or whole[end - 2 : end - 1] == escape:
            return None
        if end - begin > _LONG_STRING:
            kept.append(whole[start : begin + 1])
            start = end - 1
    return None


def elements(text: Text | Raw) -> list[str] | None:
    """The exact texts of the elements of a JSON array, read as ``json`` would; ``None`` when it is no array."""
    try:
        plain = decoded(text)
        return [part for _, part in _parts(plain)] if isinstance(_skim(plain), list) else None
    except _UNREADABLE:
        return None


def members(text: Text | Raw) -> dict[str, str] | None:
    """The names and the exact texts of the members of a JSON object, read as ``json`` would; ``None`` when it is no object."""
    try:
        return _members(decoded(text))
    except _UNREADABLE:
        return None


class Parts(NamedTuple):
    """What ``split`` found."""

    texts: list[str]
    """The exact text of each object, decoded."""
    escaped: bool
    """Whether bytes that are no UTF-8 stand in them as the surrogates U+DC80 to U+DCFF (see ``surrogateescape``)."""
    is_array: bool
    """Whether they are elements of an array."""


def split(text: Text) -> Parts | None:
    """The JSON object that ``json`` reads in a text, or the objects in an array of values.

    Bytes that no encoding of JSON allows are kept as surrogates, as a last resort.

    Returns:
        ``None`` when the text is no JSON, or holds no object.
    """
    escaped = False
    try:
        plain = decoded(text)
    except UnicodeDecodeError:
        plain, escaped = bytes(cast("bytes", text)).decode("utf-8", "surrogateescape"), True
    try:
        value = _skim(plain)
        if isinstance(value, dict):
            return Parts([plain], escaped, is_array=False)
        if not isinstance(value, list):
            return None
        # _skim reads an element as it reads the whole, so each has its kind at its place.
        found = [part for (_, part), whole in zip(_parts(plain), value, strict=True) if isinstance(whole, dict)]
    except _UNREADABLE:
        return None
    return Parts(found, escaped, is_array=True) if found else None


def encoded(text: str, errors: str = "backslashreplace") -> bytes:
    r"""The UTF-8 of a JSON text.  A lone surrogate, which has none, becomes the JSON escape that means it (``\udXXX``)."""
    return text.encode("utf-8", errors)


def _members(text: str) -> dict[str, str] | None:
    return dict(_parts(text)) if isinstance(_skim(text), dict) else None


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


def decoded(text: Text | Raw) -> str:
    """A JSON text in any of the encodings that ``json`` reads.

    In a part of a text that ``split`` read as a last resort, surrogates stand again for the bytes that are in none.

    Raises:
        UnicodeDecodeError: It is in none of them.
    """
    if isinstance(text, str):
        return text
    data = bytes(text)
    try:
        return data.decode(json.detect_encoding(data), "surrogatepass")
    except UnicodeDecodeError:
        if not isinstance(text, Raw):
            raise
        return data.decode("utf-8", "surrogateescape")


class _Field(NamedTuple):
    """What the tolerant reader knows of one field of a Struct."""

    name: str
    key: str
    """Its name in JSON."""
    default: Any
    kind: Any
    """``Raw``, ``str``, ``int``, ``bool`` or a Struct; of a list: its elements' Struct."""
    others: tuple[Any, ...]
    """The other kinds that the field takes: ``str`` or Structs."""
    is_list: bool
    is_struct: bool
    holds_raw: bool


@cache  # to ask a Struct for its fields costs more than to read one
def _fields(shape: type[Struct]) -> tuple[_Field, ...]:
    found = []
    for field in fields(shape):
        wanted, *others = [kind for kind in (get_args(field.type) or (field.type,)) if kind not in (NoneType, UnsetType)]
        kind = get_args(wanted)[0] if get_args(wanted) else wanted
        is_struct = issubclass(kind, Struct)
        holds_raw = kind is Raw or (is_struct and any(inner.holds_raw for inner in _fields(kind)))
        found.append(
            _Field(field.name, field.encode_name, field.default, kind, tuple(others), wanted is not kind, is_struct, holds_raw)
        )
    return tuple(found)


def _build(values: dict[str, str], shape: type[S], errors: str) -> S:
    return shape(**{field.name: _from_text(values[field.key], field, errors) for field in _fields(shape) if field.key in values})


def _from_text(text: str, field: _Field, errors: str) -> Any:
    if field.kind is Raw:
        return Raw(encoded(text, errors))
    if field.holds_raw:
        found = _from_members(text, field.kind, errors)
        return _from_other(_read_values(text), field) if found is None and field.others else found
    # Nothing in it is needed as text: one pass reads it whole, however many parts it has.
    return _from_value(_read_values(text), field)


def _from_members(text: str, shape: type[S], errors: str) -> S | None:
    values = _members(text)
    return None if values is None else _build(values, shape, errors)


def _from_value(value: Any, field: _Field) -> Any:
    if field.is_list and isinstance(value, list):
        return [_assemble(part, field.kind) or field.kind() for part in value]
    if field.is_struct and not field.is_list and isinstance(value, dict):
        return _assemble(value, field.kind)
    if type(value) is field.kind:
        return value
    if field.others:
        return _from_other(value, field)
    if field.is_list or field.is_struct:
        return None
    # Not the default: a method that is a number, say, is still there, and its message no response.
    return "" if field.kind is str and value is not None else field.default


def _from_other(value: Any, field: _Field) -> Any:
    """A value of one of the other kinds that a field takes."""
    for kind in field.others:
        if kind is type(value):
            return value
        if isinstance(value, dict) and issubclass(kind, Struct):
            return _assemble(value, kind)
    return None


def _assemble(value: Any, shape: type[S]) -> S | None:
    if not isinstance(value, dict):
        return None
    return shape(**{field.name: _from_value(value[field.key], field) for field in _fields(shape) if field.key in value})


def _read_values(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # thousands of digits
        return _patient.decode(text)


def _integer(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


_patient = json.JSONDecoder(parse_int=_integer)


_read_raw = Decoder(Raw).decode


def is_read_at_once(text: bytes) -> bool:
    """Whether the strict reader, which does not look into strings, takes a text."""
    try:
        _read_raw(text)
    except (MsgspecError, RecursionError):
        return False
    return True


def is_json(text: bytes) -> bool:
    """Whether bytes are one JSON text in UTF-8 by the grammar of RFC 8259, which is less than what Python reads."""
    try:
        decoded = text.decode()  # msgspec does not look into strings
    except UnicodeDecodeError:
        return False
    if is_read_at_once(text):
        return True
    # Perhaps it is only an escape that means a lone surrogate, which msgspec refuses and the grammar allows.
    try:
        json.loads(decoded, parse_constant=_refuse, parse_int=str)  # as text: int() refuses thousands of digits
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
