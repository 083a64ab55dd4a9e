"""Reading records: by every filter, the newest first, as far as anybody goes on.

The cost must not grow with the store.  So the rollups, which say how many records each series has in each day, tell where to
look: a filter that fits nothing reads no record, and a rare one reads the days that have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import time
from typing import Any, Final, TypeAlias

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, LargeBinary, Select, Text, cast, func, literal, select, tuple_

from trio_oplog._listing import ListQuery
from trio_oplog._operation import CHECK_SOURCE
from trio_oplog.collector._cells import DAY, HOUR, day_of
from trio_oplog.collector._positions import Position
from trio_oplog.collector._rows import MICROSECONDS, key, microseconds
from trio_oplog.collector._schema import operation_ids, operations, rollups, series, workspaces
from trio_oplog.collector._writing import id_key, id_keys

ANY_APPROVAL: Final = "any"
"""The value of the filter ``approval`` that fits whatever was decided."""

LISTED: Final = 1_000
"""Up to so many series are named one by one; more are left to the database to find."""
_DENSE: Final = 16
"""Where at least every so many-th record of a day fits, reading the day in order is quicker than picking them and sorting."""
_STEP: Final = 32 * DAY
"""How far back the counts of days are read at first."""
_FEW: Final = 50
"""Up to so many series are told apart one by one where all of them would be read otherwise."""
_LOOKED_UP: Final = 4
"""To look for one series takes as long as to read so many records."""


Found: TypeAlias = tuple[int, int, bytes]
"""A record that was found: its position (see there) and its bytes.  Plain, since a search makes millions of them."""


@frozen
class Asked:
    """A query in the terms of the tables.

    Attributes:
        workspace: Its number.
        labels: Conditions on ``series``; empty where none was given.
        others: Conditions on ``operations`` besides labels and time.
        kind: The kind of the series whose rollups say where records are.
        counted: Conditions on these series.
        is_exact: Whether those rollups count just what is looked for, and not more.
        is_in_order: Whether the index of the thread or of the user finds what fits, and the series need not.
        since, until: In microseconds since 1970; the end is not in it.
    """

    workspace: int
    labels: list[ColumnElement[bool]]
    others: list[ColumnElement[bool]]
    kind: str
    counted: list[ColumnElement[bool]]
    is_exact: bool
    is_in_order: bool
    since: int | None
    until: int | None


def scan(connection: Connection, query: ListQuery, before: Position | None, need: int) -> Iterator[Found]:
    """The records that a query asks for, the newest first: by ``started_at``, then by arrival.

    Every condition is looked at but ``q``, ``cursor`` and ``limit``.

    Args:
        connection: What to read from; one that several rows may be read from at a time.
        query: What is asked for.
        before: Only those after this one in the order of the list.
        need: About how many will be taken; as many are read at a time.
    """
    asked = ask(connection, query)
    if asked is None:
        return
    if query.id is not None or query.id_prefix is not None:
        yield from _scan_ids(connection, asked, query, before, need)
        return
    picked = _pick(connection, asked)
    if picked is not None and not picked:
        return
    for begin, end, is_dense in _windows(connection, asked, picked, before, need):
        in_order = picked is None or asked.is_in_order or is_dense
        choose = _in_order if in_order else _PICKED[connection.dialect.name]
        yield from _run(connection, partial(choose, asked, picked or [], begin, end), before, need)


def read_one(connection: Connection, workspace_id: str, operation_id: str) -> bytes | None:
    """The bytes of one record, if it is there."""
    found = next(scan(connection, ListQuery(workspace_id=workspace_id, id=operation_id), None, 1), None)
    return None if found is None else found[2]


def read_workspaces(connection: Connection) -> list[str]:
    """The names of the workspaces that ever had a record, in order."""
    # Not in the order of the database's language, which is another on each server.
    return sorted(connection.scalars(select(workspaces.c.name)))


def read_number(connection: Connection, workspace_id: str) -> int | None:
    """The number of a workspace."""
    return connection.scalar(select(workspaces.c.number).where(workspaces.c.name == key(workspace_id)))


def label_conditions(query: Any) -> list[ColumnElement[bool]]:
    """The conditions of a query on the labels of its records."""
    columns = series.c
    found = [
        columns[name] == key(value)
        for name in ("tool", "env_id", "source", "outcome", "client")
        if (value := getattr(query, name)) is not None
    ]
    if query.approval == ANY_APPROVAL:
        found.append(columns.approval.is_not(None))
    elif query.approval is not None:
        found.append(columns.approval == key(query.approval))
    return found


def ask(connection: Connection, query: ListQuery) -> Asked | None:
    workspace = read_number(connection, query.workspace_id)
    if workspace is None:
        return None
    labels = label_conditions(query)
    others = []
    if query.user_id is not None:
        others.append(operations.c.user_id == key(query.user_id))
    if query.thread_id is not None:
        others.append(operations.c.thread_id == key(query.thread_id))
    in_series = [] if query.is_error is None else [series.c.is_error == query.is_error]
    if query.source is None and query.id is None and query.id_prefix is None and (unasked := _checks(connection, workspace)):
        if labels or in_series:
            labels.append(series.c.source != CHECK_SOURCE)
        else:
            others.append((operations.c.series + 0).not_in(unasked))
    # Labels say more than a user does: most users call everything, and some things are hardly called.
    if labels:
        kind, counted = "call", [*labels, *in_series]
    elif query.user_id is not None:
        kind, counted = "user", [series.c.user_id == key(query.user_id), *in_series]
    else:
        kind, counted = "all", in_series
    return Asked(
        workspace,
        [*labels, *in_series],
        others,
        kind,
        counted,
        is_exact=query.thread_id is None and not (labels and query.user_id is not None),
        is_in_order=query.thread_id is not None or bool(others and not labels),
        since=None if query.since is None else microseconds(query.since),
        until=None if query.until is None else microseconds(query.until),
    )


def _checks(connection: Connection, workspace: int) -> list[int]:
    """The series of the test records of ``trio-oplog check``, which only whoever asks for them gets."""
    mine = (series.c.workspace == workspace, series.c.kind == "call", series.c.source == CHECK_SOURCE)
    return list(connection.scalars(select(series.c.number).where(*mine)))


def conditions_of(connection: Connection, query: ListQuery) -> list[ColumnElement[bool]] | None:
    """What a query asks of a record besides its time and its text, for whoever reads by arrival; ``None`` if nothing fits."""
    asked = ask(connection, query)
    if asked is None:
        return None
    # By an expression, no index is asked for it: the order of arrival is the one that counts.
    found = [operations.c.workspace + 0 == asked.workspace, *_named(query), *asked.others]
    if asked.labels:
        found.append((operations.c.series + 0).in_(call_series(asked)))
    return found


def _pick(connection: Connection, asked: Asked) -> list[int] | None:
    """The series whose records fit; ``None`` when every one does."""
    if not asked.labels:
        return None
    return list(connection.scalars(call_series(asked)))


def call_series(asked: Asked) -> Select[int]:
    return select(series.c.number).where(series.c.workspace == asked.workspace, series.c.kind == "call", *asked.labels)


def _scan_ids(connection: Connection, asked: Asked, query: ListQuery, before: Position | None, need: int) -> Iterator[Found]:
    """By the id or its beginning, which are so few records that they can be sorted."""
    columns = operations.c
    conditions = [columns.workspace == asked.workspace, *_named(query), *asked.others, *_between(asked.since, asked.until)]
    if asked.labels:
        conditions.append(columns.series.in_(call_series(asked)))

    def choose(more: Sequence[ColumnElement[bool]], before: Position | None) -> Select[Any]:
        place = [] if before is None else [_earlier(before)]
        statement = select(columns.started_at, columns.seq, columns.body).where(*conditions, *more, *place)
        # By an expression, no index is asked for the order.
        return statement.order_by((columns.started_at + 0).desc(), columns.seq.desc())

    if connection.dialect.name == "sqlite":
        yield from _run(connection, partial(choose, _range(query)), before, need)
        return
    for times in _times(connection, query, before):
        yield from _run(connection, partial(choose, [columns.started_at.in_(times)]), before, need)


def _named(query: ListQuery) -> list[ColumnElement[bool]]:
    """The conditions of a query on the id."""
    column = operations.c.id
    found = [] if query.id is None else [column == key(query.id)]
    if query.id_prefix is not None:
        prefix = key(query.id_prefix)
        found.append(func.substr(column, 1, len(prefix)) == prefix)
    return found


def _range(query: ListQuery) -> list[ColumnElement[bool]]:
    """SQLite: where in the index of ids those are that begin so.  It has the order of their bytes, and 0xFF is in no text."""
    if query.id_prefix is None:
        return []
    prefix = key(query.id_prefix)
    end = cast(literal(prefix.encode("utf-8", "surrogatepass") + b"\xff", LargeBinary), Text)
    return [operations.c.id >= prefix, operations.c.id < end]


def _times(connection: Connection, query: ListQuery, before: Position | None) -> Iterator[list[int]]:
    """PostgreSQL, where no index of a partition has ids: when the records began whose id may fit, the newest first."""
    if query.id is None:
        first, last = id_keys(key(str(query.id_prefix)))
    else:
        first = last = id_key(key(query.workspace_id), key(query.id))
    end, times = None if before is None else before.started_at, [0] * LISTED
    while len(times) == LISTED:
        columns = operation_ids.c
        statement = select(columns.started_at).distinct().where(columns.key.between(first, last))
        if end is not None:
            statement = statement.where(columns.started_at <= end)
        times = list(connection.scalars(statement.order_by(columns.started_at.desc()).limit(LISTED)))
        if times:
            yield times
            end = times[-1] - 1


def _windows(
    connection: Connection, asked: Asked, picked: Sequence[int] | None, before: Position | None, need: int
) -> Iterator[tuple[int, int, bool]]:
    """Where to look, the newest first: begin and end in microseconds, and whether much of what is there fits.

    Each window has as many records as are needed, as far as the rollups tell, and the windows grow, so that their number
    stays small where the rollups count too much.
    """
    window: list[int] = []
    size, there, total = 1, 0, 0
    for day, fitting, stored in _days(connection, asked, picked, before):
        window.append(day)
        there, total = there + fitting, total + stored
        if len(window) >= size and (there >= need or not asked.is_exact):
            yield _window(window, there, total, need, picked)
            size, window, there, total = 2 * size, [], 0, 0
    if window:
        yield _window(window, there, total, need, picked)


def _window(days: list[int], there: int, total: int, need: int, picked: Sequence[int] | None) -> tuple[int, int, bool]:
    # In order, so many are read before what is needed is found; picked, all that fit, after each series was looked for.
    is_dense = there * _DENSE >= total or need * total <= there * (there + _LOOKED_UP * len(picked or ()))
    return days[-1] * MICROSECONDS, (days[0] + DAY) * MICROSECONDS, is_dense


def _days(
    connection: Connection, asked: Asked, picked: Sequence[int] | None, before: Position | None
) -> Iterator[tuple[int, int, int]]:
    """The days that have records of some series, the newest first, how many were stored of these, and how many of all.

    They are read some weeks at a time, and more with each step: nearly always the first ones are enough.
    """
    columns, everything = rollups.c, _counted(asked, "all")
    oldest = connection.scalar(select(func.min(columns.start)).where(*everything))
    if oldest is None:
        return
    if asked.since is not None:
        oldest = max(oldest, day_of(asked.since))
    ends = [*([] if asked.until is None else [asked.until - 1]), *([] if before is None else [before.started_at])]
    # Nothing keeps a record from having begun tomorrow.
    end = day_of(min(ends)) + DAY if ends else None
    step = _STEP
    begin = (int(time()) // DAY * DAY if end is None else end) - step
    wanted = select(series.c.number).where(series.c.workspace == asked.workspace, series.c.kind == asked.kind, *asked.counted)
    numbers = picked if picked is not None and asked.kind == "call" else list(connection.scalars(wanted))
    while True:
        within = [columns.start >= max(begin, oldest), *([] if end is None else [columns.start < end])]
        stored = fitting = _sums(connection, [*everything, *within])
        if asked.counted:
            if len(numbers) <= _FEW:
                # Each cell is looked for, and the others are not read.
                conditions = [columns.start.in_(list(stored)), columns.series.in_(numbers)]
            else:
                conditions = [*within, columns.series.in_(wanted)]
            fitting = _sums(connection, [*_counted(asked, asked.kind), *conditions])
        for day in sorted(fitting, reverse=True):
            yield day, fitting[day], stored.get(day, 0)
        if begin <= oldest:
            return
        step *= 2
        begin, end = begin - step, begin


def _counted(asked: Asked, kind: str) -> list[ColumnElement[bool]]:
    columns = rollups.c
    return [columns.workspace == asked.workspace, columns.kind == kind, columns.span == DAY]


def _sums(connection: Connection, conditions: list[ColumnElement[bool]]) -> dict[int, int]:
    columns = rollups.c
    statement = select(columns.start, func.sum(columns.count)).where(*conditions).group_by(columns.start)
    return {start: int(there) for start, there in connection.execute(statement)}


def _in_order(asked: Asked, picked: list[int], begin: int, end: int, before: Position | None) -> Select[Any]:
    """By an index that has the order of time: that of the workspace, of the user or of the thread."""
    columns = operations.c
    conditions = [columns.workspace == asked.workspace, *asked.others, *in_time(asked, begin, end, before)]
    if picked:
        # By an expression, no index is asked for it; and the database reads many series quicker than it reads their numbers.
        conditions.append((columns.series + 0).in_(picked if len(picked) <= _FEW else call_series(asked)))
    statement = select(columns.started_at, columns.seq, columns.body).where(*conditions)
    return statement.order_by(columns.started_at.desc(), columns.seq.desc())


def _by_hours(asked: Asked, picked: list[int], begin: int, end: int, before: Position | None) -> Select[Any]:
    """SQLite: the hours that have some, and in each of them what fits, by the index of time, which has the series too."""
    columns, cells = operations.c, rollups.c
    counted = [cells.workspace == asked.workspace, cells.kind == "call", cells.span == HOUR]
    in_window = cells.start.between(begin // MICROSECONDS, end // MICROSECONDS - 1)
    hours = select(cells.start).where(*counted, in_window, _one_of(cells.series, asked, picked)).distinct().subquery()
    first = hours.c.start * MICROSECONDS
    time: ColumnElement[int] = columns.started_at + 0  # an expression, so that the index is asked for the hours
    conditions = [
        columns.workspace == asked.workspace,
        columns.started_at >= first,
        columns.started_at < first + HOUR * MICROSECONDS,
        _one_of(columns.series + 0, asked, picked),
        *asked.others,
        *([] if asked.since is None else [time >= asked.since]),
        *([] if asked.until is None else [time < asked.until]),
        *([] if before is None else [tuple_(time, columns.seq) < tuple_(*before)]),
    ]
    statement = select(columns.started_at, columns.seq, columns.body).where(*conditions)
    return statement.order_by(time.desc(), columns.seq.desc())


def _by_series(asked: Asked, picked: list[int], begin: int, end: int, before: Position | None) -> Select[Any]:
    """PostgreSQL: by the index of series, and then sorted; an expression for an order asks for no other index."""
    columns = operations.c
    conditions = [_one_of(columns.series, asked, picked), *asked.others, *in_time(asked, begin, end, before)]
    statement = select(columns.started_at, columns.seq, columns.body).where(*conditions)
    return statement.order_by((columns.started_at + 0).desc(), columns.seq.desc())


def in_time(asked: Asked, begin: int, end: int, before: Position | None) -> list[ColumnElement[bool]]:
    """One condition for either end: of more, SQLite thinks that the index of time must be the best one."""
    columns = operations.c
    begin = begin if asked.since is None else max(begin, asked.since)
    end = end if asked.until is None else min(end, asked.until)
    is_last = before is not None and before.started_at < end
    return [columns.started_at >= begin, _earlier(before) if before is not None and is_last else columns.started_at < end]


def _earlier(position: Position) -> ColumnElement[bool]:
    """After a position in the order of lists."""
    place: ColumnElement[Any] = tuple_(operations.c.started_at, operations.c.seq)
    return place < tuple_(*position)


_PICKED: Final = {"sqlite": _by_hours, "postgresql": _by_series}


def _one_of(column: ColumnElement[int], asked: Asked, picked: list[int]) -> ColumnElement[bool]:
    return column.in_(picked if len(picked) <= LISTED else call_series(asked))


def _between(begin: int | None, end: int | None) -> list[ColumnElement[bool]]:
    time = operations.c.started_at
    return [*([] if begin is None else [time >= begin]), *([] if end is None else [time < end])]


def _run(
    connection: Connection, choose: Callable[[Position | None], Select[Any]], before: Position | None, need: int
) -> Iterator[Found]:
    """All that statements find, so many with each: what is chosen after a position, the newest first."""
    options = {"yield_per": min(need, AT_ONCE[connection.dialect.name])}
    while True:
        taken = 0
        statement = choose(before).limit(need)
        with connection.execute(statement, execution_options=options) as rows:
            for row in rows:
                started_at, seq, body = row
                yield started_at, seq, body
                taken += 1
        if taken < need:
            return
        before = Position(started_at, seq)


AT_ONCE: Final = {"sqlite": 10, "postgresql": 100}
"""So many rows are taken from the database at a time: each may have megabytes.  PostgreSQL is asked over a network each time."""
