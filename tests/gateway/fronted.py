"""HTTP gateways of tests: real sockets on both sides, and what is recorded in between."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio
from attrs import frozen

from tests.http import http_client
from tests.serving.peer import PLENTY, Served, descriptors, serving
from tests.watching import Recorded
from trio_oplog import Config, Operation
from trio_oplog._asgi import ASGIApp
from trio_oplog._serving import HTTPLimits
from trio_oplog.gateway import Anyone, Authenticator, HTTPGateway, Identity

ADA = Identity(workspace_id="ws-1", user_id="ada")
STREAM = (b"content-type", b"text/event-stream")
JSON = (b"content-type", b"application/json")


@frozen
class Fronted:
    """A gateway that runs, and the upstream behind it."""

    gateway: HTTPGateway
    port: int
    upstream: Served
    recorded: list[Operation]
    ended: trio.Event

    @property
    def front(self) -> Served:
        """The gateway as a server, without what is behind it."""
        return Served(self.gateway._server, self.port, self.upstream.nursery, self.ended)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def until_recorded(self, count: int) -> None:
        """Wait for so many operations."""
        with trio.fail_after(PLENTY):
            while len(self.recorded) < count:  # noqa: ASYNC110
                await trio.sleep(0.01)


@asynccontextmanager
async def fronting(
    upstream: ASGIApp,
    *,
    authenticator: Authenticator = Anyone(ADA),  # noqa: B008 - it is frozen
    grace: float = PLENTY,
    config: dict[str, Any] | None = None,
    most: float = PLENTY,
    has_lifespan: bool = False,
    limits: HTTPLimits | None = None,
    url: str = "http://127.0.0.1:{port}/mcp",
    **options: Any,
) -> AsyncIterator[Fronted]:
    """A gateway in front of an app; both are stopped at the end, and no descriptor is left."""
    before = descriptors()
    recorded = Recorded()
    async with serving(upstream, grace=0.01, counts=False, most=most, has_lifespan=has_lifespan, limits=limits) as real:
        gateway = HTTPGateway(
            url.format(port=real.port),
            authenticator,
            recorded,
            Config(source="gateway", workspace_id="unused", **config or {}),
            grace=grace,
            **options,
        )
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            ended = trio.Event()

            async def serve(*, task_status: trio.TaskStatus[None]) -> None:
                await gateway.serve(listeners, task_status=task_status)
                ended.set()

            await nursery.start(serve)
            yield Fronted(gateway, listeners[0].socket.getsockname()[1], real, recorded, ended)
            gateway.stop()
    assert gateway.statistics().open_connections == 0
    assert gateway.statistics().log_errors == 0
    assert descriptors() == before


def http() -> httpx.AsyncClient:
    return http_client(timeout=PLENTY)


def call(number: int | str = 1, tool: str = "echo", **arguments: Any) -> bytes:
    """A ``tools/call`` request."""
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()


def result(number: int | str, text: str = "done") -> bytes:
    """The response to it."""
    content = [{"type": "text", "text": text}]
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": {"content": content}}).encode()
