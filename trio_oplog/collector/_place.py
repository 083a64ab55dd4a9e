"""Whether an SQLite file is still the one that was opened: what is written to a file that was deleted or replaced is lost."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from trio_oplog._errors import StoreError


class Place:
    """Where a database file and its write-ahead log are, as they were when it was opened.

    Args:
        file: The database, which is open, in use and in write-ahead mode.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.absolute()
        self._then = self._look()

    def check(self) -> None:
        """See to it that nothing has changed.

        Raises:
            StoreError: The file or its log was deleted or replaced.  Nothing that was written last counts.
        """
        if self._look() != self._then:
            raise StoreError(f"the file {self._file} was deleted or replaced; it is opened again")

    def leave(self) -> None:
        """Once every connection is closed, take the log away if the file is another one: SQLite would take it for that one's."""
        file, log = (now == then for now, then in zip(self._look(), self._then, strict=True))
        if log and not file:
            for suffix in ("-wal", "-shm"):
                with suppress(OSError):
                    os.unlink(f"{self._file}{suffix}")

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return _identity(f"{self._file}"), _identity(f"{self._file}-wal")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
