"""Connections to an upstream."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from tests.serving.peer import Served, echo, serving
from trio_oplog.gateway import _http_connections
from trio_oplog.gateway._http_connections import Connections


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Connections, Served]]:
    async with serving(echo, grace=0.01) as served, Connections(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as connections:
        yield connections, served


async def ask(connections: Connections, port: int) -> httpx.Response:
    return await connections.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}"))


async def test_a_connection_is_used_again_when_its_response_has_ended_and_not_before() -> None:
    async with connected() as (connections, served):
        one, other = await ask(connections, served.port), await ask(connections, served.port)
        assert served.server.statistics().accepted == 2
        for response in (one, other):
            await response.aread()
            await response.aclose()
        await (await ask(connections, served.port)).aclose()
        assert served.server.statistics().accepted == 2


async def test_what_is_idle_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http_connections, "KEEP_IDLE", 0.05)
    async with connected() as (connections, served):
        response = await ask(connections, served.port)
        await response.aread()
        await response.aclose()
        assert served.server.statistics().open_connections == 1
        while served.server.statistics().open_connections:
            await trio.sleep(0.01)
            await connections.close_idle()


async def test_a_connection_that_fails_is_closed() -> None:
    async with connected() as (connections, served):
        served.server.stop()
        await served.ended.wait()
        with pytest.raises(httpx.ConnectError):
            await ask(connections, served.port)
