"""The configuration file: a default for every option of every command.

Nothing here imports more than click: ``wrap`` reads it before anything heavy is imported.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

CONFIG_VARIABLE: Final = "TRIO_OPLOG_CONFIG"
CONFIG_KEY: Final = "trio_oplog.config"
"""Where in ``click.Context.meta`` the ``Loaded`` of this run is."""

_MAX_BYTES: Final = 1024 * 1024

OPTIONS: Final = frozenset(
    [
        "access-log",
        "all",
        "also",
        "approval",
        "args-max",
        "by",
        "ca-file",
        "capture",
        "client",
        "cursor",
        "dead",
        "dry-run",
        "env",
        "errors",
        "follow",
        "format",
        "from",
        "grace",
        "grep",
        "handshake-timeout",
        "http-gateway",
        "id",
        "json",
        "keep",
        "keep-statistics",
        "kill-after",
        "limit",
        "listen",
        "max-connections",
        "max-frame",
        "metrics",
        "no-browser",
        "no-spool",
        "old-secret-file",
        "older-than",
        "origin",
        "otlp-headers",
        "otlp-payloads",
        "outcome",
        "output",
        "port",
        "redact",
        "redact-none",
        "result-max",
        "role",
        "secret-file",
        "since",
        "source",
        "spool",
        "store",
        "thread",
        "tls-certificate",
        "tls-key",
        "to",
        "tokens",
        "tool",
        "undo",
        "until",
        "upstream",
        "upstream-ca-file",
        "upstream-header-file",
        "user",
        "utc",
        "workspace",
    ]
)
"""Every option that some command has.  Written down, so that a command need not import the others to know a misspelt one."""

_DECISIVE: Final = frozenset({"to", "workspace", "user", "redact", "redact-none"})
"""With a wrong value of these, what is recorded would be in the wrong place or hold what it must not: nothing is then."""


class Problem(NamedTuple):
    """Something that is wrong with the file.

    Attributes:
        text: What, and how to mend it, without the name of the file.
        is_decisive: Whether nothing may be recorded until it is mended.
    """

    text: str
    is_decisive: bool = False


class File(NamedTuple):
    """What a configuration file says.

    Attributes:
        path: Where it is; ``None`` where there is none.
        values: Its keys, and its tables as mappings.
        problem: Why it cannot be read; ``None`` where it can.
    """

    path: Path | None
    values: Mapping[str, Any] = {}
    problem: Problem | None = None


class Loaded(NamedTuple):
    """What a configuration file says about one command.

    Attributes:
        file: The file.
        defaults: For ``click.Context.default_map``.
        problems: What is wrong with it, as far as it concerns the command.
    """

    file: File
    defaults: dict[str, Any]
    problems: tuple[Problem, ...]

    @property
    def sentence(self) -> str:
        """All problems, with the name of the file."""
        return f"{self.file.path}: " + "; ".join(problem.text for problem in self.problems)

    @property
    def is_off(self) -> bool:
        """Whether nothing may be recorded."""
        return any(problem.is_decisive for problem in self.problems)


def default_path() -> Path:
    """The file that is read when none is named."""
    from platformdirs import user_config_path  # noqa: PLC0415 -- not needed where a file is named

    return user_config_path("trio-oplog", appauthor=False) / "config.toml"


def read(named: Path | None) -> File:
    """Read the file that is named, or the user's own, if there is one.  Never raises for what is in it."""
    path = named or default_path()
    try:
        # A FIFO, which nobody may be writing to, is opened without waiting.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_BYTES + 1) if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        missing = "there is no such file: make it, or name another with --config"
        return File(None) if named is None else File(path, problem=Problem(missing, is_decisive=True))
    except OSError as error:
        return File(path, problem=Problem(f"it cannot be read ({error.strerror}): mend that", is_decisive=True))
    if not stat.S_ISREG(mode):
        return File(path, problem=Problem("it is no file: name one with --config", is_decisive=True))
    if mode & stat.S_IWOTH:
        return File(path, problem=Problem("everybody can write to it: run chmod o-w on it", is_decisive=True))
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> File:
    import tomllib  # noqa: PLC0415 -- needed only where there is a file

    if len(data) > _MAX_BYTES:
        return File(path, problem=Problem("it is over 1 MiB: make it smaller", is_decisive=True))
    try:
        return File(path, tomllib.loads(data.decode()))
    except UnicodeDecodeError:
        problem = "it is no UTF-8: save it as such"
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problem = f"it is no TOML: {error}" if str(error) else "it is no TOML"
    return File(path, problem=Problem(problem, is_decisive=True))


def load(file: File, command: click.Command, tables: Iterable[str], commands: Iterable[str]) -> Loaded:
    """What a file says about a command: the keys at its top, and those in tables, of which later ones go first.

    Args:
        file: The file.
        command: The command.
        tables: The names of its tables.
        commands: The names of all commands.

    Returns:
        Its defaults, and what is wrong with these parts of the file.
    """
    if file.problem is not None:
        return Loaded(file, {}, (file.problem,))
    problems: list[Problem] = []
    known = set(commands)
    for key, value in file.values.items():
        if isinstance(value, dict) and key not in known:
            problems.append(Problem(f"there is no command [{key}]{_instead(key, known)}"))
        elif not isinstance(value, dict) and key not in OPTIONS:
            problems.append(Problem(f"{key} is no option{_instead(key, OPTIONS)}"))
    folder = Path() if file.path is None else file.path.parent
    top = {key: value for key, value in file.values.items() if not isinstance(value, dict)}
    defaults = _defaults(command, top, "", folder, problems, strict=False)
    for name in tables:
        table = file.values.get(name, {})
        if isinstance(table, dict):
            _merge(defaults, _defaults(command, table, f"[{name}] ", folder, problems, strict=True))
    return Loaded(file, defaults, tuple(problems))


def options_of(command: click.Command) -> dict[str, click.Option]:
    """The options of a command by their names in the file."""
    options = [param for param in command.params if isinstance(param, click.Option) and not param.is_eager]
    return {option.opts[0].lstrip("-"): option for option in options}


def _subcommands(command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        yield from command.commands.items()


def _defaults(
    command: click.Command, values: Mapping[str, Any], where: str, folder: Path, problems: list[Problem], *, strict: bool
) -> dict[str, Any]:
    """The defaults that a table gives to a command and those below it; a key that none of them has is a problem if so asked."""
    options, below = options_of(command), dict(_subcommands(command))
    passed_on = {key: value for key, value in values.items() if not isinstance(value, dict)}
    found: dict[str, Any] = {}
    used = set()
    for name, inner in below.items():
        table = values.get(name, {})
        found[name] = _defaults(inner, passed_on, where, folder, problems, strict=False)
        if strict and isinstance(table, dict):
            _merge(found[name], _defaults(inner, table, f"{where[:-2]}.{name}] ", folder, problems, strict=True))
        used |= options_of(inner).keys() & passed_on.keys()
    for key, value in values.items():
        option = options.get(key)
        if option is not None and option.name is not None:
            try:
                found[option.name] = _value(option, value, folder)
            except click.BadParameter as error:
                problems.append(Problem(f"{where}{key} {error.message}", is_decisive=key in _DECISIVE))
        elif strict and key not in used and key not in below:
            problems.append(Problem(f"{where}{key} is no option{_instead(key, options.keys())}"))
    return found


def _merge(defaults: dict[str, Any], others: dict[str, Any]) -> None:
    """Let others go before defaults, at any depth."""
    for key, value in others.items():
        if isinstance(value, dict) and key in defaults:
            _merge(defaults[key], value)
        else:
            defaults[key] = value


def _value(option: click.Option, value: Any, folder: Path) -> Any:
    """The value of an option, checked, with paths relative to the folder of the file.

    Raises:
        click.BadParameter: It is none; the message is the end of a sentence.
    """
    if option.is_flag:
        if not isinstance(value, bool):
            raise click.BadParameter("must be true or false")
        return value
    if option.name == "dests" and not isinstance(value, list):  # of which there is one, as a rule
        value = [value]
    if not option.multiple:
        return _scalar(option, value, folder)
    if not isinstance(value, list):
        raise click.BadParameter('must be an array, such as ["a", "b"]')
    return [_scalar(option, element, folder) for element in value]


def _scalar(option: click.Option, value: Any, folder: Path) -> Any:
    kinds, wanted = _TEXT
    for parameter_type, wants in _KINDS.items():
        if isinstance(option.type, parameter_type):
            kinds, wanted = wants
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise click.BadParameter(f"must be {wanted}")
    try:
        converted = option.type.convert(value, option, None)
    except click.BadParameter as error:
        raise click.BadParameter(f"is wrong: {error.message}".rstrip(".")) from None
    return folder / converted.expanduser() if isinstance(converted, Path) else value


_TEXT: Final[tuple[tuple[type, ...], str]] = ((str,), "a string")
_KINDS: Final[dict[type, tuple[tuple[type, ...], str]]] = {
    type(click.FLOAT): ((int, float), "a number"),
    click.FloatRange: ((int, float), "a number"),
    type(click.INT): ((int,), "a whole number"),
    click.IntRange: ((int,), "a whole number"),
}


def _instead(key: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 -- only where something is misspelt

    close = get_close_matches(key.replace("_", "-"), list(known), 1)
    return f": write {close[0]}" if close else ": remove it"
