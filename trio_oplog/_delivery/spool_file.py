"""Step 7: the spool's file: an SQLite database that one process writes and anybody may look into.

Nothing here knows Trio; every call blocks for as long as the disk takes.
"""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import frozen

from trio_oplog._delivery.ledger import DropReason, logger
from trio_oplog._delivery.record import Record
from trio_oplog._errors import SpoolError, SpoolInUseError

ROW_OVERHEAD: Final = 128
"""What a row costs in the file besides its body, rounded up."""

_APPLICATION: Final = 0x6F706C67  # "oplg": tells a spool from somebody else's database
_VERSION: Final = 1
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS records (
    -- Numbers grow for ever: one that was used is not used again, so that the order of submission is in them.
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS dead (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, body BLOB NOT NULL, reason TEXT NOT NULL, died_at REAL NOT NULL
);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""


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
        waiting: Records that wait for delivery.
        waiting_bytes: Their documents together.
        dead: Records that were given up.
        last_number: The number of the last record that was ever committed; 0 when none was.
        in_use: Whether a process has it open.
    """

    waiting: int
    waiting_bytes: int
    dead: int
    last_number: int
    in_use: bool


def row_size(record: Record) -> int:
    """What a sealed record takes up in the file, by the count of ``SpoolFile.bytes``."""
    return len(record.wire) + ROW_OVERHEAD


def is_corruption(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault, rather than the disk, a lock or a permission."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SpoolFile:
    """One open spool; methods may be called from any thread, one at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, dead_max: int) -> None:
        self.path = path
        self._db = connection
        self._dead_max = dead_max
        (count, size), (last,) = (
            self._db.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM records").fetchone(),
            self._db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'records'").fetchone(),
        )
        self.waiting = int(count)
        self.bytes = int(size) + self.waiting * ROW_OVERHEAD
        self.last_number = int(last)

    @classmethod
    def open(cls, path: Path, dead_max: int) -> SpoolFile:
        """Open or create a spool; whoever calls holds its lock.

        A damaged file is renamed and a new one begun, which is said once in the log.

        Raises:
            SpoolError: It is no spool, or of a later version; it is left as it is.
            sqlite3.Error: The disk is full, or fails.
        """
        try:
            return cls(path, _connect(path, create=True), dead_max)
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
        set_aside(path)
        return cls(path, _connect(path, create=True), dead_max)

    def commit(
        self,
        records: Sequence[Record],
        gone: Sequence[int],
        dead: Sequence[tuple[Record, DropReason]],
        max_bytes: float = math.inf,
        *,
        in_order: bool = False,
    ) -> tuple[list[Record], list[Record]]:
        """Remove records, add others as far as the file may grow and bury the dead, all of it or nothing.

        Args:
            records: To be added.
            gone: The numbers of those to be removed.
            dead: To be kept aside, with the reason.
            max_bytes: What the file may hold, by the count of ``bytes``.
            in_order: Whether none may be added after one that has no room; without it smaller ones are.

        Returns:
            The records that were added, and those that have no room.

        Raises:
            sqlite3.Error: Nothing changed.
        """
        added: list[Record] = []
        no_room: list[Record] = []
        removed = removed_bytes = added_bytes = 0
        with _transaction(self._db) as db:
            for where in _ranges(gone):
                count, size = db.execute(
                    "SELECT count(*), coalesce(sum(length(body)), 0) FROM records WHERE number BETWEEN ? AND ?", where
                ).fetchone()
                db.execute("DELETE FROM records WHERE number BETWEEN ? AND ?", where)
                removed += count
                removed_bytes += size + count * ROW_OVERHEAD
            room = max_bytes - self.bytes + removed_bytes
            for record in records:
                size = row_size(record)
                if added_bytes + size > room or (in_order and no_room):
                    no_room.append(record)
                else:
                    added.append(record)
                    added_bytes += size
            db.executemany(
                "INSERT OR REPLACE INTO records (number, id, body) VALUES (?, ?, ?)",
                [(record.number, record.id, record.wire) for record in added],
            )
            if dead:
                now = time.time()
                db.executemany(
                    "INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?)",
                    [(record.number, record.id, record.wire, reason.value, now) for record, reason in dead],
                )
                # The oldest go: the latest tell more about what is wrong now.
                db.execute(
                    "DELETE FROM dead WHERE number <= (SELECT number FROM dead ORDER BY number DESC LIMIT 1 OFFSET ?)",
                    (self._dead_max,),
                )
        self.waiting += len(added) - removed
        self.bytes += added_bytes - removed_bytes
        return added, no_room

    def read(self, after: int, count: int, max_bytes: int) -> list[Record]:
        """The first records with a greater number: at most so many, of at most so many bytes, but one if there is one.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        records: list[Record] = []
        total = 0
        with closing(self._rows(after, count)) as rows:
            for record in rows:
                total += len(record.wire)
                if records and total > max_bytes:
                    break
                records.append(record)
        return records

    def oldest(self, after: int, row_bytes: int) -> list[Record]:
        """The first records with a greater number, as many as it takes to free so many bytes, or all there are.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        records: list[Record] = []
        with closing(self._rows(after, -1)) as rows:
            for record in rows:
                records.append(record)
                row_bytes -= row_size(record)
                if row_bytes <= 0:
                    break
        return records

    def _rows(self, after: int, count: int) -> Generator[Record, None, None]:
        now = time.monotonic()
        rows = self._db.execute("SELECT number, id, body FROM records WHERE number > ? ORDER BY number LIMIT ?", (after, count))
        try:
            for number, name, body in rows:
                yield Record(number, None, len(body), now, body, name, row=number)
        finally:
            rows.close()

    def close(self) -> None:
        """Close it; the write-ahead log is folded in as far as the disk allows."""
        self._db.close()


class SpoolLock:
    """Keeps a second process off a spool; ends with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(str(path), f"cannot be opened: {os.strerror(error.errno or 0)}") from None
        try:
            # Not a lock on the database itself: SQLite's own are dropped when any descriptor of the file is closed.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise SpoolInUseError(str(path), "is in use by another process or client") from None

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def set_aside(path: Path) -> None:
    """Rename a damaged file and what belongs to it."""
    aside = f"{path}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(f"{path}{suffix}"):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    logger.error("the spool %s is damaged; it was renamed to %s and a new one begun", path, aside)


# What the command line needs: looking into a file that somebody else may have open.


def status(path: Path) -> SpoolStatus:
    """What the file holds.

    Raises:
        SpoolError: There is no spool that can be read.
    """
    with _looking(path) as db:
        waiting, size = db.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM records").fetchone()
        (dead,) = db.execute("SELECT count(*) FROM dead").fetchone()
        (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'records'").fetchone()
    try:
        SpoolLock(path).release()
        in_use = False
    except SpoolInUseError:
        in_use = True
    return SpoolStatus(waiting=waiting, waiting_bytes=size, dead=dead, last_number=last, in_use=in_use)


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
        with _as_spool_errors(path), _closing(_connect(path, create=False)) as db, _transaction(db):
            # New numbers: an old one may be below what a reader has passed.
            count = db.execute("INSERT INTO records (id, body) SELECT id, body FROM dead ORDER BY number").rowcount
            db.execute("DELETE FROM dead")
            return count
    finally:
        lock.release()


def _lock_path(path: Path) -> str:
    return f"{path}.lock"


def _connect(path: Path, *, create: bool) -> sqlite3.Connection:
    # Handed between threads, used by one at a time.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        fresh = _check(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        # Safe against the death of the process; the last commits may go with the power.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        if fresh and create:
            db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is new; what is no spool is left alone."""
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and application != _APPLICATION:
        raise SpoolError(str(path), "is a database, but no spool")
    if version > _VERSION:
        raise SpoolError(str(path), f"was written by a later version of trio_oplog (format {version})")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        damage = sqlite3.DatabaseError("quick_check failed")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage
    return not tables


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.OperationalError):  # SQLite has rolled back by itself, as it does when the disk is full
            db.execute("ROLLBACK")
        raise


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
        if application != _APPLICATION:
            raise SpoolError(str(path), "is a database, but no spool")
        yield db


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive numbers: what is delivered together was mostly submitted together."""
    first = last = 0
    for number in sorted(numbers):
        if first and number <= last + 1:
            last = number
            continue
        if first:
            yield first, last
        first = last = number
    if first:
        yield first, last
