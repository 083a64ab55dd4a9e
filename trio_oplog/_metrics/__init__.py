"""Metrics of a program that records: durations of calls, open calls, and the account of each destination.

In: the statistics of a Client, a gateway or an Interceptor, and every operation on its way.  Out: metrics, to be sent or shown.
Their names and attributes are those of ``_otlp``, on which this room stands; ``_otlp`` knows nothing of it.

    1  model.py       a metric and its points
    2  durations.py   how long calls took: a Submitter in front of another, which keeps a histogram
    3  sources.py     metrics out of the statistics of a Client, a gateway, an Interceptor
    4  prometheus.py  metrics as Prometheus reads them; needs prometheus-client
    5  encoding.py    metrics as the body of a request in OTLP; needs opentelemetry-proto
    6  push.py        sends such requests, at an interval and at the end
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
