"""Clients and servers of the MCP Python SDK with the gateway in between, over sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from trio.testing import wait_all_tasks_blocked

from tests.gateway.fronted import Fronted, fronting, http
from tests.gateway.peers import Events, Peer, cancel_slow, elicit
from tests.serving.peer import PLENTY
from tests.testing.budget import TIMES
from trio_oplog import Operation

BOTH = [pytest.param(False, id="events"), pytest.param(True, id="JSON")]
MODERN = "2026-07-28"
# What takes long is the SDK.  ``nox -s laws`` has the time; test_http_gateway.py has as many without it.
CLIENTS = 100 if TIMES > 1 else 20
CALLS = 20


@asynccontextmanager
async def between(
    peer: Peer, *, config: dict[str, Any] | None = None, most: float = 60.0, **options: Any
) -> AsyncIterator[Fronted]:
    app = peer.streamable_http_app(**options)
    async with fronting(app, has_lifespan=True, grace=0.1, config=config, most=most) as found:
        yield found


def facts(operation: Operation) -> tuple[str, str | None, str | None]:
    """The tool, the outcome and the decision of who was asked."""
    outcome = operation.result_meta.outcome if operation.result_meta is not None else None
    return operation.tool, None if outcome is None else outcome.value, operation.approval and operation.approval.decision


@pytest.mark.parametrize("is_json", BOTH)
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_each_call_is_one_operation(mode: str, is_json: bool) -> None:
    peer = Peer()
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with between(peer, json_response=is_json) as found:
        async with Client(found.url, mode=mode, elicitation_callback=elicit) as client:
            assert (await client.call_tool("echo", {"text": "ü\u2028"})).content[0].text == "ü\u2028"  # type: ignore[union-attr]
            assert (await client.call_tool("fail")).is_error
            await client.call_tool("count", {"to": 3}, progress_callback=hear)
            if mode == MODERN:
                assert (await client.call_tool("rounds")).content[0].text == "asked"  # type: ignore[union-attr]
            elif not is_json:  # a JSON answer has no room for questions
                assert (await client.call_tool("ask")).content[0].text == "accept Ada"  # type: ignore[union-attr]
            await cancel_slow(client, peer)
            if mode == "legacy" or not is_json:  # then the server does not look whether its client is still there
                await peer.cancelled.wait()
            # This client fails when it is closed while the response to what it has cancelled is coming.
            while found.gateway._tap.statistics().open_exchanges > 1:  # noqa: ASYNC110 - one is its stream of notifications
                await trio.sleep(0.01)
            await wait_all_tasks_blocked()
        await found.until_recorded(5 if mode == MODERN or not is_json else 4)
    assert heard == ([] if is_json else [1, 2, 3])
    asked = ("rounds", None, "accept") if mode == MODERN else ("ask", None, "accept")
    expected = [("echo", None, None), ("fail", "tool_error", None), ("count", None, None), asked, ("slow", "cancelled", None)]
    if mode == "legacy" and is_json:
        expected.remove(asked)
    assert [facts(operation) for operation in found.recorded] == expected
    for operation in found.recorded:
        context = operation.context
        assert context is not None
        assert (context.transport, context.protocol) == ("http", "2025-11-25" if mode == "legacy" else MODERN)
        assert (context.session is not None) is (mode == "legacy")
        assert context.client == "mcp/0.1.0"
    if mode == MODERN:
        assert found.recorded[3].result_meta is not None
        assert found.recorded[3].result_meta.rounds == 2


@pytest.mark.parametrize("is_json", BOTH)
@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18"])
async def test_each_older_version_is_understood(version: str, is_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp.client.session.LATEST_HANDSHAKE_VERSION", version)
    async with between(Peer(), json_response=is_json) as found, Client(found.url, mode="legacy") as client:
        await client.call_tool("echo", {"text": "a"})
        assert (await client.call_tool("fail")).is_error
    assert [facts(operation)[:2] for operation in found.recorded] == [("echo", None), ("fail", "tool_error")]
    assert {operation.context and operation.context.protocol for operation in found.recorded} == {version}


@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_progress_arrives_before_the_server_goes_on(mode: str) -> None:
    peer = Peer()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        peer.heard.set()

    async with between(peer) as found, Client(found.url, mode=mode) as client:
        with trio.fail_after(PLENTY):
            await client.call_tool("wait_for_client", progress_callback=hear)
    assert [facts(operation)[:2] for operation in found.recorded] == [("wait_for_client", None)]


async def test_a_stream_that_is_cut_and_resumed_is_one_call() -> None:
    peer = Peer()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        peer.heard.set()

    async with between(peer, event_store=Events(), retry_interval=10) as found, Client(found.url, mode="legacy") as client:
        with trio.fail_after(PLENTY):
            assert (await client.call_tool("cut", progress_callback=hear)).content[0].text == "resumed"  # type: ignore[union-attr]
    [operation] = found.recorded
    assert (facts(operation)[:2], operation.result_summary) == (("cut", None), "resumed")


async def test_after_a_404_a_new_session_begins() -> None:
    async with between(Peer()) as found, http() as raw:
        async with Client(found.url, mode="legacy") as client:
            await client.call_tool("echo", {"text": "before"})
            [operation] = found.recorded
            assert operation.context is not None
            session = operation.context.session or ""
            gone = await raw.delete(found.url, headers={"mcp-session-id": session})
            assert gone.status_code == 200
            with pytest.raises(MCPError):
                await client.call_tool("echo", {"text": "after"})
        async with Client(found.url, mode="legacy") as client:
            await client.call_tool("echo", {"text": "again"})
    assert [facts(operation)[:2] for operation in found.recorded] == [("echo", None), ("echo", "rpc_error"), ("echo", None)]
    sessions = [operation.context and operation.context.session for operation in found.recorded]
    assert sessions[0] == sessions[1] == session
    assert sessions[2] not in (None, session)


async def test_the_older_transport_is_recorded_too() -> None:
    app = Peer().sse_app()
    async with fronting(app, has_lifespan=True, grace=0.1, url="http://127.0.0.1:{port}/sse") as found:
        url = found.url.replace("/mcp", "/sse")
        async with Client(sse_client(url), mode="legacy", elicitation_callback=elicit) as client:
            assert (await client.call_tool("echo", {"text": "a"})).content[0].text == "a"  # type: ignore[union-attr]
            assert (await client.call_tool("ask")).content[0].text == "accept Ada"  # type: ignore[union-attr]
    assert [facts(operation) for operation in found.recorded] == [("echo", None, None), ("ask", None, "accept")]
    assert {operation.context and operation.context.transport for operation in found.recorded} == {"sse"}


@pytest.mark.once
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("mode", "is_json"), [("legacy", False), (MODERN, True)], ids=["legacy-events", "modern-JSON"])
async def test_many_clients_with_equal_ids_are_told_apart(mode: str, is_json: bool) -> None:
    async with between(Peer(), json_response=is_json, most=600.0) as found:

        async def call_many(number: int) -> None:
            async with Client(found.url, mode=mode) as client:
                for call in range(CALLS):
                    await client.call_tool("echo", {"text": f"{number} {call}"})

        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(call_many, number)
    assert len(found.recorded) == CLIENTS * CALLS
    for operation in found.recorded:
        assert operation.arguments == b'{"text":"%s"}' % (operation.result_summary or "").encode()
    assert len({operation.arguments for operation in found.recorded}) == CLIENTS * CALLS
    # The clients count alike.
    assert set(Counter(operation.request_id for operation in found.recorded).values()) == {CLIENTS}
