"""How a store is: whether it can be used, how large it is and how far back it goes."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen
from sqlalchemy import Connection, text

from trio_oplog.collector._retention import oldest_day
from trio_oplog.collector._rows import MICROSECONDS, as_time

# An expression that PostgreSQL refuses where nothing can be written, with the code that has connections made anew.
_TRY_POSTGRESQL = text("SELECT FROM workspaces WHERE false FOR UPDATE")
_TRY_SQLITE = text("SELECT 1 FROM workspaces LIMIT 1")
_SIZE_SQLITE = text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
_SIZE_POSTGRESQL = text(
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = current_schema()"
)


@frozen
class StoreSize:
    """How much a store holds.

    Attributes:
        bytes: What it takes on disk, without a write-ahead log.
        oldest: The beginning of the UTC day of the oldest record; ``None`` where there is none.
    """

    bytes: int
    oldest: datetime | None


def read_nothing(connection: Connection) -> None:
    """Fail where the store cannot be used."""
    connection.execute(_TRY_SQLITE if connection.dialect.name == "sqlite" else _TRY_POSTGRESQL)


def read_size(connection: Connection) -> StoreSize:
    """Measure the store."""
    size = connection.scalar(_SIZE_SQLITE if connection.dialect.name == "sqlite" else _SIZE_POSTGRESQL)
    oldest = oldest_day(connection)
    return StoreSize(int(size or 0), None if oldest is None else as_time(oldest * MICROSECONDS))
