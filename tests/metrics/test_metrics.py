"""Metrics: what is counted, as OTLP and as Prometheus reads it."""

from __future__ import annotations

from collections import Counter as Tally
from datetime import UTC, datetime
from itertools import pairwise
from types import MappingProxyType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.otlp.expecting import plain_attributes
from tests.otlp.strategies import full_operations
from tests.otlp.test_mapping import FULL, operation
from trio_oplog import DropReason, InterceptorStatistics, Operation, Outcome, ResultMeta, Statistics
from trio_oplog._metrics import (
    BOUNDS,
    Counter,
    Durations,
    Gauge,
    Histogram,
    HistogramPoint,
    Metric,
    Point,
    of_client,
    of_interceptor,
)
from trio_oplog._metrics.encoding import metrics_body
from trio_oplog._metrics.prometheus import registry
from trio_oplog._otlp.encoding import SpanEncoder
from trio_oplog.testing import RecordingSubmitter

RESOURCE = {"service.name": "gateway"}


def collected(durations: Durations) -> dict[tuple[tuple[str, str], ...], HistogramPoint]:
    return {point.attributes: point for point in durations.collect().points}


@given(st.lists(full_operations(), max_size=8))
@example([FULL, FULL, operation()])
def test_every_operation_is_counted_once_where_its_duration_falls_and_handed_on(calls: list[Operation]) -> None:
    recorder = RecordingSubmitter()
    durations = Durations(recorder, "server")
    for call in calls:
        durations.submit(call)
    assert recorder.operations == calls
    points = durations.collect().points
    counts = [sum(place) for place in zip(*(point.counts for point in points), strict=True)] or [0] * 15
    edges = [float("-inf"), *BOUNDS, float("inf")]
    fallen = [sum(low < call.duration_ms / 1000 <= high for call in calls) for low, high in pairwise(edges)]
    assert counts == fallen
    assert sum(point.sum for point in points) == pytest.approx(sum(call.duration_ms for call in calls) / 1000)
    assert Tally(dict(point.attributes)["gen_ai.tool.name"] for point in points for _ in range(point.count)) == Tally(
        call.tool for call in calls
    )


def test_the_duration_of_a_call_is_told_by_what_its_span_says() -> None:
    durations = Durations(RecordingSubmitter(), "client")
    durations.submit(FULL)
    metric = durations.collect()
    assert (metric.name, metric.unit, metric.bounds) == ("mcp.client.operation.duration", "s", BOUNDS)
    assert dict(metric.points[0].attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "mcp.method.name": "tools/call",
        "error.type": "-32603",
        "rpc.response.status_code": "-32603",
        "mcp.protocol.version": "2025-11-25",
        "network.transport": "tcp",
        "network.protocol.name": "websocket",
    }


def test_the_smallest_and_the_largest_duration_are_kept() -> None:
    durations = Durations(RecordingSubmitter(), "client")
    for milliseconds in (20, 5, 700_000):
        durations.submit(operation(duration_ms=milliseconds))
    (point,) = durations.collect().points
    assert (point.min, point.max, point.count, point.counts[0], point.counts[1], point.counts[-1]) == (0.005, 700.0, 3, 1, 1, 1)


def test_a_peer_that_invents_tools_costs_a_bounded_number_of_series() -> None:
    durations = Durations(RecordingSubmitter(), "server", max_series=3)
    for number in range(10):
        durations.submit(operation(tool=f"tool-{number}"))
    durations.submit(operation(tool="tool-0"))
    points = collected(durations)
    assert len(points) == 3
    assert points[("otel.metric.overflow", "true"),].count == 8
    assert sum(point.count for point in points.values()) == 11


ACCOUNT = Statistics(
    submitted=10,
    delivered=4,
    dropped=MappingProxyType(dict.fromkeys(DropReason, 0) | {DropReason.QUEUE_FULL: 3}),
    queued=2,
    in_flight=1,
    held=MappingProxyType({}),
    recovered=0,
    spooled=5,
    peak_queued=2,
    queued_bytes=2048,
    oldest_age=1.5,
    requests=7,
    failed_requests=1,
    callback_errors=0,
)
SEEN = InterceptorStatistics(
    client_frames=1,
    server_frames=1,
    unreadable_frames=0,
    open_calls=2,
    suspended_calls=1,
    recorded=0,
    evicted=0,
    unanswered=0,
    forgotten_approvals=0,
    submit_errors=0,
    redact_errors=0,
    internal_errors=0,
)


def test_the_metrics_of_a_client_are_its_account() -> None:
    points = {
        (metric.name, *(value for _, value in point.attributes)): point.value
        for metric in of_client({"store": ACCOUNT})
        for point in metric.points
    }
    assert {key: value for key, value in points.items() if value} == {
        ("trio_oplog.operations.submitted", "store"): 10,
        ("trio_oplog.operations.delivered", "store"): 4,
        ("trio_oplog.operations.dropped", "store", "queue_full"): 3,
        ("trio_oplog.operations.queued", "store"): 2,
        ("trio_oplog.operations.in_flight", "store"): 1,
        ("trio_oplog.queue.size", "store"): 2048,
        ("trio_oplog.queue.oldest_age", "store"): 1.5,
        ("trio_oplog.spool.committed", "store"): 5,
        ("trio_oplog.requests", "store"): 7,
        ("trio_oplog.requests.failed", "store"): 1,
    }
    assert {key[2] for key in points if key[0] == "trio_oplog.operations.dropped"} == set(DropReason)


def test_calls_that_wait_for_a_task_are_open() -> None:
    (metric,) = of_interceptor(SEEN)
    assert (metric.name, metric.points[0].value) == ("trio_oplog.calls.open", 3)


DURATIONS = Histogram(
    name="mcp.server.operation.duration",
    unit="s",
    help="How long.",
    bounds=(0.01, 1),
    points=[
        HistogramPoint(attributes=(("gen_ai.tool.name", "add"),), counts=(1, 2, 3), sum=4.5, min=0.001, max=2.0),
        HistogramPoint(attributes=(("error.type", "tool_error"),), counts=(0, 1, 0), sum=0.5, min=0.5, max=0.5),
    ],
)
METRICS: list[Metric] = [
    Counter(
        name="trio_oplog.requests", unit="{request}", help="Requests.", points=[Point(7, (("trio_oplog.destination", "a"),))]
    ),
    Gauge(name="trio_oplog.queue.oldest_age", unit="s", help="Age.", points=[Point(1.5)]),
    Gauge(name="trio_oplog.queue.size", unit="By", help="Size.", points=[Point(2048)]),
    DURATIONS,
    Counter(name="trio_oplog.nothing", unit="{call}", help="Nothing.", points=[]),
]


def test_metrics_in_otlp_say_what_was_collected() -> None:
    request = ExportMetricsServiceRequest.FromString(metrics_body(METRICS, RESOURCE, start=5, now=9))
    (sent,) = request.resource_metrics
    assert plain_attributes(sent.resource.attributes) == RESOURCE
    (scope,) = sent.scope_metrics
    assert scope.scope.name == "trio_oplog"
    counter, age, size, histogram = scope.metrics
    assert (counter.name, counter.unit, counter.description, counter.sum.is_monotonic) == (
        "trio_oplog.requests",
        "{request}",
        "Requests.",
        True,
    )
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert counter.sum.aggregation_temporality == histogram.histogram.aggregation_temporality == cumulative
    (point,) = counter.sum.data_points
    assert (point.as_int, point.start_time_unix_nano, point.time_unix_nano) == (7, 5, 9)
    assert plain_attributes(point.attributes) == {"trio_oplog.destination": "a"}
    assert (age.gauge.data_points[0].as_double, size.gauge.data_points[0].as_int) == (1.5, 2048)
    first, second = histogram.histogram.data_points
    assert (list(first.bucket_counts), list(first.explicit_bounds)) == ([1, 2, 3], [0.01, 1])
    assert (first.count, first.sum, first.min, first.max) == (6, 4.5, 0.001, 2.0)
    assert plain_attributes(second.attributes) == {"error.type": "tool_error"}


def test_the_scope_of_what_is_sent_has_our_version() -> None:
    body = SpanEncoder("server", RESOURCE, payloads=False).body([])
    assert b"trio_oplog" in body


def test_prometheus_reads_the_same() -> None:
    text = generate_latest(registry(lambda: METRICS, RESOURCE)).decode()
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples[("target_info", (("service_name", "gateway"),))] == 1
    assert samples[("trio_oplog_requests_total", (("trio_oplog_destination", "a"),))] == 7
    assert samples[("trio_oplog_queue_oldest_age_seconds", ())] == 1.5
    assert samples[("trio_oplog_queue_size_bytes", ())] == 2048
    name, add = "mcp_server_operation_duration_seconds", (("error_type", ""), ("gen_ai_tool_name", "add"))
    buckets = {labels: value for (sample, labels), value in samples.items() if sample == f"{name}_bucket"}
    assert [buckets[(add[0], add[1], ("le", bound))] for bound in ("0.01", "1.0", "+Inf")] == [1, 3, 6]
    assert samples[(f"{name}_count", add)] == 6
    assert samples[(f"{name}_sum", add)] == 4.5


def test_what_is_collected_is_of_the_moment_in_which_it_is_asked_for() -> None:
    durations = Durations(RecordingSubmitter(), "server")
    made = registry(lambda: [durations.collect()], RESOURCE)
    assert "gen_ai_tool_name" not in generate_latest(made).decode()
    durations.submit(operation(is_error=True, result_meta=ResultMeta(outcome=Outcome.TOOL_ERROR), started_at=datetime.now(UTC)))
    assert 'error_type="tool_error"' in generate_latest(made).decode()
