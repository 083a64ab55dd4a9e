"""Step 7: what a Client is told about its spool: one file, or a folder that the clients of several processes share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from attrs import Attribute, field, frozen

from trio_oplog._errors import ConfigError

LEAST_BYTES: Final = 65_536
"""The least that a spool's file may hold, in bytes of records."""


def _path(value: object) -> object:
    return Path(value) if isinstance(value, str | os.PathLike) and value else value


def _is_path(_: Any, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, Path):
        raise ConfigError(attribute.name, f"must be the path of a {'file' if attribute.name == 'path' else 'folder'}")


def _whole(least: int) -> Any:
    def check(_: Any, attribute: Attribute[Any], value: object) -> None:
        if type(value) is not int or value < least:
            raise ConfigError(attribute.name, f"must be a whole number of at least {least}")

    return check


def _interval(_: Any, attribute: Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 0.05:
        raise ConfigError(attribute.name, "must be seconds, from 0 to 0.05")


def _destination(_: Any, attribute: Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(attribute.name, "must be a non-empty string, or None")


@frozen(kw_only=True)
class Spool:
    """Where a Client keeps what the endpoint has not stored yet: a file of its own.

    What was committed outlives the process, however it ends; the next client with the same path delivers it.  Delivery is at
    least once: a record that was stored just before the process died is sent again with the same id.

    Attributes:
        path: An SQLite file, made where there is none, for its owner alone; beside it SQLite keeps ``-wal`` and ``-shm``, and
            the client ``.lock``.
        max_bytes: The most bytes of records in the file; at least 65 536.  What is over is dropped by the client's ``overflow``.
        commit_interval: How long a record may wait in memory for others to be committed with, in seconds; at most 0.05.
        dead_max: How many rejected records are kept to be looked at; the oldest go first.

    Raises:
        ConfigError: A value is wrong; the error names the field.
    """

    path: Path = field(converter=_path, kw_only=False, validator=_is_path)
    max_bytes: int = field(default=256 * 1024 * 1024, validator=_whole(LEAST_BYTES))
    commit_interval: float = field(default=0.02, validator=_interval)
    dead_max: int = field(default=1000, validator=_whole(1))


@frozen(kw_only=True)
class SpoolFolder:
    """Where the Clients of several processes keep what their endpoints have not stored yet: a folder, with a file for each.

    Each client has a file of its own while it runs, and takes it away when it is empty at the end.  What a client left behind,
    also one that was killed, the next client in the folder with the same destination takes over as it starts; so does one that
    runs already, within two seconds.

    Attributes:
        folder: The folder, made where there is none, for its owner alone.
        destination: What the records are for.  Files for another destination are left alone.  ``None`` means the client's URL
            without what may be private in it.  It is written into each file: put no secret into it.
        max_bytes: The most bytes in all files of the folder together, by estimate; at least 65 536, which each client has in any
            case.  What is over is dropped by the client's ``overflow``.
        commit_interval: How long a record may wait in memory for others to be committed with, in seconds; at most 0.05.
        dead_max: How many rejected records each client keeps to be looked at; the oldest go first.

    Raises:
        ConfigError: A value is wrong; the error names the field.
    """

    folder: Path = field(converter=_path, kw_only=False, validator=_is_path)
    destination: str | None = field(default=None, validator=_destination)
    max_bytes: int = field(default=256 * 1024 * 1024, validator=_whole(LEAST_BYTES))
    commit_interval: float = field(default=0.02, validator=_interval)
    dead_max: int = field(default=1000, validator=_whole(1))
