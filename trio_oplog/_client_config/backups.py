"""What files held before they were changed: kept in a folder of the user's own, since configurations hold secrets."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple

from trio_oplog._client_config.errors import UnusableError
from trio_oplog._client_config.files import open_private, sync_folder

_ABOUT: Final = "about.json"
_SUFFIX: Final = ".backup"
_DIGITS: Final = 16


class Backup(NamedTuple):
    """What a file held.

    Attributes:
        path: Where that is kept.
        data: What it held.
    """

    path: Path
    data: bytes


class Backups:
    """A folder of backups.

    Each file has a folder in it.  The name of a backup has the digests of what the file holds now and of what it held.

    Args:
        folder: The folder, which need not exist; it is made for the user alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self) -> list[Path]:
        """The files that there are backups of."""
        found = [about.get("file") for about in map(_read_about, sorted(self._folder.glob(f"*/{_ABOUT}")))]
        return [Path(file) for file in found if isinstance(file, str)]

    def all_of(self, file: Path) -> list[Path]:
        """Where the backups of a file are."""
        return sorted(self._folder_of(file).glob(f"*{_SUFFIX}"))

    def urls(self, file: Path) -> dict[str, str]:
        """The URLs that were brought into a file, each with the one that was there."""
        urls = _read_about(self._folder_of(file) / _ABOUT).get("urls")
        return {str(new): str(old) for new, old in urls.items()} if isinstance(urls, dict) else {}

    def find(self, file: Path, now: bytes) -> Backup | None:
        """What a file held before somebody made of it what it holds now; ``None`` where there is no backup, or a damaged one."""
        for path in self._folder_of(file).glob(f"{_digest(now)}-*{_SUFFIX}"):
            data = path.read_bytes()
            if path.name == _name(now, data):
                return Backup(path, data)
        return None

    @contextmanager
    def kept(self, file: Path, before: bytes, after: bytes, urls: Mapping[str, str]) -> Iterator[Path]:
        """Keep a backup if the block gets to its end; yields where it is.

        Args:
            file: The file, without symbolic links.
            before: What it holds.
            after: What the block makes of it.
            urls: The URLs that this brings, each with the one that was there.

        Raises:
            UnusableError: The backup cannot be written.
        """
        folder = self._folder_of(file)
        path = folder / _name(after, before)
        try:
            for each in (self._folder.parent, self._folder, folder):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            for old in folder.glob(f"{_digest(after)}-*{_SUFFIX}"):
                old.unlink()  # of another file that came to the same; this one is newer
            about = {"file": str(file), "urls": self.urls(file) | dict(urls)}
            _write(folder / _ABOUT, json.dumps(about).encode())
            _write(path, before)
        except OSError as error:
            raise UnusableError(f"is not changed, since its backup cannot be written to {folder}: {error.strerror}") from None
        try:
            yield path
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def forget(self, file: Path) -> None:
        """Delete the backups of a file."""
        shutil.rmtree(self._folder_of(file), ignore_errors=True)

    def _folder_of(self, file: Path) -> Path:
        return self._folder / _digest(os.fsencode(file))


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:_DIGITS]


def _name(after: bytes, before: bytes) -> str:
    return f"{_digest(after)}-{_digest(before)}{_SUFFIX}"


def _read_about(path: Path) -> dict[str, Any]:
    """What is known of a file; nothing where that is damaged: its backups need not be."""
    try:
        about = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{token_hex(4)}.tmp")
    with open_private(temporary) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
