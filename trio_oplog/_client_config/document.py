"""A configuration as text: read in its format, changed, and read again before anybody writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final, NamedTuple, Protocol

from trio_oplog._client_config.changes import Change, Keys, changed
from trio_oplog._client_config.errors import UnusableError
from trio_oplog._client_config.jsonc import JsonDocument
from trio_oplog._client_config.servers import Server, adopt, release
from trio_oplog._client_config.toml import TomlDocument

_BYTE_ORDER_MARK: Final = "\ufeff"


class _Document(Protocol):
    """A text of one format."""

    value: Any

    def edited(self, changes: Iterable[Change]) -> str:
        """The text with the changes in it."""


class Plan(NamedTuple):
    """What becomes of a configuration.

    Attributes:
        data: What its file is to hold.
        servers: What becomes of each server.
    """

    data: bytes
    servers: tuple[Server, ...]


def plan_adoption(name: str, data: bytes, places: Iterable[Keys], program: str, gateways: Mapping[str, str]) -> Plan:
    """What puts the servers of a configuration on record.

    Args:
        name: The name of its file, which says what format it has.
        data: What the file holds.
        places: See ``adopt``.
        program: See ``adopt``.
        gateways: See ``adopt``.

    Raises:
        UnusableError: It cannot be read, or not be changed without changing more than that.
    """
    return _plan(name, data, lambda value: adopt(value, places, program, gateways))


def plan_release(name: str, data: bytes, places: Iterable[Keys], urls: Mapping[str, str]) -> Plan:
    """What takes the servers of a configuration off the record; arguments and errors as for ``plan_adoption`` and ``release``."""
    return _plan(name, data, lambda value: release(value, places, urls))


def _plan(name: str, data: bytes, decide: Callable[[Any], list[Server]]) -> Plan:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UnusableError("is no UTF-8") from None
    kind: Callable[[str], _Document] = TomlDocument if PurePath(name).suffix == ".toml" else JsonDocument
    bare = text.removeprefix(_BYTE_ORDER_MARK)
    mark = text[: len(text) - len(bare)]
    document = kind(bare)
    servers = tuple(decide(document.value))
    changes = [change for server in servers for change in server.changes]
    if not changes:
        return Plan(data, servers)
    text = document.edited(changes)
    if _canonical(kind(text).value) != _canonical(changed(document.value, changes)):
        raise UnusableError("cannot be changed without changing more than its servers")
    return Plan((mark + text).encode(), servers)


def _canonical(value: Any) -> str:
    """A text that is the same for the same value; NaN equals itself there."""
    return json.dumps(value, sort_keys=True, default=repr)
