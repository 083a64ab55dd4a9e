"""A server and a client of the MCP Python SDK 1.x: ``mcp1.py server PORT true|false``, ``mcp1.py client URL``.

Runs in an environment of its own, where that version is installed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client  # type: ignore[attr-defined]
from mcp.server.fastmcp import Context, FastMCP  # type: ignore[import-not-found]


def serve(port: str, is_json: str) -> None:
    """Serve on a port of loopback, with JSON or with events."""

    server = FastMCP("peer1", port=int(port), json_response=is_json == "true")

    @server.tool()
    async def count(to: int, ctx: Context) -> str:  # type: ignore[type-arg]
        for number in range(to):
            await ctx.report_progress(number + 1, to)
        return "counted"

    @server.tool()
    async def fail() -> str:
        raise ValueError("it went wrong")

    server.run("streamable-http")


async def call(url: str) -> None:
    """Call the tools of the server behind a URL."""

    heard: list[float] = []

    async def hear(progress: float, *_: Any) -> None:
        heard.append(progress)

    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        await session.call_tool("count", {"to": 3}, progress_callback=hear)
        assert (await session.call_tool("fail", {})).isError
    print(heard)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(*sys.argv[2:])
    else:
        asyncio.run(call(sys.argv[2]))
