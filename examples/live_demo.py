"""A real MCP server behind ``trio-oplog wrap``, a real client that calls its tools, and what is on record of it.

::

    pip install 'trio-oplog[cli]' mcp
    python examples/live_demo.py
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path

import trio
from mcp import Client, StdioServerParameters

from trio_oplog import ListQuery
from trio_oplog.collector import open_store

SERVER = Path(__file__).with_name("mcp_server.py")


async def main() -> None:
    # It stays when this program has ended, to be looked at.
    folder = tempfile.mkdtemp(prefix="trio-oplog-demo-")
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
        await stored(store, calls=4)

    await trio.run_process([*oplog, "list", "--from", store])
    print(f"\nTo look at them on a page:\n{shlex.join([program(), 'ui', '--store', store])}")


async def stored(url: str, *, calls: int) -> None:
    """Wait until the store has so many calls; a call does not wait for its record."""
    async with open_store(url) as store:
        with trio.move_on_after(60):
            while len((await store.page(ListQuery(workspace_id="local"))).bodies) < calls:  # noqa: ASYNC110 -- another process writes
                await trio.sleep(0.1)


def program() -> str:
    """``trio-oplog``, as it can be called from here."""
    beside_python = Path(sys.executable).with_name("trio-oplog")
    return os.path.relpath(beside_python) if beside_python.is_relative_to(Path.cwd()) else str(beside_python)


if __name__ == "__main__":
    trio.run(main)
