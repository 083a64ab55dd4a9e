"""Statistics, from the rollups and not from the records: so they cost the same however many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from contextlib import closing
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from trio_oplog._listing import Counted, Statistics, StatisticsQuery
from trio_oplog.collector._cells import DAY, HOUR, Cell
from trio_oplog.collector._histogram import percentile
from trio_oplog.collector._queries import label_conditions, read_number
from trio_oplog.collector._rows import MICROSECONDS, as_time, key, microseconds
from trio_oplog.collector._schema import rollups, series

_AT_ONCE: Final = 1_000
"""So many cells are taken from the database at a time."""


class _Segment(NamedTuple):
    """Cells of one span from a time on, to before another; ``None`` for no end."""

    span: int
    first: int | None
    last: int | None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What is asked of the cells."""
        return [rollups.c.span == self.span, *_within(self.first, self.last)]


def read_statistics(connection: Connection, query: StatisticsQuery) -> Counted:
    """Count by what is asked for: the newest hours or days, or of everything else what is there most often."""
    workspace = read_number(connection, query.workspace_id)
    if workspace is None:
        return Counted([])
    span = {"hour": HOUR, "day": DAY}.get(query.by)
    largest = None if span else _find_largest(connection, query, workspace)
    is_whole = largest is None
    cells: dict[Any, Cell] = {}
    errors: dict[Any, int] = defaultdict(int)
    with closing(_read(connection, query, workspace, largest)) as records:
        for value, is_error, count, *measures in records:
            group = value - value % span if span else value
            if group not in cells:
                if len(cells) == query.limit:
                    is_whole = False
                    break
                cells[group] = Cell()
            cells[group].add_columns(count, *measures)
            errors[group] += count * is_error
    found = [_statistics(as_time(group * MICROSECONDS) if span else group, cell, errors[group]) for group, cell in cells.items()]
    if span:  # they were read the newest first
        return Counted(found[::-1], is_whole)
    return Counted(sorted(found, key=lambda each: (-each.count, str(each.value or ""))), is_whole)


def _find_largest(connection: Connection, query: StatisticsQuery, workspace: int) -> list[str | None] | None:
    """The groups that are there most often, as many as are wanted; ``None`` where there are no more.

    The database adds up their numbers, so that of a million users no more are in memory than are shown.
    """
    group = series.c[query.by]
    mine = (series.c.workspace == workspace, series.c.kind == query.kind)
    different = select(group).distinct().where(*mine, *_narrowed(query)).limit(query.limit + 1).subquery()
    if int(connection.scalar(select(func.count()).select_from(different)) or 0) <= query.limit:
        return None
    # In the order in which they are shown, whatever the order of the database's language is.
    name: ColumnElement[str] = func.coalesce(group, "")
    name = name if connection.dialect.name == "sqlite" else name.collate("C")
    in_time = or_(*(and_(*segment.conditions()) for segment in _segments(query)))
    statement = (
        select(group)
        .select_from(series.join(rollups, rollups.c.series == series.c.number))
        .where(*_counted(query, workspace), *_narrowed(query), in_time)
        .group_by(group)
        .order_by(func.sum(rollups.c.count).desc(), name)
        .limit(query.limit + 1)
    )
    found = list(connection.scalars(statement))
    return found[: query.limit] if len(found) > query.limit else None


def _read(
    connection: Connection, query: StatisticsQuery, workspace: int, largest: list[str | None] | None
) -> Generator[Any, None, None]:
    """The cells that make up the groups, those of hours and days the newest first."""
    is_by_time = query.by in ("hour", "day")
    group = rollups.c.start if is_by_time else series.c[query.by]
    conditions = [*_counted(query, workspace), *_narrowed(query)]
    if largest is not None:
        named = group.in_([value for value in largest if value is not None])
        conditions.append(or_(named, group.is_(None)) if None in largest else named)
    columns = rollups.c
    measures = (columns.count, columns.sum_ms, columns.waits, columns.waited_ms, columns.durations, columns.waited)
    joined = series.join(rollups, columns.series == series.c.number)
    statement = select(group, series.c.is_error, *measures).select_from(joined).where(*conditions)
    if is_by_time:
        statement = statement.order_by(columns.start.desc())
    for segment in _segments(query):
        selected = statement.where(*segment.conditions())
        with connection.execute(selected, execution_options={"yield_per": _AT_ONCE}) as records:
            yield from records


def _counted(query: StatisticsQuery, workspace: int) -> list[ColumnElement[bool]]:
    return [rollups.c.workspace == workspace, rollups.c.kind == query.kind]


def _narrowed(query: StatisticsQuery) -> list[ColumnElement[bool]]:
    conditions = label_conditions(query)
    if query.user_id is not None:
        conditions.append(series.c.user_id == key(query.user_id))
    if query.is_error is not None:
        conditions.append(series.c.is_error == query.is_error)
    return conditions


def _segments(query: StatisticsQuery) -> list[_Segment]:
    """The cells that make up the time, the newest first: whole days where they are whole, hours at the edges."""
    first = None if query.since is None else microseconds(query.since) // MICROSECONDS // HOUR * HOUR
    last = None if query.until is None else -(-microseconds(query.until) // MICROSECONDS // HOUR) * HOUR
    first_day = None if first is None else -(-first // DAY) * DAY
    last_day = None if last is None else last // DAY * DAY
    is_within_days = first_day is not None and last_day is not None and first_day >= last_day
    if query.by == "hour" or is_within_days:
        return [_Segment(HOUR, first, last)]
    return [
        *([] if last is None else [_Segment(HOUR, last_day, last)]),
        _Segment(DAY, first_day, last_day),
        *([] if first is None else [_Segment(HOUR, first, first_day)]),
    ]


def _within(first: int | None, last: int | None) -> list[ColumnElement[bool]]:
    start = rollups.c.start
    return [*([] if first is None else [start >= first]), *([] if last is None else [start < last])]


def _statistics(value: Any, cell: Cell, errors: int) -> Statistics:
    return Statistics(
        value=value,
        count=cell.count,
        errors=errors,
        sum_ms=cell.sum_ms,
        p50_ms=percentile(cell.durations, 0.50),
        p95_ms=percentile(cell.durations, 0.95),
        p99_ms=percentile(cell.durations, 0.99),
        waits=cell.waits,
        waited_ms=cell.waited_ms,
        waited_p50_ms=percentile(cell.waited, 0.50),
        waited_p95_ms=percentile(cell.waited, 0.95),
        waited_p99_ms=percentile(cell.waited, 0.99),
    )
