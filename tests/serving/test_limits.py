"""What a stranger may take, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.serving.peer import EOF, PLENTY, STATUS, converse, echo, read_all, read_body, read_until, request, reset, serving
from tests.serving.test_streaming import CHUNKED, POST, START, part
from trio_oplog import ConfigError
from trio_oplog._serving import HTTPLimits
from trio_oplog._serving.connection import Connection
from trio_oplog._serving.lifespan import Receive, Send
from trio_oplog._serving.limits import Counters
from trio_oplog._serving.server import _REFUSING_MAX

SOON = 0.05
NEVER = 1000.0


@pytest.mark.parametrize("name", [field.name for field in HTTPLimits.__attrs_attrs__])  # type: ignore[attr-defined]
def test_a_limit_is_more_than_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be more than 0"):
        HTTPLimits(**{name: 0})


@pytest.mark.parametrize("said", [b"", b"GET / HT", request()[:-2], b"\r\n\r\n"])
async def test_a_client_that_does_not_come_out_with_its_first_request_is_cut_off(said: bytes, mock_clock: MockClock) -> None:
    async with serving(echo, limits=HTTPLimits(idle_timeout=NEVER)) as served, await served.connect() as stream:
        await stream.send_all(said)
        while not (waiting := served.server._waiting) or (said.strip() and next(iter(waiting))._is_idle):
            await trio.lowlevel.checkpoint()
        mock_clock.jump(HTTPLimits().head_timeout)
        answer = await read_all(stream)
        assert answer == b"" if not said.strip() else answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert served.server.statistics().timeouts == bool(said.strip())


async def test_empty_lines_do_not_buy_time() -> None:
    async with serving(echo, limits=HTTPLimits(head_timeout=SOON)) as served, await served.connect() as stream:
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"\r\n")
                await trio.sleep(SOON / 10)


async def test_a_connection_may_be_idle_for_longer_than_a_head_may_take() -> None:
    async with serving(echo, limits=HTTPLimits(idle_timeout=NEVER)) as served, await served.connect() as stream:

        async def time_left() -> float:
            await wait_all_tasks_blocked(0.001)
            [connection] = served.server._waiting
            return connection._head_scope.deadline - trio.current_time()

        assert await time_left() <= HTTPLimits().head_timeout
        await stream.send_all(request())
        await read_until(stream, b"\r\n\r\n")
        assert await time_left() > NEVER / 2
        await stream.send_all(request()[:-2])
        while await time_left() > HTTPLimits().head_timeout:
            pass


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with serving(echo, limits=HTTPLimits(idle_timeout=SOON)) as served, await served.connect() as stream:
        await stream.send_all(request())
        await read_until(stream, b"\r\n\r\n")
        assert await read_all(stream) == b""
    assert served.server.statistics().timeouts == 0


@pytest.mark.parametrize("headers", [b"Content-Length: 3\r\n", CHUNKED])
async def test_a_body_that_does_not_come_is_answered_with_408(headers: bytes) -> None:
    async with serving(echo, limits=HTTPLimits(body_timeout=SOON)) as served:
        assert await converse(served.port, [request(headers, line=POST)], None) == [408]
    assert served.server.statistics().timeouts == 1
    assert served.server.statistics().app_failures == 0


async def test_a_body_that_comes_too_slowly_is_cut_off_however_it_is_spread() -> None:
    async with serving(echo, limits=HTTPLimits(body_timeout=SOON, min_body_rate=1e6)) as served, await served.connect() as stream:
        await stream.send_all(request(b"Content-Length: 1000000\r\n", line=POST))
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x")
                await trio.sleep(SOON / 10)
    assert served.server.statistics().timeouts == 1


async def test_the_rest_of_a_body_that_nobody_wants_is_too_slow_once() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(more=False))

    async with serving(app, limits=HTTPLimits(body_timeout=SOON)) as served:
        assert await converse(served.port, [request(b"Content-Length: 3\r\n", line=POST)], None) == [200]
    assert served.server.statistics().timeouts == 1


async def test_time_in_which_the_app_does_not_ask_for_the_body_is_not_the_clients() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"a"
        await trio.sleep(4 * SOON)
        assert await read_body(receive) == b"b"
        await send(START)
        await send(part(more=False))

    async with serving(app, limits=HTTPLimits(body_timeout=2 * SOON)) as served, await served.connect() as stream:
        await stream.send_all(request(b"Content-Length: 2\r\n", line=POST, body=b"a"))
        await wait_all_tasks_blocked()
        await stream.send_all(b"b")
        await read_until(stream, b"0\r\n\r\n")


async def test_a_response_that_has_begun_is_cut_off_where_its_request_is_too_slow() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(b"early"))
        assert await receive() == {"type": "http.disconnect"}

    async with serving(app, limits=HTTPLimits(body_timeout=SOON)) as served:
        assert (await served.ask(request(CHUNKED, line=POST))).endswith(b"5\r\nearly\r\n")
    assert served.server.statistics().app_failures == 0


async def test_one_connection_too_many_takes_the_place_of_the_one_that_was_idle_longest() -> None:
    async with serving(echo, limits=HTTPLimits(max_connections=2)) as served:
        first, second, third = [await served.connect() for _ in range(2)] + [None]
        for stream in (first, second):
            await stream.send_all(request())
            await read_until(stream, b"\r\n\r\n")
        third = await served.connect()
        await third.send_all(request())
        await read_until(third, b"\r\n\r\n")
        assert await read_all(first) == b""
        await second.send_all(request())
        await read_until(second, b"\r\n\r\n")
        assert served.server.statistics().open_connections == 2
        for stream in (first, second, third):
            await stream.aclose()
    assert served.server.statistics().refused == 0


async def test_who_has_said_half_of_a_request_gives_way_too_and_is_told() -> None:
    async with serving(echo, limits=HTTPLimits(max_connections=1)) as served, await served.connect() as slow:
        await slow.send_all(request()[:-2])
        while len(served.server._waiting) == 0 or next(iter(served.server._waiting))._is_idle:  # noqa: ASYNC110
            await trio.sleep(0.001)
        assert await converse(served.port, [request()], 1) == [200]
        assert (await read_all(slow)).startswith(b"HTTP/1.1 503 ")
    assert served.server.statistics().refused == 1


async def busy(scope: Any, receive: Receive, send: Send) -> None:
    await send(START)
    await send(part(b"busy"))
    await read_body(receive)
    await receive()


async def test_when_all_are_busy_one_more_is_refused_politely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_oplog._serving.server._REFUSAL_TIMEOUT", PLENTY)
    async with serving(busy, limits=HTTPLimits(max_connections=1)) as served:
        async with await served.connect() as stream:
            await stream.send_all(request())
            await read_until(stream, b"busy\r\n")
            refusal = await served.ask(request())
            assert refusal.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"retry-after: 1\r\n" in refusal
            # Whoever does not even wait for the answer disturbs nobody.
            gone = await served.connect()
            reset(gone)
        while served.server.statistics().open_connections:  # noqa: ASYNC110 - it has to notice
            await trio.sleep(0.001)
        async with await served.connect() as stream:
            await stream.send_all(request())
            await read_until(stream, b"busy\r\n")
    assert served.server.statistics().refused == 2
    assert served.server.statistics().accepted == 2


async def test_only_so_many_are_refused_politely_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_oplog._serving.server._REFUSAL_TIMEOUT", 100.0)
    async with serving(busy, limits=HTTPLimits(max_connections=1)) as served, await served.connect() as stream:
        await stream.send_all(request())
        await read_until(stream, b"busy\r\n")
        polite = [await served.connect() for _ in range(_REFUSING_MAX)]
        for each in polite:
            await read_until(each, b"Service Unavailable\n")
        async with await served.connect() as impolite:
            assert await read_all(impolite) == b""
        for each in polite:
            await each.aclose()


async def test_a_refused_client_that_never_leaves_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_oplog._serving.server._REFUSAL_TIMEOUT", SOON)
    async with serving(busy, limits=HTTPLimits(max_connections=1)) as served:
        stream = await served.connect()
        await stream.send_all(request())
        await read_until(stream, b"busy\r\n")
        refused = await served.connect()
        assert STATUS.findall(await read_all(refused)) == [b"503"]
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await refused.send_all(b"x")
                await trio.sleep(SOON / 10)
        await stream.aclose()
        await refused.aclose()


async def test_a_client_that_never_stops_sending_after_its_refusal_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_oplog._serving.connection._LINGER", SOON)
    async with serving(echo) as served, await served.connect() as stream:
        await stream.send_all(b"\xff\r\n\r\n")
        assert (await read_all(stream)).startswith(b"HTTP/1.1 400 ")
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x")
                await trio.sleep(SOON / 10)


async def test_the_size_of_a_head_is_the_same_however_it_arrives() -> None:
    limits = HTTPLimits(max_head=1000)
    whole = request(b"X-Long: %s\r\n" % (b"x" * 900))
    longer = request(b"X-Long: %s\r\n" % (b"x" * 1000))
    async with serving(echo, limits=limits) as served:
        assert await converse(served.port, [whole], 1) == [200]
        assert await converse(served.port, [whole[:500], whole[500:]], 1) == [200]
        assert await converse(served.port, [longer], None) == [431]
        assert await converse(served.port, [longer[:500], longer[500:]], None) == [431]


async def test_what_is_counted_is_what_happened(tmp_path: Path) -> None:
    async with serving(echo) as served:
        assert repr(served.server) == "<HTTPServer open_connections=0 requests=0>"
        await converse(served.port, [request() * 2], 2)
        await converse(served.port, [b"\xff\r\n\r\n"], None)
        await converse(served.port, [request(CHUNKED, line=POST, body=b"x\r\n")], None)
        await converse(served.port, [EOF], None)
        statistics = served.server.statistics()
        assert (statistics.accepted, statistics.requests, statistics.malformed, statistics.timeouts) == (4, 3, 2, 0)


async def test_a_request_that_arrives_when_its_connection_gives_way_is_told(nursery: trio.Nursery) -> None:
    waiting: dict[Connection, None] = {}
    ours, theirs = trio.socket.socketpair()
    async with trio.SocketStream(ours) as stream, trio.SocketStream(theirs) as client:
        connection = Connection(stream, echo, HTTPLimits(), Counters(), waiting, trio.Event())
        nursery.start_soon(connection.run)
        await wait_all_tasks_blocked()
        assert list(waiting) == [connection]
        # Both in one turn of the scheduler.
        connection._inbound._buffer += request()
        connection._inbound._changed.unpark_all()
        connection.evict()
        assert (await read_all(client)).startswith(b"HTTP/1.1 503 ")
        await client.aclose()
        await wait_all_tasks_blocked()


async def test_a_defect_of_the_server_ends_one_connection_and_is_logged_without_what_it_says(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    class DefectiveSocket:
        def getpeername(self) -> str:
            raise LookupError("payload")

    counters = Counters()
    ours, theirs = trio.socket.socketpair()
    async with trio.SocketStream(ours) as stream, trio.SocketStream(theirs) as client:
        stream.socket = DefectiveSocket()  # type: ignore[assignment]
        try:
            connection = Connection(stream, echo, HTTPLimits(), counters, {}, trio.Event())
            connection._inbound._stream = client
            with trio.CancelScope() as scope:
                scope.cancel()
                await connection.run()
        finally:
            stream.socket = ours
    assert counters.connection_failures == 1
    [record] = caplog.records
    assert record.getMessage().startswith("a connection failed: LookupError at test_limits.py:")
    assert record.exc_info is None
