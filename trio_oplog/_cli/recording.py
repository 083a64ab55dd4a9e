"""The recorder of ``trio-oplog wrap``: a process of its own, which reads what crossed from the tap and delivers what it means."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, NamedTuple

import click
import trio

from trio_oplog._cli.delivery import make_config
from trio_oplog._cli.options import Recording
from trio_oplog._cli.outlets import Outlets, open_outlets
from trio_oplog._cli.recorded import open_captures
from trio_oplog._errors import OplogError, StoreError
from trio_oplog._listing import ListClient, answering, read_list_request
from trio_oplog._metrics import of_interceptor
from trio_oplog._operation import Config
from trio_oplog._recording import FrameObserver, Interceptor
from trio_oplog._recording import Message as Request
from trio_oplog._tap import (
    CLIENT,
    END,
    MAX_FRAME,
    READY,
    SERVER,
    TAKEN,
    Assembler,
    Entry,
    EntryReader,
    Message,
    json_texts,
    say,
    write_answer,
)

LISTS_AT_ONCE: Final = 8

# A client of the MCP SDKs kills us two seconds after its SIGTERM, and the server has had KILL_AFTER of them.
_DRAIN_TIMEOUT: Final = 3.0
_OVERLOADED: Final = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32001,"message":"overloaded"}}'
_UNAVAILABLE: Final = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32603,"message":"The operation log is not available"}}'


def record(line: socket.socket, recording: Recording) -> None:
    """Record what the tap tells until it is gone, and deliver it.

    Args:
        line: The journal.
        recording: What the options say.
    """
    trio.run(_record, line, recording)


class Log(NamedTuple):
    """What recording needs."""

    outlets: Outlets
    config: Config


async def _record(line: socket.socket, recording: Recording) -> None:
    async with trio.SocketStream(trio.socket.from_stdlib_socket(line)) as stream, AsyncExitStack() as stack:
        captures = stack.enter_context(open_captures(recording.capture))
        log = await open_log(stack, recording, "stdio")
        if log is None and captures is None:
            return
        now = Moment()
        observer: FrameObserver | None = None
        with suppress(trio.BrokenResourceError):
            await stream.send_all(write_answer(READY, b""))
        if log is not None:
            observer = interceptor = Interceptor(log.outlets.submitter, log.config, clock=now.wall, monotonic=now.monotonic)
            log.outlets.sources.append(lambda: of_interceptor(interceptor.statistics()))
        if captures is not None:
            observer = captures.watch(observer, clock=now.monotonic)
        assert observer is not None  # noqa: S101 -- for the type checker: one of the two is there
        async with trio.open_nursery() as nursery:
            lists = _Lists(stream, log, nursery)
            await read_journal(stream, now, observer, lists)
            nursery.cancel_scope.cancel()
    if log is not None and (problem := log.outlets.lost()):
        say(problem)


async def open_log(stack: AsyncExitStack, recording: Recording, transport: str) -> Log | None:
    """Open the log; ``None`` where that cannot be: the server is somebody's tool, and this is only its log.

    Args:
        stack: Closes it.
        recording: What the options say.
        transport: How the frames travel.
    """
    if recording.is_off:  # which was said
        return None
    try:
        config = make_config(recording, transport)
        opened = open_outlets(recording, place="client", drain_timeout=_DRAIN_TIMEOUT, tell=_tell)
        return Log(await stack.enter_async_context(opened), config)
    except (OplogError, click.UsageError, OSError) as error:
        say(f"{_problem(error)}; the server runs, and nothing is recorded")
        return None


def _tell(error: Exception) -> None:
    say(f"{_problem(error)}; the server runs, and nothing is recorded there")


def _problem(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        return error.format_message().rstrip(".")
    if isinstance(error, OSError):
        return f"{error.filename or 'the log'}: {error.strerror} (name another place with --to)"
    return f"{error} (name another place with --to)" if isinstance(error, StoreError) else str(error)


class Moment:
    """The time at which something crossed, for the recorder that reads of it later.

    Attributes:
        time: In seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.time = monotonic()

    def monotonic(self) -> float:
        """The moment, in seconds."""
        return self.time

    def wall(self) -> datetime:
        """The moment, as the time of day."""
        return datetime.now(UTC) - timedelta(seconds=monotonic() - self.time)


async def read_journal(stream: trio.abc.Stream, now: Moment, observer: FrameObserver, lists: _Lists) -> None:
    """Show an observer the messages of a journal until it ends; then close the observer.

    Args:
        stream: The journal.
        now: Is set to the time of each entry.
        observer: Watches: an ``Interceptor``, or what has its methods.
        lists: Answers ``operations/list``.
    """
    reader = EntryReader()
    directions = {
        CLIENT: (Assembler(MAX_FRAME), observer.on_client_frame),
        SERVER: (Assembler(MAX_FRAME), observer.on_server_frame),
    }
    unrecorded = 0
    ended = False

    def show(messages: list[Message], observe: Callable[[bytes], object]) -> None:
        nonlocal unrecorded
        for message in messages:
            if message.data is None:
                unrecorded += 1
                continue
            for text in json_texts(message.data) if message.framed else (message.data,):
                observe(text)

    with suppress(trio.BrokenResourceError):
        async for data in stream:
            for entry in reader.feed(bytes(data)):
                now.time = entry.time
                if entry.kind in directions:
                    assembler, observe = directions[entry.kind]
                    show(assembler.feed(entry.data), observe)
                elif entry.kind == TAKEN:
                    await lists.answer(entry)
                ended = entry.kind == END
    if not ended:  # the tap was killed
        now.time = monotonic()
    for assembler, observe in directions.values():
        show(assembler.finish(), observe)
    observer.close()
    if unrecorded:
        say(f"{unrecorded} messages of more than {MAX_FRAME >> 20} MiB passed and are not recorded")


class _Lists:
    """Answers requests for ``operations/list`` that the tap has taken, each in a task of its own."""

    def __init__(self, stream: trio.abc.Stream, log: Log | None, nursery: trio.Nursery) -> None:
        self._stream = stream
        self._log = log
        self._nursery = nursery
        self._answering = 0
        self._lock = trio.Lock()

    async def answer(self, entry: Entry) -> None:
        """Answer a request; 8 at once, and more are refused."""
        request = read_list_request(entry.data)
        if request is None:  # the tap reads them more generously
            await self._send(entry.number, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid request"}}')
        elif self._log is None or self._log.outlets.list_client is None:
            await self._send(entry.number, _UNAVAILABLE % bytes(request.id))
        elif self._answering >= LISTS_AT_ONCE:
            await self._send(entry.number, _OVERLOADED % bytes(request.id))
        else:
            self._answering += 1
            list_client, workspace = self._log.outlets.list_client, self._log.config.workspace_id
            self._nursery.start_soon(self._fetch, list_client, workspace, entry.number, request)

    async def _fetch(self, list_client: ListClient, workspace: str, number: int, request: Request) -> None:
        async with answering(list_client, workspace, request) as answer:
            await self._send(number, answer)
        self._answering -= 1

    async def _send(self, number: int, answer: bytes) -> None:
        with suppress(trio.BrokenResourceError):  # nobody is there any more to take it
            async with self._lock:
                await self._stream.send_all(write_answer(number, answer))
