"""One file adopted or undone: the steps between the rules and the disk."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trio_oplog._client_config.backups import Backups
from trio_oplog._client_config.clients import Place
from trio_oplog._client_config.document import plan_adoption, plan_release
from trio_oplog._client_config.errors import UnusableError
from trio_oplog._client_config.files import ConfigFile
from trio_oplog._client_config.servers import Server


class Done(NamedTuple):
    """What became of a file, or would.

    Attributes:
        servers: What became of each server that matters.
        is_changed: Whether the file was changed.
        backup: Where what it held is kept, if it was changed.
        is_restored: Whether it holds again, byte for byte, what it held before.
    """

    servers: tuple[Server, ...]
    is_changed: bool
    backup: Path | None = None
    is_restored: bool = False


def adopt_file(place: Place, backups: Backups, program: str, gateways: Mapping[str, str], *, dry_run: bool) -> Done:
    """Put the servers of a file on record, and keep a backup.

    Args:
        place: The file.
        backups: Where the backup is kept.
        program: The absolute path of ``trio-oplog``.
        gateways: By the origin of a server with a URL, the origin of the gateway in front of it.
        dry_run: Whether to change nothing.

    Raises:
        UnusableError: The file is left alone.
    """
    file = ConfigFile(place.path)
    plan = plan_adoption(file.path.name, file.data, place.places, program, gateways)
    if plan.data == file.data or dry_run:
        return Done(plan.servers, plan.data != file.data)
    urls = {new: old for server in plan.servers for new, old in server.urls.items()}
    with backups.kept(file.path, file.data, plan.data, urls) as backup:
        file.replace(plan.data)
    return Done(plan.servers, is_changed=True, backup=backup)


def undo_file(place: Place, backups: Backups, *, dry_run: bool) -> Done:
    """Take the servers of a file off the record, and forget its backups.

    A file that nobody has changed since it was adopted gets what it held, byte for byte.  In any other one the commands of the
    servers are as they were, and the rest stays as it is.

    Args:
        place: The file.
        backups: Where its backups are.
        dry_run: Whether to change nothing.

    Raises:
        UnusableError: The file is left alone.
    """
    file = ConfigFile(place.path)
    name, urls = file.path.name, backups.urls(file.path)
    data, used = file.data, set[Path]()
    while (backup := backups.find(file.path, data)) is not None and backup.path not in used:
        used.add(backup.path)
        data = backup.data
    # What no backup leads to was adopted before somebody changed the file, and is taken out of the text.
    is_restored = bool(used) and used.issuperset(backups.all_of(file.path))
    if is_restored:
        servers: tuple[Server, ...] = ()
        with suppress(UnusableError):
            servers = plan_release(name, file.data, place.places, urls).servers
    else:
        plan = plan_release(name, data, place.places, urls)
        servers = plan_release(name, file.data, place.places, urls).servers
        data = plan.data
    if data != file.data and not dry_run:
        file.replace(data)
        backups.forget(file.path)
    return Done(servers, data != file.data, is_restored=is_restored)
