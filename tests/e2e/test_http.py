"""Real HTTP clients and servers of other makes with ``trio-oplog gateway`` in between."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.cli.test_gateway import gateway
from tests.e2e.programs import Json, running, stored

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def serving(command: Sequence[str], port: int, environment: Mapping[str, str]) -> AsyncIterator[None]:
    """A server that listens on the port when the block begins."""
    async with running(command, environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        with trio.fail_after(60):
            while True:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                except OSError:
                    await trio.sleep(0.1)
                else:
                    await stream.aclose()
                    break
        yield


async def said(command: Sequence[str]) -> str:
    with trio.fail_after(60):
        done = await trio.run_process(list(command), capture_stdout=True)
    return str(done.stdout.decode())


def facts(operations: Sequence[Json]) -> list[tuple[str, str | None]]:
    return [(operation["tool"], operation.get("result_meta", {}).get("outcome")) for operation in operations]


@pytest.mark.parametrize(("kind", "path"), [("streamableHttp", "/mcp"), ("sse", "/sse")])
async def test_the_typescript_client_and_server_everything(kind: str, path: str, programs: Path, tmp_path: Path) -> None:
    port = free_port()
    server = serving([str(programs / "mcp-server-everything"), kind], port, {**os.environ, "PORT": str(port)})
    url = f"http://127.0.0.1:{port}{path}"
    async with server, gateway(tmp_path / "log", "--upstream", url) as front:
        answer = json.loads(await said(["node", str(HERE / "client.mjs"), str(programs.parent.parent), kind, front.url]))
    assert answer["failed"]
    assert answer["progress"] in ([1], [1, 2])  # this client forgets who waits for progress with the answer
    operations = await stored(tmp_path / "log")
    long = "trigger-long-running-operation"
    assert facts(operations) == [("echo", None), (long, None), ("get-sum", "tool_error"), (long, "cancelled")]
    assert {operation["context"]["transport"] for operation in operations} == {"sse" if kind == "sse" else "http"}
    assert {operation["context"]["client"] for operation in operations} == {"ts/1.0"}
    assert len({operation["context"]["session"] for operation in operations}) == 1


@pytest.fixture(scope="session")
def mcp1(pytestconfig: pytest.Config) -> str:
    """The Python of an environment with the newest SDK 1.x."""
    folder = Path(str(pytestconfig.cache.mkdir("mcp1")))  # type: ignore[union-attr]
    python = folder / "bin" / "python"
    if not (folder / "bin" / "mcp").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "mcp[cli]<2"], check=True)
    return str(python)


@pytest.mark.parametrize("is_json", ["true", "false"])
async def test_the_python_sdk_1(is_json: str, mcp1: str, tmp_path: Path) -> None:
    port = free_port()
    script = str(HERE / "mcp1.py")
    server = serving([mcp1, script, "server", str(port), is_json], port, os.environ)
    async with server, gateway(tmp_path / "log", "--upstream", f"http://127.0.0.1:{port}/mcp") as front:
        heard = await said([mcp1, script, "client", front.url])
    assert heard == ("[]\n" if is_json == "true" else "[1.0, 2.0, 3.0]\n")
    operations = await stored(tmp_path / "log")
    assert facts(operations) == [("count", None), ("fail", "tool_error")]
    assert {operation["context"]["server"].partition("/")[0] for operation in operations} == {"peer1"}


async def test_a_stdio_client_in_front_of_server_everything(programs: Path, tmp_path: Path) -> None:
    from mcp import Client, StdioServerParameters

    port = free_port()
    server = serving([str(programs / "mcp-server-everything"), "streamableHttp"], port, {**os.environ, "PORT": str(port)})
    arguments = [
        "-m",
        "trio_oplog",
        "wrap",
        "--to",
        f"sqlite:///{tmp_path / 'log'}",
        "--upstream",
        f"http://127.0.0.1:{port}/mcp",
    ]
    async with server:
        with trio.fail_after(60):
            parameters = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
            async with Client(parameters, mode="legacy") as client:
                await client.call_tool("echo", {"message": "ü"})
                assert (await client.call_tool("get-sum", {"a": "x"})).is_error
    assert facts(await stored(tmp_path / "log")) == [("echo", None), ("get-sum", "tool_error")]
