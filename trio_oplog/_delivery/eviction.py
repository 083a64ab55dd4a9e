"""Step 7: who goes when a spool is full: records of the workspace that holds the most of it."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

import attrs

from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool_file import row_size


@attrs.frozen
class Candidates:
    """What a full spool holds, and what has no room in it.

    Attributes:
        held: How many bytes the file holds of each workspace, in flight or not.
        ready: Records in memory that are in the file too, from old to new.
        unread: How many bytes of each workspace are in the file only.
        rest: Records that have no room, from old to new.
    """

    held: Counter[str]
    ready: Iterable[Record]
    unread: Mapping[str, int]
    rest: Iterable[Record]


@attrs.define
class Chosen:
    """Who goes: records, and so many bytes of what is in the file only."""

    ready: list[Record] = attrs.Factory(list)
    unread: dict[str, int] = attrs.Factory(dict)
    rest: list[Record] = attrs.Factory(list)


def choose(candidates: Candidates, need: int, *, oldest: bool) -> Chosen:
    """Choose who goes to make room, each time one of the workspace that holds the most, what has no room counted in.

    Args:
        candidates: Among whom.
        need: How many bytes have to go.
        oldest: Whether the oldest of a workspace goes first: what memory holds of the file, then what is in the file only, then
            what has no room.  Else the newest, which is the other way round.
    """
    ready, rest = _by_workspace(candidates.ready), _by_workspace(candidates.rest)
    unread = dict(candidates.unread)
    held = candidates.held + Counter({name: sum(map(row_size, records)) for name, records in rest.items()})
    chosen = Chosen()
    heap = [(-size, name) for name, size in held.items()]
    heapify(heap)
    while need > 0 and heap:
        most, name = heappop(heap)
        size = 0
        for place in ("ready", "unread", "rest") if oldest else ("rest", "unread", "ready"):
            if place == "unread":
                if unread.get(name):
                    # Down to the next one, so that they take turns.
                    size = min(need, unread[name], max(-most + (heap[0][0] if heap else 0), 1))
                    unread[name] -= size
                    chosen.unread[name] = chosen.unread.get(name, 0) + size
                    break
            elif waiting := (ready if place == "ready" else rest).get(name):
                victim = waiting.popleft() if oldest else waiting.pop()
                (chosen.ready if place == "ready" else chosen.rest).append(victim)
                size = row_size(victim)
                break
        if size:  # else everything that is left of it is in flight
            need -= size
            heappush(heap, (most + size, name))
    return chosen


def _by_workspace(records: Iterable[Record]) -> dict[str, deque[Record]]:
    lanes: dict[str, deque[Record]] = defaultdict(deque)
    for record in records:
        lanes[record.workspace].append(record)
    return lanes
