"""What a receiver of OTLP got from real sockets, decoded with OpenTelemetry's own classes."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from trio_oplog.testing import FaultyEndpoint
from trio_oplog.testing._endpoint import Request


def base(endpoint: FaultyEndpoint) -> str:
    """The address of an endpoint without a path."""
    return endpoint.url.removesuffix("/internal/operations")


def content(headers: Any, body: bytes) -> bytes:
    """The body of a request as it was before it was compressed."""
    assert headers["content-type"] == "application/x-protobuf"
    assert headers.get("content-encoding") in (None, "gzip")
    return gzip.decompress(body) if "content-encoding" in headers else body


def spans_in(data: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(data)
    return [span for sent in request.resource_spans for scope in sent.scope_spans for span in scope.spans]


def spans(requests: Iterable[Request]) -> list[Span]:
    return [span for request in requests for span in spans_in(content(request.headers, request.body))]


def log_records(requests: Iterable[Request]) -> list[LogRecord]:
    bodies = [ExportLogsServiceRequest.FromString(content(request.headers, request.body)) for request in requests]
    return [record for body in bodies for sent in body.resource_logs for scope in sent.scope_logs for record in scope.log_records]


def ids(found: Iterable[Span]) -> list[str]:
    """The operation ids of spans."""
    return [
        attribute.value.string_value
        for span in found
        for attribute in span.attributes
        if attribute.key == "trio_oplog.operation.id"
    ]


def partial_success(rejected: int, message: str = "") -> bytes:
    """The body of an answer."""
    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    ).SerializeToString()
