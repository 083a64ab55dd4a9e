"""The guard: a second small process, which sees to what the tap cannot do itself.

* When the tap is killed, the guard kills the server: who kills what he started, and thinks it is the server, kills the server.
* It says whether a signal went to the whole process group. Then the server has had it, too, and must not get it twice.
  Every signal is blocked in the guard, so that one which was sent to the group is pending there.
* When the server has ended and somebody else still holds its pipes, or the client has not read everything yet, the guard
  goes on passing bytes, and the tap may leave when the server has left.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_SERVER: Final = 0
_ASK: Final = 1
_REST: Final = 2
_MESSAGE: Final = struct.Struct("<BI")
_CHUNK: Final = 65_536
_PATIENCE: Final = 1.0


class Guard:
    """The tap's end of the line to the guard.

    Args:
        line: The socket to it.
    """

    def __init__(self, line: socket.socket) -> None:
        line.settimeout(_PATIENCE)
        self._line = line
        self._unanswered = 0

    @classmethod
    def start(cls) -> Guard:
        """Fork it.  Every signal must be blocked, and there must be one thread only."""
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            try:
                let_go_of_all_but(theirs.fileno())
                watch(theirs)
            finally:
                os._exit(0)
        theirs.close()
        return cls(ours)

    def keep(self, pid: int) -> None:
        """Name the process that is not to outlive us; 0 for none any more."""
        with suppress(OSError):
            self._line.sendall(_MESSAGE.pack(_SERVER, pid))

    def saw(self, signum: int) -> bool:
        """Whether the guard got this signal, too, since it was last asked."""
        try:
            self._line.sendall(_MESSAGE.pack(_ASK, signum))
            self._unanswered += 1
            answer = b""
            while self._unanswered:  # the answer to an earlier question may have come too late for it
                answer = self._line.recv(1)
                self._unanswered -= 1
        except OSError:  # it was killed, or has had no time
            return False
        return answer == b"\1"

    def hand_over(self, source: int, sink: int, pending: bytes) -> None:
        """Let the guard pass on what is pending and what still comes from a source."""
        with suppress(OSError):
            socket.send_fds(self._line, [_MESSAGE.pack(_REST, len(pending))], [source, sink])
            self._line.sendall(pending)

    def fileno(self) -> int:
        """The descriptor of the line."""
        return self._line.fileno()

    def close(self) -> None:
        """Let it go: it ends, or goes on with what was handed over."""
        self._line.close()


def let_go_of_all_but(*kept: int) -> None:
    """Close every other descriptor: who waits for the end of one must not wait for us."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        if fd not in kept:
            os.dup2(null, fd)
    for fd in map(int, os.listdir("/dev/fd")):
        if fd > 2 and fd not in kept:
            with suppress(OSError):
                os.close(fd)


def watch(line: socket.socket, kill: Callable[[int, int], object] = os.kill) -> None:
    """Do what the guard does until the tap is gone.

    Args:
        line: The socket to the tap.
        kill: Sends a signal to a process.
    """
    server = 0
    while True:
        message, fds, _, _ = socket.recv_fds(line, _MESSAGE.size, 2)
        if len(message) < _MESSAGE.size:
            break
        order, number = _MESSAGE.unpack(message)
        if order == _SERVER:
            server = number
        elif order == _ASK:
            pending = number in signal.sigpending()
            if pending:
                signal.sigwait({number})
            line.sendall(b"\1" if pending else b"\0")
        else:
            pending_bytes = b""
            while len(pending_bytes) < number and (piece := line.recv(number - len(pending_bytes))):
                pending_bytes += piece
            _pass_on_apart(fds[0], fds[1], pending_bytes)
    if server:
        with suppress(ProcessLookupError):
            kill(server, signal.SIGKILL)


def _pass_on_apart(source: int, sink: int, pending: bytes) -> None:
    if os.fork() == 0:
        try:
            let_go_of_all_but(source, sink)
            pass_on(source, sink, pending)
        finally:
            os._exit(0)
    os.close(source)
    os.close(sink)


def pass_on(source: int, sink: int, pending: bytes) -> None:
    """Pass bytes on until there are none, or nobody takes them.

    Args:
        source: Where they come from.
        sink: Where they go to.
        pending: What goes there first.
    """
    try:
        while True:
            while pending:
                _wait(sink, select.POLLOUT)
                pending = pending[os.write(sink, pending[: select.PIPE_BUF]) :]
            # Who writes to the source must notice when nobody reads from the sink any more.
            if not _wait(source, select.POLLIN, sink) or not (pending := os.read(source, _CHUNK)):
                return
    except OSError:
        return


def _wait(fd: int, events: int, broken: int | None = None) -> bool:
    """Wait for one descriptor, and for the end of another; whether it was the first."""
    poll = select.poll()
    poll.register(fd, events)
    if broken is not None:
        poll.register(broken, 0)
    return any(ready == fd for ready, _ in poll.poll())
