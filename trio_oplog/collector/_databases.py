"""What the two databases need differently: how each is reached, opened and told to wait."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from trio_oplog._errors import ConfigError, StoreError
from trio_oplog.collector._histogram import together
from trio_oplog.collector._problems import code_of

READERS: Final = 4
"""How many may read at once; others write."""
WRITERS: Final = 2
"""How many transactions of one process may write to PostgreSQL at once: while the server is at work for one of them, another is
made ready.  SQLite has one writer."""

_PATIENCE: Final = 10
"""How long to wait for a lock or for a connection, in seconds."""

_MOMENT: Final = 0.01

# The write-ahead log is cut to this when it has grown over it, 64 MiB; and SQLite's pages in memory, 16 MiB a connection.
WAL_MAX_BYTES: Final = 64 << 20
_CACHE_KIB: Final = 16 << 10
# The log goes into the file every 16 MiB: SQLite's 4 MiB are what two batches of records write, mostly to the same pages.
_CHECKPOINT_PAGES: Final = 4_096

HISTOGRAMS_TOGETHER: Final = "histograms_together"
"""SQLite: the name of the function that puts two histograms together."""

_log = logging.getLogger("trio_oplog.collector")

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
    """The connections to a database; none is made before it is needed.  Blocks.

    Raises:
        StoreError: The file cannot be made, or the driver is not installed.
    """
    return _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)


def lock(connection: Connection) -> None:
    """Keep others from doing the same until the transaction ends: from writing (SQLite), from changing tables (PostgreSQL).

    Raises:
        StoreError: The PostgreSQL database is in an encoding that does not hold every text.
    """
    (_lock_sqlite if connection.dialect.name == "sqlite" else _lock_postgresql)(connection)


def _engine(url: URL, **options: Any) -> Engine:
    # Without its parameters: the text of an error would hold the records.
    return create_engine(
        url, hide_parameters=True, pool_size=READERS + WRITERS, max_overflow=0, pool_timeout=_PATIENCE, **options
    )


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
        connection.execute(f"PRAGMA journal_size_limit={WAL_MAX_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        connection.create_function(HISTOGRAMS_TOGETHER, 2, together, deterministic=True)

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log.  SQLite does not wait for its turn to do this, so two that open a new file would collide.

    A file that is empty still is told first that it will have to give back space: later that takes writing it anew.
    """
    deadline = monotonic() + _PATIENCE
    while True:
        try:
            if connection.execute("PRAGMA page_count").fetchone() == (0,):
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
        else:
            return
        sleep(_MOMENT)


def log_size(file: Path) -> int:
    """How long the write-ahead log of a file is, in bytes."""
    try:
        return os.stat(f"{file}-wal").st_size
    except OSError:  # deleted with its file, which is noticed elsewhere
        return 0


def begin_log_anew(engine: Engine) -> None:
    """Put what is in the write-ahead log into the file, and cut the log to nothing; not where others read meanwhile."""
    try:
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            # Nobody of this process reads, and readers of others are not waited for, since nobody can write meanwhile.
            driver.execute("PRAGMA busy_timeout=0")
            try:
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                driver.execute(f"PRAGMA busy_timeout={1000 * _PATIENCE}")
    except (sqlite3.Error, SQLAlchemyError) as error:  # what was written is safe all the same
        _log.warning("the write-ahead log could not be shortened: %s", code_of(error))


def give_back(engine: Engine) -> None:
    """Rewrite a file of version 1, so that it can give back the space of what is pruned."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        try:
            driver.execute("PRAGMA auto_vacuum=INCREMENTAL")
            driver.execute("VACUUM")
        except sqlite3.OperationalError as error:
            _log.warning("the file could not be rewritten (%s): it will not shrink when it is pruned", error.sqlite_errorname)


def _lock_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


_CONNECT: Final = {
    "connect_timeout": _PATIENCE,
    "client_encoding": "utf8",
    # pgbouncer hands each transaction to any connection, and a statement that another one prepared is not there.
    "prepare_threshold": None,
    # A server that is gone without a word is noticed after half a minute.
    "keepalives_idle": _PATIENCE,
    "keepalives_interval": _PATIENCE // 2,
    "keepalives_count": 4,
    "tcp_user_timeout": 3 * _PATIENCE * 1000,
}
# A statement that waits for ever would keep every later record waiting, and a collector that hangs the others' cells.
_SETTINGS: Final = (
    f"SET LOCAL statement_timeout = '{3 * _PATIENCE}s'; SET LOCAL lock_timeout = '{_PATIENCE}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{3 * _PATIENCE}s'"
)


def _postgresql(url: URL) -> Engine:
    try:
        engine = _engine(url, connect_args=_CONNECT)
    except ModuleNotFoundError:
        raise StoreError("PostgreSQL needs psycopg: pip install 'trio-oplog[postgresql]'") from None

    @event.listens_for(engine, "begin")
    def settle(connection: Connection) -> None:
        # For this transaction alone: behind pgbouncer the next one of the connection may be somebody else's.
        connection.exec_driver_sql(_SETTINGS)

    return engine


def _lock_postgresql(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _POSTGRESQL_LOCK})
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StoreError("the PostgreSQL database must be encoded in UTF8")
