"""Step 5: metrics as the body of a request in OTLP.  Sans-IO.

Needs ``opentelemetry-proto``, so it is imported by whoever makes a ``MetricsPusher``, and not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    NumberDataPoint,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as MetricMessage

from trio_oplog import __version__
from trio_oplog._metrics.model import Counter, Gauge, Metric
from trio_oplog._otlp import mapping

_CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


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
