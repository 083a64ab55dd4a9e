"""A stdio server behind our own standard input and output: what ``trio-oplog wrap`` does."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Sequence
from typing import Final

import trio

from trio_oplog._recording import FrameObserver
from trio_oplog._trio import require_trio
from trio_oplog.gateway._bridge import BridgeReport, OperationsList, bridge
from trio_oplog.gateway._child import KILL_AFTER, Child, open_child
from trio_oplog.gateway._frames import GRACE, MAX_FRAME
from trio_oplog.gateway._lines import LineFrames
from trio_oplog.gateway._stdio import inherited_stream

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def wrap(
    command: Sequence[str],
    interceptor: FrameObserver | None,
    *,
    operations: OperationsList | None = None,
    stdin: int = 0,
    stdout: int = 1,
    grace: float = GRACE,
    kill_after: float = KILL_AFTER,
    max_frame: int = MAX_FRAME,
) -> tuple[int, BridgeReport]:
    """Run a stdio server and stand between it and whoever started us.

    The client notices nothing: bytes pass as they came, even a line that is too long to be recorded; the server's standard
    error is ours; SIGINT, SIGTERM and SIGHUP are handed on to the server and its process group while it runs.  Our
    descriptors stay in the mode they are in.

    Args:
        command: The program and its arguments; not empty.
        interceptor: Watches the traffic, as in ``bridge``, and is closed at the end; ``None`` records nothing.
        operations: Answers ``operations/list``; ``None`` leaves that to the server.
        stdin: The descriptor that the client writes to.  At the end ``/dev/null`` stands in its place.
        stdout: The descriptor that the client reads from.  At the end ``/dev/null`` stands in its place.
        grace: How long the server may go on after the end of its input, in seconds.  Then it gets SIGTERM.
        kill_after: How long it may go on after a signal, in seconds.  Then it is killed.
        max_frame: Longest line that is recorded, in bytes.

    Returns:
        The exit status that is ours too (the server's, or 128 and the number of the signal that ended it), and what was done.

    Raises:
        OSError: The command could not be started; nothing was read.
        TrioRequiredError: The program runs under another event loop than Trio's; nothing was started.
    """
    require_trio("wrap")
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async with (
            open_child(command, grace=grace, kill_after=kill_after, max_frame=max_frame, oversized="pass") as child,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_hand_on, signals, child)
            client = LineFrames(inherited_stream(stdin), inherited_stream(stdout), max_frame=max_frame, oversized="pass")
            report = await bridge(client, child, interceptor, operations=operations, grace=child.patience)
            nursery.cancel_scope.cancel()
    status = await child.wait()
    return (status if status >= 0 else 128 - status), report


async def _hand_on(signals: AsyncIterator[int], child: Child) -> None:
    async for signum in signals:
        child.signal(signum)
