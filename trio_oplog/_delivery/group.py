"""Step 8: the records of one request, how often it failed and why, and where it waits to be made again."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from itertools import count
from typing import Final

from attrs import define, field

from trio_oplog._delivery.record import Record

HELD_MAX: Final = 256
"""The most groups that wait for another attempt before nothing new is begun."""
HELD_MAX_BYTES: Final = 16 * 1024 * 1024
"""The most bytes of them."""


@define(eq=False)
class Group:
    """Records that go in one request.

    Attributes:
        records: At least one, in order.
        as_batch: Whether they may go as NDJSON; a single record may go either way.
        began: When the first attempt for them began, on Trio's clock.
        failures: How many attempts for this very group failed.
        delivered_before: How many records of the client were delivered when this group, or the one that it is a part of, first
            failed; infinite before that.
        delivered_last: How many when this very group last failed.
        strikes: How many of the failures came while other records got through.
        struck_at: When the first of these was, on Trio's clock.
        problem: Why the last attempt failed; ``""`` before that.
        doubted: Why the batch was refused that this record, sent alone, is the proof of; ``""`` for any other group.
    """

    records: list[Record]
    as_batch: bool
    began: float
    failures: int = 0
    delivered_before: float = math.inf
    delivered_last: float = math.inf
    strikes: int = 0
    struck_at: float = math.inf
    problem: str = ""
    doubted: str = ""

    def part(self, start: int, stop: int | None = None, *, doubted: str = "") -> Group:
        """Some of its records as a group of their own.  A single record goes alone, as plain JSON."""
        records = self.records[start:stop]
        return Group(
            records,
            self.as_batch and len(records) > 1,
            self.began,
            delivered_before=self.delivered_before,
            problem=self.problem,
            doubted=doubted if len(records) == 1 else "",
        )

    def halves(self, *, doubted: str = "") -> list[Group]:
        """Two groups of about the same number of records; of a pair, the first may be the proof that batches are known."""
        middle = len(self.records) // 2
        return [self.part(0, middle, doubted=doubted), self.part(middle)]

    def first_and_rest(self, *, doubted: str) -> list[Group]:
        """The first record as the proof that a batch was refused for being one, and the rest."""
        return [self.part(0, 1, doubted=doubted), *([self.part(1)] if len(self.records) > 1 else [])]

    def one_by_one(self) -> list[Group]:
        """A group for each record."""
        return [self.part(place, place + 1) for place in range(len(self.records))]


@define(eq=False)
class Held:
    """Groups that failed and wait for their next attempt, while others go on."""

    _heap: list[tuple[float, int, Group]] = field(factory=list, init=False)
    _order: Iterator[int] = field(factory=count, init=False)
    _bytes: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Group]:
        return (group for _, _, group in self._heap)

    @property
    def due(self) -> float:
        """When the next one is to be sent, on Trio's clock; infinite when there is none."""
        return self._heap[0][0] if self._heap else math.inf

    @property
    def is_full(self) -> bool:
        """Whether no more work should be begun before some of this is done."""
        return len(self._heap) >= HELD_MAX or self._bytes >= HELD_MAX_BYTES

    def add(self, group: Group, due: float) -> None:
        """Keep a group until that time."""
        heapq.heappush(self._heap, (due, next(self._order), group))
        self._bytes += _size(group)

    def pop(self) -> Group:
        """Take the one that is due first; there must be one."""
        _, _, group = heapq.heappop(self._heap)
        self._bytes -= _size(group)
        return group


def _size(group: Group) -> int:
    return sum(len(record.wire) for record in group.records)
