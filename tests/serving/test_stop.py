"""The server ends in order: what has begun is finished, what is on its way is answered, and what never ends is cancelled."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
import trio

from tests.http import http_client
from tests.serving.peer import PLENTY, echo, for_requests, read_all, read_body, read_until, request, serving
from tests.serving.test_streaming import START, part
from trio_oplog._serving import HTTPServer
from trio_oplog._serving.lifespan import Message, Receive, Send

DONE = part(more=False)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time enough for requests on their way on a machine that is busy with something else."""
    monkeypatch.setattr("trio_oplog._serving.connection._STOP_DELAY", PLENTY / 3)


async def test_a_request_that_has_begun_is_finished_and_its_connection_ends() -> None:
    begun, goes_on = trio.Event(), trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        begun.set()
        await goes_on.wait()
        await send(START)
        await send(part(b"whole", more=False))

    async with serving(app) as served, await served.connect() as stream:
        await stream.send_all(request())
        await begun.wait()
        served.server.stop()
        goes_on.set()
        said = await read_all(stream)
        assert b"connection: close\r\n" in said.lower()
        assert said.endswith(b"5\r\nwhole\r\n0\r\n\r\n")


async def test_an_idle_connection_ends_soon_and_a_request_on_its_way_is_still_answered(patience: None) -> None:
    async with serving(echo) as served, await served.connect() as used, await served.connect() as fresh:
        await used.send_all(request())
        await read_until(used, b"\r\n\r\n")
        served.server.stop()
        for stream in (used, fresh):
            await stream.send_all(request())
            assert b"connection: close\r\n" in (await read_all(stream)).lower()


async def test_idle_connections_hold_nothing_up() -> None:
    async with serving(echo) as served, await served.connect() as used, await served.connect() as fresh:
        await used.send_all(request())
        await read_until(used, b"\r\n\r\n")
        served.server.stop()
        assert await read_all(used) == await read_all(fresh) == b""


async def test_a_response_that_ends_while_the_server_stops_ends_its_connection(patience: None) -> None:
    begun, goes_on = trio.Event(), trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(b"first"))
        begun.set()
        await goes_on.wait()
        await send(DONE)

    async with serving(app) as served, await served.connect() as stream:
        await stream.send_all(request())
        await begun.wait()
        served.server.stop()
        goes_on.set()
        # The head had been sent without "close", so a request may be on its way.
        said = await read_until(stream, b"0\r\n\r\n")
        await stream.send_all(request())
        said += await read_all(stream)
        assert said.count(b"HTTP/1.1 200 OK") == 2
        assert said.lower().count(b"connection: close\r\n") == 1


async def test_an_app_that_asks_learns_of_the_stop_at_once() -> None:
    begun = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(b"first"))
        begun.set()
        await scope["extensions"]["trio_oplog"]["stopping"].wait()
        await send(part(b"last", more=False))

    async with serving(app) as served, await served.connect() as stream:
        await stream.send_all(request())
        await begun.wait()
        served.server.stop()
        assert (await read_all(stream)).endswith(b"4\r\nlast\r\n0\r\n\r\n")


async def test_an_app_that_waits_for_its_clients_leaving_is_told_after_the_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_oplog._serving.server._FAREWELL", PLENTY / 3)
    begun = trio.Event()
    told: list[Message] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send(START)
        await send(part(b"first"))
        begun.set()
        told.append(await receive())
        await send(part(b"last", more=False))

    async with serving(app, grace=0.05) as served, await served.connect() as stream:
        await stream.send_all(request())
        await begun.wait()
        served.server.stop()
        assert (await read_all(stream)).endswith(b"4\r\nlast\r\n0\r\n\r\n")
    assert told == [{"type": "http.disconnect"}]


async def test_an_app_that_does_not_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_oplog._serving.server._FAREWELL", 0.05)
    begun = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(b"first"))
        begun.set()
        await trio.sleep_forever()

    async with serving(app, grace=0.05) as served, await served.connect() as stream:
        await stream.send_all(request())
        await begun.wait()
        served.server.stop()
        # It does not look like a whole response.
        assert (await read_all(stream)).endswith(b"5\r\nfirst\r\n")
    assert served.server.statistics().app_failures == 0


async def test_an_app_that_fails_when_it_is_cancelled_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trio_oplog._serving.server._FAREWELL", 0.05)
    begun = trio.Event()

    async def fail_at_the_end() -> None:
        try:
            begun.set()
            await trio.sleep_forever()
        finally:
            raise ValueError("payload")

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_the_end)

    async with serving(app, grace=0.05) as served, await served.connect() as stream:
        await stream.send_all(request())
        await begun.wait()
        served.server.stop()
        assert await read_all(stream) == b""
    assert served.server.statistics().app_failures == 1
    assert "ValueError" in caplog.text
    assert "payload" not in caplog.text


async def test_who_has_connected_before_the_stop_is_served(patience: None) -> None:
    server = HTTPServer(for_requests(echo))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(PLENTY):
        streams = [await trio.open_tcp_stream(*listeners[0].socket.getsockname()[:2]) for _ in range(20)]
        for stream in streams:
            await stream.send_all(request())
        server.stop()  # before the first of them is accepted
        await server.serve(listeners)
        for stream in streams:
            assert (await read_all(stream)).startswith(b"HTTP/1.1 200 OK\r\n")
            await stream.aclose()


async def test_cancelling_ends_everything_at_once() -> None:
    begun = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        begun.set()
        await trio.sleep_forever()

    async with serving(app) as served, await served.connect() as stream, await served.connect() as idle:
        await stream.send_all(request())
        await begun.wait()
        served.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            assert await read_all(stream) == await read_all(idle) == b""


async def test_no_request_is_lost_when_servers_follow_one_another_under_load(patience: None) -> None:
    """Clients that keep their connections, and are always about to send the next request."""
    done: set[tuple[int, int]] = set()
    stopped = False
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        await send(START)
        await send(part(body, more=False))

    async def ask(client: int) -> None:
        async with http_client(timeout=PLENTY, transport=httpx.AsyncHTTPTransport(retries=0)) as http:
            number = 0
            while not stopped:
                reply = await http.post(f"http://127.0.0.1:{port}/", content=b"%d" % number)
                assert reply.content == b"%d" % number
                done.add((client, number))
                number += 1

    with trio.fail_after(2 * PLENTY):
        async with trio.open_nursery() as nursery:
            for client in range(4):
                nursery.start_soon(ask, client)
            requests = 0
            for _ in range(5):
                # The listening socket outlives the servers, as one of systemd's or of a supervisor's does.
                again = trio.SocketListener(trio.socket.from_stdlib_socket(listeners[0].socket.dup()._sock))  # type: ignore[attr-defined]
                server = HTTPServer(for_requests(app))
                async with trio.open_nursery() as serving_:
                    await serving_.start(server.serve, [again])
                    while server.statistics().requests < 50:  # noqa: ASYNC110 - it is served meanwhile
                        await trio.sleep(0.001)
                    server.stop()
                requests += server.statistics().requests
            stopped = True
            # Who waits for an answer now gets one.
            server = HTTPServer(for_requests(app))
            await nursery.start(server.serve, listeners)
            while len(done) < requests:  # noqa: ASYNC110
                await trio.sleep(0.001)
            server.stop()
    assert len(done) == requests + server.statistics().requests


async def test_a_second_stop_is_as_good_as_one() -> None:
    async with serving(echo) as served:
        served.server.stop()
        served.server.stop()


# The app's own faults.


async def respond_twice(receive: Receive, send: Send) -> None:
    await send(START)
    await send(START)


async def end_without_a_word(receive: Receive, send: Send) -> None:
    pass


async def begin_with_the_body(receive: Receive, send: Send) -> None:
    await send(part(b"x"))


async def send_an_impossible_header(receive: Receive, send: Send) -> None:
    await send(START | {"headers": [(b"x\n", b"payload")]})


async def fail(receive: Receive, send: Send) -> None:
    try:
        raise ValueError("payload")  # noqa: TRY301
    except ValueError as error:
        raise ExceptionGroup("payload", [ExceptionGroup("payload", [error])]) from None


FAULTS = [respond_twice, end_without_a_word, begin_with_the_body, send_an_impossible_header, fail]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_an_app_that_fails_before_it_responds_is_answered_for_with_500(
    fault: Any, method: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await fault(receive, send)

    async with serving(app) as served:
        said = await served.ask(request(line=method + b" / HTTP/1.1"))
    assert said.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert said.endswith(b"Internal Server Error\n" if method == b"GET" else b"\r\n\r\n")
    assert served.server.statistics().app_failures == 1
    [record] = caplog.records
    assert (record.name, record.levelno, record.exc_info) == ("trio_oplog.serving", logging.ERROR, None)
    assert "payload" not in record.getMessage()
    if fault is fail:
        line = fail.__code__.co_firstlineno + 2
        assert record.getMessage() == f"the app failed at a request: ValueError at test_stop.py:{line}"


@pytest.mark.parametrize("body", [b"too long", b"short"])
async def test_an_app_that_fails_in_the_middle_of_its_response_cuts_it_off(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START | {"headers": [(b"content-length", b"6")]})
        await send(part(b""))
        await send(part(body, more=False))

    async with serving(app) as served:
        said = await served.ask(request())
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\n")
    assert served.server.statistics().app_failures == 1
    assert "LocalProtocolError" in caplog.text


async def test_a_message_after_the_end_of_the_response_is_the_apps_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(DONE)
        await send(DONE)

    async with serving(app) as served, await served.connect() as stream:
        await stream.send_all(request())
        # The client has its response all the same.
        await read_until(stream, b"0\r\n\r\n")
        await stream.send_all(request())
        await read_until(stream, b"0\r\n\r\n")
    assert served.server.statistics().app_failures == 2
    assert "AppError" in caplog.text
