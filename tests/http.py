"""The HTTP client and the HTTP server of tests."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import trio

from trio_oplog._delivery.request import Body
from trio_oplog._serving import HTTPServer
from trio_oplog._serving.lifespan import ASGIApp

PATIENCE = 60.0
"""How long a test waits for an answer, in seconds: only what hangs takes so long."""


async def send_in_one_piece(request: httpx.Request) -> None:
    """What httpx sends is abandoned half-way when the server goes away; then Trio warns, in whatever test happens to run."""
    if isinstance(request.stream, httpx.ByteStream):
        request.stream = Body(request.content)


def http_client(**options: Any) -> httpx.AsyncClient:
    """A client for servers that are killed, reset or left in the middle of a request.

    Plain HTTP on loopback needs neither a proxy of the environment nor certificates, which take longer to load than a request.
    A busy machine may take longer for an answer than the 5 seconds that httpx waits by itself.
    """
    trusts_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    options = {"timeout": PATIENCE, **options}
    return httpx.AsyncClient(trust_env=False, verify=trusts_nobody, event_hooks={"request": [send_in_one_piece]}, **options)


async def serve_on_loopback(app: ASGIApp, nursery: trio.Nursery) -> str:
    """Serve an app on a free port until the nursery is cancelled; the origin of its URLs."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(HTTPServer(app).serve, listeners)
    return f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
