"""The server: started with nothing of ours, and left as it left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

OURS: Final = "TRIO_OPLOG_"
"""How the variables begin that configure this package: no child gets them, since a secret may be among them."""

# Python ignores these; a program expects them to be as they usually are.
_DEFAULTS: Final = (signal.SIGPIPE, signal.SIGXFSZ)


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        pid: Its process.
        stdin: What it reads comes from here.
        stdout: What it writes comes out here.
    """

    pid: int
    stdin: int
    stdout: int


def environment() -> dict[str, str]:
    """The environment of a child: ours without the variables of this package."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def start_server(command: Sequence[str], mask: Iterable[int]) -> Server:
    """Start a server between two pipes of ours.  It stays in our process group, as it would be in our place.

    Args:
        command: The program and its arguments; not empty.
        mask: The signals that it is to find blocked.

    Raises:
        OSError: The command could not be started; nothing runs.
    """
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    try:
        # No code of Python runs between fork and exec, and what we inherited beyond the first three is inherited on.
        pid = os.posix_spawnp(
            command[0],
            list(command),
            environment(),
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs_in, 0), (os.POSIX_SPAWN_DUP2, theirs_out, 1)],
            setsigmask=mask,
            setsigdef=_DEFAULTS,
        )
    except BaseException:
        os.close(ours_out)
        os.close(ours_in)
        raise
    finally:
        os.close(theirs_in)
        os.close(theirs_out)
    os.set_blocking(ours_out, False)
    os.set_blocking(ours_in, False)
    return Server(pid, ours_out, ours_in)


def stop_like(signum: int, kill: Callable[[int, int], object] = os.kill) -> None:
    """Stop as the server has, and return when we are to go on.

    Args:
        signum: What it was stopped by.
        kill: Sends a signal to a process.
    """
    # One that went to the whole group and comes only now must not stop us a second time.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
    handler = signal.signal(signum, signal.SIG_DFL)
    kill(os.getpid(), signum)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signum, handler)


def leave_like(status: int, kill: Callable[[int, int], object] = os.kill) -> int:
    """End as the server has: by the same signal, if it was one.

    Args:
        status: What ``os.waitpid`` said of it.
        kill: Sends a signal to a process.

    Returns:
        The exit status to leave with.  After a signal only where it did not end us, as the first process of a container: 128
        and its number.
    """
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    import resource  # noqa: PLC0415 -- seldom needed

    signum = os.WTERMSIG(status)
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # the server has left one, if any
    if signum not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    kill(os.getpid(), signum)
    return 128 + signum
