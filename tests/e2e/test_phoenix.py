"""A real backend: arize-phoenix takes what ``wrap`` sends, and shows the spans by its API."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import venv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from mcp import Client, StdioServerParameters
from mcp.client import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult

from tests.e2e.programs import OPLOG, stored

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER = Path(__file__).with_name("asking_server.py")


@pytest.fixture(scope="session")
def phoenix(pytestconfig: pytest.Config) -> Path:
    """The program, in an environment of its own: it brings some hundred packages.  It is kept in pytest's cache."""
    folder = Path(str(pytestconfig.cache.mkdir("phoenix")))  # type: ignore[union-attr]
    program = folder / "bin" / "phoenix"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        done = subprocess.run(
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "arize-phoenix"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"pip could not install arize-phoenix:\n{done.stderr}")
    return program


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@asynccontextmanager
async def serving(program: Path, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A Phoenix that listens on loopback, and an HTTP client of it."""
    port = free_port()
    environment = {
        **os.environ,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "phoenix.log").open("wb") as log:
        process = await trio.lowlevel.open_process([str(program), "serve"], stdout=log, stderr=log, env=environment)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            while not await answers(http):
                assert process.poll() is None, (folder / "phoenix.log").read_text()
                await trio.sleep(0.2)
            yield http
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(10):
                await process.wait()
            process.kill()
            await process.wait()


async def answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/v1/projects")).status_code == 200
    except httpx.TransportError:
        return False


async def shown(http: httpx.AsyncClient, count: int) -> dict[str, dict[str, Any]]:
    """The spans of the project, by their names, once there are so many: Phoenix writes what it took a moment later."""
    while True:
        reply = await http.get("/v1/projects/default/spans")
        spans = reply.json()["data"] if reply.status_code == 200 else []
        if len(spans) >= count:
            return {span["name"]: span for span in spans}
        await trio.sleep(0.2)


async def agree(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    await trio.sleep(0.2)
    return ElicitResult(action="accept", content={"sure": True})


async def session(command: list[str], environment: dict[str, str]) -> None:
    server = StdioServerParameters(command=command[0], args=command[1:], env=environment)
    async with Client(server, mode="legacy", elicitation_callback=agree) as client:
        meta: Any = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert not (await client.call_tool("add", {"a": 1, "b": 2}, meta=meta)).is_error
        assert (await client.call_tool("fail", {})).is_error
        await client.call_tool("delete", {"path": "/tmp/the-file"})  # noqa: S108 -- nothing is deleted


def duration_ms(span: dict[str, Any]) -> int:
    took = datetime.fromisoformat(span["end_time"]) - datetime.fromisoformat(span["start_time"])
    return round(took.total_seconds() * 1000)


@pytest.mark.timeout(900)  # the packages come from afar, the first time
async def test_a_session_through_wrap_is_in_phoenix_span_by_span(phoenix: Path, tmp_path: Path) -> None:
    store = tmp_path / "log.sqlite3"
    with trio.fail_after(300):
        async with serving(phoenix, tmp_path) as http:
            command = [
                *OPLOG,
                "wrap",
                "--to",
                f"sqlite:///{store}",
                "--to",
                f"otlp+{http.base_url}",
                "--",
                sys.executable,
                str(SERVER),
            ]
            await session(command, {**os.environ, "OTEL_SERVICE_NAME": "e2e"})
            spans = await shown(http, 3)
    operations = {operation["tool"]: operation for operation in await stored(store)}
    assert set(spans) == {"tools/call add", "tools/call fail", "tools/call delete"}
    for name, span in spans.items():
        operation = operations[name.partition(" ")[2]]
        assert span["attributes"]["trio_oplog.operation.id"] == operation["id"]
        assert span["attributes"]["gen_ai.tool.name"] == operation["tool"]
        assert duration_ms(span) == operation["duration_ms"]
        assert span["start_time"][:19] == operation["started_at"][:19]
        assert "gen_ai.tool.call.arguments" not in span["attributes"]
    add, fail, delete = spans["tools/call add"], spans["tools/call fail"], spans["tools/call delete"]
    assert (add["context"]["trace_id"], add["parent_id"], add["status_code"]) == (TRACE, PARENT, "UNSET")
    assert (fail["status_code"], fail["attributes"]["error.type"], fail["parent_id"]) == ("ERROR", "tool_error", None)
    (approval,) = delete["events"]
    assert approval["name"] == "trio_oplog.approval"
    assert approval["attributes"]["trio_oplog.approval.decision"] == "accept"
    assert approval["attributes"]["trio_oplog.approval.by"] == "client"
    assert approval["attributes"]["trio_oplog.approval.waited_ms"] >= 200
    assert delete["attributes"]["trio_oplog.waited_ms"] == operations["delete"]["result_meta"]["waited_ms"]
