"""Real peers on loopback, and what was recorded of them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
from websockets.trio.client import ClientConnection, connect
from websockets.trio.server import ServerConnection, serve

from trio_oplog import Operation

CAPTURES = Path(__file__).parents[1] / "captures"
LOOPBACK = "127.0.0.1"


class Recorder:
    """A Submitter that keeps what it gets."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def submit(self, operation: Operation, /) -> None:
        self.operations.append(operation)

    @property
    def outcomes(self) -> list[tuple[str | None, str, str | None]]:
        return [
            (operation.request_id, operation.tool, operation.result_meta.outcome if operation.result_meta else None)
            for operation in self.operations
        ]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def websocket_server(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """A WebSocket server on loopback; its address."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
        # Else the kernel takes tens of megabytes before anybody notices that nobody reads.
        listeners[0].socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 65_536)
        server = await nursery.start(
            partial(serve, handler, listeners=listeners, **{"max_size": None, "compression": None, **options})
        )
        port = listeners[0].socket.getsockname()[1]
        yield f"ws://{LOOPBACK}:{port}"
        with trio.move_on_after(1):
            await server.aclose()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def websocket_pair(**options: Any) -> AsyncIterator[tuple[ServerConnection, ClientConnection]]:
    """Both ends of one WebSocket connection; the options are the server end's."""
    left = trio.Event()
    ends: list[ServerConnection] = []
    arrived = trio.Event()

    async def handler(connection: ServerConnection) -> None:
        ends.append(connection)
        arrived.set()
        await left.wait()

    async with websocket_server(handler, **options) as url, connect(url, max_size=None, compression=None, proxy=None) as client:
        await arrived.wait()
        try:
            yield ends[0], client
        finally:
            left.set()


def tool_call(request_id: object, tool: str = "echo", **arguments: object) -> str:
    return json.dumps(
        {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    )


def answer(request_id: object, text: str = "done") -> str:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": {"content": [{"type": "text", "text": text}]}})


def captured(name: str) -> list[tuple[str, str]]:
    """A recorded session: direction and exact text of each frame."""
    lines = (CAPTURES / name).read_text(encoding="utf-8").split("\n")
    return [(record["dir"], record["frame"]) for record in map(json.loads, filter(None, lines))]


def open_descriptors() -> set[str]:
    links = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except FileNotFoundError:  # the one that listed the directory
            continue
    return links


def living_tasks() -> set[trio.lowlevel.Task]:
    """Every task of this run of Trio, system tasks too."""
    found: set[trio.lowlevel.Task] = set()
    unseen = [trio.lowlevel.current_root_task()]
    while unseen and (task := unseen.pop()):
        found.add(task)
        unseen += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


@pytest.fixture
async def no_task_stays() -> AsyncIterator[None]:
    """No task more than before; for the tests of faults, beside ``nothing_leaks``.  As an argument: marks do not start it."""
    tasks = living_tasks()
    yield
    assert living_tasks() - tasks == set()


def living_children() -> set[psutil.Process]:
    """The processes that descend from this one, such as a database that other tests of the session share."""
    return {child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}


@pytest.fixture
def nothing_leaks() -> Iterator[None]:
    """No descriptor and no child process more than before."""
    descriptors, children = open_descriptors(), living_children()
    yield
    assert open_descriptors() - descriptors == set()
    assert living_children() - children == set()
