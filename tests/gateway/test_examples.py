"""The examples around the gateway work as they stand."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from websockets.trio.client import connect

from .conftest import answer, tool_call

EXAMPLES = Path(__file__).parents[2] / "examples"


async def test_the_live_demo_shows_each_of_its_calls_and_says_how_to_look_at_them_on_a_page(tmp_path: Path) -> None:
    homes = ("TMPDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
    environment = os.environ | dict.fromkeys(homes, str(tmp_path)) | {"COLUMNS": "200"}
    command = [sys.executable, str(EXAMPLES / "live_demo.py")]
    done = await trio.run_process(command, capture_stdout=True, env=environment)
    *table, empty, _, line = done.stdout.decode().splitlines()
    rows = [row.split() for row in table[1:]]
    assert [(row[2], row[4], row[5]) for row in rows] == [
        ("ada", "workshop", tool) for tool in ("wait", "count", "divide", "add")
    ]
    assert not empty
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, [*shlex.split(line), "--no-browser"], stderr=subprocess.PIPE)
        page = await nursery.start(run)
        said = b""
        while not (link := re.search(rb"open (http://\S+)/#code=\S+\n", said)):
            said += await page.stderr.receive_some()
        async with httpx.AsyncClient(timeout=60) as http:
            answer_of_page = await http.get(link[1].decode())
        assert (answer_of_page.status_code, "<html" in answer_of_page.text) == (200, True)
        page.terminate()


async def test_a_gateway_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(EXAMPLES / "own_gateway.py"))
    command = ["sh", "-c", f"read line; echo '{answer(1)}'; cat"]
    received: list[dict[str, object]] = []

    async def take(stream: trio.SocketStream) -> None:
        head, body = b"", b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        head, _, body = head.partition(b"\r\n\r\n")
        while not body.endswith(b"}"):
            body += await stream.receive_some()
        received.append(json.loads(body))
        await stream.send_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with trio.open_nursery() as nursery:
        [endpoint] = await nursery.start(partial(trio.serve_tcp, take, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{endpoint.socket.getsockname()[1]}/operations"
        server = await nursery.start(example["main"], url, "secret", 0, command)
        port = server.listeners[0].socket.getsockname()[1]
        headers = {"X-User": "ada"}
        async with connect(f"ws://127.0.0.1:{port}", proxy=None, additional_headers=headers) as client:
            await client.send(tool_call(1))
            assert await client.recv() == answer(1)
        await server.aclose()
        while not received:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert (received[0]["tool"], received[0]["user_id"]) == ("echo", "ada")
    assert capsys.readouterr().out == "ada: 1 frames to the server, 1 back\n"
