"""Step 7: a folder of spools: which file is whose, and which ones nobody has any more.

The name of a file begins with a digest of its destination, so that nobody takes over what is meant for somebody else.  Its lock
says whether its client lives: the system lets go of it with the process, however that ends.  Nothing here knows Trio.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Final

from attrs import frozen

from trio_oplog._delivery.ledger import logger
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool import LEAST_BYTES, SpoolFolder
from trio_oplog._delivery.spool_file import MovedError, SpoolFile, SpoolLock
from trio_oplog._errors import SpoolError, SpoolInUseError

SUFFIX: Final = ".spool"
_DIGITS: Final = 16
_PARTS: Final = ("", "-wal", "-shm")


@frozen
class Abandoned:
    """The file of a client that is no more, in our hands."""

    file: SpoolFile
    lock: SpoolLock

    def next_group(self, count: int, max_bytes: int) -> list[Record]:
        """The next records to move, of each workspace the same; none where there are none or they cannot be read."""
        group: list[Record] = []
        share = max(count // max(len(self.file.holdings), 1), 1)
        try:
            for workspace in self.file.holdings:
                group += self.file.read(share, max_bytes // len(self.file.holdings), workspace=workspace)
                if len(group) >= count or sum(len(record.wire) for record in group) >= max_bytes:
                    break
        except (sqlite3.Error, MovedError):
            pass
        return group

    def move(self, group: list[Record], ours: SpoolFile) -> tuple[Mapping[int, Record], bool]:
        """Commit a group to our own file, then delete it from this one; after the last goes what was given up.

        Returns:
            The records that are in our own file now, by their numbers there, and whether there may be more to move.
            The ``row`` of the records that are not there is 0.
        """
        rows = [record.row for record in group]
        for record in group:
            record.row = 0
        moved: Mapping[int, Record] = {}
        try:
            moved, _ = ours.commit(group, [], [] if group else self.file.dead_rows())
            for row, record in moved.items():
                record.row = row
            self.file.commit([], rows, [])
            if not group:
                self.file.forget_dead()
        except (sqlite3.Error, MovedError, SpoolError) as error:
            logger.warning("the spool %s was left behind and cannot be taken over: %s", self.file.path, type(error).__name__)
            return moved, False  # what cannot be deleted here would be moved again and again
        return moved, bool(moved)

    def release(self) -> None:
        """Take the file away if nothing is in it, else leave it for another time."""
        empty = not self.file.waiting and not self.file.has_dead()
        self.file.close()
        if empty:
            remove(self.file.path)
        self.lock.release()


class Folder:
    """The folder as one client sees it."""

    def __init__(self, settings: SpoolFolder, destination: str) -> None:
        self.path = settings.folder.absolute()
        self.destination = settings.destination or destination
        self._max_bytes = settings.max_bytes
        self._dead_max = settings.dead_max
        self._prefix = sha256(self.destination.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]

    def claim(self) -> tuple[Path, SpoolLock]:
        """Make a file of our own, or rather its lock.

        Raises:
            SpoolError: The folder cannot be made or written.
        """
        self.make()
        while True:
            path = self.path / f"{self._prefix}-{os.getpid()}-{token_hex(4)}{SUFFIX}"
            with suppress(SpoolInUseError):  # by somebody who looks whether the lock is a dead client's
                return path, SpoolLock(path)

    def make(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            SpoolError: It cannot be made.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
                self.path.chmod(0o700)  # whatever the umask
        except OSError as error:
            raise SpoolError(str(self.path), f"cannot be made: {os.strerror(error.errno or 0)}") from None

    def others(self, own: Path) -> list[Path]:
        """The files of other clients with our destination, living or not; and the locks of files that are gone are taken away."""
        try:
            names = set(os.listdir(self.path))
        except OSError:
            return []
        found = sorted(
            name for name in names if name.startswith(f"{self._prefix}-") and name.endswith(SUFFIX) and name != own.name
        )
        for name in names:
            if name.endswith(f"{SUFFIX}.lock") and name.removesuffix(".lock") not in names and name != f"{own.name}.lock":
                self._forget(self.path / name.removesuffix(".lock"))
        return [self.path / name for name in found]

    def _forget(self, path: Path) -> None:
        with suppress(SpoolError):
            lock = SpoolLock(path)
            if not path.exists():
                remove(path)
            lock.release()

    def take_over(self, path: Path) -> Abandoned | None:
        """Get hold of another client's file; ``None`` when that lives, or its file is gone or of no use."""
        try:
            lock = SpoolLock(path)
        except SpoolError:
            return None
        try:
            if path.exists():
                file = SpoolFile.open(path, self._dead_max, self.destination)
                if file.destination == self.destination:
                    return Abandoned(file, lock)
                file.close()
            else:
                remove(path)  # by another client, between our looking and our locking
        except (SpoolError, sqlite3.Error, OSError) as error:
            logger.warning("the spool %s was left behind and cannot be taken over: %s", path, type(error).__name__)
        lock.release()
        return None

    def limit(self, own: Path) -> int:
        """How many bytes our own file may hold beside those of the others."""
        others = 0
        for entry in _entries(self.path):
            if not entry.name.startswith(own.name):
                with suppress(OSError):
                    others += entry.stat().st_size
        return max(self._max_bytes - others, LEAST_BYTES)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        yield from entries


def remove(path: Path) -> None:
    """Take a spool away; whoever calls holds its lock.  The lock's own file goes last."""
    for part in (*_PARTS, ".lock"):
        with suppress(OSError):
            os.unlink(f"{path}{part}")
