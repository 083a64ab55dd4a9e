"""The tables of a store, and the row of one operation.

One table holds the records.  ``body`` is the exact bytes a list answers with; the other columns only find it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple

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
    inspect,
    select,
)

from trio_oplog import _wire
from trio_oplog._errors import StoreError, StoreVersionError
from trio_oplog._operation import Operation

VERSION: Final = 1
"""The version of the tables below.  A store says which one it has; a later one is refused, not guessed at."""

KEY_MAX_BYTES: Final = 1_000
"""Longest text that is indexed as it is.  PostgreSQL takes index entries up to 2 704 bytes, and ours hold two texts."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_metadata = MetaData()

operations = Table(
    "operations",
    _metadata,
    # Order of arrival.  SQLite counts rows by itself only in a column declared as INTEGER.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("workspace_id", Text, nullable=False),
    Column("env_id", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("is_error", Boolean, nullable=False),
    Column("started_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    Column("body", LargeBinary, nullable=False),
    # Never the row of a deleted operation again: an order of arrival that goes back would lie.
    sqlite_autoincrement=True,
)
# Each serves its filter and the order at once, so that a page is read without sorting the workspace.
Index("operations_newest", operations.c.workspace_id, operations.c.started_at, operations.c.seq)
Index("operations_tool", operations.c.workspace_id, operations.c.tool, operations.c.started_at, operations.c.seq)

_versions = Table("trio_oplog_schema", _metadata, Column("version", Integer, nullable=False))


class Row(NamedTuple):
    """One operation as the table takes it."""

    id: str
    workspace_id: str
    env_id: str
    tool: str
    source: str
    is_error: bool
    started_at: int
    body: bytes

    @classmethod
    def of(cls, operation: Operation) -> Row:
        """The row of an operation.

        Raises:
            WireError: A field holds what no record can.
        """
        body = _wire.encode(operation)  # first: it checks
        return cls(
            id=key(operation.id),
            workspace_id=key(operation.workspace_id),
            env_id=key(operation.env_id),
            tool=key(operation.tool),
            source=key(operation.source),
            is_error=operation.is_error,
            started_at=microseconds(operation.started_at),
            body=body,
        )


def key(text: str) -> str:
    """The form in which a text is indexed and looked for: itself, where every database takes it.

    PostgreSQL knows no NUL in a text, and no index takes a text of any length.  Such a text is shown as far as it goes, and
    told from all others by a digest.
    """
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= KEY_MAX_BYTES and b"\0" not in data:
        return text
    digest = sha256(data).hexdigest()
    return data[: KEY_MAX_BYTES // 2].replace(b"\0", b"").decode("utf-8", "ignore") + "\N{REPLACEMENT CHARACTER}" + digest


def microseconds(time: datetime) -> int:
    """An aware time as microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def prepare(connection: Connection) -> None:
    """Make the tables where there are none; check the version of those that are there.

    Args:
        connection: In a transaction that keeps others from doing the same; the caller commits it.

    Raises:
        StoreError: The database has a table of this name that is none of ours.
        StoreVersionError: The tables are of a later version.
    """
    tables = set(inspect(connection).get_table_names())
    if _versions.name in tables:
        found = connection.scalar(select(_versions.c.version))
        if not isinstance(found, int):
            raise StoreError(f"the table {_versions.name!r} holds no version: the store is damaged")
        if found > VERSION:
            raise StoreVersionError(found, VERSION)
        return
    if operations.name in tables:
        raise StoreError(f"the database has a table {operations.name!r} that no trio_oplog made: use another database")
    _metadata.create_all(connection)
    connection.execute(_versions.insert().values(version=VERSION))
