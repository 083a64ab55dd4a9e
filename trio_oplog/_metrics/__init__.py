"""What a program does, as numbers.

In: the account of a Client, the statistics of a gateway, and every operation on its way.  Out: metrics, to be sent or shown.

    1  model.py       a metric and its points
    2  durations.py   how long calls took: a Submitter in front of another, which keeps a histogram
    3  sources.py     metrics out of the statistics of a Client, a gateway, an Interceptor
    4  prometheus.py  metrics as Prometheus reads them; needs prometheus-client
    5  push.py        metrics sent as OTLP; needs opentelemetry-proto
"""

from __future__ import annotations

from trio_oplog._metrics.durations import BOUNDS, Durations
from trio_oplog._metrics.model import Counter, Gauge, Histogram, HistogramPoint, Metric, Point
from trio_oplog._metrics.push import INTERVAL, MetricsPusher
from trio_oplog._metrics.sources import of_client, of_gateway, of_interceptor

__all__ = [
    "BOUNDS",
    "INTERVAL",
    "Counter",
    "Durations",
    "Gauge",
    "Histogram",
    "HistogramPoint",
    "Metric",
    "MetricsPusher",
    "Point",
    "of_client",
    "of_gateway",
    "of_interceptor",
    "prometheus",  # a module, which is imported by who needs it: it needs an extra
]
