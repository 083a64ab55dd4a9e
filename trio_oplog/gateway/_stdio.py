"""Our own standard input and output as Trio streams, without touching what they share with other processes.

``O_NONBLOCK`` belongs to the open file description, which an inherited descriptor shares with whoever handed it down: a
terminal's shell, the process that reads the other end of a socket pair, a child that writes its errors to the same place.
``trio.lowlevel.FdStream`` sets it; programs that do not expect it then lose data with ``EAGAIN``.  So nothing here sets it:

* a pipe is opened anew through ``/proc/self/fd``, which makes a description of our own;
* a socket is asked not to block call by call (``MSG_DONTWAIT``);
* anything else (a file, a terminal, a pipe that cannot be opened anew) is read and written in worker threads.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat

import trio

from trio_oplog.gateway._pipe import CHUNK, DescriptorStream, Pipe


def inherited_stream(fd: int) -> trio.abc.Stream:
    """A stream over an inherited descriptor.

    Args:
        fd: Open for reading, for writing or for both.  Closing the stream leaves ``/dev/null`` in its place, so that the
            other end of a pipe sees that nobody is here any more, and no later file gets its number.

    Returns:
        The stream.  Cancelling ``receive_some`` may lose what a terminal or a file was about to give.
    """
    kind = os.fstat(fd).st_mode
    if stat.S_ISSOCK(kind):
        return _SharedSocket(fd)
    own = _reopened(fd) if stat.S_ISFIFO(kind) else None
    return _ThreadedFile(fd) if own is None else _OwnPipe(fd, own)


def _reopened(fd: int) -> int | None:
    mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    try:
        return os.open(f"/proc/self/fd/{fd}", mode | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # no /proc here, a pipe of another user, or nobody at its other end
        return None


class _OwnPipe(Pipe):
    """A pipe, through a description of our own."""

    def __init__(self, fd: int, own: int) -> None:
        super().__init__(own)
        self._inherited = fd

    def _close(self) -> None:
        super()._close()
        _give_up(self._inherited)


class _SharedSocket(DescriptorStream):
    """A socket, asked not to block call by call."""

    def __init__(self, fd: int) -> None:
        super().__init__(os.dup(fd))
        self._inherited = fd
        self._socket = socket.socket(fileno=self._fd)

    def _read(self, max_bytes: int) -> bytes:
        return self._socket.recv(max_bytes, socket.MSG_DONTWAIT)

    def _write(self, data: bytes | memoryview) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT)

    def _close(self) -> None:
        self._socket.detach()
        super()._close()
        _give_up(self._inherited)


class _ThreadedFile(trio.abc.Stream):
    """Anything else, through worker threads.  A thread that waits for a terminal is left behind when nobody waits for it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._check()
        try:
            return await trio.to_thread.run_sync(_read, self._fd, max_bytes or CHUNK, abandon_on_cancel=True)
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._check()
        try:
            await trio.to_thread.run_sync(_write, self._fd, bytes(data), abandon_on_cancel=True)
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            _give_up(self._fd)
        await trio.lowlevel.checkpoint()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError


def _give_up(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, fd)
    os.close(null)


# Both wait before they act: somebody else who shares the description may have made it non-blocking.


def _read(fd: int, max_bytes: int) -> bytes:
    _wait(fd, select.POLLIN)
    return os.read(fd, max_bytes)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        _wait(fd, select.POLLOUT)
        rest = rest[os.write(fd, rest) :]


def _wait(fd: int, events: int) -> None:
    poll = select.poll()
    poll.register(fd, events)
    poll.poll()
