"""Step 2: how long calls took, by tool and error: ``mcp.client.operation.duration`` or ``mcp.server.operation.duration``."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import attrs

from trio_oplog._metrics.model import Attributes, Histogram, HistogramPoint
from trio_oplog._operation import Operation, Submitter
from trio_oplog._otlp import metric_attributes

BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""In seconds, as OpenTelemetry's conventions for MCP want them."""
MAX_SERIES: Final = 2000
"""How many sets of attributes there may be, which is the default of OpenTelemetry's SDKs.  Peers choose the names of tools."""
_OVERFLOW: Final[Attributes] = (("otel.metric.overflow", "true"),)


@attrs.define
class _Series:
    counts: list[int] = attrs.Factory(lambda: [0] * (len(BOUNDS) + 1))
    sum: float = 0.0
    min: float = float("inf")
    max: float = 0.0


class Durations:
    """Notes how long each operation took, and hands it on.

    Args:
        submitter: Takes the operations.
        place: ``"client"`` or ``"server"``: on which side of the connection the calls are seen.
        max_series: The most sets of attributes; at least 1.  What would be one more counts under ``otel.metric.overflow``.
    """

    def __init__(self, submitter: Submitter, place: str, *, max_series: int = MAX_SERIES) -> None:
        self._submitter = submitter
        self._place = place
        self._max_series = max_series
        self._series: dict[Attributes, _Series] = {}

    def submit(self, operation: Operation, /) -> None:
        """Note how long it took, and hand it on.

        Args:
            operation: A finished operation.
        """
        attributes = metric_attributes(operation)
        series = self._series.get(attributes)
        if series is None:
            # The last place is for all that do not fit.
            if len(self._series) >= self._max_series - 1:
                attributes = _OVERFLOW
            series = self._series.setdefault(attributes, _Series())
        seconds = operation.duration_ms / 1000
        series.counts[bisect_left(BOUNDS, seconds)] += 1
        series.sum += seconds
        series.min = min(series.min, seconds)
        series.max = max(series.max, seconds)
        self._submitter.submit(operation)

    def collect(self) -> Histogram:
        """What was noted so far."""
        return Histogram(
            name=f"mcp.{self._place}.operation.duration",
            unit="s",
            help="How long tool calls took, from the request to its answer.",
            bounds=BOUNDS,
            points=[
                HistogramPoint(attributes=key, counts=tuple(one.counts), sum=one.sum, min=one.min, max=one.max)
                for key, one in self._series.items()
            ],
        )
