"""The reverse proxy between real servers and clients on loopback."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
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
from trio_oplog._serving import ClientDisconnectedError
from trio_oplog._serving.lifespan import ASGIApp, Receive, Send
from trio_oplog.gateway._http_proxy import Headers, HTTPProxy

DISCONNECT = {"type": "http.disconnect"}


@define
class Observer:
    """Keeps what it is shown: ("request", bytes), ("request end",), …, with parts of a body joined."""

    shown: list[tuple[Any, ...]] = Factory(list)
    pending_ids: Sequence[str] = ()
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
        self.show("head", status, [header for header in headers if header[0] != b"date"])

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
    upstream: ASGIApp, *, grace: float = PLENTY, pending_ids: Sequence[str] = (), upstream_grace: float = 0.01, **options: Any
) -> AsyncIterator[Proxied]:
    observers: list[Observer] = []

    def observe(_: Any) -> Observer:
        observers.append(Observer(pending_ids=pending_ids))
        return observers[-1]

    async with AsyncExitStack() as stack:
        real = await stack.enter_async_context(serving(upstream, grace=upstream_grace))
        transport = await stack.enter_async_context(
            httpx.AsyncHTTPTransport(verify=False, trust_env=False, limits=httpx.Limits(max_connections=None))
        )
        proxy = HTTPProxy(f"http://127.0.0.1:{real.port}/mcp", transport, observe, **options)
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


async def test_an_upstream_that_refuses_is_answered_for_with_502_and_each_pending_id() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    error = b'"error":{"code":-32000,"message":"the server cannot be reached"}'
    one, other = b'{"jsonrpc":"2.0","id":7,%s}' % error, b'{"jsonrpc":"2.0","id":"a",%s}' % error
    for ids, answer in (((), b"Bad Gateway\n"), (("7",), one), (("7", '"a"'), b"[%s,%s]" % (one, other))):
        async with proxied(app, pending_ids=ids) as found, http() as client:
            found.upstream.server.stop()
            await found.upstream.ended.wait()
            reply = await client.post(found.origin, content=b"x")
            assert (reply.status_code, reply.content) == (502, answer)
        assert [shown[0] for shown in found.observers[0].shown] == ["request", "request end", "upstream failed"]


async def test_an_upstream_that_takes_too_long_to_connect_is_answered_for_with_504() -> None:
    async def too_slow(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("payload")

    proxy = HTTPProxy("http://localhost", httpx.MockTransport(too_slow), lambda _: Observer())
    async with serving(proxy, has_lifespan=True) as served:
        assert (await served.ask(request(b"Connection: close\r\n"))).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")


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
    assert found.observers[0].shown[-1][0] == "response"


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
        HTTPProxy("ws://localhost", httpx.MockTransport(lambda _: httpx.Response(200)), lambda _: Observer())
