"""What the databases' errors mean for whoever runs the collector: in words, with what to do, and without what they quote."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from trio_oplog._errors import StoreError

T = TypeVar("T")

_ADVICE: Final = {
    "SQLITE_BUSY": "another process keeps the file locked; end it, or let it finish",
    "SQLITE_CORRUPT": "the file is damaged; restore a backup, or save what can be read with sqlite3's .recover",
    "SQLITE_FULL": "the disk is full; make room",
    "SQLITE_IOERR": "the disk does not work; look into the system's log",
    "SQLITE_CANTOPEN": "it is no file, or none that may be opened",
    "SQLITE_NOTADB": "the file is no SQLite database",
    "SQLITE_READONLY": "the file or its folder is read-only; let the collector's user write there",
    "08": "the connection to PostgreSQL was lost; it is made again at the next request",
    "25006": "the PostgreSQL server is read-only, as a standby is; let the URL lead to the primary, connections are made anew",
    "28": "PostgreSQL does not let the user of the store's URL in; check the password and pg_hba.conf",
    "3D000": "there is no such database on the PostgreSQL server; make it with CREATE DATABASE",
    "42501": "the user of the store's URL lacks a permission; make it the owner of the store's tables",
    "42P01": "a table is missing; another version may be at work on the database",
    "53100": "the disk of the PostgreSQL server is full; make room",
    "53300": "PostgreSQL has no connection left; raise max_connections, or put pgbouncer in front of it",
    "55P03": "another transaction keeps a lock; see pg_stat_activity for the one that does",
    "57014": "a statement took over 30 seconds; see pg_stat_activity for what else the server does",
    "57P": "the PostgreSQL server is shutting down or starting; connections are made anew",
}
# Where the server said nothing, the driver's own names: for a connection that cannot be made, or that broke.
_DRIVER: Final = ("OperationalError", "InterfaceError", "ConnectionTimeout")
_UNREACHABLE: Final = "PostgreSQL cannot be reached; check that it runs, and the host and port of the store's URL"
_EXHAUSTED: Final = "every connection is in use; the database is slower than the requests come"


def guarded(work: Callable[[], T]) -> T:
    """Do what touches the database; its errors come out as ours, and carry nothing that it said.

    Raises:
        StoreError: The database raised an error.
    """
    try:
        return work()
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        problem = f"the store cannot be used: {code}"
    # Outside of the handler, so that no payload hangs on the error as its context.
    advice = _advice(code)
    raise StoreError(f"{problem}: {advice}" if advice else problem)


def code_of(error: BaseException) -> str | None:
    """SQLite's or PostgreSQL's name for what went wrong; the error's own where there is none, ``None`` if it is no database's."""
    cause: Any = getattr(error, "orig", None) or error
    if not isinstance(error, SQLAlchemyError | sqlite3.Error) and not hasattr(error, "sqlstate"):
        return None
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or type(cause).__name__


def is_lost(code: str) -> bool:
    """Whether no connection of the pool is worth anything any more: the server is gone, going, or not the primary now."""
    return code.startswith(("08", "57P")) or code == "25006" or code in _DRIVER


def is_passing(code: str) -> bool:
    """Whether the same transaction may well succeed at once: it was in a circle of those that wait for each other."""
    return code in ("40001", "40P01")


def _advice(code: str) -> str:
    if code in _DRIVER:
        return _UNREACHABLE
    if code == PoolTimeoutError.__name__:
        return _EXHAUSTED
    # The longest that fits: SQLITE_IOERR_WRITE has its family's.
    return next((_ADVICE[code[:size]] for size in range(len(code), 1, -1) if code[:size] in _ADVICE), "")
