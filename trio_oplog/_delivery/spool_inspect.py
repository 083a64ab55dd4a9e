"""Looking into spools, also those that a process has open: what the command line needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from trio_oplog._delivery.spool_file import APPLICATION, SpoolLock, connect, read_destination, transaction
from trio_oplog._delivery.spool_folder import SUFFIX
from trio_oplog._errors import SpoolError, SpoolInUseError, WireError
from trio_oplog._wire import decode


@frozen(kw_only=True)
class DeadRecord:
    """A record that was given up, with what is needed to try it again.

    Attributes:
        number: Its number in the file.
        id: The operation's id.
        reason: Why it was given up.
        died_at: When; aware, UTC.
        size_bytes: The length of its document.
    """

    number: int
    id: str
    reason: str
    died_at: datetime
    size_bytes: int


@frozen(kw_only=True)
class SpoolStatus:
    """What a spool's file holds.

    Attributes:
        path: The file.
        destination: What its records are for, as its client said; ``""`` where nobody said so.
        waiting: Records that wait for delivery.
        waiting_bytes: Their documents together.
        dead: Records that were given up.
        last_number: The number of the last record that was ever committed; 0 when none was.
        in_use: Whether a process has it open.
        oldest: When the call of the oldest record that waits has ended; ``None`` where none waits, or it cannot be read.
    """

    path: Path
    destination: str
    waiting: int
    waiting_bytes: int
    dead: int
    last_number: int
    in_use: bool
    oldest: datetime | None


def status(path: Path) -> SpoolStatus:
    """What the file holds.

    Raises:
        SpoolError: There is no spool that can be read.
    """
    with _looking(path) as db:
        waiting, size = db.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM records").fetchone()
        (dead,) = db.execute("SELECT count(*) FROM dead").fetchone()
        (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'records'").fetchone()
        first = db.execute("SELECT body FROM records ORDER BY number LIMIT 1").fetchone()
        destination = read_destination(db)
    try:
        SpoolLock(path).release()
        in_use = False
    except SpoolInUseError:
        in_use = True
    return SpoolStatus(
        path=path,
        destination=destination,
        waiting=waiting,
        waiting_bytes=size,
        dead=dead,
        last_number=last,
        in_use=in_use,
        oldest=_ended(first[0]) if first is not None else None,
    )


def _ended(body: bytes) -> datetime | None:
    try:
        return decode(body).completed_at
    except WireError:
        return None


def files(path: Path) -> list[Path]:
    """The spools that a path means: the file itself, or those in a folder, in order of their names."""
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]


def dead(path: Path) -> list[DeadRecord]:
    """What was given up, oldest first.

    Raises:
        SpoolError: There is no spool that can be read.
    """
    with _looking(path) as db:
        rows = db.execute("SELECT number, id, reason, died_at, length(body) FROM dead ORDER BY number").fetchall()
    return [
        DeadRecord(number=number, id=name, reason=reason, died_at=datetime.fromtimestamp(at, UTC), size_bytes=size)
        for number, name, reason, at, size in rows
    ]


def export(path: Path, *, of_the_dead: bool = False) -> Iterator[bytes]:
    """The documents that wait, or those that were given up, oldest first.

    Raises:
        SpoolError: There is no spool that can be read.
    """
    with _looking(path) as db:
        for (body,) in db.execute(f"SELECT body FROM {'dead' if of_the_dead else 'records'} ORDER BY number"):  # noqa: S608 -- two words of ours
            yield body


def requeue(path: Path) -> int:
    """Let everything that was given up wait for delivery again.

    Returns:
        How many records that were.

    Raises:
        SpoolError: There is no spool that can be written.
        SpoolInUseError: A process has it open.
    """
    _check_exists(path)
    lock = SpoolLock(path)
    try:
        with _as_spool_errors(path), _closing(connect(path, None)) as db, transaction(db):
            # New numbers: an old one may be below what a reader has passed.
            count = db.execute(
                "INSERT INTO records (workspace, id, body) SELECT workspace, id, body FROM dead ORDER BY number"
            ).rowcount
            db.execute("DELETE FROM dead")
            return count
    finally:
        lock.release()


@contextmanager
def _closing(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield db
    finally:
        db.close()


@contextmanager
def _as_spool_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SpoolError(str(path), f"cannot be read: {error.sqlite_errorname}") from None


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise SpoolError(str(path), "does not exist")


@contextmanager
def _looking(path: Path) -> Iterator[sqlite3.Connection]:
    _check_exists(path)
    with _as_spool_errors(path), _closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION:
            raise SpoolError(str(path), "is a database, but no spool")
        yield db
