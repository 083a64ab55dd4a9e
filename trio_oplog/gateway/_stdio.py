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
from typing import Final

import trio

_CHUNK: Final = 65_536


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


class _Inherited(trio.abc.Stream):
    """What the three have in common: giving the descriptor up."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._closed = False

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, self._fd)
            os.close(null)
        await trio.lowlevel.checkpoint()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError


class _OwnPipe(_Inherited):
    """A pipe, through a description of our own."""

    def __init__(self, fd: int, own: int) -> None:
        super().__init__(fd)
        self._stream = trio.lowlevel.FdStream(own)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def aclose(self) -> None:
        self._stream.close()
        await super().aclose()


class _SharedSocket(_Inherited):
    """A socket, asked not to block call by call."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._socket = socket.socket(fileno=os.dup(fd))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            self._check()
            try:
                return self._socket.recv(max_bytes or _CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            self._check()
            try:
                rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def aclose(self) -> None:
        if not self._closed:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        await super().aclose()


class _ThreadedFile(_Inherited):
    """Anything else, through worker threads.  A thread that waits for a terminal is left behind when nobody waits for it."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._check()
        try:
            return await trio.to_thread.run_sync(_read, self._fd, max_bytes or _CHUNK, abandon_on_cancel=True)
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._check()
        try:
            await trio.to_thread.run_sync(_write, self._fd, bytes(data), abandon_on_cancel=True)
        except OSError as error:
            raise trio.BrokenResourceError from error


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
