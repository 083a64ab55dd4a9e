"""Step 1: a metric and its points, as OpenTelemetry has them; sums count from the beginning of the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from attrs import frozen

Attributes: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, in an order that is always the same."""


@frozen
class Point:
    """One number.

    Attributes:
        value: It.
        attributes: What it is the number of.
    """

    value: float
    attributes: Attributes = ()


@frozen(kw_only=True)
class HistogramPoint:
    """How often values fell where.

    Attributes:
        attributes: What they are values of.
        counts: How many were in each bucket: one more than there are bounds.
        sum: All of them added up.
        min: The smallest.
        max: The largest.
    """

    attributes: Attributes
    counts: tuple[int, ...]
    sum: float
    min: float
    max: float

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


@frozen(kw_only=True)
class _Described:
    """What every metric has.

    Attributes:
        name: As OpenTelemetry spells it: words with dots between them.
        unit: A code of UCUM: ``s``, ``By``, ``{operation}``.
        help: What it says, in one sentence.
    """

    name: str
    unit: str
    help: str


@frozen(kw_only=True)
class Counter(_Described):
    """Numbers that only grow.

    Attributes:
        points: One for each set of attributes.
    """

    points: Sequence[Point]


@frozen(kw_only=True)
class Gauge(_Described):
    """Numbers of this moment.

    Attributes:
        points: One for each set of attributes.
    """

    points: Sequence[Point]


@frozen(kw_only=True)
class Histogram(_Described):
    """How often values fell where.

    Attributes:
        bounds: The upper bound of each bucket but the last one, which belongs to it.
        points: One for each set of attributes.
    """

    bounds: Sequence[float]
    points: Sequence[HistogramPoint]


Metric: TypeAlias = Counter | Gauge | Histogram
