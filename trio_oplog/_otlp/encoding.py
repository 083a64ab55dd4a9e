"""Spans, log records and metrics as the bodies of requests, and what an answer to one says.  Sans-IO.

Needs ``opentelemetry-proto``, so it is imported by whoever makes an ``Otlp``, and not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    NumberDataPoint,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as MetricMessage
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from trio_oplog import __version__
from trio_oplog._metrics import Counter, Gauge, Metric
from trio_oplog._operation import Operation
from trio_oplog._otlp import mapping

_CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


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


def metrics_body(metrics: Iterable[Metric], resource: Mapping[str, str], *, start: int, now: int) -> bytes:
    """The body of a request that carries metrics.

    Args:
        metrics: What to send.
        resource: Who has them.
        start: Since when they count, in nanoseconds since the Unix epoch.
        now: When they were collected, likewise.
    """
    request = ExportMetricsServiceRequest()
    sent = request.resource_metrics.add(resource=mapping.resource(resource))
    scope = sent.scope_metrics.add(scope=mapping.scope(__version__))
    for metric in metrics:
        if metric.points:
            _write(metric, start, now, into=scope.metrics.add())
    return request.SerializeToString()


def _write(metric: Metric, start: int, now: int, *, into: MetricMessage) -> None:
    into.name, into.unit, into.description = metric.name, metric.unit, metric.help
    if isinstance(metric, Gauge):
        for point in metric.points:
            _number(point.value, point.attributes, into.gauge.data_points.add(time_unix_nano=now))
    elif isinstance(metric, Counter):
        into.sum.aggregation_temporality = _CUMULATIVE
        into.sum.is_monotonic = True
        for point in metric.points:
            _number(point.value, point.attributes, into.sum.data_points.add(start_time_unix_nano=start, time_unix_nano=now))
    else:
        into.histogram.aggregation_temporality = _CUMULATIVE
        for counted in metric.points:
            made = into.histogram.data_points.add(
                start_time_unix_nano=start,
                time_unix_nano=now,
                count=counted.count,
                sum=counted.sum,
                min=counted.min,
                max=counted.max,
                bucket_counts=counted.counts,
                explicit_bounds=metric.bounds,
            )
            _label(counted.attributes, made)


def _number(value: float, attributes: Iterable[tuple[str, str]], point: NumberDataPoint) -> None:
    if isinstance(value, int):
        point.as_int = value
    else:
        point.as_double = value
    _label(attributes, point)


def _label(attributes: Iterable[tuple[str, str]], point: NumberDataPoint | HistogramDataPoint) -> None:
    for key, value in attributes:
        made = point.attributes.add()
        made.key = key
        made.value.string_value = value
