"""The reverse proxy between real servers and clients on loopback."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import trio
from attrs import Factory, define
from trio.testing import wait_all_tasks_blocked

from tests.http import http_client
from tests.serving.peer import PLENTY, Served, read_all, read_body, read_until, request, reset, serving
from tests.serving.test_streaming import CHUNKED, POST, START, part
from trio_oplog import ConfigError
from trio_oplog._asgi import ASGIApp, ObservedApp, Receive, Send
from trio_oplog._recording import Headers
from trio_oplog._serving import ClientDisconnectedError
from trio_oplog.gateway._http_proxy import HTTPProxy, ProxyError

DISCONNECT = {"type": "http.disconnect"}


@define
class Observer:
    """Keeps what it is shown: ("request", bytes), ("request end",), …, with parts of a body joined."""

    shown: list[tuple[Any, ...]] = Factory(list)
    changed: trio.Event = Factory(trio.Event)

    def show(self, *what: Any) -> None:
        if len(what) == 2 and self.shown and self.shown[-1][0] == what[0]:
            what = (what[0], self.shown.pop()[1] + what[1])
        self.shown.append(what)
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, what: str) -> None:
        while not any(shown[0] == what for shown in self.shown):
            await self.changed.wait()

    def request_data(self, data: bytes) -> None:
        self.show("request", data)

    def request_end(self) -> None:
        self.show("request end")

    def response_head(self, status: int, headers: Headers) -> None:
        self.show("head", status, [header for header in headers if header[0].lower() != b"date"])

    def response_data(self, data: bytes) -> None:
        self.show("response", data)

    def response_end(self) -> None:
        self.show("response end")

    def client_closed(self) -> None:
        self.show("client closed")

    def upstream_failed(self) -> None:
        self.show("upstream failed")


@define
class Proxied:
    proxy: Served
    upstream: Served
    observers: list[Observer]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    async def connect(self) -> trio.SocketStream:
        return await self.proxy.connect()


@asynccontextmanager
async def proxied(
    upstream: ASGIApp, *, grace: float = PLENTY, upstream_grace: float = 0.01, **options: Any
) -> AsyncIterator[Proxied]:
    observers: list[Observer] = []

    def observe(_: Any) -> Observer:
        observers.append(Observer())
        return observers[-1]

    async with AsyncExitStack() as stack:
        real = await stack.enter_async_context(serving(upstream, grace=upstream_grace))
        transport = await stack.enter_async_context(
            httpx.AsyncHTTPTransport(verify=False, trust_env=False, limits=httpx.Limits(max_connections=None))
        )
        proxy = ObservedApp(HTTPProxy(f"http://127.0.0.1:{real.port}/mcp", transport, **options), observe)
        yield Proxied(
            await stack.enter_async_context(serving(proxy, grace=grace, has_lifespan=True, counts=False)), real, observers
        )


def raw(scope: Any) -> Headers:
    headers: Headers = scope["extensions"]["trio_oplog"]["raw_headers"]
    return headers


def http() -> httpx.AsyncClient:
    return http_client(timeout=PLENTY)


async def test_what_crosses_is_what_was_said_but_for_what_is_about_a_connection() -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        heard.append((scope["method"], scope["raw_path"], scope["query_string"], raw(scope)))
        heard.append(await read_body(receive))
        headers = [
            (b"content-length", b"2"),
            (b"Mcp-Session-Id", b"s"),
            (b"Set-Cookie", b"a"),
            (b"set-cookie", b"b"),
            (b"Date", b"d"),
        ]
        headers += [
            (b"Connection", b"x-private"),
            (b"X-Private", b"1"),
            (b"Keep-Alive", b"timeout=5"),
            (b"content-encoding", b"odd"),
        ]
        await send({"type": "http.response.start", "status": 418, "headers": headers})
        await send(part(b"no", more=False))

    async with proxied(app) as found, await found.connect() as stream:
        await stream.send_all(
            b"pOST /a%2Fb/{x}?c=%ff&d HTTP/1.1\r\nHost: me\r\nAuthorization: Bearer t\r\nX-Odd: \xff\r\nx-odd: 2\r\nCookie: c\r\n"
            b"Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"
        )
        said = await read_until(stream, b"\r\n\r\nno")
    assert heard == [
        (
            "pOST",
            b"/a%2Fb/{x}",
            b"c=%ff&d",
            [
                (b"Host", b"127.0.0.1:%d" % found.upstream.port),
                *(
                    (b"Authorization", b"Bearer t"),
                    (b"X-Odd", b"\xff"),
                    (b"x-odd", b"2"),
                    (b"Cookie", b"c"),
                    (b"Content-Length", b"3"),
                ),
            ],
        ),
        b"abc",
    ]
    assert said == (
        b"HTTP/1.1 418 I'm a Teapot\r\n"
        b"content-length: 2\r\nMcp-Session-Id: s\r\nSet-Cookie: a\r\nset-cookie: b\r\nDate: d\r\ncontent-encoding: odd\r\n\r\nno"
    )
    [observer] = found.observers
    assert [shown[0] for shown in observer.shown] == ["request", "request end", "head", "response", "response end"]
    assert (observer.shown[0][1], observer.shown[2][1], observer.shown[3][1]) == (b"abc", 418, b"no")


@pytest.mark.parametrize("length", [0, 1, 5_000_000])
@pytest.mark.parametrize("is_chunked", [True, False])
async def test_bodies_pass_unaltered_both_ways_and_are_shown(length: int, is_chunked: bool) -> None:
    body = random.Random(length).randbytes(length)

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        got = await read_body(receive)
        await send(START | {"headers": [] if is_chunked else [(b"content-length", b"%d" % len(got))]})
        await send(part(got[:1000]))
        await send(part(got[1000:], more=False))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, length, 10_000):
            yield body[start : start + 10_000]

    async with proxied(app) as found, http() as client:
        for _ in range(2):
            reply = await client.post(found.origin, content=chunks() if is_chunked else body)
            assert reply.content == body
    for observer in found.observers:
        assert b"".join(shown[1] for shown in observer.shown if shown[0] == "request") == body
        assert b"".join(shown[1] for shown in observer.shown if shown[0] == "response") == body


async def test_each_event_passes_before_the_upstream_makes_the_next() -> None:
    has_seen, goes_on = trio.open_memory_channel[None](0)

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START | {"headers": [(b"content-type", b"text/event-stream")]})
        await send(part())
        for number in range(5):
            await goes_on.receive()
            await send(part(b"data: %d\n\n" % number))
        await goes_on.receive()
        await send(part(more=False))

    async with proxied(app) as found, await found.connect() as stream:
        await stream.send_all(request())
        await read_until(stream, b"\r\n\r\n")
        for number in range(5):
            await has_seen.send(None)
            assert await read_until(stream, b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % number
        await has_seen.send(None)
        assert await read_until(stream, b"\r\n\r\n") == b"0\r\n\r\n"


@pytest.mark.parametrize("leaving", ["close", "reset"])
@pytest.mark.parametrize("doing", ["nothing", "streaming", "flooding", "reading"])
async def test_the_leaving_of_a_client_is_the_leaving_of_the_proxy(leaving: str, doing: str) -> None:
    running, told = trio.Event(), trio.Event()

    async def flood(send: Send) -> None:
        with suppress(ClientDisconnectedError):  # whichever is noticed first
            await send(part(bytes(30_000_000)))

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"a"
        if doing != "reading":
            assert not (await receive())["more_body"]
        running.set()
        async with trio.open_nursery() as nursery:
            if doing in ("streaming", "flooding"):
                await send(START)
                await send(part(b"first"))
                if doing == "flooding":
                    nursery.start_soon(flood, send)
            assert await receive() == DISCONNECT
            told.set()
            nursery.cancel_scope.cancel()

    async with proxied(app) as found:
        stream = await found.connect()
        await stream.send_all(request(CHUNKED, line=POST, body=b"1\r\na\r\n"))
        await running.wait() if doing == "reading" else await wait_all_tasks_blocked(0.01)
        if doing != "reading":
            await stream.send_all(b"0\r\n\r\n")
            await running.wait()
        if doing in ("streaming", "flooding"):
            await found.observers[0].until("response")
        if doing == "flooding":
            await wait_all_tasks_blocked(0.05)
        if leaving == "close":
            await stream.aclose()
        else:
            reset(stream)
        await told.wait()
        await found.observers[0].until("client closed")
    assert found.proxy.server.statistics().app_failures == 0
    assert found.upstream.server.statistics().app_failures == 0


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (httpx.ConnectTimeout("payload"), 504, "ConnectTimeout"),
        (httpx.ConnectError("payload"), 502, "ConnectError"),
        (httpx.RemoteProtocolError("payload"), 502, "no valid HTTP answer"),
    ],
)
async def test_without_a_response_the_proxy_says_why_and_nothing_of_what_was_said(
    error: httpx.TransportError, status: int, reason: str
) -> None:
    async def fail(_: httpx.Request) -> httpx.Response:
        raise error

    failures: list[ProxyError] = []
    observer = Observer()
    proxy = ObservedApp(HTTPProxy("http://localhost", httpx.MockTransport(fail)), lambda _: observer)

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        try:
            await proxy(scope, receive, send)
        except ProxyError as failure:
            failures.append(failure)
        await send(START)
        await send(part(more=False))

    async with serving(app) as served:
        await served.ask(request(b"Connection: close\r\n"))
    assert [(failure.status, failure.reason) for failure in failures] == [(status, reason)]
    assert observer.shown == [("request end",), ("upstream failed",)]


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("length", [10, 11])
async def test_a_body_that_is_too_long_does_not_pass(length: int, is_chunked: bool) -> None:
    statuses: list[int] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send(START)
        await send(part(more=False))

    async def tell(scope: Any, receive: Receive, send: Send) -> None:
        try:
            await proxy(scope, receive, send)
        except ProxyError as error:
            statuses.append(error.status)
            await send(START | {"status": 413})
            await send(part(more=False))

    async with serving(app, grace=0.01) as upstream, httpx.AsyncHTTPTransport(verify=False, trust_env=False) as transport:
        proxy = HTTPProxy(f"http://127.0.0.1:{upstream.port}", transport, max_body=10)
        async with serving(tell, counts=False) as served, http() as client:

            async def chunks() -> AsyncIterator[bytes]:
                for _ in range(length):
                    yield b"x"

            reply = await client.post(f"http://127.0.0.1:{served.port}", content=chunks() if is_chunked else bytes(length))
            assert reply.status_code == (413 if length > 10 else 200)
    assert statuses == [413] * (length > 10)


class Early(httpx.AsyncBaseTransport):
    """An upstream that begins to answer before it has the body, and does not end."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Silence())


class Silence(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"early"
        await trio.sleep_forever()


async def test_a_body_that_turns_out_too_long_after_the_answer_has_begun_breaks_it_off() -> None:
    observer = Observer()
    proxy = ObservedApp(HTTPProxy("http://localhost", Early(), max_body=10), lambda _: observer)
    async with serving(proxy, has_lifespan=True) as served, await served.connect() as stream:
        await stream.send_all(request(CHUNKED, line=POST, body=b"1\r\na\r\n"))
        await read_until(stream, b"early\r\n")
        await stream.send_all(b"a\r\n0123456789\r\n")
        assert not (await read_all(stream)).endswith(b"0\r\n\r\n")
    assert observer.shown[-1] == ("upstream failed",)
    assert served.server.statistics().app_failures == 0


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"1000")]])
async def test_a_response_that_breaks_off_does_not_look_whole(headers: Headers) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START | {"headers": headers})
        await send(part(b"data: 1\n"))
        raise ConnectionError

    async with proxied(app) as found:
        said = await found.proxy.ask(request())
        assert said.endswith(b"data: 1\n" if headers else b"data: 1\n\r\n")
        assert [shown[0] for shown in found.observers[0].shown[-2:]] == ["response", "upstream failed"]
    assert found.proxy.server.statistics().app_failures == 0


async def test_an_answer_that_does_not_wait_for_the_body_passes() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START | {"status": 401})
        await send(part(b"no", more=False))

    async with proxied(app) as found, await found.connect() as stream:
        await stream.send_all(request(b"Content-Length: 20000000\r\n", line=POST))
        async with trio.open_nursery() as nursery:

            async def upload() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    while True:
                        await stream.send_all(bytes(100_000))

            nursery.start_soon(upload)
            assert (await read_all(stream)).startswith(b"HTTP/1.1 401 ")
    assert found.proxy.server.statistics().app_failures == 0


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("{origin}/mcp/?a=b", b"/mcp/?a=b"),
        ("{origin}", b"/"),
        ("{origin}?a", b"/?a"),
        ("/mcp/", b"/mcp/"),
        ("{origin}0/mcp", b"{origin}0/mcp"),
        ("https://elsewhere/", b"https://elsewhere/"),
    ],
)
async def test_a_redirect_of_the_upstream_to_itself_comes_back_through_the_proxy(location: str, seen: bytes) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        value = location.replace("{origin}", f"http://127.0.0.1:{scope['server'][1]}")
        await send(START | {"status": 307, "headers": [(b"location", value.encode()), (b"content-length", b"0")]})
        await send(part(more=False))

    async with proxied(app) as found, http() as client:
        reply = await client.post(found.origin, content=b"x")
        assert reply.headers["location"].encode() == seen.replace(b"{origin}", b"http://127.0.0.1:%d" % found.upstream.port)


@pytest.mark.parametrize("kind", [b"text/event-stream; charset=utf-8", b"application/json"])
async def test_when_the_proxy_ends_a_stream_of_events_ends_cleanly_and_nothing_else_looks_whole(
    kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog._serving.server._FAREWELL", PLENTY / 3)

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send(START | {"headers": [(b"content-type", kind)]})
        await send(part(b"data: 1\n\n"))
        await receive()

    async with proxied(app, grace=0.01) as found, await found.connect() as stream:
        await stream.send_all(request())
        await found.observers[0].until("response") if found.observers else await read_until(stream, b"\n\n\r\n")
        found.proxy.server.stop()
        assert (await read_all(stream)).endswith(b"0\r\n\r\n") is (b"event" in kind)
    # The client has not left.
    assert found.observers[0].shown[-1] == (("response end",) if b"event" in kind else ("upstream failed",))


async def test_the_upstream_sees_the_gateways_headers_instead_of_the_clients() -> None:
    heard: list[Headers] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        heard.append(raw(scope))
        await send(START)
        await send(part(more=False))

    options = {"headers": [(b"X-Api-Key", b"k"), (b"Host", b"named")], "withheld": [b"Authorization"]}
    async with proxied(app, **options) as found, await found.connect() as stream:
        await stream.send_all(request(b"authorization: Bearer ours\r\nx-api-key: theirs\r\nAccept: */*\r\n"))
        await read_until(stream, b"0\r\n\r\n")
    assert heard == [[(b"Host", b"named"), (b"X-Api-Key", b"k"), (b"Accept", b"*/*")]]


async def test_the_connections_to_the_upstream_are_kept() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(more=False))

    async with proxied(app) as found, http() as client:
        for _ in range(20):
            assert (await client.get(found.origin)).status_code == 200
        assert found.upstream.server.statistics().accepted == 1


def test_an_origin_is_a_url() -> None:
    with pytest.raises(ConfigError):
        HTTPProxy("ws://localhost", httpx.MockTransport(lambda _: httpx.Response(200)))
