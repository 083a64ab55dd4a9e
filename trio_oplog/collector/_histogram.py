"""Histograms of durations: a few bytes for any number of them, and percentiles that are at most 5 % off.

A histogram is a ``dict`` of bucket to count.  Bucket 0 holds 0 ms; each other one holds the whole numbers of milliseconds from
its first to at most 21/19 of it, so that the value between the two that stands for the bucket is within 5 % of all of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec

Histogram: TypeAlias = dict[int, int]

LARGEST: Final = (1 << 63) - 1
"""The largest number that both databases hold; longer durations and sums count as this."""


def _last_of_each() -> list[int]:
    found, last = [0], 0
    while last < LARGEST:
        last = (last + 1) * 21 // 19
        found.append(last)
    return found


_LAST: Final = _last_of_each()
_VALUES: Final = [0.0] + [2 * (before + 1) * last / (before + 1 + last) for before, last in pairwise(_LAST)]

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Histogram).decode


def bucket_of(milliseconds: int) -> int:
    """The bucket of a duration from 0 to ``LARGEST``."""
    return bisect_left(_LAST, milliseconds)


def last_of(bucket: int) -> int:
    """The longest duration of a bucket, in milliseconds."""
    return _LAST[bucket]


def merge(into: Histogram, other: Mapping[int, int]) -> None:
    """Add the counts of one histogram to another."""
    for bucket, count in other.items():
        into[bucket] = into.get(bucket, 0) + count


def together(one: bytes, other: bytes) -> bytes:
    """Two encoded histograms as one."""
    both = decode(one)
    merge(both, decode(other))
    return encode(both)


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """The duration that this share of the durations does not exceed (nearest rank), within 5 %.

    Args:
        histogram: Which durations there were.
        share: Above 0, at most 1: 0.95 for the 95th percentile.

    Returns:
        Milliseconds, or ``None`` where nothing was counted.
    """
    rank = math.ceil(share * sum(histogram.values()))
    for bucket in sorted(histogram):
        rank -= histogram[bucket]
        if rank <= 0:
            return _VALUES[bucket]
    return None
