"""Bodies pass as they come, both ways, and the app learns at once that its client has left."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import h11
import httpx
import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

from tests.http import http_client
from tests.serving.peer import (
    EOF,
    PATH,
    PLENTY,
    RESET,
    converse,
    echo,
    for_requests,
    read_all,
    read_body,
    read_until,
    request,
    reset,
    serving,
)
from trio_oplog._serving import ClientDisconnectedError, HTTPLimits, HTTPServer
from trio_oplog._serving.lifespan import Message, Receive, Send

START: Message = {"type": "http.response.start", "status": 200}
CHUNKED = b"Transfer-Encoding: chunked\r\n"
POST = b"POST " + PATH + b" HTTP/1.1"
KIB = 1024


def part(body: bytes = b"", *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def test_each_event_is_with_the_client_before_the_app_makes_the_next() -> None:
    has_seen, goes_on = trio.open_memory_channel[None](0)

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START | {"headers": [(b"content-type", b"text/event-stream")]})
        await send(part())  # so that the client has the head
        for number in range(5):
            await goes_on.receive()
            await send(part(b"data: %d\n\n" % number))
        await goes_on.receive()
        await send(part(more=False))

    async with serving(app) as served, await served.connect() as stream:
        await stream.send_all(request())
        head = await read_until(stream, b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower()
        for number in range(5):
            await has_seen.send(None)
            assert await read_until(stream, b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % number
        await has_seen.send(None)
        assert await read_until(stream, b"\r\n\r\n") == b"0\r\n\r\n"


async def test_each_part_of_a_body_is_with_the_app_before_the_client_sends_the_next() -> None:
    got = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        for number in range(5):
            assert await receive() == {"type": "http.request", "body": b"%d" % number, "more_body": True}
            got.set()
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        await send(START)
        await send(part(more=False))

    async with serving(app) as served, await served.connect() as stream:
        await stream.send_all(request(CHUNKED, line=POST))
        for number in range(5):
            got = trio.Event()
            await stream.send_all(b"1\r\n%d\r\n" % number)
            await got.wait()
        await stream.send_all(b"0\r\n\r\n")
        await read_until(stream, b"0\r\n\r\n")


@pytest.mark.parametrize("length", [None, 30_000_000])
async def test_an_app_sends_no_faster_than_its_client_reads(length: int | None) -> None:
    sent = 0

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(START | {"headers": [] if length is None else [(b"content-length", b"%d" % length)]})
        for _ in range(300):
            await send(part(bytes(100_000)))
            sent += 100_000
        await send(part(more=False))

    async with serving(app) as served, await served.connect() as stream:
        await stream.send_all(request())
        # A turn of the server at least: it goes on until the buffers of the kernel are full.
        while not sent:
            await wait_all_tasks_blocked(0.01)
        await wait_all_tasks_blocked(0.05)
        assert sent < 20_000_000
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        received = 0
        while type(event := client.next_event()) is not h11.EndOfMessage:
            if event is h11.NEED_DATA:
                client.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Data):
                received += len(event.data)
    assert received == sent == 30_000_000


async def test_a_client_sends_no_faster_than_the_app_reads() -> None:
    read = trio.Event()
    bodies = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read.wait()
        bodies.append(len(await read_body(receive)))
        await send(START)
        await send(part(more=False))

    async with serving(app) as served, await served.connect() as stream, trio.open_nursery() as nursery:
        sent = 0

        async def upload() -> None:
            nonlocal sent
            await stream.send_all(request(b"Content-Length: 30000000\r\n", line=POST))
            for _ in range(300):
                await stream.send_all(bytes(100_000))
                sent += 100_000

        nursery.start_soon(upload)
        while not sent:
            await wait_all_tasks_blocked(0.01)
        await wait_all_tasks_blocked(0.05)
        assert sent < 20_000_000
        read.set()
        await read_until(stream, b"0\r\n\r\n")
    assert bodies == [sent] == [30_000_000]


@pytest.mark.parametrize("leaving", ["close", "half-close", "reset"])
@pytest.mark.parametrize("doing", ["waiting", "streaming", "sending"])
async def test_an_app_is_told_that_its_client_has_left(leaving: str, doing: str) -> None:
    """Whether it waits for that alone, streams meanwhile, or is in the middle of sending what nobody reads."""
    running, told = trio.Event(), trio.Event()

    async def stream_for_ever(send: Send) -> None:
        await send(START)
        try:
            while True:
                running.set()
                await send(part(b"data: {}\n\n" if doing == "streaming" else bytes(10_000_000)))
                await trio.sleep(0.01)
        except ClientDisconnectedError:
            pass

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        async with trio.open_nursery() as nursery:
            if doing != "waiting":
                nursery.start_soon(stream_for_ever, send)
            else:
                running.set()
            assert await receive() == {"type": "http.disconnect"}
            told.set()
            nursery.cancel_scope.cancel()

    async with serving(app) as served:
        stream = await served.connect()
        await stream.send_all(request())
        await running.wait()
        if leaving == "close":
            await stream.aclose()
        elif leaving == "half-close":
            await stream.send_eof()
        else:
            reset(stream)
        await told.wait()
        await stream.aclose()
    assert served.server.statistics().app_failures == 0


async def test_what_an_app_sends_to_a_client_that_has_left_raises() -> None:
    raised = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await receive()
        await send(START)
        with pytest.raises(ClientDisconnectedError):
            while True:
                await send(part(b"x"))
        with pytest.raises(OSError):  # noqa: PT011 - which ClientDisconnectedError is
            await send(part(b"x"))
        raised.set()
        await send(part(more=False))

    async with serving(app) as served:
        assert await converse(served.port, [request(), RESET], None) == []
        await raised.wait()
    assert served.server.statistics().app_failures == 0


async def test_an_app_that_raises_because_its_client_has_left_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await receive()
        raise RuntimeError

    async with serving(app) as served:
        assert await converse(served.port, [request(), EOF], None) == []
    assert served.server.statistics().app_failures == 0
    assert not caplog.records


async def test_a_response_that_is_whole_ends_the_wait_for_its_client() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            await send(START)
            await send(part(more=False))
        assert await receive() == {"type": "http.disconnect"}

    async with serving(app) as served:
        assert await converse(served.port, [request() * 2], 2) == [200, 200]


async def test_a_client_that_waits_for_100_gets_it_when_the_app_wants_the_body() -> None:
    async with serving(echo) as served, await served.connect() as stream:
        await stream.send_all(request(b"Content-Length: 3\r\nExpect: 100-continue\r\n", line=POST))
        assert await read_until(stream, b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        await stream.send_all(b"abc")
        assert (await read_until(stream, b"abc")).startswith(b"HTTP/1.1 200 OK\r\n")
        # It was told where the body ends, and so the connection goes on.
        await stream.send_all(request())
        await read_until(stream, b"\r\n\r\n")


async def test_a_client_that_waits_for_100_and_leaves_is_gone() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await trio.lowlevel.checkpoint()
        left.set()
        await resumed.wait()
        told.append(await receive())

    left, resumed = trio.Event(), trio.Event()
    told: list[Message] = []
    async with serving(app) as served:
        stream = await served.connect()
        await stream.send_all(request(b"Content-Length: 3\r\nExpect: 100-continue\r\n", line=POST))
        await left.wait()
        reset(stream)
        # The kernel tells the server of the reset before the app asks.
        await wait_all_tasks_blocked(0.05)
        resumed.set()
    assert told == [{"type": "http.disconnect"}]


async def test_an_app_that_wants_no_body_ends_the_connection_of_who_waits_for_100() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(b"no", more=False))

    async with serving(app) as served:
        said = await served.ask(request(b"Content-Length: 3\r\nExpect: 100-continue\r\n", line=POST))
    assert b"connection: close" in said.lower()
    assert b"100" not in said


@pytest.mark.parametrize(("size", "goes_on"), [(200 * KIB, True), (2000 * KIB, False)])
async def test_a_short_body_that_the_app_did_not_want_is_passed_over_and_a_long_one_ends_the_connection(
    size: int, goes_on: bool
) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START | {"status": 401})
        await send(part(more=False))

    body = request(b"Content-Length: %d\r\n" % size, line=POST, body=bytes(size))
    async with serving(app) as served:
        statuses = await converse(served.port, [body, request()], 2 if goes_on else None)
        # The client of the long one has its answer, and did not see its connection reset.
        assert statuses == ([401, 401] if goes_on else [401])


async def test_a_real_client_streams_both_ways_at_once() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(part(message["body"]))
        await send(part(more=False))

    async def body() -> Any:
        for number in range(50):
            await trio.lowlevel.checkpoint()
            yield b"%d," % number

    async with serving(app) as served, http_client() as http:
        for _ in range(2):
            reply = await http.post(f"http://127.0.0.1:{served.port}/", content=body())
            assert reply.content == b"".join([b"%d," % number for number in range(50)])


async def test_what_an_app_is_told_of_a_request_is_what_the_client_said() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send(START)
        await send(part(more=False))

    async with serving(app) as served, await served.connect() as stream:
        await stream.send_all(
            b"PUT /a%2Fb%20%ff/;c?d=%2f&e HTTP/1.1\r\n"
            b"hOST: me\r\nX-Twice: 1\r\nAccept: */*\r\nx-twice:\t two words \r\nX-Odd: \xff\r\n\r\n"
        )
        await read_until(stream, b"0\r\n\r\n")
        await stream.send_all(b"GET http://other:81?q HTTP/1.1\r\nHost: me\r\n\r\n")
        await read_until(stream, b"0\r\n\r\n")
        own = stream.socket.getsockname()
    first, second = scopes
    assert first["extensions"]["trio_oplog"].pop("stopping") is second["extensions"]["trio_oplog"].pop("stopping")
    raw = [(b"hOST", b"me"), (b"X-Twice", b"1"), (b"Accept", b"*/*"), (b"x-twice", b"two words"), (b"X-Odd", b"\xff")]
    assert first == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": "/a/b \ufffd/;c",
        "raw_path": b"/a%2Fb%20%ff/;c",
        "query_string": b"d=%2f&e",
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in raw],
        "client": own,
        "server": ("127.0.0.1", served.port),
        "extensions": {"trio_oplog": {"raw_headers": raw}},
    }
    assert (second["raw_path"], second["query_string"], second["headers"]) == (b"/", b"q", [(b"host", b"other:81")])


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        (b"HEAD / HTTP/1.1", 200, b"content-length: 3\r\n"),
        (b"GET / HTTP/1.1", 204, b"HTTP/1.1 204 No Content\r\n"),
        (b"GET / HTTP/1.1", 304, b"HTTP/1.1 304 Not Modified\r\n"),
        (b"GET / HTTP/1.1", 599, b"HTTP/1.1 599 \r\n"),
    ],
)
async def test_the_head_of_a_response_is_the_apps_and_a_body_is_sent_where_there_may_be_one(
    line: bytes, status: int, says: bytes
) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"3"), (b"Date", b"never")]})
        await send(part(b"abc", more=False))

    async with serving(app) as served:
        said = await served.ask(request(b"Connection: close\r\n", line=line))
    assert says in said
    assert b"Date: never\r\n" in said
    assert said.count(b"ate:") == 1
    assert said.endswith(b"\r\n\r\nabc" if status == 599 else b"\r\n\r\n")


async def test_a_large_response_arrives_whole() -> None:
    body = bytes(range(256)) * 20_000

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(body, more=False))

    async with serving(app) as served, http_client() as http:
        assert (await http.get(f"http://127.0.0.1:{served.port}/")).content == body


async def test_hundreds_of_requests_of_many_clients_are_each_answered_with_their_own() -> None:
    async def ask(http: httpx.AsyncClient, url: str, number: int) -> None:
        for round_ in range(20):
            body = b"%d of %d" % (round_, number)
            assert (await http.post(url, content=body)).content == body

    async with serving(echo) as served, http_client(timeout=PLENTY) as http, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(partial(ask, http, f"http://127.0.0.1:{served.port}/", number))
    assert served.server.statistics().requests == 400


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    ended = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                await send(part(bytes(1_000_000)))
        finally:
            ended.set()

    async with serving(app, limits=HTTPLimits(send_timeout=0.1)) as served, await served.connect() as stream:
        await stream.send_all(request())
        await ended.wait()
        # What was sent is no whole response, and the client can tell.
        assert not (await read_all(stream)).endswith(b"0\r\n\r\n")
    assert served.server.statistics().timeouts == 1
    assert served.server.statistics().app_failures == 0


async def test_messages_that_are_sent_at_once_do_not_mix() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b"):
                nursery.start_soon(send, part(letter * 5_000_000))
        await send(part(more=False))

    async with serving(app) as served, http_client() as http:
        content = (await http.get(f"http://127.0.0.1:{served.port}/")).content
        assert content in (b"a" * 5_000_000 + b"b" * 5_000_000, b"b" * 5_000_000 + b"a" * 5_000_000)


async def test_a_client_on_a_unix_socket_is_served(tmp_path: Path) -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send(START)
        await send(part(more=False))

    socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await socket.bind(str(tmp_path / "socket"))
    socket.listen()
    server = HTTPServer(for_requests(app))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [trio.SocketListener(socket)])
        async with await trio.open_unix_socket(str(tmp_path / "socket")) as stream:
            await stream.send_all(request())
            await read_until(stream, b"0\r\n\r\n")
        server.stop()
    assert [(scope["client"], scope["server"]) for scope in scopes] == [(None, (str(tmp_path / "socket"), None))]
