"""A record as it comes over HTTP, as a row: at once where it is spelled as this package spells it, else by way of an Operation.

What a ``Client`` sends is nearly always what ``_wire.encode`` would write again.  That is told by writing it again, from a
structure that takes nothing else: then the bytes are those to keep, and what the tables need stands in the structure.
"""

from __future__ import annotations

from datetime import UTC
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec
from msgspec import UNSET, Meta, Raw

from trio_oplog import _wire
from trio_oplog._json import is_json
from trio_oplog._operation import Approval, ArgumentsMeta, Context, Operation, ResultMeta
from trio_oplog.collector._rows import (
    NO_OUTCOME,
    NO_OUTCOME_BUT_ERROR,
    UNDECIDED,
    Labels,
    Row,
    key,
    microseconds,
    optional_key,
)

_INT64: Final = 1 << 63
# In ``_wire``, too: texts that must not be empty, and numbers that must not be negative.
_NON_EMPTY: Final = frozenset({"id", "workspace_id", "source", "env_id", "tool"})
_SIZES: Final = frozenset({"duration_ms", "size_bytes", "total_bytes", "waited_ms", "rounds", "count"})
_PARTS: Final = (ArgumentsMeta, ResultMeta, Context, Approval)


class Line(msgspec.Struct, frozen=True, gc=False):
    """A record, and the names by which its sender knows it."""

    id: str
    workspace_id: str
    row: Row


def read_line(data: bytes) -> Line:
    """Read a record.

    Args:
        data: One JSON document.

    Raises:
        WireError: It is no Operation.
    """
    return _read_canonical(data) or line_of(_wire.decode(data))


def line_of(operation: Operation) -> Line:
    """The line of an Operation."""
    return Line(operation.id, operation.workspace_id, Row.of(operation))


def _structure(of: type) -> Any:
    hints = get_type_hints(of)
    fields: list[Any] = []
    # In the order in which they are written: first what is always there.
    for attribute in sorted(attrs.fields(of), key=lambda each: each.default is None):
        wanted = _type_of(attribute.name, hints[attribute.name])
        is_always_there = attribute.default is not None
        fields.append((attribute.name, wanted) if is_always_there else (attribute.name, wanted, UNSET))
    return msgspec.defstruct(of.__name__, fields, kw_only=True, omit_defaults=True, gc=False)


def _type_of(name: str, hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):  # optional: absent, and never null
        (hint,) = (each for each in get_args(hint) if each is not NoneType)
        return _type_of(name, hint) | msgspec.UnsetType
    if hint is str and name in _NON_EMPTY:
        return Annotated[str, Meta(min_length=1)]
    if hint is int:
        return Annotated[int, Meta(ge=0 if name in _SIZES else -_INT64, le=_INT64 - 1)]
    return _structure(hint) if hint in _PARTS else Raw if hint is bytes else hint


_decode: Final = msgspec.json.Decoder(_structure(Operation)).decode
_encode: Final = msgspec.json.Encoder().encode


def _read_canonical(data: bytes) -> Line | None:
    """The line of a record that is spelled as ``_wire.encode`` spells it; ``None`` of every other one."""
    try:
        data.decode()  # the decoder does not look into what it skips
        record = _decode(data)
        if _encode(record) != data:
            return None
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
        return None
    # Another zone is written again as it is, and so is none.
    if record.started_at.tzinfo is not UTC or record.completed_at.tzinfo is not UTC:
        return None
    arguments = bytes(record.arguments or b"")
    if arguments == b"null" or (arguments and not is_json(arguments)):
        return None
    return Line(record.id, record.workspace_id, _row(record, data))


def _row(record: Any, data: bytes) -> Row:
    """As ``Row.of`` makes one."""
    meta, context, approval = record.result_meta or None, record.context or None, record.approval or None
    outcome = None if meta is None else meta.outcome or None
    labels = Labels(
        key(record.workspace_id),
        key(record.tool),
        key(record.env_id),
        key(record.source),
        outcome.value if outcome else NO_OUTCOME_BUT_ERROR if record.is_error else NO_OUTCOME,
        record.is_error,
        optional_key(context.client or None) if context else None,
        None if approval is None else UNDECIDED if approval.decision is UNSET else key(approval.decision),
    )
    return Row(
        key(record.id),
        labels,
        optional_key(record.user_id or None),
        optional_key(record.thread_id or None),
        microseconds(record.started_at),
        record.duration_ms,
        None if meta is None or meta.waited_ms is UNSET else meta.waited_ms,
        data,
    )
