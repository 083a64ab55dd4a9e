"""A real MCP server behind ``trio-oplog wrap``, a real client that calls its tools, and what is on record of it.

::

    pip install 'trio-oplog[cli]' mcp
    python examples/live_demo.py
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import trio
from mcp import Client, StdioServerParameters

SERVER = Path(__file__).with_name("mcp_server.py")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/operations.sqlite3"
        oplog = [sys.executable, "-m", "trio_oplog"]

        # What stands in a client's configuration: wrap, and after the -- the server's own command.
        wrapped = [*oplog, "wrap", "--to", store, "--user", "ada", "--", sys.executable, str(SERVER)]
        parameters = StdioServerParameters(command=wrapped[0], args=wrapped[1:], env=dict(os.environ))

        async with Client(parameters) as client:
            await client.call_tool("add", {"a": 1, "b": 2})
            await client.call_tool("divide", {"a": 1, "b": 0})
            await client.call_tool("count", {"to": 3})
            with trio.move_on_after(0.5):
                await client.call_tool("wait", {"seconds": 60})

        # The client has gone, the server has ended, and every call is in the store.
        await trio.run_process([*oplog, "list", "--from", store])


if __name__ == "__main__":
    trio.run(main)
