"""How records come into the tables: those that are not there yet, and what is counted of them, in one transaction.

Several collectors may write to one PostgreSQL database.  Every transaction takes its locks in the same order (ids, workspaces,
series, cells, and each of these sorted), so that none can wait for another in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from trio_oplog.collector._cells import Cell, Place, Series, count, digest_of_series
from trio_oplog.collector._rows import Row, digest_of
from trio_oplog.collector._schema import series, workspaces

# One statement in both dialects, and yet SQLAlchemy has no common name for it.
_INSERT: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_INSERT_SQLITE: Final = (
    "INSERT INTO operations (workspace, series, id, user_id, thread_id, started_at, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (workspace, id) DO NOTHING"
)
_LAST_SEQ: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'operations'"
_KEY: Final = "workspace, kind, span, start, series"
_MEASURES: Final = "count, sum_ms, waits, waited_ms, durations, waited"
_READ_CELL: Final = f"SELECT {_MEASURES} FROM rollups WHERE ({_KEY}) = (?, ?, ?, ?, ?)"  # noqa: S608
_WRITE_CELL: Final = f"INSERT OR REPLACE INTO rollups ({_KEY}, {_MEASURES}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608

_INSERT_IDS: Final = (
    "INSERT INTO operation_ids (digest, started_at) "
    "SELECT * FROM unnest(%s::text[]::uuid[], %s::bigint[]) AS given (digest, started_at) ORDER BY 1 "
    "ON CONFLICT DO NOTHING RETURNING digest::text"
)
_COPY: Final = "COPY operations (workspace, series, id, user_id, thread_id, started_at, body) FROM STDIN (FORMAT BINARY)"
_COPY_TYPES: Final = ("int4", "int4", "text", "text", "text", "int8", "bytea")
_PLACES: Final = f"unnest(%s::int[], %s::text[], %s::int[], %s::bigint[], %s::int[]) AS given ({_KEY})"
# First every cell is there, then all of them are locked: the cells of others are not seen before they are committed.
_MAKE_CELLS: Final = (
    f"INSERT INTO rollups ({_KEY}, {_MEASURES}) "  # noqa: S608
    rf"SELECT {_KEY}, 0, 0, 0, 0, '\x80', '\x80' FROM {_PLACES} ORDER BY {_KEY} ON CONFLICT DO NOTHING"
)
_LOCK_CELLS: Final = (
    f"SELECT {_KEY}, r.count, r.sum_ms, r.waits, r.waited_ms, r.durations, r.waited FROM rollups r "  # noqa: S608
    f"JOIN {_PLACES} USING ({_KEY}) ORDER BY {_KEY} FOR UPDATE OF r"
)
_UPDATE_CELLS: Final = (
    "UPDATE rollups r SET count = n.count, sum_ms = n.sum_ms, waits = n.waits, waited_ms = n.waited_ms, "  # noqa: S608
    "durations = n.durations, waited = n.waited FROM unnest(%s::int[], %s::text[], %s::int[], %s::bigint[], %s::int[], "
    f"%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[]) AS n ({_KEY}, {_MEASURES}) "
    "WHERE r.workspace = n.workspace AND r.kind = n.kind AND r.span = n.span AND r.start = n.start AND r.series = n.series"
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
    if first:
        (_write_sqlite if connection.dialect.name == "sqlite" else _write_postgresql)(connection, first)


def _write_sqlite(connection: Connection, rows: Mapping[tuple[str, str], Row]) -> None:
    cells = count(rows.values())
    workspaces, numbers = _number(connection, cells)
    cursor = _driver(connection).cursor()
    ((last,),) = cursor.execute(_LAST_SEQ)
    cursor.executemany(_INSERT_SQLITE, [_columns(row, workspaces, numbers) for row in rows.values()])
    if cursor.rowcount < len(rows):
        names = {number: name for name, number in workspaces.items()}
        found = cursor.execute("SELECT workspace, id FROM operations WHERE seq > ?", (last,)).fetchall()
        cells = count(rows[names[workspace], operation_id] for workspace, operation_id in found)
    changed = []
    for place, cell in _placed(cells, workspaces, numbers).items():
        there = cursor.execute(_READ_CELL, place).fetchone()
        changed.append((*place, *(Cell.read(*there) + cell if there else cell).columns()))
    cursor.executemany(_WRITE_CELL, changed)


def _write_postgresql(connection: Connection, rows: Mapping[tuple[str, str], Row]) -> None:
    by_digest = {id_digest(*name): row for name, row in rows.items()}
    times = [row.started_at for row in by_digest.values()]
    inserted = {digest for (digest,) in connection.exec_driver_sql(_INSERT_IDS, (list(by_digest), times))}
    new = [row for digest, row in by_digest.items() if digest in inserted]
    if not new:
        return
    cells = count(new)
    workspaces, numbers = _number(connection, cells)
    with _driver(connection).cursor().copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for row in new:
            copy.write_row(_columns(row, workspaces, numbers))
    placed = _placed(cells, workspaces, numbers)
    places = tuple(map(list, zip(*placed, strict=True)))
    changed: list[tuple[Any, ...]] = []
    while len(changed) < len(placed):  # again where old cells were deleted between the two statements
        connection.exec_driver_sql(_MAKE_CELLS, places)
        changed = []
        for workspace, kind, span, start, number, *measures in connection.exec_driver_sql(_LOCK_CELLS, places):
            place = Place(workspace, kind, span, start, number)
            changed.append((*place, *(Cell.read(*measures) + placed[place]).columns()))
    connection.exec_driver_sql(_UPDATE_CELLS, tuple(map(list, zip(*changed, strict=True))))


def id_digest(workspace: str, operation_id: str) -> str:
    """What ``operation_ids`` knows a record by: a UUID as PostgreSQL spells it."""
    spelled = digest_of(workspace, operation_id).hex()
    return f"{spelled[:8]}-{spelled[8:12]}-{spelled[12:16]}-{spelled[16:20]}-{spelled[20:]}"


def _columns(row: Row, workspaces: Mapping[str, int], numbers: Mapping[Series, int]) -> tuple[Any, ...]:
    labels = row.labels
    series = numbers[Series.of_call(labels)]
    return (workspaces[labels.workspace], series, row.id, row.user_id, row.thread_id, row.started_at, row.body)


def _placed(
    cells: Mapping[tuple[Series, int, int], Cell], workspaces: Mapping[str, int], numbers: Mapping[Series, int]
) -> dict[Place, Cell]:
    """The cells by their keys, in the order in which they are locked."""
    placed = {
        Place(workspaces[series.workspace], series.kind, span, start, numbers[series]): cell
        for (series, span, start), cell in cells.items()
    }
    return dict(sorted(placed.items()))


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _number(connection: Connection, cells: Iterable[tuple[Series, int, int]]) -> tuple[dict[str, int], dict[Series, int]]:
    """The numbers of the workspaces and of the series of some cells."""
    wanted = {each for each, _, _ in cells}
    names = {each.workspace: {"name": each.workspace} for each in wanted}
    found = _numbers(connection, workspaces, "name", names)
    digests = {digest_of_series(each): each for each in wanted}
    values = {
        digest: {**each._asdict(), "workspace": found[each.workspace], "digest": digest} for digest, each in digests.items()
    }
    return found, {digests[digest]: number for digest, number in _numbers(connection, series, "digest", values).items()}


def _numbers(connection: Connection, table: Table, unique: str, values: Mapping[Any, dict[str, Any]]) -> dict[Any, int]:
    """The number of each row of a table, by its unique column; those that are missing are made.

    They are asked for in each transaction.  What was remembered would be wrong once the database is another one, after a
    failover or a restored backup, and nothing would tell.
    """
    keys = sorted(values)
    found = _look_up(connection, table, unique, keys)
    if missing := [values[key] for key in keys if key not in found]:
        make = _INSERT[connection.dialect.name](table).on_conflict_do_nothing(index_elements=[unique])
        connection.execute(make, missing)
        found = _look_up(connection, table, unique, keys)
    return found


def _look_up(connection: Connection, table: Table, unique: str, keys: list[Any]) -> dict[Any, int]:
    if connection.dialect.name == "postgresql":
        statement = f"SELECT {unique}, number FROM {table.name} WHERE {unique} = ANY(%s)"  # noqa: S608 -- names of ours
        return {record[0]: record[1] for record in connection.exec_driver_sql(statement, (keys,))}
    statement = f"SELECT number FROM {table.name} WHERE {unique} = ?"  # noqa: S608 -- likewise
    execute = _driver(connection).cursor().execute
    return {key: row[0] for key in keys if (row := execute(statement, (key,)).fetchone())}
