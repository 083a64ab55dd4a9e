"""How records come into the tables: those that are not there yet, and what is counted of them, in one transaction.

Several collectors may write to one PostgreSQL database.  Every transaction takes its locks in the same order (ids, workspaces,
series, cells, and each of these sorted), so that none can wait for another in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from trio_oplog.collector._cells import Cell, Place, Series, count
from trio_oplog.collector._rows import Labels, Row, digest_of
from trio_oplog.collector._schema import series, workspaces

_AT_ONCE: Final = 500
"""How many keys are looked up with one statement."""

# One statement in both dialects, and yet SQLAlchemy has no common name for it.
_INSERT: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_INSERT_SQLITE: Final = (
    "INSERT INTO operations (workspace, series, id, user_id, thread_id, started_at, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (workspace, id) DO NOTHING"
)
_LAST_SEQ: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'operations'"
_CELL_COLUMNS: Final = "count, sum_ms, waits, waited_ms, durations, waited"
_READ_CELL: Final = f"SELECT {_CELL_COLUMNS} FROM rollups WHERE series = ? AND span = ? AND start = ?"  # noqa: S608
_WRITE_CELL: Final = f"INSERT OR REPLACE INTO rollups (series, span, start, {_CELL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608

_INSERT_IDS: Final = (
    "INSERT INTO operation_ids (digest, started_at) "
    "SELECT * FROM unnest(%s::text[]::uuid[], %s::bigint[]) AS given (digest, started_at) ORDER BY 1 "
    "ON CONFLICT DO NOTHING RETURNING digest::text"
)
_COPY: Final = "COPY operations (workspace, series, id, user_id, thread_id, started_at, body) FROM STDIN (FORMAT BINARY)"
_COPY_TYPES: Final = ("int4", "int4", "text", "text", "text", "int8", "bytea")
_PLACES: Final = "unnest(%s::int[], %s::int[], %s::bigint[]) AS given (series, span, start)"
# First every cell is there, then all of them are locked: the cells of others are not seen before they are committed.
_MAKE_CELLS: Final = (
    f"INSERT INTO rollups (series, span, start, {_CELL_COLUMNS}) "  # noqa: S608
    rf"SELECT series, span, start, 0, 0, 0, 0, '\x80', '\x80' FROM {_PLACES} ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING"
)
_LOCK_CELLS: Final = (
    "SELECT r.series, r.span, r.start, r.count, r.sum_ms, r.waits, r.waited_ms, r.durations, r.waited "  # noqa: S608
    f"FROM rollups r JOIN {_PLACES} USING (series, span, start) ORDER BY 1, 2, 3 FOR UPDATE OF r"
)
_UPDATE_CELLS: Final = (
    "UPDATE rollups r SET count = n.count, sum_ms = n.sum_ms, waits = n.waits, waited_ms = n.waited_ms, "
    "durations = n.durations, waited = n.waited FROM unnest(%s::int[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[], "
    "%s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[]) AS n (series, span, start, count, sum_ms, waits, waited_ms, "
    "durations, waited) WHERE (r.series, r.span, r.start) = (n.series, n.span, n.start)"
)


def write(connection: Connection, rows: Iterable[Row]) -> None:
    """Keep the rows whose workspace and id are not there yet, and count them.

    Args:
        connection: In a transaction that is the only one writing (SQLite), or in any (PostgreSQL); the caller commits it.
        rows: Of several with the same workspace and id the first one counts.
    """
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        first.setdefault((row.labels.workspace, row.id), row)
    if not first:
        return
    insert = _insert_sqlite if connection.dialect.name == "sqlite" else _insert_postgresql
    if new := insert(connection, first):
        _count(connection, new)


def _insert_sqlite(connection: Connection, rows: Mapping[tuple[str, str], Row]) -> list[Row]:
    numbers = _number_workspaces(connection, {workspace for workspace, _ in rows})
    calls = _number_calls(connection, numbers, rows.values())
    cursor = _driver(connection).cursor()
    ((last,),) = cursor.execute(_LAST_SEQ)
    cursor.executemany(_INSERT_SQLITE, [_columns(row, numbers, calls) for row in rows.values()])
    if cursor.rowcount == len(rows):
        return list(rows.values())
    names = {number: name for name, number in numbers.items()}
    found = cursor.execute("SELECT workspace, id FROM operations WHERE seq > ?", (last,)).fetchall()
    return [rows[names[workspace], operation_id] for workspace, operation_id in found]


def _insert_postgresql(connection: Connection, rows: Mapping[tuple[str, str], Row]) -> list[Row]:
    by_digest = {id_digest(*name): row for name, row in rows.items()}
    times = [row.started_at for row in by_digest.values()]
    inserted = {digest for (digest,) in connection.exec_driver_sql(_INSERT_IDS, (list(by_digest), times))}
    new = [row for digest, row in by_digest.items() if digest in inserted]
    if not new:
        return []
    numbers = _number_workspaces(connection, {row.labels.workspace for row in new})
    calls = _number_calls(connection, numbers, new)
    with _driver(connection).cursor().copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for row in new:
            copy.write_row(_columns(row, numbers, calls))
    return new


def id_digest(workspace: str, operation_id: str) -> str:
    """What ``operation_ids`` knows a record by: a UUID as PostgreSQL spells it."""
    spelled = digest_of(workspace, operation_id).hex()
    return f"{spelled[:8]}-{spelled[8:12]}-{spelled[12:16]}-{spelled[16:20]}-{spelled[20:]}"


def _columns(row: Row, workspaces: Mapping[str, int], calls: Mapping[Labels, int]) -> tuple[Any, ...]:
    labels = row.labels
    return (workspaces[labels.workspace], calls[labels], row.id, row.user_id, row.thread_id, row.started_at, row.body)


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _number_calls(connection: Connection, workspaces: Mapping[str, int], rows: Iterable[Row]) -> dict[Labels, int]:
    wanted = {labels: Series.of_call(labels) for labels in {row.labels for row in rows}}
    numbers = _number_series(connection, workspaces, wanted.values())
    return {labels: numbers[each] for labels, each in wanted.items()}


def _count(connection: Connection, rows: list[Row]) -> None:
    cells = count(rows)
    workspaces = _number_workspaces(connection, {row.labels.workspace for row in rows})
    numbers = _number_series(connection, workspaces, {series for series, _, _ in cells})
    placed = {Place(numbers[series], span, start): cell for (series, span, start), cell in cells.items()}
    add_cells = _add_cells_sqlite if connection.dialect.name == "sqlite" else _add_cells_postgresql
    add_cells(connection, dict(sorted(placed.items())))


def _add_cells_sqlite(connection: Connection, cells: Mapping[Place, Cell]) -> None:
    cursor = _driver(connection).cursor()
    for place, cell in cells.items():
        if there := cursor.execute(_READ_CELL, place).fetchone():
            cell.merge(Cell.read(*there))
    cursor.executemany(_WRITE_CELL, [(*place, *cell.columns()) for place, cell in cells.items()])


def _add_cells_postgresql(connection: Connection, cells: Mapping[Place, Cell]) -> None:
    places = tuple(map(list, zip(*cells, strict=True)))
    connection.exec_driver_sql(_MAKE_CELLS, places)
    for number, span, start, *columns in connection.exec_driver_sql(_LOCK_CELLS, places):
        cells[Place(number, span, start)].merge(Cell.read(*columns))
    changed = zip(*((*place, *cell.columns()) for place, cell in cells.items()), strict=True)
    connection.exec_driver_sql(_UPDATE_CELLS, tuple(map(list, changed)))


def _number_workspaces(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    return _numbers(connection, workspaces, "name", {name: {"name": name} for name in names})


def _number_series(connection: Connection, workspaces: Mapping[str, int], wanted: Iterable[Series]) -> dict[Series, int]:
    digests = {each.digest: each for each in wanted}
    values = {
        digest: {**each._asdict(), "workspace": workspaces[each.workspace], "digest": digest} for digest, each in digests.items()
    }
    return {digests[digest]: number for digest, number in _numbers(connection, series, "digest", values).items()}


def _numbers(connection: Connection, table: Table, unique: str, values: Mapping[Any, dict[str, Any]]) -> dict[Any, int]:
    """The number of each row of a table, by its unique column; those that are missing are made.

    They are asked for in each transaction.  What was remembered would be wrong once the database is another one, after a
    failover or a restored backup, and nothing would tell.
    """
    found: dict[Any, int] = {}
    keys = sorted(values)
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        lookup = select(table.c[unique], table.c.number).where(table.c[unique].in_(some))
        found.update(tuple(row) for row in connection.execute(lookup))
        if missing := [values[key] for key in some if key not in found]:
            make = _INSERT[connection.dialect.name](table).on_conflict_do_nothing(index_elements=[unique])
            connection.execute(make, missing)
            found.update(tuple(row) for row in connection.execute(lookup))
    return found
