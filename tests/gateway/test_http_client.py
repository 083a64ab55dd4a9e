"""A stream of frames over MCP over HTTP: what becomes of odd answers, broken streams and lost sessions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.gateway.fronted import JSON, STREAM, call, result
from tests.serving.peer import PLENTY, Served, read_body, serving
from tests.serving.test_streaming import START, part
from trio_oplog import ConfigError, TrioRequiredError
from trio_oplog._asgi import Receive, Send
from trio_oplog.gateway import Closed, _http_client
from trio_oplog.gateway._http_client import HTTPFrames, open_http
from trio_oplog.gateway._http_messages import Outgoing

Step = Callable[["Asked", Send], Awaitable[None]]

INITIALIZE = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}'
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
GREETING = b'{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-03-26"}}'
SESSION = (b"Mcp-Session-Id", b"s-1")


class Asked:
    """A request that has come."""

    def __init__(self, method: str, headers: dict[bytes, bytes], body: bytes) -> None:
        self.method = method
        self.headers = headers
        self.body = body


class Script:
    """A server that answers one request after the other as it is told; then 405."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.asked: list[Asked] = []
        self.changed = trio.Event()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        asked = Asked(scope["method"], dict(scope["headers"]), await read_body(receive))
        self.asked.append(asked)
        self.changed.set()
        self.changed = trio.Event()
        step = self.steps.pop(0) if self.steps else answering(b"", status=405)
        await step(asked, send)

    async def until_asked(self, count: int) -> None:
        while len(self.asked) < count:
            await self.changed.wait()

    def header(self, name: bytes) -> list[bytes | None]:
        return [asked.headers.get(name) for asked in self.asked]


def answering(body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> Step:
    async def step(_: Asked, send: Send) -> None:
        await send(START | {"status": status, "headers": [*headers]})
        await send(part(body, more=False))

    return step


def streaming(*pieces: bytes, breaks_off: bool = False) -> Step:
    async def step(_: Asked, send: Send) -> None:
        await send(START | {"headers": [STREAM]})
        for piece in pieces:
            await send(part(piece))
        if breaks_off:
            raise ConnectionError
        await send(part(more=False))

    return step


async def hang(_: Asked, send: Send) -> None:
    await trio.sleep_forever()


def event(data: bytes, *lines: bytes) -> bytes:
    return b"".join(line + b"\n" for line in (*lines, b"data: " + data)) + b"\n"


@asynccontextmanager
async def connected(script: Script, **options: Any) -> AsyncIterator[tuple[HTTPFrames, Served]]:
    async with (
        serving(script, counts=False, grace=0.01) as served,
        open_http(f"http://127.0.0.1:{served.port}/mcp", **options) as frames,
    ):
        yield frames, served


def error_of(frame: object) -> tuple[Any, str]:
    assert isinstance(frame, bytes)
    message = json.loads(frame)
    return message["id"], message["error"]["message"]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (answering(b"", status=404), "HTTP 404 Not Found"),
        (answering(b"<html>", (b"content-type", b"text/html"), status=502), "HTTP 502 Bad Gateway"),
        (answering(b'{"id":null,"error":{"code":1,"message":"no session"}}', JSON, status=400), "no session"),
        (answering(b'[{"id":null,"error":{"code":1,"message":"none"}}]', JSON, status=400), "none"),
        (answering(b"[]", JSON, status=400), "HTTP 400 Bad Request"),
        (answering(b"", status=202), "the server said nothing about it"),
        (answering(b"no JSON"), "the server said nothing about it"),
        (answering(b"x" * 1001), "its answer is too long"),
        (answering(b"", (b"content-encoding", b"br")), "its Content-Encoding is not known"),
        (streaming(b": nothing\n\n"), "its stream ended without an answer"),
        (streaming(event(b"{}", b"id: 1", b"retry: 1")), "its stream ended without an answer"),
        (streaming(event(b"{}"), breaks_off=True), "its stream ended without an answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_request_without_an_answer_gets_an_error(step: Step, problem: str) -> None:
    async with connected(Script(step), max_frame=1000) as (frames, _):
        await frames.send(call(7))
        frame = await frames.receive()
        while b"error" not in frame:  # type: ignore[operator]  # what it said besides
            frame = await frames.receive()
        assert error_of(frame) == (7, problem)


async def test_a_server_that_cannot_be_reached_is_said_so() -> None:
    async with connected(Script()) as (frames, served):
        served.server.stop()
        await served.ended.wait()
        await frames.send(b"[" + call(1) + b"," + call(2) + b"]")
        assert {error_of(await frames.receive()) for _ in range(2)} == {
            (number, "the server cannot be reached: connection refused") for number in (1, 2)
        }


@pytest.mark.parametrize("breaks_off", [False, True])
async def test_a_stream_that_breaks_off_is_resumed_until_there_is_an_answer(breaks_off: bool) -> None:
    script = Script(
        streaming(event(b'{"method":"a"}', b"id: 1", b"retry: 1"), breaks_off=breaks_off),
        streaming(event(b'{"method":"b"}', b"id: 2")),
        streaming(event(b'{"method":"c"}')),
        streaming(event(result(7), b"id: 3")),
    )
    async with connected(script) as (frames, _):
        await frames.send(call(7))
        heard = [await frames.receive() for _ in range(4)]
    assert heard == [b'{"method":"a"}', b'{"method":"b"}', b'{"method":"c"}', result(7)]
    assert [asked.method for asked in script.asked] == ["POST", "GET", "GET", "GET"]
    assert script.header(b"last-event-id")[:3] == [None, b"1", b"2"]


async def test_a_stream_is_not_resumed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http_client, "_RESUMED_MAX", 3)
    script = Script(*(streaming(event(b"1", b"id: 1", b"retry: 1")) for _ in range(10)))
    async with connected(script) as (frames, _):
        await frames.send(call(7))
        heard = [await frames.receive() for _ in range(5)]
    assert heard[:4] == [b"1"] * 4
    assert error_of(heard[4]) == (7, "its stream ended without an answer")


async def test_a_session_begins_with_its_answer_and_ends_with_the_stream() -> None:
    script = Script(answering(GREETING, JSON, SESSION), answering(b"", status=202), answering(b"", status=405))
    async with connected(script, headers=[(b"Authorization", b"Bearer k")]) as (frames, _):
        await frames.send(INITIALIZE)
        assert await frames.receive() == GREETING
        await frames.send(INITIALIZED.decode())
        await script.until_asked(3)
    assert [asked.method for asked in script.asked] == ["POST", "POST", "GET", "DELETE"]
    assert script.header(b"mcp-session-id") == [None, b"s-1", b"s-1", b"s-1"]
    assert script.header(b"mcp-protocol-version") == [None, b"2025-03-26", b"2025-03-26", b"2025-03-26"]
    assert script.header(b"authorization") == [b"Bearer k"] * 4


async def test_a_session_whose_server_is_gone_ends_by_itself() -> None:
    script = Script(answering(GREETING, JSON, SESSION))
    async with connected(script) as (frames, served):
        await frames.send(INITIALIZE)
        await frames.receive()
        served.server.stop()
        await served.ended.wait()
    assert len(script.asked) == 1


async def test_the_servers_own_messages_are_received_whenever_it_offers_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http_client, "RETRY_AFTER", 0.01)
    script = Script(
        answering(b"", status=202),
        streaming(event(b'{"method":"a"}', b"id: 1"), event(b"ignored", b"event: other"), event(b" ")),
        streaming(event(b'{"method":"b"}'), breaks_off=True),
        answering(b"", status=405),
        answering(b"", status=202),
        hang,
    )
    async with connected(script) as (frames, _):
        await frames.send(INITIALIZED)
        assert [await frames.receive() for _ in range(2)] == [b'{"method":"a"}', b'{"method":"b"}']
        await script.until_asked(4)
        while frames._is_listening:  # noqa: ASYNC110
            await trio.sleep(0.01)
        await frames.send(INITIALIZED)
        await script.until_asked(6)
    assert script.header(b"last-event-id") == [None, None, b"1", b"1", None, None]


async def test_a_server_that_goes_away_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    sleep = trio.sleep

    async def wait(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    script = Script(answering(b"", status=202), hang)
    async with connected(script) as (frames, served):
        await frames.send(INITIALIZED)
        await script.until_asked(2)
        monkeypatch.setattr(trio, "sleep", wait)
        served.server.stop()
        while len(waited) < 9:
            await trio.lowlevel.checkpoint()
        monkeypatch.undo()
    assert waited[:9] == [2, 4, 8, 16, 32, 60, 60, 60, 60]


async def test_to_cancel_a_request_of_a_version_without_sessions_is_to_close_its_stream() -> None:
    params = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}, "name": "ü"}
    request = json.dumps({"id": 7, "method": "tools/call", "params": params}).encode()
    script = Script(hang)
    async with connected(script) as (frames, _):
        await frames.send(request)
        await script.until_asked(1)
        await frames.send(b'{"method":"notifications/cancelled","params":{"requestId":7}}')
        with trio.fail_after(PLENTY):
            while frames._open:  # noqa: ASYNC110
                await trio.sleep(0.01)
        await frames.send(b'{"method":"notifications/cancelled","params":{"requestId":8}}')
        await script.until_asked(2)
    assert script.header(b"mcp-protocol-version")[0] == b"2026-07-28"
    assert script.header(b"mcp-method")[0] == b"tools/call"
    assert script.header(b"mcp-name")[0] == b"=?base64?w7w=?="


async def test_a_server_that_does_not_take_a_message_holds_the_next_one_up_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_http_client, "_IN_TURN", 0.05)
    script = Script(hang, answering(result(1), JSON))
    async with connected(script) as (frames, _):
        await frames.send(INITIALIZED)
        await frames.send(call(1))
        assert await frames.receive() == result(1)


async def test_what_is_open_at_the_end_of_the_input_is_answered_and_then_it_ends() -> None:
    may_answer = trio.Event()

    async def slowly(asked: Asked, send: Send) -> None:
        await may_answer.wait()
        await answering(result(1), JSON)(asked, send)

    script = Script(slowly)
    async with connected(script) as (frames, _):
        await frames.send(call(1))
        await frames.send(b"\n")
        await frames.send_closed(Closed())
        await frames.send(call(2))
        may_answer.set()
        assert await frames.receive() == result(1)
        assert await frames.receive() == Closed()
    assert len(script.asked) == 1


async def test_an_input_that_ends_with_nothing_open_ends_it_at_once() -> None:
    async with connected(Script()) as (frames, _):
        await frames.send_closed(Closed())
        assert await frames.receive() == Closed()
        await frames.aclose()
        assert await frames.receive() == Closed()


@pytest.mark.parametrize(
    ("frame", "waiting"),
    [
        (b'{"id":1,"method":"a"}', [b"1"]),
        (b'{"id":null,"method":"a"}', []),
        (b'{"id":1,"result":{}}', []),
        (b'[{"id":"a","method":"a"},{"method":"b"},{"id":2,"method":"c"}]', [b'"a"', b"2"]),
        (b"no JSON", []),
        (b"[1]", []),
        (b'{"id":1,"method":"tools/call","params":[]}', []),
    ],
)
def test_a_request_waits_for_its_answer(frame: bytes, waiting: list[bytes]) -> None:
    assert Outgoing(frame).waiting == waiting


def test_an_answer_to_initialize_names_the_version_if_it_names_any() -> None:
    for answer, protocol in (
        (GREETING, "2025-03-26"),
        (b'{"id":0,"result":5}', None),
        (b'{"id":0,"error":{}}', None),
        (b"x", None),
    ):
        assert Outgoing(INITIALIZE).hear(answer) == protocol


@pytest.mark.parametrize("url", ["ws://x", "nothing"])
async def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        async with open_http(url):
            raise AssertionError


def test_it_needs_trio() -> None:
    with pytest.raises(TrioRequiredError):
        open_http("http://x").__aenter__().send(None)  # type: ignore[attr-defined]
