"""What the two databases need differently: how each is reached, opened and told to wait."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError

from trio_oplog._errors import ConfigError, StoreError
from trio_oplog.collector._schema import prepare

READERS: Final = 4
"""How many may read at once; one more connection writes."""

_PATIENCE: Final = 10
"""How long to wait for a lock or for a connection, in seconds."""

_MOMENT: Final = 0.01

# Any number that nobody else locks in the same database.
_POSTGRESQL_LOCK: Final = 0x6F70_6C6F_67


def parse_url(url: str) -> URL:
    """Check a database URL.

    Raises:
        ConfigError: It is none of those that ``open_store`` takes.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None:
        raise ConfigError("url", "must be a database URL, such as sqlite:///operations.sqlite3")
    if parsed.drivername == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:") or parsed.query:
            raise ConfigError("url", "must name a file after sqlite:/// and nothing else")
        return parsed
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError("url", "must begin with sqlite:/// or postgresql://")


def open_engine(url: URL) -> Engine:
    """Connect, and make or check the tables.  Blocks.

    Raises:
        SQLAlchemyError: The database did not let us.
        StoreError: It is not one that can be used.
    """
    is_sqlite = url.get_backend_name() == "sqlite"
    engine = _sqlite(url) if is_sqlite else _postgresql(url)
    try:
        with engine.begin() as connection:
            (_lock_sqlite if is_sqlite else _lock_postgresql)(connection)
            prepare(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _engine(url: URL, **options: Any) -> Engine:
    # Without its parameters: the text of an error would hold the records.
    return create_engine(url, hide_parameters=True, pool_size=READERS + 1, max_overflow=0, pool_timeout=_PATIENCE, **options)


def _sqlite(url: URL) -> Engine:
    file = Path(str(url.database))
    try:
        # SQLite would let the umask decide who reads what everybody's tools were told.  A file that is there is not opened:
        # closing it would take away the locks that this process has on it.
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(descriptor, 0o600)  # the umask may have taken away more
        os.close(descriptor)
    except FileExistsError:
        pass
    except OSError as error:
        raise StoreError(f"the file {file} cannot be opened: {error.strerror}") from None
    engine = _engine(url, connect_args={"timeout": _PATIENCE})

    @event.listens_for(engine, "connect")
    def settle(connection: Any, _: Any) -> None:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log.  SQLite does not wait for its turn to do this, so two that open a new file would collide."""
    deadline = monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
        else:
            return
        sleep(_MOMENT)


def _lock_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql(url: URL) -> Engine:
    try:
        engine = _engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _PATIENCE, "client_encoding": "utf8"})
    except ModuleNotFoundError:
        raise StoreError("PostgreSQL needs psycopg: pip install 'trio-oplog[postgresql]'") from None

    @event.listens_for(engine, "connect")
    def settle(connection: Any, _: Any) -> None:
        # A statement that waits for ever would keep every later record waiting.
        connection.execute(f"SET statement_timeout = '{3 * _PATIENCE}s'")
        connection.execute(f"SET lock_timeout = '{_PATIENCE}s'")
        connection.commit()

    return engine


def _lock_postgresql(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _POSTGRESQL_LOCK})
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StoreError("the PostgreSQL database must be encoded in UTF8")
