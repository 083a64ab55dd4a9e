"""The start of a server, which comes before everything else."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from trio_oplog._tap.guard import Guard
from trio_oplog._tap.server import Server, start_server

WITH_TEXT: Final = frozenset(
    ["--ca-file", "--capture", "--env", "--redact", "--secret-file", "--source", "--spool", "--to", "--user", "--workspace"]
)
"""Options of ``trio-oplog wrap`` that take a text."""
WITH_NUMBER: Final = frozenset(["--args-max", "--grace", "--kill-after", "--result-max"])
"""Options that take a number; so many digits are one, whichever option it is."""
WITH_NOTHING: Final = frozenset(["--no-spool", "--redact-none"])
_DIGITS_MAX: Final = 9
_DESTINATIONS: Final = ("http://", "https://", "sqlite://", "postgresql://")


class Launched(NamedTuple):
    """A server that runs, before anybody moves its bytes.

    Attributes:
        server: The server.
        guard: Kills it if we go away.
        inherited: The descriptors that it has from us besides the first three.
    """

    server: Server
    guard: Guard
    inherited: list[int]


def launch(command: Sequence[str]) -> Launched:
    """Start a server.  To be called while there is one thread only: it forks.

    Args:
        command: The program and its arguments; not empty.

    Returns:
        What runs.  Every signal is blocked from now on, so that none is lost before somebody can see to it.

    Raises:
        OSError: The command could not be started; everything is as before.
    """
    inherited = _open_descriptors()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    guard = Guard.start()
    try:
        server = start_server(command, mask)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        guard.close()
        raise
    guard.keep(server.pid)
    return Launched(server, guard, inherited)


def launch_early(arguments: Sequence[str]) -> Launched | None:
    """Start the server of a command line of ``trio-oplog`` before anything is imported that reads command lines.

    Args:
        arguments: What follows ``trio-oplog``.

    Returns:
        What runs; ``None`` where nothing was started: it is another command, the server cannot be started, or something here
        may be wrong.  The usual way then finds out what, and says so.
    """
    command = find_command(arguments)
    if command is None:
        return None
    try:
        return launch(command)
    except OSError:
        return None


def find_command(arguments: Sequence[str]) -> tuple[str, ...] | None:
    """The command of a server in a command line that is right beyond doubt.

    Args:
        arguments: What follows ``trio-oplog``.

    Returns:
        What follows ``--``; ``None`` where any of this needs a closer look.
    """
    if arguments[:1] != ["wrap"]:
        return None
    at = 1
    while at + 1 < len(arguments):
        option, value = arguments[at], arguments[at + 1]
        if option == "--":
            return tuple(arguments[at + 1 :])
        if option in WITH_NOTHING:
            at += 1
            continue
        if not _is_right(option, value):
            return None
        at += 2
    return None


def _is_right(option: str, value: str) -> bool:
    if option in WITH_NUMBER:
        return value.isdecimal() and value.isascii() and value[:1] > "0" and len(value) <= _DIGITS_MAX
    return option in WITH_TEXT and not value.startswith("-") and (option != "--to" or value.startswith(_DESTINATIONS))


def _open_descriptors() -> list[int]:
    """What we inherited besides the first three, which are open from now on: the server gets it, and we let go of it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(fd, True)  # noqa: FBT003 -- positional only
    os.close(fd)
    found = []
    for fd in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the one that listed them
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
    return found
