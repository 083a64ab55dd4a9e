"""No bytes from a client end the process, leave a descriptor open, or keep the next client from its answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import trio

from tests.gateway.fronted import fronting
from tests.serving.conversations import APP, BODY, CONVERSATIONS, Conversation
from tests.serving.peer import EOF, PLENTY, Served, converse, echo, request, serving
from trio_oplog.collector import create_app, open_store

SECRET = "swordfish"


@pytest.fixture(params=["echo", "collector", "gateway"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Served, str]]:
    if request.param == "gateway":
        async with fronting(echo) as found:
            yield found.front, request.param
        return
    app = echo if request.param == "echo" else create_app(open_store(f"sqlite:///{tmp_path / 'log'}"), SECRET)
    async with serving(app, has_lifespan=request.param != "echo") as server:
        yield server, request.param


def is_heard(status: int, wanted: int, app: str) -> bool:
    """Whether a response is the one that must come."""
    if wanted == BODY and app != "collector":
        return status == 400
    if wanted in (APP, BODY):
        return status in (401, 404, 405) if app == "collector" else status == 200
    return status == wanted


@pytest.mark.once
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
async def test_a_conversation_ends_as_it_must_and_nobody_else_notices(
    conversation: Conversation, served: tuple[Served, str]
) -> None:
    server, app = served
    statuses = await converse(server.port, conversation.says, None if conversation.ends else len(conversation.hears))
    hears = conversation.hears
    if app == "gateway" and set(hears) == {APP} and EOF in conversation.says:
        # To a proxy, a client that sends nothing more has left: what it asked for is cancelled, unless it was answered before.
        hears = hears[: len(statuses)]
    assert len(statuses) == len(hears), statuses
    assert all(is_heard(status, wanted, app) for status, wanted in zip(statuses, hears, strict=True)), statuses
    [status] = await converse(server.port, [request()], 1)
    assert is_heard(status, APP, app)
    assert server.server.statistics().app_failures == 0


async def test_the_collectors_process_outlives_all_of_them_at_once(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "trio_oplog",
        "collect",
        "--listen",
        "127.0.0.1:0",
        "--store",
        f"sqlite:///{tmp_path / 'log'}",
    ]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE, env={**os.environ, "TRIO_OPLOG_SECRET": SECRET})
    assert process.stderr is not None
    said = bytearray()
    try:
        with trio.fail_after(4 * PLENTY):
            while not said.endswith(b"\n"):
                said += await process.stderr.receive_some()
            port = int(said.decode().split()[2].split(":")[2].split("/")[0])
            await converse(port, [request()], 1)
            before = psutil.Process(process.pid).num_fds()
            async with trio.open_nursery() as nursery:
                for each in CONVERSATIONS:
                    nursery.start_soon(converse, port, each.says, None if each.ends else len(each.hears))
            # The server has not yet closed what its clients have just closed.
            while psutil.Process(process.pid).num_fds() > before:  # noqa: ASYNC110 - in another process
                await trio.sleep(0.05)
            assert await converse(port, [request()], 1) == [401]
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            assert await process.stderr.receive_some() == b""
    finally:
        if process.returncode is None:
            process.kill()
        await process.stderr.aclose()
