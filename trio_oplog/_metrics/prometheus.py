"""Step 4: metrics as Prometheus reads them.  Needs ``prometheus-client``.

Names follow OpenTelemetry's rules for Prometheus: dots become underscores, and the unit is the end of the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family

from trio_oplog._metrics.model import Attributes, Counter, Gauge, Metric

_ODD: Final = re.compile("[^a-zA-Z0-9_]")
_UNITS: Final = {"s": "seconds", "By": "bytes"}


class _Families:
    """What a registry asks for metrics."""

    def __init__(self, collect: Callable[[], Iterable[Metric]], resource: Mapping[str, str]) -> None:
        self._collect = collect
        self._resource = resource

    def collect(self) -> Iterator[Family]:
        """Yield the metrics of this moment, and who has them."""
        info = {_name(key): value for key, value in self._resource.items()}
        yield InfoMetricFamily("target", "Who has these metrics.", info)
        for metric in self._collect():
            yield _family(metric)


def registry(collect: Callable[[], Iterable[Metric]], resource: Mapping[str, str]) -> CollectorRegistry:
    """A registry of its own, which nothing else of the process is in.

    Args:
        collect: The metrics of the moment in which it is called.
        resource: Who has them, as attributes of OpenTelemetry.
    """
    made = CollectorRegistry(auto_describe=False)
    made.register(_Families(collect, resource))
    return made


def _name(name: str) -> str:
    return _ODD.sub("_", name)


def _family(metric: Metric) -> Family:
    name, unit = _name(metric.name), _UNITS.get(metric.unit, "")
    # Every point of a family has the same labels; one that says nothing is empty.
    keys = sorted({key for point in metric.points for key, _ in point.attributes})
    labels = [_name(key) for key in keys]
    if isinstance(metric, Counter | Gauge):
        made = (CounterMetricFamily if isinstance(metric, Counter) else GaugeMetricFamily)(
            name, metric.help, labels=labels, unit=unit
        )
        for point in metric.points:
            made.add_metric(_values(keys, point.attributes), point.value)
        return made
    histogram = HistogramMetricFamily(name, metric.help, labels=labels, unit=unit)
    bounds = [*map(str, map(float, metric.bounds)), "+Inf"]
    for counted in metric.points:
        total, buckets = 0, []
        for bound, count in zip(bounds, counted.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        histogram.add_metric(_values(keys, counted.attributes), buckets, counted.sum)
    return histogram


def _values(keys: list[str], attributes: Attributes) -> list[str]:
    found = dict(attributes)
    return [found.get(key, "") for key in keys]
