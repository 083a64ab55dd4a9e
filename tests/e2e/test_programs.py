"""Real programs behind wrap and gateway."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import trio
from mcp import Client, StdioServerParameters
from websockets.trio.client import ClientConnection, connect

from tests.e2e.programs import (
    OPLOG,
    assert_transparent,
    codex_environment,
    running,
    stored,
    tapped_inside_and_outside,
    wrapped,
)
from trio_oplog.gateway import Closed, LineFrames


async def test_server_everything_through_wrap(programs: Path, tmp_path: Path) -> None:
    store = tmp_path / "log.sqlite3"
    command = tapped_inside_and_outside(tmp_path, store, str(programs / "mcp-server-everything"), "stdio")
    progress: list[float] = []

    async def note_progress(now: float, total: float | None, message: str | None) -> None:
        progress.append(now)

    with trio.fail_after(60):
        async with Client(
            StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ)), mode="legacy"
        ) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert {"echo", "get-sum", "trigger-long-running-operation"} <= tools
            await client.call_tool("echo", {"message": "héllo \u2028"})
            await client.call_tool("get-sum", {"a": 1, "b": 2})
            await client.call_tool("get-tiny-image", {})
            await client.call_tool(
                "trigger-long-running-operation", {"duration": 0.2, "steps": 2}, progress_callback=note_progress
            )
            with trio.move_on_after(0.3):
                await client.call_tool("trigger-long-running-operation", {"duration": 30, "steps": 2})
            assert (await client.call_tool("get-sum", {"a": "x"})).is_error
    assert progress == [1, 2]
    assert_transparent(tmp_path)
    operations = await stored(store)
    assert [(operation["tool"], operation.get("result_meta", {}).get("outcome")) for operation in operations] == [
        ("echo", None),
        ("get-sum", None),
        ("get-tiny-image", None),
        ("trigger-long-running-operation", None),
        ("trigger-long-running-operation", "cancelled"),
        ("get-sum", "tool_error"),
    ]
    assert len({operation["env_id"] for operation in operations}) == 1
    assert operations[0]["env_id"] != "local"
    assert operations[0]["arguments"] == {"message": "héllo \u2028"}


class Peer(Protocol):
    async def send(self, text: str) -> None: ...

    async def receive(self) -> str: ...


class OverWebSocket:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, text: str) -> None:
        await self.connection.send(text)

    async def receive(self) -> str:
        return await self.connection.recv(decode=True)


class OverStdio:
    def __init__(self, frames: LineFrames) -> None:
        self.frames = frames

    async def send(self, text: str) -> None:
        await self.frames.send(text)

    async def receive(self) -> str:
        frame = await self.frames.receive()
        assert isinstance(frame, bytes), frame
        return frame.decode()


@pytest.fixture
def codex_home(tmp_path: Path) -> dict[str, str]:
    """The environment of a Codex with one MCP server and a model that is not there."""
    return codex_environment(tmp_path, model_url="http://127.0.0.1:9/v1")


async def drive(peer: Peer, folder: Path) -> str:
    """Open a session, call tools directly, and return the id of the thread."""

    async def request(request_id: int | str, method: str, **params: object) -> dict[str, Any]:
        await peer.send(json.dumps({"id": request_id, "method": method, "params": params}))
        return await answer_to(request_id)

    async def answer_to(request_id: int | str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(await peer.receive())
            if "method" not in message and message.get("id") == request_id:
                return message

    await request(0, "initialize", clientInfo={"name": "e2e", "version": "0"}, capabilities={"experimentalApi": True})
    await peer.send('{"method":"initialized"}')
    started = await request(
        1, "thread/start", ephemeral=True, cwd=str(folder), approvalPolicy="never", sandbox="danger-full-access"
    )
    thread: str = started["result"]["thread"]["id"]

    def call(request_id: int | str, tool: str, **arguments: object) -> Any:
        return request(request_id, "mcpServer/tool/call", threadId=thread, server="workshop", tool=tool, arguments=arguments)

    assert (await call(2, "add", a=1, b=2))["result"]["isError"] is False
    assert (await call("three", "divide", a=1, b=0))["result"]["isError"] is True
    assert (await call(9007199254740993, "count", to=3))["result"]["isError"] is False
    assert "error" in await request(4, "mcpServer/tool/call", threadId=thread, server="no such server", tool="add", arguments={})
    return thread


def check(operations: list[dict[str, Any]], thread: str) -> None:
    shown = [
        (operation["request_id"], operation["tool"], operation["env_id"], operation.get("result_meta", {}).get("outcome"))
        for operation in operations
    ]
    assert shown == [
        ("2", "add", "workshop", None),
        ("three", "divide", "workshop", "tool_error"),
        ("9007199254740993", "count", "workshop", None),
        ("4", "add", "no such server", "rpc_error"),
    ]
    assert {operation["thread_id"] for operation in operations} == {thread}
    assert [operation.get("arguments") for operation in operations] == [{"a": 1, "b": 2}, {"a": 1, "b": 0}, {"to": 3}, {}]


async def test_codex_app_server_on_stdio_through_wrap(programs: Path, tmp_path: Path, codex_home: dict[str, str]) -> None:
    store = tmp_path / "log.sqlite3"
    command = wrapped(store, str(programs / "codex"), "app-server")
    with trio.fail_after(60):
        async with running(command, codex_home, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            thread = await drive(OverStdio(LineFrames(process.stdout, process.stdin)), tmp_path)
    assert process.returncode == 0
    check(await stored(store), thread)


async def test_codex_app_server_on_websockets_through_gateway(programs: Path, tmp_path: Path, codex_home: dict[str, str]) -> None:
    store = tmp_path / "log.sqlite3"
    with trio.fail_after(60):
        async with listening([str(programs / "codex"), "app-server", "--listen", "ws://127.0.0.1:0"], codex_home) as upstream:
            command = [*OPLOG, "gateway", "--listen", "127.0.0.1:0", "--to", f"sqlite:///{store}", "--upstream", upstream]
            async with listening(command, codex_home) as url, connect(url, max_size=None, proxy=None) as connection:
                thread = await drive(OverWebSocket(connection), tmp_path)
    check(await stored(store), thread)


@asynccontextmanager
async def listening(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[str]:
    """A program that says on its standard error which ws:// address it listens on."""
    async with running(command, environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        lines = LineFrames(process.stderr, process.stderr)  # type: ignore[arg-type]
        while not isinstance(line := await lines.receive(), Closed):
            words = [word for word in line.decode().split() if word.startswith("ws://")]  # type: ignore[union-attr]
            if words:
                break
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, lines)
            yield words[0]
            nursery.cancel_scope.cancel()
        await process.stderr.aclose()


async def drain(lines: LineFrames) -> None:
    while not isinstance(await lines.receive(), Closed):
        pass
