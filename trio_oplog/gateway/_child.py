"""A server that runs as a child process and speaks on its standard input and output."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from trio_oplog._tap import environment
from trio_oplog._trio import require_trio
from trio_oplog.gateway._frames import ABNORMAL, GRACE, INTERNAL_ERROR, MAX_FRAME, NORMAL, Closed, Frame
from trio_oplog.gateway._lines import LineFrames

KILL_AFTER: Final = 1.5
_GROUP_POLL: Final = 0.02


class Child:
    """A running child process as a ``FrameStream``: what a stdio client has for a server.  Made by ``open_child``."""

    def __init__(self, process: trio.Process, frames: LineFrames, nursery: trio.Nursery, grace: float, kill_after: float) -> None:
        self._process = process
        self._frames = frames
        self._nursery = nursery
        self._grace = grace
        self._kill_after = kill_after
        self._input_closed = False
        self._kill_at: float | None = None

    def __repr__(self) -> str:
        return f"<Child pid={self.pid} returncode={self.returncode}>"

    @property
    def pid(self) -> int:
        """The process id, which is the id of its process group too."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How the process ended: its exit status, or minus the number of a signal; ``None`` while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the process has ended, and return its ``returncode``."""
        return await self._process.wait()

    async def receive(self) -> Frame | Closed:
        """See ``FrameStream.receive``.  When the process has ended it says how: 1000 for status 0, else 1011."""
        frame = await self._frames.receive()
        return await self._how_closed(frame) if isinstance(frame, Closed) else frame

    async def _how_closed(self, closed: Closed) -> Closed:
        if closed.code not in (NORMAL, ABNORMAL):
            return closed
        # Its output ends with the process, as a rule; only a process that goes on can take more frames.
        with trio.move_on_after(self._kill_after):
            await self._process.wait()
        if self.returncode is None:
            return closed
        return Closed() if self.returncode == 0 else Closed(INTERNAL_ERROR, _how_ended(self.returncode))

    async def send(self, frame: Frame) -> None:
        """See ``FrameStream.send``."""
        await self._frames.send(frame)

    async def send_closed(self, closed: Closed) -> None:
        """Close its input.  From now on it has the grace period to end by itself, and is then made to."""
        await self._frames.send_closed(closed)
        if not self._input_closed:
            self._input_closed = True
            self._nursery.start_soon(self._terminate)

    async def aclose(self) -> None:
        """Close both pipes.  Leaving ``open_child`` sees to the process."""
        await self._frames.aclose()

    def signal(self, signum: int) -> None:
        """Send a signal to the process and its group; what is left of them is killed ``kill_after`` seconds later.

        Args:
            signum: The signal.
        """
        self._signal_group(signum)
        if self._kill_at is None:
            self._kill_at = trio.current_time() + self._kill_after
            self._nursery.start_soon(self._kill, self._kill_at)

    def _signal_group(self, signum: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signum)

    async def _terminate(self) -> None:
        await trio.sleep(self._grace)
        self.signal(signal.SIGTERM)

    async def _kill(self, when: float) -> None:
        await trio.sleep_until(when)
        self._signal_group(signal.SIGKILL)

    async def watch(self) -> None:
        """End the output when the process has ended, but another one that inherited the pipe keeps it open."""
        await self._process.wait()
        await trio.sleep(self._grace)
        await self._frames.aclose()

    async def finish(self) -> None:
        """Wait for the end of the process, and bring it about.  To be called shielded: it takes ``kill_after`` at most."""
        await self.aclose()
        if self.returncode is None and self._kill_at is None:
            self.signal(signal.SIGTERM)
        if self._kill_at is not None:
            with trio.move_on_at(self._kill_at):
                await self._process.wait()
                # Who had to be told to go may have left others of its group behind.
                while self._group_lives():  # noqa: ASYNC110 - a process group has no event
                    await trio.sleep(_GROUP_POLL)
            self._signal_group(signal.SIGKILL)
            await self._process.wait()

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True


@asynccontextmanager
async def open_child(
    command: Sequence[str],
    *,
    grace: float = GRACE,
    kill_after: float = KILL_AFTER,
    max_frame: int = MAX_FRAME,
) -> AsyncIterator[Child]:
    """Run a command that speaks newline-delimited JSON, and see to its end.

    It leads a process group of its own, and signals go to the whole group: ``npx`` and ``sh -c`` run the real server as a
    process of theirs.  Its standard error is ours, and so is its environment but for the variables ``TRIO_OPLOG_*``.  When the
    block is left, whatever way, the process has ended.

    Args:
        command: The program and its arguments; not empty.
        grace: How long it may go on after the end of its input, in seconds.  Then it gets SIGTERM.
        kill_after: How long it may go on after a signal, in seconds.  Then it is killed.
        max_frame: See ``LineFrames``.

    Yields:
        The child.

    Raises:
        OSError: The command could not be started; nothing runs.
        TrioRequiredError: The program runs under another event loop than Trio's; nothing runs.
    """
    require_trio("open_child")
    process = await trio.lowlevel.open_process(
        list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0, env=environment()
    )
    assert process.stdin is not None  # noqa: S101 -- for the type checker
    assert process.stdout is not None  # noqa: S101
    frames = LineFrames(process.stdout, process.stdin, max_frame=max_frame)
    async with trio.open_nursery() as nursery:
        child = Child(process, frames, nursery, grace, kill_after)
        nursery.start_soon(child.watch)
        try:
            yield child
        finally:
            with trio.CancelScope(shield=True):
                await child.finish()
            nursery.cancel_scope.cancel()


def _how_ended(returncode: int) -> str:
    if returncode < 0:
        return f"the server was ended by signal {-returncode}"
    return f"the server exited with status {returncode}"
