"""The servers in a configuration, and what puts them on record or takes them off it: rules about plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from trio_oplog._client_config.changes import Add, Change, Insert, Keys, Remove, Replace

PROGRAM_NAME: Final = "trio-oplog"
_URL_KEYS: Final = ("url", "serverUrl", "httpUrl")
_ORIGIN: Final = re.compile(r"(https?)://([^/?#\\]*)", re.IGNORECASE | re.ASCII)
# Its name in front of a command, or what uvx or pipx is told to install: trio-oplog[cli]==1.0, say.
_OURS: Final = re.compile(r"trio[-_]oplog(?:\[[^]]*\])?(?:[@=<>~!].*)?", re.ASCII)
_PLAIN: Final = (PROGRAM_NAME, "wrap", "--")
_NAMED: Final = (PROGRAM_NAME, "wrap", "--env", "NAME", "--")
_DEFAULT_PORT: Final = {"http": ":80", "https": ":443"}


class Fate(StrEnum):
    """What becomes of a server."""

    ADOPTED = "is put on record"
    MOVED = "is on record, from now on by this trio-oplog"
    KEPT = "is on record already"
    LEFT = "is left alone"
    RELEASED = "is taken off the record"


class Server(NamedTuple):
    """What becomes of one server.

    Attributes:
        name: What the configuration calls it.
        fate: What becomes of it.
        reason: Why it is left alone, as a clause; else empty.
        changes: What that changes in the configuration.
        urls: The URLs that changes bring, each with the one that was there.
    """

    name: str
    fate: Fate
    reason: str = ""
    changes: tuple[Change, ...] = ()
    urls: Mapping[str, str] = {}


class _OddServerError(Exception):
    """An entry that is left alone; the message says why."""


class _Command(NamedTuple):
    """The words of a stdio server, and where they are.

    Attributes:
        words: The program and its arguments.
        program: Where the program is.
        args: The array with the arguments.
        offset: How many words come before the array's first: 1, or 0 where the program is its first element.
        is_bare: Whether there is no such array.
    """

    words: Sequence[str]
    program: Keys
    args: Keys
    offset: int = 1
    is_bare: bool = False


def adopt(value: Any, places: Iterable[Keys], program: str, gateways: Mapping[str, str]) -> list[Server]:
    """What to do so that every server of a configuration is on record.

    Args:
        value: What the configuration says.
        places: Where its tables of servers may be; ``"*"`` stands for every key.
        program: The absolute path of ``trio-oplog``.
        gateways: By the origin of a server with a URL, the origin of the HTTP gateway in front of it; both as ``read_origin``
            spells them.

    Returns:
        The servers, in the order of the configuration.
    """
    return [_decided(keys, entry, program, gateways) for keys, entry in _servers(value, places)]


def release(value: Any, places: Iterable[Keys], urls: Mapping[str, str]) -> list[Server]:
    """What to do so that no server of a configuration is on record by what ``adopt`` has written.

    Args:
        value: What the configuration says.
        places: See ``adopt``.
        urls: The URLs that were brought, each with the one that was there.

    Returns:
        The servers that are taken off the record.
    """
    found = []
    for keys, entry in _servers(value, places):
        changes = _releasing(keys, entry, urls)
        if changes:
            found.append(Server(str(keys[-1]), Fate.RELEASED, changes=changes))
    return found


def read_origin(url: str) -> str | None:
    """The scheme and the host of a URL, in lower case and without the scheme's own port; ``None`` where it has none."""
    parts = _ORIGIN.match(url)
    if parts is None:
        return None
    scheme, authority = parts.group(1).lower(), parts.group(2).rpartition("@")[2].lower()
    host = authority.removesuffix(_DEFAULT_PORT[scheme])
    return f"{scheme}://{host}" if host else None


def _servers(value: Any, places: Iterable[Keys]) -> Iterator[tuple[Keys, Any]]:
    """Every entry of a table of servers; a table that lies within another one is no server of that."""
    tables = list(places)
    for place in tables:
        for keys, table in _tables((), value, place):
            for name, entry in table.items():
                if (*place, name) not in tables:
                    yield (*keys, name), entry


def _tables(keys: Keys, value: Any, rest: Keys) -> Iterator[tuple[Keys, dict[str, Any]]]:
    if not isinstance(value, dict):
        return
    if not rest:
        yield keys, value
        return
    for name in value if rest[0] == "*" else [rest[0]]:
        yield from _tables((*keys, name), value.get(name), rest[1:])


def _decided(keys: Keys, entry: Any, program: str, gateways: Mapping[str, str]) -> Server:
    name = str(keys[-1])
    try:
        command = _read_command(keys, entry)
        if command is None:
            return _decided_by_url(keys, entry, gateways)
        if _prefix(command.words):
            if command.words[0] == program:
                return Server(name, Fate.KEPT)
            return Server(name, Fate.MOVED, changes=(Replace(command.program, program),))
        if _is_recorded(command.words):
            return Server(name, Fate.KEPT)
        _check(command.words[0])
    except _OddServerError as error:
        return Server(name, Fate.LEFT, str(error))
    usable = name.isprintable() and name and not name.startswith("-")
    prefix = ["wrap", *(["--env", name] if usable else []), "--"]
    return Server(name, Fate.ADOPTED, changes=_wrapping(command, program, prefix))


def _wrapping(command: _Command, program: str, prefix: Sequence[str]) -> tuple[Change, ...]:
    if not command.offset:
        return (Insert(command.args, [program, *prefix]),)
    words = [*prefix, command.words[0]]
    filled: Change = Add(command.args, words, str(command.program[-1])) if command.is_bare else Insert(command.args, words)
    return (Replace(command.program, program), filled)


def _decided_by_url(keys: Keys, entry: Any, gateways: Mapping[str, str]) -> Server:
    """What becomes of a server that has no command."""
    name = str(keys[-1])
    urls = _urls(entry)
    if not urls:
        return Server(name, Fate.LEFT, "it has neither a command nor a URL")
    moved = {key: _through(url, gateways) for key, url in urls.items()}
    changes = tuple(Replace((*keys, key), new) for key, new in moved.items() if new is not None)
    if changes:
        return Server(name, Fate.ADOPTED, changes=changes, urls={new: urls[key] for key, new in moved.items() if new is not None})
    if any(read_origin(url) in gateways.values() for url in urls.values()):
        return Server(name, Fate.KEPT)
    return Server(name, Fate.LEFT, "it has a URL, and no gateway was named for it with --http-gateway")


def _through(url: str, gateways: Mapping[str, str]) -> str | None:
    """The URL with the origin of its gateway; ``None`` where it has none."""
    parts, gateway = _ORIGIN.match(url), gateways.get(read_origin(url) or "")
    if parts is None or gateway is None:
        return None
    user, at, _ = parts.group(2).rpartition("@")
    scheme, _, host = gateway.partition("://")
    return f"{scheme}://{user}{at}{host}{url[parts.end() :]}"


def _urls(entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict):
        return {}
    return {key: entry[key] for key in _URL_KEYS if isinstance(entry.get(key), str)}


def _read_command(keys: Keys, entry: Any) -> _Command | None:
    """The words of a stdio server; ``None`` where it has none.

    Raises:
        _OddServerError: They are in no form that is known.
    """
    if not isinstance(entry, dict) or "command" not in entry:
        return None
    if _urls(entry):
        raise _OddServerError("it has a command as well as a URL")
    command = entry["command"]
    if isinstance(command, list):
        if not command or not _is_text(command) or not command[0]:
            raise _OddServerError("its command is no array of strings with a program in front")
        return _Command(command, (*keys, "command", 0), (*keys, "command"), offset=0)
    key = "command"
    if isinstance(command, dict):  # as older versions of Zed have it
        keys, entry, key = (*keys, "command"), command, "path"
    program, args = entry.get(key), entry.get("args", [])
    if not isinstance(program, str) or not program:
        raise _OddServerError("its command is no string")
    if not isinstance(args, list) or not _is_text(args):
        raise _OddServerError("its args are no array of strings")
    return _Command([program, *args], (*keys, key), (*keys, "args"), is_bare="args" not in entry)


def _is_text(words: Sequence[object]) -> bool:
    return all(isinstance(word, str) for word in words)


def _check(program: str) -> None:
    """Refuse a command that only its client understands.

    Raises:
        _OddServerError: It is one.
    """
    if program.startswith("~"):
        raise _OddServerError("its command begins with ~, which is for the client to resolve: write the whole path")
    if " " in program and "/" not in program.partition(" ")[0]:
        raise _OddServerError("its command is a whole command line: move what follows the first word into args")


def _prefix(words: Sequence[str]) -> int:
    """How many words before the server's own are those that ``adopt`` writes; 0 where they are somebody else's."""
    length = 0
    if words[0].endswith(f"/{PROGRAM_NAME}") and words[1:2] == ["wrap"]:
        if words[2:3] == ["--"]:
            length = len(_PLAIN)
        elif words[2:3] == ["--env"] and words[4:5] == ["--"]:
            length = len(_NAMED)
    return length if len(words) > length else 0


def _is_recorded(words: Sequence[str]) -> bool:
    """Whether somebody has put ``wrap`` in front by hand."""
    at = next((at for at, word in enumerate(words) if _is_ours(word)), None)
    return at is not None and "wrap" in words[at:]


def _is_ours(word: str) -> bool:
    return _OURS.fullmatch(word.rpartition("/")[2]) is not None


def _releasing(keys: Keys, entry: Any, urls: Mapping[str, str]) -> tuple[Change, ...]:
    """What takes a server off the record; nothing where it is not on it by what ``adopt`` writes."""
    try:
        command = _read_command(keys, entry)
    except _OddServerError:
        return ()
    if command is None:
        return tuple(Replace((*keys, key), urls[url]) for key, url in _urls(entry).items() if url in urls)
    length = _prefix(command.words)
    if not length:
        return ()
    if not command.offset:
        return (Remove(command.args, length),)
    return (Replace(command.program, command.words[length]), Remove(command.args, length))
