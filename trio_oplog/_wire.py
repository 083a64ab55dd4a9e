"""Step 6: Operation <-> JSON bytes.

The form is the predecessor's: flat, snake_case, absent means left out, times in RFC 3339 with ``Z``.  ``arguments`` goes in
and comes out as the exact text it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final

import attrs
import msgspec
from cattrs import AttributeValidationNote, BaseValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from msgspec import Raw

from trio_oplog._errors import WireError
from trio_oplog._json import ABSENT, Reader, is_json
from trio_oplog._operation import Approval, ArgumentsMeta, Context, DecidedBy, Operation, Outcome, ResultMeta

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_INT64: Final = 1 << 63
_INT64_CHARACTERS: Final = len(str(-_INT64))


def encode(operation: Operation) -> bytes:
    """Write an Operation as one JSON document.

    The document holds no newline of its own; ``arguments``, being verbatim, may hold some.

    Args:
        operation: What to write.

    Raises:
        WireError: A field holds what JSON or UTF-8 cannot; only an Operation made by hand can.
    """
    try:
        return _encode(converter().unstructure(operation))
    except (TypeError, ValueError, AttributeError, OverflowError, msgspec.MsgspecError) as error:
        problem = f"cannot be written: {type(error).__name__}"
    # Outside of the handler, so that no payload hangs on the error as its context.
    raise WireError("", problem)


def decode(data: bytes) -> Operation:
    """Read an Operation from one JSON document.

    Fields that this version does not know are passed over; ``null`` counts as absent.

    Args:
        data: The document, in UTF-8.

    Raises:
        WireError: It is not JSON, or a field is missing or wrong; the error names the field and never quotes its value.
    """
    members = _members(data)
    try:
        return converter().structure(members, Operation)
    except BaseValidationError as error:
        field, problem = _first_problem(error)
    raise WireError(field, problem)


# Everything but the arguments is read whole; they stay text.
_Document = msgspec.defstruct(
    "_Document",
    [(a.name, Raw, ABSENT) if a.name == "arguments" else (a.name, Any, None) for a in attrs.fields(Operation)],
    gc=False,
)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Document).decode


class _Verbatim(msgspec.Struct, gc=False):
    arguments: Raw = ABSENT


_verbatim = Reader(_Verbatim)


def _members(data: bytes) -> dict[str, Any]:
    """The fields that are there and not null."""
    try:
        data.decode()  # the decoder does not look into what it skips
        document = _decode(data)
        members = {name: getattr(document, name) for name in document.__struct_fields__}
    except UnicodeDecodeError:
        members = None
    except (msgspec.MsgspecError, RecursionError):
        # Either bad, or good with an escape that means a lone surrogate, which msgspec refuses and the grammar allows.
        members = _members_tolerantly(data)
    if members is None:
        raise WireError("", "is not a JSON object in UTF-8")
    raw = bytes(members["arguments"])
    members["arguments"] = None if raw in (b"", b"null") else raw
    return {name: value for name, value in members.items() if value is not None}


def _members_tolerantly(data: bytes) -> dict[str, Any] | None:
    text = data.decode()
    try:
        members = json.loads(text, parse_constant=_refuse, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    verbatim = _verbatim.read(text)
    return members | {"arguments": verbatim.arguments} if verbatim else None


def _integer(text: str) -> int | float:
    """An integer; a float where no field holds it, because int() refuses thousands of digits."""
    return int(text) if len(text) <= _INT64_CHARACTERS else float(text)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


class _FieldError(ValueError):
    """A value is wrong; the message is the end of a sentence about its field."""


def _embedded(arguments: bytes) -> Raw:
    if not is_json(arguments):
        raise ValueError("arguments")
    return Raw(arguments)


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise _FieldError("must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _FieldError("must be text that UTF-8 can hold") from None
    return value


def _non_empty(value: Any, _: Any) -> str:
    if not _text(value, str):
        raise _FieldError("must not be empty")
    return str(value)


def _yes_or_no(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise _FieldError("must be true or false")
    return value


def _whole(value: Any, _: Any) -> int:
    if type(value) is not int or not -_INT64 <= value < _INT64:
        raise _FieldError("must be a whole number of 64 bits")
    return value


def _size(value: Any, _: Any) -> int:
    if _whole(value, int) < 0:
        raise _FieldError("must not be negative")
    return int(value)


def _time(value: Any, _: Any) -> datetime:
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # a month 13, say: wrong like any other text
    raise _FieldError("must be an RFC 3339 time with its offset")


def _member(value: Any, wanted: type[StrEnum]) -> StrEnum:
    try:
        return wanted(value)
    except ValueError:
        raise _FieldError(f"must be one of {', '.join(wanted)}") from None


def _types(value: Any, _: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _FieldError("must be a list of strings")
    return tuple(_text(kind, str) for kind in value)


def _object(structure: Callable[[dict[str, Any], Any], Any]) -> Callable[[Any, Any], Any]:
    def from_object(value: Any, wanted: Any) -> Any:
        if not isinstance(value, dict):
            raise _FieldError("must be an object")
        return structure({name: member for name, member in value.items() if member is not None}, wanted)

    return from_object


def _first_problem(error: BaseException) -> tuple[str, str]:
    """The path of the first wrong field, and what is wrong with it."""
    path: list[str] = []
    while True:
        path += [note.name for note in getattr(error, "__notes__", ()) if isinstance(note, AttributeValidationNote)]
        if not isinstance(error, BaseValidationError):
            break
        error = error.exceptions[0]
    return ".".join(path), "is missing" if isinstance(error, KeyError) else str(error)


@cache
def converter() -> Converter:
    """What ``encode`` and ``decode`` work with.  To make it takes some 10 ms: whoever cannot wait for that later asks early."""
    made = Converter()
    # msgspec writes datetimes as RFC 3339 and Raw as it is.
    made.register_unstructure_hook(datetime, lambda moment: moment.astimezone(UTC))
    made.register_unstructure_hook(bytes, _embedded)
    made.register_structure_hook(str, _text)
    made.register_structure_hook(bool, _yes_or_no)
    made.register_structure_hook(int, _whole)
    made.register_structure_hook(bytes, lambda value, _: value)
    made.register_structure_hook(datetime, _time)
    made.register_structure_hook(Outcome, _member)
    made.register_structure_hook(DecidedBy, _member)
    made.register_structure_hook_func(lambda wanted: wanted == tuple[str, ...], _types)
    size = override(struct_hook=_size)
    made.register_unstructure_hook(ArgumentsMeta, make_dict_unstructure_fn(ArgumentsMeta, made))
    made.register_structure_hook(ArgumentsMeta, _object(make_dict_structure_fn(ArgumentsMeta, made, size_bytes=size)))
    made.register_unstructure_hook(ResultMeta, make_dict_unstructure_fn(ResultMeta, made, _cattrs_omit_if_default=True))
    made.register_structure_hook(
        ResultMeta, _object(make_dict_structure_fn(ResultMeta, made, total_bytes=size, waited_ms=size, rounds=size))
    )
    made.register_unstructure_hook(Context, make_dict_unstructure_fn(Context, made, _cattrs_omit_if_default=True))
    made.register_structure_hook(Context, _object(make_dict_structure_fn(Context, made)))
    made.register_unstructure_hook(Approval, make_dict_unstructure_fn(Approval, made, _cattrs_omit_if_default=True))
    made.register_structure_hook(Approval, _object(make_dict_structure_fn(Approval, made, waited_ms=size, count=size)))
    name = override(struct_hook=_non_empty)
    made.register_unstructure_hook(Operation, make_dict_unstructure_fn(Operation, made, _cattrs_omit_if_default=True))
    made.register_structure_hook(
        Operation,
        make_dict_structure_fn(
            Operation, made, id=name, workspace_id=name, source=name, env_id=name, tool=name, duration_ms=size
        ),
    )
    return made
