"""How records come into the tables: those that are not there yet, and what is counted of them, in one transaction.

Several collectors may write to one PostgreSQL database.  Every transaction takes its locks in the same order (ids, workspaces,
series, days, and each of these sorted), so that none can wait for another in a circle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from trio_oplog.collector._cells import DAY, Cell, Counts, Place, Series, count, digest_of_series
from trio_oplog.collector._databases import HISTOGRAMS_TOGETHER
from trio_oplog.collector._histogram import LARGEST
from trio_oplog.collector._rows import Labels, Row, digest_of
from trio_oplog.collector._schema import series, workspaces

T = TypeVar("T", str, bytes)

# A key of ``operation_ids`` begins with so many bytes of the id; the rest are a digest.
_KEY_BYTES: Final = 16
_BEGINNING: Final = 5

# One statement in both dialects, and yet SQLAlchemy has no common name for it.
_INSERT: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_INSERT_SQLITE: Final = (
    "INSERT INTO operations (workspace, series, id, user_id, thread_id, started_at, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (workspace, id) DO NOTHING"
)
_LAST_SEQ: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'operations'"
_KEY: Final = "workspace, kind, span, start, series"
_MEASURES: Final = "count, sum_ms, waits, waited_ms, durations, waited"
# One statement that reads and writes: of two, each would look for the cell.
_ADD_CELL: Final = (
    f"INSERT INTO rollups ({_KEY}, {_MEASURES}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
    f"ON CONFLICT ({_KEY}) DO UPDATE SET count = count + excluded.count, waits = waits + excluded.waits, "
    f"sum_ms = min(sum_ms, {LARGEST} - excluded.sum_ms) + excluded.sum_ms, "
    f"waited_ms = min(waited_ms, {LARGEST} - excluded.waited_ms) + excluded.waited_ms, "
    f"durations = {HISTOGRAMS_TOGETHER}(durations, excluded.durations), "
    f"waited = CASE excluded.waits WHEN 0 THEN waited ELSE {HISTOGRAMS_TOGETHER}(waited, excluded.waited) END"
)

_INSERT_IDS: Final = (
    "INSERT INTO operation_ids (key, started_at) "
    "SELECT * FROM unnest(%s::uuid[], %s::bigint[]) AS given (key, started_at) ORDER BY 1 "
    "ON CONFLICT DO NOTHING RETURNING replace(key::text, '-', '')"
)
_COPY: Final = "COPY operations (workspace, series, id, user_id, thread_id, started_at, body) FROM STDIN (FORMAT BINARY)"
_COPY_TYPES: Final = ("int4", "int4", "text", "text", "text", "int8", "bytea")
_QUOTED: Final = re.compile(r'["\\]')
_BACKSLASHED: Final = r"\\\g<0>"

# Whoever counts in a workspace and a day has this lock: all of them write the cell of everything there anyway, so that locks of
# each single cell would cost a write of each and let nobody else go on.  A lock stands for several of these pairs, since a
# server has room for some thousand locks only.
_LOCKS: Final = 64
_LOCK_CELLS: Final = "SELECT pg_advisory_xact_lock(x'6f706c63'::int, number) FROM unnest(%s::int[]) AS given (number)"
_READ_CELLS: Final = (
    f"SELECT {_KEY}, r.count, r.sum_ms, r.waits, r.waited_ms, r.durations, r.waited FROM rollups r "  # noqa: S608
    f"JOIN unnest(%s::int[], %s::text[], %s::int[], %s::bigint[], %s::int[]) AS given ({_KEY}) USING ({_KEY})"
)
_WRITE_CELLS: Final = (
    f"INSERT INTO rollups ({_KEY}, {_MEASURES}) "  # noqa: S608
    "SELECT * FROM unnest(%s::int[], %s::text[], %s::int[], %s::bigint[], %s::int[], "
    "%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[]) "
    f"ON CONFLICT ({_KEY}) DO UPDATE SET ({_MEASURES}) = "
    "(excluded.count, excluded.sum_ms, excluded.waits, excluded.waited_ms, excluded.durations, excluded.waited)"
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
    counts = count(rows.values())
    workspaces, numbers = _number(connection, counts)
    cursor = _driver(connection).cursor()
    ((last,),) = cursor.execute(_LAST_SEQ)
    cursor.executemany(_INSERT_SQLITE, _records(rows.values(), workspaces, numbers))
    if cursor.rowcount < len(rows):
        names = {number: name for name, number in workspaces.items()}
        found = cursor.execute("SELECT workspace, id FROM operations WHERE seq > ?", (last,)).fetchall()
        counts = count(rows[names[workspace], operation_id] for workspace, operation_id in found)
    placed = _placed(counts, workspaces, numbers)
    cursor.executemany(_ADD_CELL, [(*place, *cell.columns()) for place, cell in placed.items()])


def _write_postgresql(connection: Connection, rows: Mapping[tuple[str, str], Row]) -> None:
    by_key = {id_key(*name): row for name, row in rows.items()}
    given = (_array(by_key), _array([row.started_at for row in by_key.values()]))
    inserted = {key for (key,) in connection.exec_driver_sql(_INSERT_IDS, given)}
    new = [row for key, row in by_key.items() if key in inserted]
    if not new:
        return
    counts = count(new)
    workspaces, numbers = _number(connection, counts)
    with _driver(connection).cursor().copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for record in _records(new, workspaces, numbers):
            copy.write_row(record)
    cells = _placed(counts, workspaces, numbers)
    locks = sorted({(workspace + start // DAY) % _LOCKS for workspace, _, _, start, _ in cells})
    connection.exec_driver_sql(_LOCK_CELLS, (_array(locks),))
    for workspace, kind, span, start, number, *measures in connection.exec_driver_sql(_READ_CELLS, _arrays(cells)):
        place, there = (workspace, kind, span, start, number), Cell.read(*measures)
        there.merge(cells[place])
        cells[place] = there
    connection.exec_driver_sql(_WRITE_CELLS, _arrays([(*place, *cell.columns()) for place, cell in cells.items()]))


def _arrays(records: Iterable[tuple[Any, ...]]) -> tuple[str, ...]:
    """The columns of records, each as an array of PostgreSQL's."""
    return tuple(_array(column) for column in zip(*records, strict=True))


def _array(values: Iterable[int | str | bytes]) -> str:
    """An array as PostgreSQL reads it; the driver takes four times as long to write one."""
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: int | str | bytes) -> str:
    if isinstance(value, int):
        return str(value)
    return f'"{_QUOTED.sub(_BACKSLASHED, value)}"' if isinstance(value, str) else f'"\\\\x{value.hex()}"'


def id_key(workspace: str, operation_id: str) -> str:
    """What ``operation_ids`` knows a record by: the beginning of its id, and what tells it from every other record.

    A UUID, without hyphens, which PostgreSQL takes but does not write.
    """
    return (_beginning(operation_id).ljust(_BEGINNING, b"\0") + digest_of(workspace, operation_id))[:_KEY_BYTES].hex()


def id_keys(prefix: str) -> tuple[str, str]:
    """The first and the last key that a record may have whose id begins so; others have one in between, too."""
    first = _beginning(prefix)
    return first.ljust(_KEY_BYTES, b"\0").hex(), first.ljust(_KEY_BYTES, b"\xff").hex()


def _beginning(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")[:_BEGINNING]


def _records(
    rows: Iterable[Row], workspaces: Mapping[str, int], numbers: Mapping[Series, int]
) -> Iterator[tuple[int, int, str, str | None, str | None, int, bytes]]:
    """The columns of ``operations``."""
    found: dict[Labels, tuple[int, int]] = {}
    for row in rows:
        labels = row.labels
        both = found.get(labels)
        if both is None:
            both = found[labels] = (workspaces[labels.workspace], numbers[Series.of_call(labels)])
        yield (*both, row.id, row.user_id, row.thread_id, row.started_at, row.body)


def _placed(counts: Counts, workspaces: Mapping[str, int], numbers: Mapping[Series, int]) -> dict[Place, Cell]:
    """The cells by their keys, in the order in which they are locked."""
    placed: dict[Place, Cell] = {}
    for each, cells in counts.items():
        workspace, number = workspaces[each.workspace], numbers[each]
        for (span, start), cell in cells.items():
            placed[workspace, each.kind, span, start, number] = cell
    return dict(sorted(placed.items()))


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _number(connection: Connection, wanted: Iterable[Series]) -> tuple[dict[str, int], dict[Series, int]]:
    """The numbers of some series and of their workspaces."""
    digests = {digest_of_series(each): each for each in wanted}
    names = {each.workspace for each in digests.values()}
    found = _numbers(connection, workspaces, "name", names, lambda name: {"name": name})

    def values(digest: bytes) -> dict[str, Any]:
        each = digests[digest]
        return {**each._asdict(), "workspace": found[each.workspace], "digest": digest}

    return found, {digests[digest]: number for digest, number in _numbers(connection, series, "digest", digests, values).items()}


def _numbers(
    connection: Connection, table: Table, unique: str, wanted: Iterable[T], values: Callable[[T], dict[str, Any]]
) -> dict[T, int]:
    """The number of each row of a table, by its unique column; those that are missing are made, with these values.

    They are asked for in each transaction.  What was remembered would be wrong once the database is another one, after a
    failover or a restored backup, and nothing would tell.
    """
    keys = sorted(wanted)
    found = _look_up(connection, table, unique, keys)
    if missing := [values(key) for key in keys if key not in found]:
        make = _INSERT[connection.dialect.name](table).on_conflict_do_nothing(index_elements=[unique])
        connection.execute(make, missing)
        found = _look_up(connection, table, unique, keys)
    return found


def _look_up(connection: Connection, table: Table, unique: str, keys: list[T]) -> dict[T, int]:
    if connection.dialect.name == "postgresql":
        statement = f"SELECT {unique}, number FROM {table.name} WHERE {unique} = ANY(%s)"  # noqa: S608 -- names of ours
        return dict(tuple(record) for record in connection.exec_driver_sql(statement, (_array(keys),)))
    statement = f"SELECT number FROM {table.name} WHERE {unique} = ?"  # noqa: S608 -- likewise
    execute = _driver(connection).cursor().execute
    return {key: number for key in keys for (number,) in execute(statement, (key,))}
