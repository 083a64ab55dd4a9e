"""An Operation as an OpenTelemetry span or log record.  Sans-IO; no clock, no environment.

Needs ``opentelemetry-proto``, so it is imported by whoever makes an ``Otlp``, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain
from operator import attrgetter
from types import UnionType
from typing import Any, Final, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from trio_oplog._operation import Approval, ArgumentsMeta, Context, Operation, ResultMeta
from trio_oplog._otlp.conventions import EXECUTE_TOOL, METHOD, own_attributes, shared_attributes
from trio_oplog._otlp.fields import FIELDS, Attribute

APPROVAL: Final = "trio_oplog.approval"
ROUNDS: Final = "trio_oplog.rounds"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = (1 << 64) - 1
_NANOSECONDS_A_MILLISECOND: Final = 1_000_000
# The members of protobuf's enums are looked up by name each time.
_NO_PARENT: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE_PARENT: Final = _NO_PARENT | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_NOWHERE: Final = Context()
_KINDS: Final = {"client": Span.SPAN_KIND_CLIENT, "server": Span.SPAN_KIND_SERVER}

Add: TypeAlias = Callable[[], KeyValue]
"""Makes another attribute of whatever it belongs to."""


def _put_text(attribute: KeyValue, value: Any) -> None:
    attribute.value.string_value = value


def _put_whole(attribute: KeyValue, value: Any) -> None:
    attribute.value.int_value = value


def _put_flag(attribute: KeyValue, value: Any) -> None:
    attribute.value.bool_value = value


def _put_json(attribute: KeyValue, value: Any) -> None:
    attribute.value.string_value = value.decode()


def _put_texts(attribute: KeyValue, value: Any) -> None:
    array = attribute.value.array_value
    array.SetInParent()  # an empty one is a value, too
    for text in value:
        array.values.add().string_value = text


_PUTS: Final[dict[Any, Callable[[KeyValue, Any], None]]] = {
    int: _put_whole,
    bool: _put_flag,
    bytes: _put_json,
    tuple[str, ...]: _put_texts,
}


class _Row(NamedTuple):
    """One field that is an attribute as it is."""

    read: Callable[[Any], Any]
    key: str
    put: Callable[[KeyValue, Any], None]
    payload: bool


def _rows(part: type, prefix: str = "") -> list[_Row]:
    """The rows of the table that one class has."""
    rows = []
    for name, hint in get_type_hints(part).items():
        entry = FIELDS.get(prefix + name)
        if isinstance(entry, Attribute):
            kind = hint if get_origin(hint) is not UnionType else get_args(hint)[0]
            rows.append(_Row(attrgetter(name), entry.name, _PUTS.get(kind, _put_text), entry.payload))
    return rows


_OPERATION: Final = _rows(Operation)
# The parts, each with whose class it is, in the order in which an Operation has them.
_PARTS: Final = (
    (attrgetter("arguments_meta"), _rows(ArgumentsMeta, "arguments_meta.")),
    (attrgetter("result_meta"), _rows(ResultMeta, "result_meta.")),
    (attrgetter("context"), _rows(Context, "context.")),
)
_APPROVAL: Final = _rows(Approval, "approval.")


def span(operation: Operation, kind: str, *, payloads: bool, into: Span) -> None:
    """Write a call as a span.

    Args:
        operation: The call.
        kind: ``"client"`` or ``"server"``.
        payloads: Whether what is, or may quote, what a peer sent goes with it.
        into: An empty span.

    Raises:
        TypeError, ValueError: A field holds what OTLP cannot; only an Operation made by hand can.
    """
    trace_id, parent_id, into.span_id = ids(operation)
    into.trace_id = trace_id
    if parent_id is None:
        into.flags = _NO_PARENT
    else:
        into.parent_span_id = parent_id
        into.flags = _REMOTE_PARENT
    into.name = f"{METHOD} {operation.tool}"
    into.kind = _KINDS[kind]
    start = nanoseconds(operation.started_at)
    into.start_time_unix_nano = start
    into.end_time_unix_nano = end = _later(start, operation.duration_ms)
    if operation.is_error:
        into.status.code = Status.STATUS_CODE_ERROR
        if payloads and operation.result_summary is not None:
            into.status.message = operation.result_summary
    _attributes(operation, into.attributes.add, payloads=payloads)
    waited = None if operation.result_meta is None else operation.result_meta.waited_ms
    if operation.approval is not None:
        event = into.events.add()
        event.name = APPROVAL
        # When it was asked for is not on record.  It was decided no sooner than this.
        event.time_unix_nano = min(_later(start, operation.approval.waited_ms), end)
        _put_rows(_APPROVAL, operation.approval, event.attributes.add, payloads=payloads)
    if operation.result_meta is not None and operation.result_meta.rounds is not None:
        event = into.events.add()
        event.name = ROUNDS
        event.time_unix_nano = min(_later(start, waited or 0), end)
        _put(event.attributes.add, "trio_oplog.rounds.count", operation.result_meta.rounds, _put_whole)


def log_record(operation: Operation, *, payloads: bool, into: LogRecord) -> None:
    """Write a call as a log record, which says the same as its span and belongs to it.

    Args:
        operation: The call.
        payloads: As in ``span``.
        into: An empty log record.

    Raises:
        TypeError, ValueError: As in ``span``.
    """
    into.trace_id, _, into.span_id = ids(operation)
    end = _later(nanoseconds(operation.started_at), operation.duration_ms)
    into.time_unix_nano = into.observed_time_unix_nano = end
    into.event_name = "trio_oplog.operation"
    failed = operation.is_error
    into.severity_number = SeverityNumber.SEVERITY_NUMBER_ERROR if failed else SeverityNumber.SEVERITY_NUMBER_INFO
    into.severity_text = "ERROR" if failed else "INFO"
    into.body.string_value = f"{METHOD} {operation.tool}"
    add = into.attributes.add
    _put(add, "trio_oplog.duration_ms", operation.duration_ms, _put_whole)
    _attributes(operation, add, payloads=payloads)
    if operation.approval is not None:
        _put_rows(_APPROVAL, operation.approval, add, payloads=payloads)


def ids(operation: Operation) -> tuple[bytes, bytes | None, bytes]:
    """The ids of the trace, the parent and the span of a call.

    The span's is derived from the operation's, and so is the trace's where the call did not say to which trace it belongs:
    an operation that is delivered again is the same span.
    """
    digest = sha256(operation.id.encode()).digest()
    context = operation.context or _NOWHERE
    trace_id = _read_id(context.trace_id, 16)
    if trace_id is None:
        return digest[:16], None, digest[16:24]
    return trace_id, _read_id(context.parent_span_id, 8), digest[16:24]


def _read_id(text: str | None, size: int) -> bytes | None:
    """An id from its hex digits; None for what is none, such as all zeros."""
    if text is None or len(text) != 2 * size:
        return None
    try:
        data = bytes.fromhex(text)  # which passes over spaces
    except ValueError:  # stored or made by somebody else
        return None
    return data if len(data) == size and any(data) else None


def nanoseconds(moment: datetime) -> int:
    """Since the Unix epoch, as near as 64 bits hold it."""
    since = moment.astimezone(UTC) - _EPOCH
    whole = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
    return min(max(whole, 0), _LATEST)


def _later(moment: int, milliseconds: int) -> int:
    return min(moment + milliseconds * _NANOSECONDS_A_MILLISECOND, _LATEST)


def _put(add: Add, key: str, value: Any, put: Callable[[KeyValue, Any], None] = _put_text) -> None:
    attribute = add()
    attribute.key = key
    put(attribute, value)


def _put_rows(rows: list[_Row], part: object, add: Add, *, payloads: bool) -> None:
    for read, key, put, payload in rows:
        value = read(part)
        if value is not None and (payloads or not payload):
            attribute = add()
            attribute.key = key
            put(attribute, value)


def _attributes(operation: Operation, add: Add, *, payloads: bool) -> None:
    """What a span and a log record have in common."""
    _put(add, *EXECUTE_TOOL)
    _put_rows(_OPERATION, operation, add, payloads=payloads)
    for read, rows in _PARTS:
        part = read(operation)
        if part is not None:
            _put_rows(rows, part, add, payloads=payloads)
    for key, value in chain(shared_attributes(operation), own_attributes(operation)):
        _put(add, key, value)
    if operation.result_meta is not None and operation.result_meta.rounds is not None:
        _put(add, "trio_oplog.rounds", operation.result_meta.rounds, _put_whole)
    if payloads and operation.result_summary is not None:
        _put(add, "gen_ai.tool.call.result", operation.result_summary)


def resource(attributes: Mapping[str, str]) -> Resource:
    """Who sends: a resource with these attributes."""
    made = Resource()
    for key, value in attributes.items():
        _put(made.attributes.add, key, value)
    return made


def scope(version: str) -> InstrumentationScope:
    """What made the spans: this package."""
    return InstrumentationScope(name="trio_oplog", version=version)
