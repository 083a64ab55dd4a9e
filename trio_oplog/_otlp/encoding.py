"""Spans and log records as the bodies of requests, and what an answer to one says.  Sans-IO.

Needs ``opentelemetry-proto``, so it is imported by whoever makes an ``Otlp``, and not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from trio_oplog import __version__
from trio_oplog._operation import Operation
from trio_oplog._otlp import mapping


class Encoder(Protocol):
    """How operations of one signal are written.

    A piece is what one operation adds to a body: the encoded ``ScopeSpans`` or ``ScopeLogs`` that holds it alone.  Pieces one
    after the other are, as protobuf merges messages, the one that holds them all.
    """

    def piece(self, operation: Operation) -> bytes:
        """Encode one operation.

        Raises:
            TypeError, ValueError: A field holds what OTLP cannot; only an Operation made by hand can.
        """

    def body(self, pieces: Iterable[bytes]) -> bytes:
        """The body of one request."""

    def rejected(self, answer: bytes) -> tuple[int, str]:
        """How many of a request's operations the endpoint did not take, and what it says; from the body of a 2xx.

        Raises:
            ValueError: It is no such answer.
        """


class SpanEncoder:
    """Operations as spans."""

    def __init__(self, kind: str, resource: Mapping[str, str], *, payloads: bool) -> None:
        self._kind = kind
        self._payloads = payloads
        self._empty = ExportTraceServiceRequest()
        spans = self._empty.resource_spans.add(resource=mapping.resource(resource))
        spans.scope_spans.add(scope=mapping.scope(__version__))

    def piece(self, operation: Operation) -> bytes:
        """See ``Encoder.piece``."""
        alone = ScopeSpans()
        mapping.span(operation, self._kind, payloads=self._payloads, into=alone.spans.add())
        return alone.SerializeToString()

    def body(self, pieces: Iterable[bytes]) -> bytes:
        """See ``Encoder.body``."""
        request = ExportTraceServiceRequest()
        request.CopyFrom(self._empty)
        request.resource_spans[0].scope_spans[0].MergeFromString(b"".join(pieces))
        return request.SerializeToString()

    def rejected(self, answer: bytes) -> tuple[int, str]:
        """See ``Encoder.rejected``."""
        partial = _parsed(ExportTraceServiceResponse, answer).partial_success
        return partial.rejected_spans, partial.error_message


class LogEncoder:
    """Operations as log records."""

    def __init__(self, resource: Mapping[str, str], *, payloads: bool) -> None:
        self._payloads = payloads
        self._empty = ExportLogsServiceRequest()
        logs = self._empty.resource_logs.add(resource=mapping.resource(resource))
        logs.scope_logs.add(scope=mapping.scope(__version__))

    def piece(self, operation: Operation) -> bytes:
        """See ``Encoder.piece``."""
        alone = ScopeLogs()
        mapping.log_record(operation, payloads=self._payloads, into=alone.log_records.add())
        return alone.SerializeToString()

    def body(self, pieces: Iterable[bytes]) -> bytes:
        """See ``Encoder.body``."""
        request = ExportLogsServiceRequest()
        request.CopyFrom(self._empty)
        request.resource_logs[0].scope_logs[0].MergeFromString(b"".join(pieces))
        return request.SerializeToString()

    def rejected(self, answer: bytes) -> tuple[int, str]:
        """See ``Encoder.rejected``."""
        partial = _parsed(ExportLogsServiceResponse, answer).partial_success
        return partial.rejected_log_records, partial.error_message


def _parsed(kind: type[Any], answer: bytes) -> Any:
    try:
        return kind.FromString(answer)
    except DecodeError:
        raise ValueError("no protobuf") from None


class _Partial(msgspec.Struct, rename="camel"):
    rejected_spans: int = 0
    rejected_log_records: int = 0
    error_message: str = ""


class _Response(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


# Numbers of 64 bits are strings in protobuf's JSON.
_read_json = msgspec.json.Decoder(_Response, strict=False).decode


def rejected_in_json(answer: bytes) -> tuple[int, str]:
    """As ``Encoder.rejected``, of an endpoint that answers in JSON whatever it is sent.

    Raises:
        ValueError: It is no such answer.
    """
    try:
        partial = _read_json(answer).partial_success or _Partial()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ValueError("no JSON") from None
    return partial.rejected_spans + partial.rejected_log_records, partial.error_message
