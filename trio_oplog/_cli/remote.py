"""``trio-oplog wrap --upstream``: an MCP server that has a URL, behind our own standard input and output."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Final

import trio

from trio_oplog._cli.options import Recording, UpstreamServer
from trio_oplog._cli.recorded import open_captures
from trio_oplog._cli.recording import open_log
from trio_oplog._cli.upstream import read_upstream
from trio_oplog._metrics import of_interceptor
from trio_oplog._recording import FrameObserver, Interceptor
from trio_oplog._tap import say
from trio_oplog.gateway import GRACE, LineFrames, OperationsList, bridge
from trio_oplog.gateway._http_client import HTTPFrames, open_http

_CHUNK: Final = 65_536
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StandardInput(trio.abc.ReceiveStream):
    """What a descriptor reads, whatever it is, without making it non-blocking, which others would notice who share it.

    Args:
        descriptor: The descriptor.  It is not closed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See ``trio.abc.ReceiveStream``."""
        try:
            return await trio.to_thread.run_sync(os.read, self._descriptor, max_bytes or _CHUNK, abandon_on_cancel=True)
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def aclose(self) -> None:
        """See ``trio.abc.AsyncResource``."""
        await trio.lowlevel.checkpoint()


class StandardOutput(trio.abc.SendStream):
    """What a descriptor writes; see ``StandardInput``.

    Args:
        descriptor: The descriptor.  It is not closed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See ``trio.abc.SendStream``."""
        view = memoryview(data)
        try:
            while view:
                view = view[await trio.to_thread.run_sync(os.write, self._descriptor, view, abandon_on_cancel=True) :]
        except OSError as error:
            raise trio.BrokenResourceError from error
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """See ``trio.abc.SendStream``."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """See ``trio.abc.AsyncResource``."""
        await trio.lowlevel.checkpoint()


def run_remote(upstream: UpstreamServer, recording: Recording, grace: float | None) -> int:
    """Put our standard input and output through to a server until the input has ended, or a signal comes.

    Args:
        upstream: The server.
        recording: What the options say.
        grace: How long calls may go on when the input has ended, in seconds.

    Returns:
        What to exit with: 0, or 128 and the number of the signal.

    Raises:
        click.BadParameter: The URL is none, or a file holds something else than it should.
    """
    url, headers = read_upstream(upstream)
    return trio.run(_run, partial(open_http, str(url), headers=headers, ca_file=upstream.ca_file), recording, grace)


async def _run(
    open_server: Callable[[], AbstractAsyncContextManager[HTTPFrames]], recording: Recording, grace: float | None
) -> int:
    ended_by = 0
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async with AsyncExitStack() as stack:
            captures = stack.enter_context(open_captures(recording.capture))
            log = await open_log(stack, recording, "http")
            observer: FrameObserver | None = None
            if log is not None:
                observer = interceptor = Interceptor(log.outlets.submitter, log.config)
                log.outlets.sources.append(lambda: of_interceptor(interceptor.statistics()))
            if captures is not None:
                observer = captures.watch(observer)
            lists = None
            if log is not None and log.outlets.list_client is not None:
                lists = OperationsList(list_client=log.outlets.list_client, workspace_id=log.config.workspace_id)
            async with trio.open_nursery() as nursery:

                async def leave_when_told() -> None:
                    nonlocal ended_by
                    ended_by = await anext(signals)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(leave_when_told)
                async with open_server() as server:
                    client = LineFrames(StandardInput(0), StandardOutput(1))
                    await bridge(client, server, observer, operations=lists, grace=GRACE if grace is None else grace)
                nursery.cancel_scope.cancel()
        if log is not None and (problem := log.outlets.lost()):
            say(problem)
    return 128 + ended_by if ended_by else 0
