"""The app behind ASGI servers of others, on either event loop, and mounted in an app of somebody's own."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.collector.serving import SECRET, MakeOperation, post
from tests.http import http_client
from trio_oplog.collector import DEFAULT_PATH, create_app, open_store

ROOT = Path(__file__).parents[2]
APP = "tests.collector.serve_me:app"
SERVERS = {
    "uvicorn": ["uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--timeout-graceful-shutdown", "1", APP],
    "hypercorn on asyncio": [
        "hypercorn",
        "--bind",
        "127.0.0.1:{port}",
        "--worker-class",
        "asyncio",
        "--graceful-timeout",
        "1",
        APP,
    ],
    "hypercorn on Trio": [
        "hypercorn",
        "--bind",
        "127.0.0.1:{port}",
        "--worker-class",
        "trio",
        "--workers",
        "0",
        "--graceful-timeout",
        "1",
        APP,
    ],
}


# It cannot be told to stop waiting: https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Server.wait_closed
WAITS = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="from Python 3.12 on, hypercorn on asyncio stops only when the last client has left"
)


@pytest.mark.parametrize("server", ["uvicorn", pytest.param("hypercorn on asyncio", marks=WAITS), "hypercorn on Trio"])
async def test_the_app_runs_on_servers_of_others_and_their_stop_ends_a_live_tail(
    tmp_path: Path, make_operation: MakeOperation, server: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", *(word.format(port=port) for word in SERVERS[server])]
    store = f"sqlite:///{tmp_path / 'operations.sqlite3'}"
    environment = {**os.environ, "TRIO_OPLOG_TEST_STORE": store, "TRIO_OPLOG_TEST_SECRET": SECRET, "PYTHONPATH": str(ROOT)}
    with trio.fail_after(120), (tmp_path / "output").open("wb") as output:
        process = await trio.lowlevel.open_process(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}"
            async with http_client(base_url=url, headers={"X-Internal-Secret": SECRET}, timeout=60) as http:
                await until_ready(http)
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                async with stream:
                    head = f"GET {DEFAULT_PATH}/live?workspace_id=ws HTTP/1.1\r\nHost: x\r\nX-Internal-Secret: {SECRET}\r\n\r\n"
                    await stream.send_all(head.encode())
                    came = await receive_until(stream, b"retry: 1000")
                    operation = make_operation()
                    await post(http, operation)
                    assert operation.id.encode() in await receive_until(stream, b"data: ", came)
                    assert len((await http.get(f"{DEFAULT_PATH}/export", params={"workspace_id": "ws"})).text.splitlines()) == 1
                    process.send_signal(signal.SIGTERM)
                    await receive_until(stream, None)
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    async with open_store(store) as opened:
        assert await opened.get("ws", operation.id) is not None


async def until_ready(http: httpx.AsyncClient) -> None:
    while True:
        try:
            reply = await http.get("/readyz")
        except httpx.TransportError:
            await trio.sleep(0.05)
        else:
            assert reply.json() == {"status": "ok"}
            return


async def receive_until(stream: trio.SocketStream, wanted: bytes | None, came: bytes = b"") -> bytes:
    """What comes until something is among it, or until the end."""
    while wanted is None or wanted not in came:
        try:
            chunk = await stream.receive_some()
        except trio.BrokenResourceError:
            chunk = b""
        if not chunk:
            assert wanted is None, came
            return came
        came += chunk
    return came


def starlette_with(app: Starlette, lifespan: Callable[..., Any]) -> Any:
    return Starlette(routes=[Mount("/log", app)], lifespan=lifespan)


def fastapi_with(app: Starlette, lifespan: Callable[..., Any]) -> Any:
    outer = FastAPI(lifespan=lifespan)
    outer.mount("/log", app)
    return outer


@pytest.mark.parametrize("mount", [starlette_with, fastapi_with])
async def test_the_app_can_be_mounted_in_another_one(
    tmp_path: Path, make_operation: MakeOperation, mount: Callable[..., Any]
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'operations.sqlite3'}")

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with store:
            yield

    outer = mount(create_app(store, SECRET), lifespan)
    async with outer.router.lifespan_context(outer):
        transport = httpx.ASGITransport(app=outer)
        headers = {"X-Internal-Secret": SECRET, "Content-Type": "application/x-ndjson"}
        async with httpx.AsyncClient(transport=transport, base_url="http://outer", headers=headers) as http:
            reply = await http.post(f"/log{DEFAULT_PATH}", content=b"")
            assert reply.json() == {"stored": [], "refused": []}
            assert (await http.get(f"/log{DEFAULT_PATH}/id-1", params={"workspace_id": "ws"})).status_code == 404
            assert (await http.get("/log/readyz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 404
    assert store._engine is None
