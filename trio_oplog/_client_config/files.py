"""The file of a configuration: read, and replaced in one step if nobody has touched it in between."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Final, NamedTuple

from trio_oplog._client_config.errors import UnusableError

MAX_BYTES: Final = 16 * 1024 * 1024
_EDITING: Final = (".{}.swp", ".{}.swo", ".{}.kate-swp", ".#{}", ".~lock.{}#", "{}.lock")
"""What editors, and programs that write their own configuration, leave beside a file while they work on it."""


class _State(NamedTuple):
    """What tells a file from another one, and from itself after it was changed."""

    device: int
    inode: int
    size: int
    changed_ns: int
    mode: int
    user: int
    group: int


class ConfigFile:
    """A file as it was read.

    Args:
        path: Its path; where that is a symbolic link, the file is what it leads to, and the link stays.

    Attributes:
        path: Where the file is, without symbolic links.
        data: What it holds.

    Raises:
        UnusableError: It is not there, is no regular file of at most 16 MiB, has several names, is being edited, or cannot be
            read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.path = path.resolve(strict=True)
            self._state, self.data = _read(self.path)
        except FileNotFoundError:
            raise UnusableError("is not there") from None
        except IsADirectoryError:
            raise UnusableError("is no regular file") from None
        except (OSError, RuntimeError) as error:  # the latter for links in a circle
            raise UnusableError(f"cannot be read: {_words(error)}") from None
        editor = next(_editors(path, self.path), None)
        if editor is not None:
            raise UnusableError(f"is being edited: {editor.name} is beside it")

    def replace(self, data: bytes) -> None:
        """Put other bytes in the place of what was read, with the same mode and owner; in one step, so that nobody sees half.

        Raises:
            UnusableError: It was changed since it was read, or cannot be written; it stays as it is.
        """
        temporary = self.path.with_name(f".{self.path.name}.{token_hex(4)}.tmp")
        try:
            self._write(temporary, data)
            if _read(self.path) != (self._state, self.data):
                raise UnusableError("was changed by somebody else just now: try again")
            temporary.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise UnusableError(f"cannot be written: {_words(error)}") from None
        finally:
            with suppress(OSError):
                temporary.unlink()

    def _write(self, path: Path, data: bytes) -> None:
        with open_private(path) as file:
            try:
                os.fchown(file.fileno(), self._state.user, self._state.group)
            except PermissionError:
                raise UnusableError("belongs to somebody else") from None
            os.fchmod(file.fileno(), stat.S_IMODE(self._state.mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def open_private(path: Path) -> IO[bytes]:
    """A new file that only the user can read, for writing.

    Raises:
        OSError: It cannot be made, or there is one already.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def sync_folder(path: Path) -> None:
    """Have a folder's entries survive a loss of power."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(path: Path) -> tuple[_State, bytes]:
    """A file's state and what it holds.

    Raises:
        OSError: It cannot be read.
        UnusableError: It is no regular file of at most 16 MiB with one name.
    """
    # A FIFO, which nobody may be writing to, is opened without waiting.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UnusableError("is no regular file")
        if found.st_nlink > 1:
            raise UnusableError("has several names (hard links), and would keep one only")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnusableError(f"has more than {MAX_BYTES >> 20} MiB")
    size, mode, user, group = found.st_size, found.st_mode, found.st_uid, found.st_gid
    return _State(found.st_dev, found.st_ino, size, found.st_mtime_ns, mode, user, group), data


def _editors(*paths: Path) -> Iterator[Path]:
    """What is beside a file, under any of its names, while somebody works on it."""
    for path in dict.fromkeys(paths):
        for pattern in _EDITING:
            beside = path.with_name(pattern.format(path.name))
            if os.path.lexists(beside):  # that of Emacs leads nowhere
                yield beside


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or "it leads to itself"
