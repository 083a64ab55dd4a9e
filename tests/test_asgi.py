"""``record_http``: an MCP server in this process on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from mcp import Client as McpClient
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.gateway.fronted import JSON, call, http, result
from tests.gateway.peers import Peer, elicit
from tests.serving.peer import Served, read_body, read_until, request, serving
from tests.serving.test_streaming import POST, START, part
from tests.watching import Recorded
from trio_oplog import Config, ConfigError, Outcome, RecordedApp, TrioRequiredError, record_http
from trio_oplog._asgi import ASGIApp, Receive, Send, target_of

CONFIG = Config(source="server", workspace_id="ws-1", user_id="ada")


@asynccontextmanager
async def recording(app: ASGIApp, *, grace: float = 0.1) -> AsyncIterator[tuple[Served, RecordedApp, Recorded]]:
    recorded = Recorded()
    recording_app = record_http(app, recorded, CONFIG)
    async with serving(recording_app, has_lifespan=True, counts=False, grace=grace) as served:
        yield served, recording_app, recorded


async def without_lifespan(scope: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError


def outcome(recorded: Recorded) -> Outcome | None:
    [operation] = recorded
    return operation.result_meta.outcome if operation.result_meta is not None else None


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_calls_of_a_server_of_the_sdk_are_on_record(mode: str, is_json: bool) -> None:
    async with recording(Peer().streamable_http_app(json_response=is_json)) as (served, app, recorded):
        async with McpClient(f"http://127.0.0.1:{served.port}/mcp", mode=mode, elicitation_callback=elicit) as client:
            await client.call_tool("echo", {"text": "a"})
            assert (await client.call_tool("fail")).is_error
            if mode == "legacy" and not is_json:
                await client.call_tool("ask")
        assert [operation.tool for operation in recorded] == ["echo", "fail", "ask"][: len(recorded)]
        assert len(recorded) == (3 if mode == "legacy" and not is_json else 2)
        assert {(operation.workspace_id, operation.user_id) for operation in recorded} == {("ws-1", "ada")}
        assert app.statistics().recorded == len(recorded)
        assert repr(app) == f"<RecordedApp open_exchanges=0 recorded={len(recorded)}>"


async def test_a_server_that_is_mounted_in_another_app_is_on_record() -> None:
    peer = Peer()
    inner = record_http(peer.streamable_http_app(), recorded := Recorded(), CONFIG)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with peer.session_manager.run():
            yield

    app = Starlette(routes=[Mount("/tools", inner)], lifespan=lifespan)
    async with (
        serving(app, has_lifespan=True, counts=False, grace=0.1) as served,
        McpClient(f"http://127.0.0.1:{served.port}/tools/mcp", mode="legacy") as client,
    ):
        await client.call_tool("echo", {"text": "a"})
    inner.close()
    assert [operation.tool for operation in recorded] == ["echo"]


async def test_open_calls_are_on_record_before_the_app_shuts_down() -> None:
    seen: list[int] = []
    begun = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            seen.append(len(recorded))
            await send({"type": "lifespan.shutdown.complete"})
            return
        await read_body(receive)
        await send(START | {"headers": [JSON, (b"mcp-session-id", b"s")]})
        await send(part(b" "))
        begun.set()
        await receive()

    async with recording(app, grace=0.01) as (served, _, recorded), await served.connect() as stream:
        body = call()
        await stream.send_all(request(b"Mcp-Session-Id: s\r\nContent-Length: %d\r\n" % len(body), line=POST, body=body))
        await begun.wait()
        served.server.stop()
        await served.ended.wait()
    assert seen == [1]
    assert outcome(recorded) == Outcome.UNANSWERED


@pytest.mark.parametrize("way", ["is told", "sends"])
async def test_a_client_that_leaves_is_known_to_have_left(way: str) -> None:
    ended = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await without_lifespan(scope)
        await read_body(receive)
        await send(START | {"headers": [JSON]})
        await send(part(b" "))
        try:
            if way == "is told":
                await receive()
            while way == "sends":
                await send(part(bytes(100_000)))
        finally:
            ended.set()

    async with recording(app) as (served, _, recorded):
        async with await served.connect() as stream:
            body = call()
            head = b"MCP-Protocol-Version: 2026-07-28\r\nContent-Length: %d\r\n" % len(body)
            await stream.send_all(request(head, line=POST, body=body))
            assert await stream.receive_some()
        await ended.wait()
        while not recorded:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert outcome(recorded) == Outcome.CANCELLED


async def test_what_an_app_raises_comes_out_as_it_is_and_its_calls_are_unanswered() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        raise ZeroDivisionError

    recorded = Recorded()
    transport = httpx.ASGITransport(app=record_http(app, recorded, CONFIG))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        with pytest.raises(ZeroDivisionError):
            await client.post("/mcp", content=call())
    assert outcome(recorded) == Outcome.UNANSWERED


async def test_what_is_no_mcp_passes_and_leaves_no_trace() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await without_lifespan(scope)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        await send({"type": "http.response.body"})

    async with recording(app) as (served, _, recorded), http() as client:
        assert (await client.get(f"http://127.0.0.1:{served.port}/page")).text == "hello"
        assert (await client.post(f"http://127.0.0.1:{served.port}/form", data={"a": "b"})).text == "hello"
    assert not recorded


async def test_after_the_close_calls_pass_without_a_record() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await without_lifespan(scope)
        await read_body(receive)
        await send(START | {"headers": [JSON]})
        await send(part(result(1), more=False))

    async with recording(app) as (served, recording_app, recorded), http() as client:
        recording_app.close()
        assert (await client.post(f"http://127.0.0.1:{served.port}/mcp", content=call())).content == result(1)
    assert not recorded


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ({"path": "/ü/a b", "raw_path": b"/%c3%bc/a%20b"}, "/%c3%bc/a%20b"),
        ({"path": "/ü/a b@;"}, "/%C3%BC/a%20b@;"),
        ({"path": "/a", "raw_path": None, "query_string": b"b=%ff"}, "/a?b=%ff"),
        ({"path": "/a", "raw_path": b"/a?b", "query_string": b"b"}, "/a?b"),
    ],
)
def test_the_target_is_spelled_as_the_client_did_where_that_is_known(scope: dict[str, Any], target: str) -> None:
    assert target_of(scope) == target


def test_under_another_event_loop_it_says_so_before_anything_else() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        raise AssertionError

    with pytest.raises(TrioRequiredError):
        asyncio.run(record_http(app, Recorded(), CONFIG)({"type": "http"}, None, None))  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [(None, CONFIG), (Recorded(), None)])
def test_a_wrong_argument_is_named(arguments: Any) -> None:
    with pytest.raises(ConfigError):
        record_http(None, *arguments)  # type: ignore[arg-type]


async def test_the_events_of_a_recorded_app_pass_one_by_one() -> None:
    go_on = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await without_lifespan(scope)
        await send(START)
        await send(part(b"1"))
        await go_on.wait()
        await send(part(b"2", more=False))

    async with recording(app) as (served, _, _), await served.connect() as stream:
        await stream.send_all(request())
        await read_until(stream, b"1\r\n1\r\n")
        go_on.set()
        await read_until(stream, b"1\r\n2\r\n0\r\n\r\n")


async def test_what_is_no_request_and_no_part_of_a_response_passes_as_it_is() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": f"{scope['type']}.odd"})

    for kind in ("websocket", "http"):
        scope = {"type": kind, "method": "GET", "path": "/", "headers": []}
        await record_http(app, Recorded(), CONFIG)(scope, None, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.odd"}, {"type": "http.odd"}]
