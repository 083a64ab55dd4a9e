"""The recorder of ``trio-oplog wrap``: a process of its own, which reads what crossed from the tap and delivers what it means."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Final

import click
import trio

from trio_oplog._cli.account import lost
from trio_oplog._cli.destination import open_destination
from trio_oplog._delivery import Client
from trio_oplog._errors import OplogError
from trio_oplog._listing import ListClient, answer_list_request, read_list_request
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
# A client may send thousands of calls at once and end.
_CAPACITY: Final = 16_384
_BATCH: Final = 100
_OVERLOADED: Final = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32001,"message":"overloaded"}}'


def record(line: socket.socket, dest: str | None, secret_file: Path | None, config: Config) -> None:
    """Record what the tap tells until it is gone, and deliver it.

    Args:
        line: The journal.
        dest: See ``open_destination``.
        secret_file: See ``open_destination``.
        config: What to write into every operation.
    """
    trio.run(_record, line, dest, secret_file, config)


async def _record(line: socket.socket, dest: str | None, secret_file: Path | None, config: Config) -> None:
    async with trio.SocketStream(trio.socket.from_stdlib_socket(line)) as stream, AsyncExitStack() as stack:
        try:
            url, http, secret = await stack.enter_async_context(open_destination(dest, secret_file))
            client = await stack.enter_async_context(
                Client(url, secret, _CAPACITY, http=http, drain_timeout=_DRAIN_TIMEOUT, batch_size=_BATCH)
            )
        except (OplogError, click.UsageError, OSError) as error:
            # The server is somebody's tool, and this is only its log.
            say(f"{_problem(error)}; the server runs, and nothing is recorded")
            return
        now = Moment()
        with suppress(trio.BrokenResourceError):
            await stream.send_all(write_answer(READY, b""))
        interceptor = Interceptor(client, config, clock=now.wall, monotonic=now.monotonic)
        async with trio.open_nursery() as nursery:
            lists = _Lists(stream, ListClient(url, secret, http=http), config.workspace_id, nursery)
            await read_journal(stream, now, interceptor, lists)
            nursery.cancel_scope.cancel()
    if problem := lost(client):
        say(problem)


def _problem(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        return error.format_message().rstrip(".")
    if isinstance(error, OSError):
        return f"{error.filename or 'the log'}: {error.strerror} (name another place with --to)"
    return f"{error} (name another place with --to)"


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

    def __init__(self, stream: trio.abc.Stream, list_client: ListClient, workspace_id: str, nursery: trio.Nursery) -> None:
        self._stream = stream
        self._list_client = list_client
        self._workspace_id = workspace_id
        self._nursery = nursery
        self._answering = 0
        self._lock = trio.Lock()

    async def answer(self, entry: Entry) -> None:
        """Answer a request; 8 at once, and more are refused."""
        request = read_list_request(entry.data)
        if request is None:  # the tap reads them more generously
            await self._send(entry.number, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid request"}}')
        elif self._answering >= LISTS_AT_ONCE:
            await self._send(entry.number, _OVERLOADED % bytes(request.id))
        else:
            self._answering += 1
            self._nursery.start_soon(self._fetch, entry.number, request)

    async def _fetch(self, number: int, request: Request) -> None:
        answer = await answer_list_request(self._list_client, self._workspace_id, request)
        self._answering -= 1
        await self._send(number, answer)

    async def _send(self, number: int, answer: bytes) -> None:
        with suppress(trio.BrokenResourceError):  # nobody is there any more to take it
            async with self._lock:
                await self._stream.send_all(write_answer(number, answer))
