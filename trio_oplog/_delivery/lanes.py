"""Step 7: what waits, in one lane for each workspace, so that a flood of one workspace costs nobody else a record or a wait."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import count
from typing import Final, Generic, Protocol, TypeVar


class Item(Protocol):
    """What can wait in a lane."""

    @property
    def workspace(self) -> str:
        """Whose lane it waits in."""

    @property
    def size(self) -> int:
        """What it weighs, in bytes."""


T = TypeVar("T", bound=Item)

_number: Final = count()
_SLACK: Final = 64


class Measure(Enum):
    """What there is too much of."""

    COUNT = "count"
    BYTES = "bytes"


class Lane(Generic[T]):
    """What one workspace has waiting, in order of arrival."""

    __slots__ = ("bytes", "items", "number")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.bytes = 0
        self.number = next(_number)

    def weight(self, measure: Measure) -> int:
        """How much it holds."""
        return len(self.items) if measure is Measure.COUNT else self.bytes


class _Ranking(Generic[T]):
    """Which lane holds the most by one measure, in O(log n) for each change.

    A heap in which every change has an entry of its own.  An entry that no longer says what its lane holds is passed over.
    """

    def __init__(self, measure: Measure, lanes: Iterable[Lane[T]]) -> None:
        self._measure = measure
        self._heap: list[tuple[int, int, Lane[T]]] = []
        self._rebuild(lanes)

    def _rebuild(self, lanes: Iterable[Lane[T]]) -> None:
        self._heap = [(-lane.weight(self._measure), lane.number, lane) for lane in lanes]
        heapq.heapify(self._heap)

    def note(self, lane: Lane[T], lanes: OrderedDict[str, Lane[T]]) -> None:
        """A lane holds more or less than before."""
        if len(self._heap) > 2 * len(lanes) + _SLACK:
            self._rebuild(lanes.values())
        else:
            heapq.heappush(self._heap, (-lane.weight(self._measure), lane.number, lane))

    def top(self) -> Lane[T]:
        """The lane that holds the most; there must be one that holds something."""
        while True:
            weight, _, lane = self._heap[0]
            if lane.items and -weight == lane.weight(self._measure):
                return lane
            heapq.heappop(self._heap)


class Lanes(Generic[T]):
    """Items that wait, taken from the workspaces in turn and from each in order of arrival.

    Nothing is kept of a workspace that has nothing waiting.
    """

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self._lanes: OrderedDict[str, Lane[T]] = OrderedDict()  # the next one to be served comes first
        # Made when somebody has to go for the first time, and kept up until nothing waits.
        self._rankings: dict[Measure, _Ranking[T]] = {}

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[T]:
        """Everything, lane by lane."""
        for lane in self._lanes.values():
            yield from lane.items

    def lane(self, workspace: str) -> Lane[T] | None:
        """What one workspace has waiting; ``None`` for nothing."""
        return self._lanes.get(workspace)

    @property
    def workspaces(self) -> int:
        """How many have something waiting."""
        return len(self._lanes)

    @property
    def heads(self) -> Iterator[T]:
        """The oldest of each workspace."""
        return (lane.items[0] for lane in self._lanes.values())

    def clear(self) -> None:
        """Let nothing wait any more."""
        self._lanes.clear()
        self._rankings.clear()
        self.count = self.bytes = 0

    def append(self, item: T) -> None:
        """Let one wait behind those of its workspace."""
        workspace = item.workspace
        lanes = self._lanes
        lane = lanes.get(workspace)
        if lane is None:
            lane = lanes.setdefault(workspace, Lane())
        lane.items.append(item)
        size = item.size
        lane.bytes += size
        self.bytes += size
        self.count += 1
        if self._rankings:
            self._note(lane)

    def popleft(self) -> T:
        """The oldest of the workspace whose turn it is; there must be one."""
        lanes = self._lanes
        workspace = next(iter(lanes))
        item = self._pop(workspace, lanes[workspace], oldest=True)
        if workspace in lanes:
            lanes.move_to_end(workspace)
        return item

    def make_way(self, newcomer: T, measure: Measure, *, oldest: bool) -> T:
        """Decide who goes when a newcomer makes it too much, and take that one out; something must be waiting.

        It is one of the workspace that holds the most, the newcomer counted in: so a workspace that holds no more than its
        share, which is the limit divided by the workspaces that have something waiting, loses nothing.

        Args:
            newcomer: Who is about to be appended.
            measure: What there is too much of.
            oldest: Whether the oldest of that workspace goes, rather than the newest.

        Returns:
            The newcomer itself, or one that no longer waits.
        """
        own = self._lanes.get(newcomer.workspace)
        mine = (own.weight(measure) if own is not None else 0) + (1 if measure is Measure.COUNT else newcomer.size)
        heaviest = self._ranking(measure).top()
        most = heaviest.weight(measure)
        # Among equals the oldest goes, if it is the oldest who goes.
        if most > mine or (most == mine and oldest and own is None):
            return self._pop(heaviest.items[0].workspace, heaviest, oldest=oldest)
        if own is not None and oldest:
            return self._pop(newcomer.workspace, own, oldest=True)
        return newcomer

    def _pop(self, workspace: str, lane: Lane[T], *, oldest: bool) -> T:
        item = lane.items.popleft() if oldest else lane.items.pop()
        size = item.size
        lane.bytes -= size
        self.bytes -= size
        self.count -= 1
        if not lane.items:
            del self._lanes[workspace]
        if self._rankings:
            self._note(lane)
        return item

    def _ranking(self, measure: Measure) -> _Ranking[T]:
        ranking = self._rankings.get(measure)
        if ranking is None:
            ranking = self._rankings[measure] = _Ranking(measure, self._lanes.values())
        return ranking

    def _note(self, lane: Lane[T]) -> None:
        if not self.count:
            self._rankings.clear()
        for ranking in self._rankings.values():
            ranking.note(lane, self._lanes)
