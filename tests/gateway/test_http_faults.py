"""What goes wrong at either side of the HTTP front: each call is on record, and nothing stays open."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.cli.test_gateway import gateway
from tests.cli.test_wrap import stored
from tests.gateway.fronted import STREAM, Fronted, call, fronting, http, result
from tests.serving.peer import PLENTY, echo, read_all, read_body, read_until, request, reset, serving
from tests.serving.test_streaming import POST, START, part
from tests.testing.budget import TIMES
from trio_oplog._asgi import Receive, Send

Talk = Callable[[trio.SocketStream], Awaitable[None]]

MIB = 2**20
# ``nox -s laws`` has the time for a gibibyte.
EVENT = (1024 if TIMES > 1 else 192) * MIB
MODERN = b"MCP-Protocol-Version: 2026-07-28\r\n"
SESSION = b"Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-11-25\r\n"


@asynccontextmanager
async def in_front_of(talk: Talk) -> AsyncIterator[Fronted]:
    """A gateway in front of a server that has read the head of a request, and then does what it likes."""
    async with trio.open_nursery() as nursery:

        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some()
                await talk(stream)

        async def listen(*, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
            await trio.serve_tcp(serve, 0, host="127.0.0.1", task_status=task_status)

        [listener] = await nursery.start(listen)
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/mcp"
        async with fronting(echo, url=url) as found:
            yield found
        nursery.cancel_scope.cancel()


def posted(body: bytes, headers: bytes = b"") -> bytes:
    return request(headers + b"Content-Length: %d\r\n" % len(body), line=POST, body=body)


def facts(found: Fronted) -> list[tuple[str | None, str | None]]:
    return [
        (
            operation.result_meta and operation.result_meta.outcome and operation.result_meta.outcome.value,
            operation.result_summary,
        )
        for operation in found.recorded
    ]


async def test_a_reset_in_the_middle_of_an_event_breaks_the_stream_off() -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await stream.send_all(b"8\r\ndata: {\n\r\n")
        await may_reset.wait()
        reset(stream)

    may_reset = trio.Event()
    async with in_front_of(talk) as found, await found.connect() as stream:
        await stream.send_all(posted(call()))
        await read_until(stream, b"data: {\n\r\n")
        may_reset.set()
        assert await read_all(stream) == b""
    assert facts(found) == [("unanswered", None)]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
    ],
    ids=["nothing", "half a head", "no HTTP", "two lengths", "a wrong status"],
)
async def test_an_upstream_that_says_no_response_is_answered_for(said: bytes) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.send_all(said)

    async with in_front_of(talk) as found, http() as client:
        reply = await client.post(found.url, content=call(5))
        assert (reply.status_code, reply.json()["id"], reply.json()["error"]["code"]) == (502, 5, -32000)
    assert facts(found) == [("unanswered", None)]


@pytest.mark.parametrize(("headers", "outcome"), [(MODERN, "cancelled"), (SESSION, "unanswered"), (b"", "unanswered")])
@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_client_that_vanishes_takes_the_upstream_with_it(has_begun: bool, headers: bytes, outcome: str) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        if has_begun:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n")
        asked.set()
        while await stream.receive_some():
            pass  # the body
        left.set()

    asked, left = trio.Event(), trio.Event()
    async with in_front_of(talk) as found:
        stream = await found.connect()
        await stream.send_all(posted(call(), headers))
        await asked.wait()
        if has_begun:
            await read_until(stream, b"hello\n\n\r\n")
        await stream.aclose()
        with trio.fail_after(PLENTY):
            await left.wait()
        if outcome == "cancelled":
            await found.until_recorded(1)
    assert facts(found) == [(outcome, None)]


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"503 Service Unavailable"])
async def test_html_passes_as_it_is(status: bytes) -> None:
    page = b"<html>swordfish</html>"

    async def talk(stream: trio.SocketStream) -> None:
        await stream.send_all(
            b"HTTP/1.1 %b\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (status, len(page), page)
        )

    async with in_front_of(talk) as found, http() as client:
        reply = await client.post(found.url, content=call())
        assert (reply.status_code, reply.content) == (int(status[:3]), page)
    number = status[:3].decode()
    assert facts(found) == [("unanswered", None) if number == "200" else ("rpc_error", f"HTTP {number}")]


async def test_a_client_that_reads_slowly_slows_the_upstream_down() -> None:
    sent = 0

    async def talk(stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(bytes(MIB))
                sent += MIB

    async with in_front_of(talk) as found:
        async with await found.connect() as stream:
            await stream.send_all(posted(call(), MODERN))
            before = -1
            while sent != before:
                before = sent
                await trio.sleep(0.5)
            # What two pairs of sockets take, which have grown as far as they may.
            assert sent < 64 * MIB
        await found.until_recorded(1)
    assert facts(found) == [("cancelled", None)]


@pytest.mark.once
async def test_an_event_of_any_length_passes_is_not_recorded_and_takes_no_memory(tmp_path: Path) -> None:
    piece = b"x" * MIB

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send(START | {"headers": [STREAM]})
        await send(part(b"data: "))
        for _ in range(EVENT // MIB):
            await send(part(piece))
        await send(part(b"\n\ndata: " + result(1) + b"\n\n", more=False))

    async with serving(app, counts=False, most=600.0) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/mcp"
        async with gateway(tmp_path / "log", "--upstream", url) as running:
            status = trio.Path(f"/proc/{running.process.pid}/status")
            stream = await trio.open_tcp_stream("127.0.0.1", int(running.url.split(":")[2].split("/")[0]))
            async with stream:
                await stream.send_all(posted(call()))
                size, last = 0, b""
                while not last.endswith(b"0\r\n\r\n"):
                    data = await stream.receive_some(MIB)
                    size, last = size + len(data), (last + data)[-2000:]
            before, after = (int(found) for found in re.findall(r"(?:VmRSS|VmHWM):\s*(\d+) kB", await status.read_text())[::-1])
    assert size > EVENT
    assert b'"text": "done"' in last
    # So much of it is held until it is known to be too long, and as much again while that grows.
    assert after - before < 160 * 1024
    [operation] = await stored(tmp_path / "log")
    assert operation["tool"] == "echo"
