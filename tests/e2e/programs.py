"""What the end-to-end tests share: ``trio-oplog wrap``, the store behind it, child processes, and the configuration of Codex."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from trio_oplog import ListClient, ListQuery
from trio_oplog.collector import create_app, open_store

Json = dict[str, Any]

OPLOG = (sys.executable, "-m", "trio_oplog")
MCP_SERVER = Path(__file__).parents[2] / "examples" / "mcp_server.py"


def wrapped(store: Path, *command: str) -> list[str]:
    """The command line of a stdio server behind ``trio-oplog wrap``."""
    return [*OPLOG, "wrap", "--to", f"sqlite:///{store}", "--source", "sdk", "--", *command]


def tapped_inside_and_outside(folder: Path, store: Path, *command: str) -> list[str]:
    """The same, with every byte that enters or leaves ``wrap`` on either side copied to a file for ``assert_transparent``."""

    def tapped(words: Sequence[str], where: str) -> list[str]:
        to, from_ = (shlex.quote(str(folder / f"{way}.{where}")) for way in ("to", "from"))
        return ["sh", "-c", f"tee {to} | {shlex.join(words)} | tee {from_}"]

    return tapped(wrapped(store, *tapped(command, "inner")), "outer")


def assert_transparent(folder: Path) -> None:
    """Both directions carried something, and the same bytes on both sides of ``wrap``."""
    for way in ("to", "from"):
        assert (folder / f"{way}.outer").read_bytes() == (folder / f"{way}.inner").read_bytes() != b""


async def stored(path: Path) -> list[Json]:
    """What is on record, the oldest first."""
    store = open_store(f"sqlite:///{path}")
    async with store, httpx.AsyncClient(transport=httpx.ASGITransport(app=create_app(store, "s"))) as http:
        client = ListClient("http://store.test/internal/operations", "s", http=http)
        reply = json.loads(await client.fetch(ListQuery(workspace_id="local")))
    return sorted(reply["operations"], key=lambda operation: operation["started_at"])


def context(operation: Json) -> Json:
    """The context of a record, without the transport: that one is a matter of how ``wrap`` is configured."""
    return {name: value for name, value in operation.get("context", {}).items() if name != "transport"}


def approval(operation: Json) -> Json:
    """The approval of a record, without how long it took."""
    return {name: value for name, value in operation.get("approval", {}).items() if name != "waited_ms"}


def assert_waited(operation: Json, seconds: float) -> None:
    """The record says that the call waited for its one approval, at least so long and at most as long as it took."""
    waited_ms = operation["approval"]["waited_ms"]
    assert seconds * 1000 <= waited_ms <= operation["duration_ms"]
    assert operation["result_meta"]["waited_ms"] == waited_ms


@asynccontextmanager
async def running(command: Sequence[str], environment: Mapping[str, str], **pipes: Any) -> AsyncIterator[trio.Process]:
    process = await trio.lowlevel.open_process(list(command), env=environment, process_group=0, **pipes)
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()
            with trio.move_on_after(8) as patience:
                if process.stdin is None:
                    process.terminate()
                await process.wait()
            if patience.cancelled_caught:
                process.kill()
                await process.wait()


def codex_environment(folder: Path, model_url: str, settings: str = "") -> dict[str, str]:
    """The environment of a Codex that keeps its files in ``folder`` and has the example MCP server under the name ``workshop``.

    Args:
        folder: Where its home goes.
        model_url: The ``base_url`` of its model.
        settings: Further lines of its ``config.toml``.
    """
    home = folder / "codex"
    home.mkdir()
    (home / "config.toml").write_text(
        f"""
model = "nobody"
model_provider = "stand-in"
check_for_update_on_startup = false
{settings}

[model_providers.stand-in]
name = "stand-in"
base_url = {json.dumps(model_url)}

[mcp_servers.workshop]
command = {json.dumps(sys.executable)}
args = [{json.dumps(str(MCP_SERVER))}]
"""
    )
    # The shell of a command reads the profile of HOME.  No proxy listens on port 9, so that nothing leaves the machine.
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    return {**os.environ, **nowhere, "CODEX_HOME": str(home), "HOME": str(folder)}
