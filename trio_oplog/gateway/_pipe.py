"""Pipes as Trio streams: what ``trio.lowlevel.FdStream`` is, for fewer turns of the scheduler."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Final, Protocol, runtime_checkable

import trio

CHUNK: Final = 65_536
"""What one read takes at most, in bytes: as much as a pipe holds, where nobody has made it larger."""


@runtime_checkable
class SendsNowait(Protocol):
    """What a ``trio.abc.SendStream`` may do besides: send without a checkpoint."""

    def send_nowait(self, data: bytes | memoryview, /) -> int:
        """Send what is taken at once.

        Returns:
            How many bytes that was: none, some or all of them.

        Raises:
            trio.BrokenResourceError: The other end takes no more.
            trio.ClosedResourceError: This end has been closed.
        """


class DescriptorStream(trio.abc.Stream):
    """A stream over a descriptor that can be asked not to block.

    Reading takes one turn of the scheduler, and sending none where there is room.

    Args:
        fd: The descriptor; it belongs to the stream from now on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @abstractmethod
    def _read(self, max_bytes: int) -> bytes:
        """Read without blocking; raises ``OSError``."""

    @abstractmethod
    def _write(self, data: bytes | memoryview) -> int:
        """Write without blocking; raises ``OSError``."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See ``trio.abc.ReceiveStream``."""
        while True:
            # Before the first read, too: this is the checkpoint, and most often there is nothing to read yet.
            await trio.lowlevel.wait_readable(self._open_fd())
            try:
                return self._read(max_bytes or CHUNK)
            except BlockingIOError:  # somebody else who reads from it was faster
                continue
            except OSError as error:
                raise trio.BrokenResourceError from error

    def send_nowait(self, data: bytes | memoryview, /) -> int:
        """See ``SendsNowait``."""
        self._open_fd()
        try:
            return self._write(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See ``trio.abc.SendStream``."""
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest := rest[self.send_nowait(rest) :]:
            await self.wait_send_all_might_not_block()

    async def wait_send_all_might_not_block(self) -> None:
        """See ``trio.abc.SendStream``."""
        await trio.lowlevel.wait_writable(self._open_fd())

    async def aclose(self) -> None:
        """See ``trio.abc.AsyncResource``."""
        if self._fd >= 0:
            self._close()
        await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        trio.lowlevel.notify_closing(fd)
        os.close(fd)

    def _open_fd(self) -> int:
        if self._fd < 0:
            raise trio.ClosedResourceError
        return self._fd


class Pipe(DescriptorStream):
    """One end of a pipe.

    Args:
        fd: The descriptor.  Nobody else may use its open file description: it is made non-blocking.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        super().__init__(fd)

    def _read(self, max_bytes: int) -> bytes:
        return os.read(self._fd, max_bytes)

    def _write(self, data: bytes | memoryview) -> int:
        return os.write(self._fd, data)
