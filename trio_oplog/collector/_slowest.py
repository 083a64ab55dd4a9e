"""The slowest records, found by the rollups: of all records those alone are read that may be among them.

Each cell of the rollups has a histogram of durations, and the highest bucket in it says how long a record of it took at most.
What promises the longest record is opened first: a day gives hours, an hour gives series, and these give records.  That ends
when all that were found are as slow as anything may be that is left.  Records that were pruned still count in the cells, which
then promise more than they hold: so the search goes on with the next ones.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heappushpop
from typing import Final, NamedTuple, Self, TypeAlias

import msgspec
from attrs import evolve, frozen
from sqlalchemy import ColumnElement, Connection, select

from trio_oplog._errors import QueryError
from trio_oplog._listing import ListQuery
from trio_oplog.collector._cells import DAY, HOUR
from trio_oplog.collector._histogram import LARGEST, decode, last_of
from trio_oplog.collector._pages import SCANNED_AT_ONCE, Place
from trio_oplog.collector._positions import Position
from trio_oplog.collector._queries import AT_ONCE, LISTED, Asked, ask, call_series, in_time
from trio_oplog.collector._rows import MICROSECONDS
from trio_oplog.collector._schema import operations, rollups, series

SLOWEST_DEFAULT: Final = 20
SLOWEST_MAX: Final = 100
"""How many of the slowest may be asked for."""

_UNASKED: Final = ("id", "id_prefix", "thread_id", "q", "cursor")

_Found: TypeAlias = tuple[int, int, int]
"""How long a record took, when it began, and its number: of two that took as long, the newer one is the greater."""


class _Timed(msgspec.Struct, gc=False):
    duration_ms: int


_read_timed: Final = msgspec.json.Decoder(_Timed).decode


def duration_of(body: bytes) -> int:
    """How long a record took, as the rollups count it: 0 for what is no record."""
    try:
        return min(max(_read_timed(body).duration_ms, 0), LARGEST)
    except msgspec.MsgspecError:
        return 0


def check_slowest(query: ListQuery) -> ListQuery:
    """The query, if the slowest can be found by it.

    Raises:
        QueryError: It has a condition that no rollup counts by, or a limit above ``SLOWEST_MAX``; names the field.
    """
    for name in _UNASKED:
        if getattr(query, name) is not None:
            raise QueryError(name, "does not go together with the slowest")
    if query.limit > SLOWEST_MAX:
        raise QueryError("limit", f"must be a whole number from 1 to {SLOWEST_MAX}")
    return query


class _Promise(NamedTuple):
    """Where records may be.  The first in the order of these promises the slowest, and of the same duration the newest.

    Attributes:
        longest: How long one may have taken at most, negative.
        end: All of them began before then, in microseconds since 1970, negative.
        span: A day or an hour.
        start: When that begins, in seconds since 1970.
        numbers: Which series of an hour; empty where that is not known yet.
        before: Only the records after this position.
    """

    longest: int
    end: int
    span: int
    start: int
    numbers: tuple[int, ...] = ()
    before: Position | None = None


@frozen
class SlowestSearch:
    """A search for the slowest, as far as it came.

    Attributes:
        asked: What is asked for; ``None`` where there is nothing.
        limit: How many.
        promises: Where more may be, as a heap.  It has at most the days of the statistics, and of those that were opened the
            hours and series.
        found: The slowest up to now, as a heap.
    """

    asked: Asked | None
    limit: int
    promises: list[_Promise]
    found: list[_Found]

    @classmethod
    def begin(cls, connection: Connection, query: ListQuery) -> Self:
        """A search that knows what each day promises."""
        search = cls(ask(connection, query), query.limit, [], [])
        if search.asked is not None:
            search._add_cells(connection, search.asked, DAY, [])
        return search

    @property
    def is_over(self) -> bool:
        """Whether nothing that is left can be among the slowest."""
        if len(self.found) < self.limit or not self.promises:
            return not self.promises
        return (-self.promises[0].longest, -self.promises[0].end) <= self.found[0][:2]

    def advance(self, connection: Connection) -> Self:
        """The same search, about ``SCANNED_AT_ONCE`` records or cells further.

        This one stays as it is, since a transaction may be tried twice.
        """
        search = evolve(self, promises=[*self.promises], found=[*self.found])
        left = SCANNED_AT_ONCE
        while left > 0 and not search.is_over and search.asked is not None:
            left -= search.open_next(connection, search.asked)
        return search

    @property
    def places(self) -> list[Place]:
        """Where those are that were found, the slowest first."""
        return [(started_at, seq) for _, started_at, seq in sorted(self.found, reverse=True)]

    def open_next(self, connection: Connection, asked: Asked) -> int:
        """Open what promises the slowest record; says how many records or cells that were, and one."""
        promise = heappop(self.promises)
        if promise.numbers:
            return self._read_records(connection, asked, promise)
        if promise.span == HOUR:
            return self._add_series(connection, asked, promise)
        start = rollups.c.start
        return self._add_cells(connection, asked, HOUR, [start >= promise.start, start < promise.start + DAY])

    def _add_cells(self, connection: Connection, asked: Asked, span: int, conditions: list[ColumnElement[bool]]) -> int:
        """Take the days or hours that have records of what is asked for."""
        columns = rollups.c
        conditions = [columns.workspace == asked.workspace, columns.kind == asked.kind, columns.span == span, *conditions]
        if asked.counted:
            mine = (series.c.workspace == asked.workspace, series.c.kind == asked.kind)
            conditions.append(columns.series.in_(select(series.c.number).where(*mine, *asked.counted)))
        if asked.since is not None:
            conditions.append(columns.start > asked.since // MICROSECONDS - span)
        if asked.until is not None:
            conditions.append(columns.start < -(-asked.until // MICROSECONDS))
        highest: dict[int, int] = {}
        statement = select(columns.start, columns.durations).where(*conditions)
        looked_at = 1
        with connection.execute(statement, execution_options={"yield_per": AT_ONCE[connection.dialect.name]}) as rows:
            for start, durations in rows:
                highest[start] = max(highest.get(start, 0), *decode(durations))
                looked_at += 1
        self.promises.extend(
            _Promise(-last_of(bucket), -(start + span) * MICROSECONDS, span, start) for start, bucket in highest.items()
        )
        heapify(self.promises)
        return looked_at

    def _add_series(self, connection: Connection, asked: Asked, hour: _Promise) -> int:
        """Take the series of an hour, those together that promise the same."""
        columns = rollups.c
        conditions = [columns.workspace == asked.workspace, columns.kind == "call", columns.span == HOUR]
        conditions.append(columns.start == hour.start)
        if asked.labels:
            conditions.append(columns.series.in_(call_series(asked)))
        numbers: dict[int, list[int]] = {}
        cells = connection.execute(select(columns.series, columns.durations).where(*conditions)).all()
        for number, durations in cells:
            # What one user's calls of an hour promise may be less than what all calls of a series do.
            numbers.setdefault(max(-last_of(max(decode(durations))), hour.longest), []).append(number)
        for longest, alike in numbers.items():
            for first in range(0, len(alike), LISTED):
                heappush(self.promises, hour._replace(longest=longest, numbers=tuple(alike[first : first + LISTED])))
        return len(cells) + 1

    def _read_records(self, connection: Connection, asked: Asked, promise: _Promise) -> int:
        """Look at the records of some series in an hour, and take the slowest."""
        columns = operations.c
        begin, end = promise.start * MICROSECONDS, (promise.start + HOUR) * MICROSECONDS
        statement = (
            select(columns.started_at, columns.seq, columns.body)
            .where(columns.workspace == asked.workspace, columns.series.in_(promise.numbers), *asked.others)
            .where(*in_time(asked, begin, end, promise.before))
            .order_by(columns.started_at.desc(), columns.seq.desc())
            .limit(SCANNED_AT_ONCE)
        )
        looked_at = 0
        started_at = seq = 0
        with connection.execute(statement, execution_options={"yield_per": AT_ONCE[connection.dialect.name]}) as rows:
            for started_at, seq, body in rows:
                looked_at += 1
                one = (duration_of(body), started_at, seq)
                if len(self.found) < self.limit:
                    heappush(self.found, one)
                else:
                    heappushpop(self.found, one)
        if looked_at == SCANNED_AT_ONCE:
            # Those that are left began no later than the last one.
            heappush(self.promises, promise._replace(end=-(started_at + 1), before=Position(started_at, seq)))
        return looked_at + 1
