"""The tables of a store, version 2.

``operations`` holds the records: ``body`` is the exact bytes a list answers with, the other columns only find it.  What many
records have in common (workspace, tool, environment, source, outcome, client, approval: their *labels*) stands once in
``series``, as in a database of metrics, and each record has its number.  ``rollups`` counts, by hour and by day, the records of
each series; it is what statistics are read from, and tells a query in which days to look.

PostgreSQL keeps ``operations`` in one partition for each UTC day of ``started_at``.  No index goes across partitions, so there
``operation_ids`` says which records are stored.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    inspect,
    select,
    update,
)

from trio_oplog._errors import StoreError, StoreVersionError

VERSION: Final = 2
"""The version of the tables below.  A store says which one it has; a later one is refused, not guessed at."""

FORMER: Final = "operations_1"
"""The name of version 1's table while its records are moved; it is gone when they are."""

PARTITION: Final = "operations_"
"""PostgreSQL: what the name of a day's partition begins with; the day follows as ``20260131``."""
DEFAULT_PARTITION: Final = "operations_default"

_common = MetaData()

# SQLite counts rows by itself only in a column declared as INTEGER.
_Number = Integer

workspaces = Table(
    "workspaces",
    _common,
    Column("number", _Number, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

series = Table(
    "series",
    _common,
    Column("number", _Number, primary_key=True),
    # Of all that follows: the texts together are longer than an index takes.
    Column("digest", LargeBinary(16), nullable=False, unique=True),
    Column("workspace", Integer, nullable=False),
    Column("kind", Text, nullable=False, comment="call, user or all: which of the labels below it has"),
    Column("is_error", Boolean, nullable=False),
    Column("tool", Text),
    Column("env_id", Text),
    Column("source", Text),
    Column("outcome", Text),
    Column("client", Text),
    Column("approval", Text),
    Column("user_id", Text),
)
Index("series_workspace", series.c.workspace, series.c.kind)

rollups = Table(
    "rollups",
    _common,
    # In this order, the cells of the current hour and day, which every transaction writes, share few pages.
    Column("workspace", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True, comment="that of the series"),
    Column("span", Integer, primary_key=True, autoincrement=False, comment="seconds: an hour or a day"),
    Column("start", BigInteger, primary_key=True, autoincrement=False, comment="seconds since 1970, UTC"),
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("sum_ms", BigInteger, nullable=False, comment="of the durations"),
    Column("waits", BigInteger, nullable=False, comment="how many waited for a person"),
    Column("waited_ms", BigInteger, nullable=False, comment="how long they did, together"),
    Column("durations", LargeBinary, nullable=False, comment="histogram, msgpack"),
    Column("waited", LargeBinary, nullable=False, comment="histogram, msgpack"),
    sqlite_with_rowid=False,
    # Room to write the cells of the current hour again where they are.
    postgresql_with={"fillfactor": 70},
)

_versions = Table("trio_oplog_schema", _common, Column("version", Integer, nullable=False))

# The same columns in both databases; how the table is made differs too much for one definition.
operations = Table(
    "operations",
    MetaData(),
    Column("seq", BigInteger, primary_key=True),
    Column("workspace", Integer, nullable=False),
    Column("series", Integer, nullable=False),
    Column("id", Text, nullable=False),
    Column("user_id", Text),
    Column("thread_id", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

operation_ids = Table(
    "operation_ids",
    MetaData(),
    Column("key", Uuid(as_uuid=False), primary_key=True),
    Column("started_at", BigInteger, nullable=False),
)

# Version 1, as far as it is still read.
former = Table(
    FORMER,
    MetaData(),
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text),
    Column("workspace_id", Text),
    Column("env_id", Text),
    Column("tool", Text),
    Column("source", Text),
    Column("is_error", Boolean),
    Column("started_at", BigInteger),
    Column("body", LargeBinary),
)

# ``started_at``: microseconds since 1970, UTC.  ``seq``: the order of arrival.
_MAKE_OPERATIONS: Final = {
    "sqlite": (
        # AUTOINCREMENT: never the number of a deleted row again, since an order of arrival that goes back would lie.
        """CREATE TABLE operations (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, workspace INTEGER NOT NULL, series INTEGER NOT NULL, id TEXT NOT NULL,
            user_id TEXT, thread_id TEXT, started_at BIGINT NOT NULL, body BLOB NOT NULL
        )""",
        "CREATE UNIQUE INDEX operations_by_id ON operations (workspace, id)",
        # With the series, and no index of the series besides: that would have every transaction write hundreds of pages more.
        "CREATE INDEX operations_by_time ON operations (workspace, started_at, seq, series)",
    ),
    "postgresql": (
        "CREATE SEQUENCE operations_arrival",
        """CREATE TABLE operations (
            seq BIGINT NOT NULL DEFAULT nextval('operations_arrival'), workspace INTEGER NOT NULL, series INTEGER NOT NULL,
            id TEXT NOT NULL, user_id TEXT, thread_id TEXT, started_at BIGINT NOT NULL, body BYTEA NOT NULL
        ) PARTITION BY RANGE (started_at)""",
        f"CREATE TABLE {DEFAULT_PARTITION} PARTITION OF operations DEFAULT",
        "CREATE INDEX operations_by_time ON operations (workspace, started_at, seq)",
        "CREATE INDEX operations_by_series ON operations (series, started_at, seq)",
        # For the live tail; in the order in which rows are written a BRIN index takes next to nothing.
        "CREATE INDEX operations_by_arrival ON operations USING brin (seq) WITH (autosummarize = on)",
        # The key is the beginning of the id and a digest of workspace and id: half as long as both, and as long for any texts.
        "CREATE TABLE operation_ids (key UUID PRIMARY KEY, started_at BIGINT NOT NULL)",
        "CREATE INDEX operation_ids_by_time ON operation_ids USING brin (started_at) WITH (autosummarize = on)",
    ),
}
_INDEX_OPERATIONS: Final = (
    "CREATE INDEX operations_by_thread ON operations (workspace, thread_id, started_at, seq) WHERE thread_id IS NOT NULL",
    "CREATE INDEX operations_by_user ON operations (workspace, user_id, started_at, seq) WHERE user_id IS NOT NULL",
)


def prepare(connection: Connection) -> None:
    """Make the tables where there are none; check the version of those that are there.

    Tables of version 1 are set aside under another name; ``migrate`` moves what is in them.

    Args:
        connection: In a transaction that keeps others from doing the same; the caller commits it.

    Raises:
        StoreError: The database has a table of this name that is none of ours.
        StoreVersionError: The tables are of a later version.
    """
    tables = set(inspect(connection).get_table_names())
    if _versions.name not in tables:
        if taken := sorted({operations.name, *_common.tables} & tables):
            raise StoreError(f"the database has a table {taken[0]!r} that no trio_oplog made: use another database")
        _make(connection)
        connection.execute(_versions.insert().values(version=VERSION))
        return
    found = connection.scalar(select(_versions.c.version))
    if not isinstance(found, int):
        raise StoreError(f"the table {_versions.name!r} holds no version: the store is damaged")
    if found > VERSION:
        raise StoreVersionError(found, VERSION)
    if found < VERSION:
        connection.exec_driver_sql(f"ALTER TABLE operations RENAME TO {FORMER}")
        _make(connection)
        connection.execute(update(_versions).values(version=VERSION))


def _make(connection: Connection) -> None:
    _common.create_all(connection)
    for statement in (*_MAKE_OPERATIONS[connection.dialect.name], *_INDEX_OPERATIONS):
        connection.exec_driver_sql(statement)
