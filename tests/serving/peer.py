"""Servers and clients of these tests: an app to be served, and a client that says what no HTTP library would."""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import Factory, frozen

from trio_oplog._serving import HTTPLimits, HTTPServer
from trio_oplog._serving.lifespan import ASGIApp, Receive, Send

PATH = b"/internal/operations"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
PLENTY = 30.0
"""Seconds in which everything happens that happens at all."""

EOF = "the client sends nothing more"
RESET = "the client resets the connection"


async def echo(scope: Any, receive: Receive, send: Send) -> None:
    """Answers with the body of the request."""
    body = await read_body(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive) -> bytes:
    body = bytearray()
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)
    raise ConnectionError


@frozen
class Served:
    """A server that runs."""

    server: HTTPServer
    port: int
    nursery: trio.Nursery
    ended: trio.Event = Factory(trio.Event)
    """Is set when ``serve`` has returned."""

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def ask(self, request: bytes) -> bytes:
        """All that the server says to this, to the end of the connection."""
        stream = await self.connect()
        async with stream:
            await stream.send_all(request)
            return await read_all(stream)


@asynccontextmanager
async def serving(
    app: ASGIApp,
    *,
    limits: HTTPLimits | None = None,
    grace: float = PLENTY,
    has_lifespan: bool = False,
    most: float = PLENTY,
    counts: bool = True,
) -> AsyncIterator[Served]:
    """A server on a free port, which is stopped at the end; no descriptor is left then, if that ``counts``."""
    before = descriptors()
    server = HTTPServer(app if has_lifespan else for_requests(app), limits=limits or HTTPLimits(), grace=grace)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(most):
        async with trio.open_nursery() as nursery:
            served = Served(server, listeners[0].socket.getsockname()[1], nursery)

            async def serve(*, task_status: trio.TaskStatus[None]) -> None:
                await server.serve(listeners, task_status=task_status)
                served.ended.set()

            await nursery.start(serve)
            yield served
            server.stop()
    assert server.statistics().open_connections == 0
    assert server.statistics().connection_failures == 0
    assert not counts or descriptors() == before


def for_requests(app: ASGIApp) -> ASGIApp:
    """The same app, which says that it has no lifespan."""

    async def without_lifespan(scope: Any, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return without_lifespan


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def request(headers: bytes = b"", *, line: bytes = b"GET " + PATH + b" HTTP/1.1", body: bytes = b"") -> bytes:
    return line + b"\r\nHost: localhost\r\n" + headers + b"\r\n" + body


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    data = b""
    try:
        async for part in stream:
            data += part
    except trio.BrokenResourceError:
        pass
    return data


async def read_until(stream: trio.abc.ReceiveStream, ending: bytes) -> bytes:
    data = b""
    while not data.endswith(ending):
        part = await stream.receive_some()
        assert part, data
        data += part
    return data


def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def converse(port: int, says: Iterable[bytes | str], enough: int | None) -> list[int]:
    """Say all of it, and listen.

    Args:
        port: Where on loopback.
        says: What to send; ``EOF`` and ``RESET`` are what they are called.
        enough: Leave after so many responses; ``None``: listen until the server ends the connection.

    Returns:
        The statuses of the responses.
    """
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    heard = bytearray()

    def statuses() -> list[int]:
        return [int(status) for status in STATUS.findall(heard)]

    async def say() -> None:
        try:
            for part in says:
                if part is EOF:
                    await stream.send_eof()
                elif part is RESET:
                    reset(stream)
                    nursery.cancel_scope.cancel()
                else:
                    await stream.send_all(os.fsencode(part))
        except trio.BrokenResourceError:
            pass  # the server has heard enough

    with trio.fail_after(PLENTY):
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(say)
            try:
                while (enough is None or len(statuses()) < enough) and (part := await stream.receive_some()):
                    heard += part
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()
    return statuses()
