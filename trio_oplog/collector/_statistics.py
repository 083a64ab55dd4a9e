"""Statistics, from the rollups and not from the records: so they cost the same however many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from trio_oplog._listing import Statistics, StatisticsQuery
from trio_oplog.collector._cells import DAY, HOUR, Cell
from trio_oplog.collector._histogram import percentile
from trio_oplog.collector._queries import label_conditions, read_number
from trio_oplog.collector._rows import MICROSECONDS, as_time, key, microseconds
from trio_oplog.collector._schema import rollups, series


def read_statistics(connection: Connection, query: StatisticsQuery) -> list[Statistics]:
    """Count by what is asked for: hours and days in their order, everything else by how often it is there."""
    workspace = read_number(connection, query.workspace_id)
    if workspace is None:
        return []
    cells: dict[Any, Cell] = defaultdict(Cell)
    errors: dict[Any, int] = defaultdict(int)
    span = {"hour": HOUR, "day": DAY}.get(query.by)
    for group, is_error, count, *measures in _read(connection, query, workspace, span):
        value = as_time((group - group % span) * MICROSECONDS) if span else group
        cells[value].add_columns(count, *measures)
        errors[value] += count * is_error
    found = [_statistics(value, cell, errors[value]) for value, cell in cells.items()]
    if query.by in ("hour", "day"):
        return sorted(found, key=lambda each: str(each.value))
    return sorted(found, key=lambda each: (-each.count, str(each.value or "")))


def _read(connection: Connection, query: StatisticsQuery, workspace: int, span: int | None) -> Sequence[Any]:
    group = rollups.c.start if span else series.c[query.by]
    mine = [rollups.c.workspace == workspace, rollups.c.kind == query.kind]
    conditions = [*mine, *label_conditions(query), *_times(query)]
    if query.user_id is not None:
        conditions.append(series.c.user_id == key(query.user_id))
    if query.is_error is not None:
        conditions.append(series.c.is_error == query.is_error)
    columns = rollups.c
    measures = (columns.count, columns.sum_ms, columns.waits, columns.waited_ms, columns.durations, columns.waited)
    joined = series.join(rollups, columns.series == series.c.number)
    statement = select(group, series.c.is_error, *measures).select_from(joined).where(*conditions)
    return connection.execute(statement).all()


def _times(query: StatisticsQuery) -> list[ColumnElement[bool]]:
    """The cells that make up the time: whole days where they are whole, hours at the edges."""
    columns = rollups.c
    first = None if query.since is None else microseconds(query.since) // MICROSECONDS // HOUR * HOUR
    last = None if query.until is None else -(-microseconds(query.until) // MICROSECONDS // HOUR) * HOUR
    if query.by == "hour":
        return [columns.span == HOUR, *_within(first, last)]
    first_day = None if first is None else -(-first // DAY) * DAY
    last_day = None if last is None else last // DAY * DAY
    if first_day is not None and last_day is not None and first_day >= last_day:
        return [columns.span == HOUR, *_within(first, last)]
    edges = [and_(columns.span == DAY, *_within(first_day, last_day))]
    if first is not None:
        edges.append(and_(columns.span == HOUR, *_within(first, first_day)))
    if last is not None:
        edges.append(and_(columns.span == HOUR, *_within(last_day, last)))
    return [or_(*edges)]


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
