"""``trio-oplog wrap --upstream``: a stdio client in front of a server that has a URL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from mcp import Client, StdioServerParameters

from tests.cli.test_wrap import run, stored
from tests.gateway.fronted import JSON, call, result
from tests.gateway.peers import Peer, cancel_slow, elicit
from tests.serving.peer import PLENTY, for_requests, read_body, serving
from tests.serving.test_streaming import START, part
from tests.serving.test_tls import CERTIFICATE, KEY
from trio_oplog._asgi import Receive, Send
from trio_oplog._cli import main
from trio_oplog._cli.remote import StandardInput, StandardOutput
from trio_oplog._serving import HTTPServer, tls_context


def wrapping(store: Path, url: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "trio_oplog", "wrap", "--to", f"sqlite:///{store}", "--upstream", url, *options]


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_stdio_client_reaches_a_server_that_has_a_url(mode: Any, is_json: bool, tmp_path: Path) -> None:
    peer = Peer()
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    asks = mode == "legacy" and not is_json
    has_cancelled = mode == "legacy" or not is_json
    async with serving(peer.streamable_http_app(json_response=is_json), has_lifespan=True, counts=False, grace=0.1) as served:
        command = wrapping(tmp_path / "log", f"http://127.0.0.1:{served.port}/mcp")
        parameters = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
        with trio.fail_after(2 * PLENTY):
            async with Client(parameters, mode=mode, elicitation_callback=elicit) as client:
                assert (await client.call_tool("echo", {"text": "ü\u2028"})).content[0].text == "ü\u2028"  # type: ignore[union-attr]
                assert (await client.call_tool("fail")).is_error
                await client.call_tool("count", {"to": 3}, progress_callback=hear)
                if asks:
                    assert (await client.call_tool("ask")).content[0].text == "accept Ada"  # type: ignore[union-attr]
                await cancel_slow(client, peer)
                if has_cancelled:
                    await peer.cancelled.wait()
    assert heard == ([] if is_json else [1, 2, 3])
    outcomes = [
        (operation["tool"], operation.get("result_meta", {}).get("outcome")) for operation in await stored(tmp_path / "log")
    ]
    expected = [("echo", None), ("fail", "tool_error"), ("count", None), *[("ask", None)] * asks, ("slow", "cancelled")]
    assert outcomes == expected


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_server_with_a_certificate_of_ones_own_is_reached(is_trusted: bool, tmp_path: Path) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send(START | {"headers": [JSON]})
        await send(part(result(1), more=False))

    server = HTTPServer(for_requests(app), grace=0.1)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    options = ("--upstream-ca-file", str(CERTIFICATE)) if is_trusted else ()
    with trio.fail_after(2 * PLENTY):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.serve, listeners, tls=tls_context(CERTIFICATE, KEY)))
            url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}/mcp"
            done = await run(wrapping(tmp_path / "log", url, *options), call(1) + b"\n")
            server.stop()
    assert (done.returncode, done.stderr) == (0, b"")
    assert (done.stdout == result(1) + b"\n") == is_trusted
    assert (b"error" in done.stdout) == (not is_trusted)


async def test_what_is_piped_through_is_answered_before_it_leaves(tmp_path: Path) -> None:
    heard: list[dict[bytes, bytes]] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        heard.append(dict(scope["headers"]))
        request = json.loads(await read_body(receive))
        await send(START | {"headers": [JSON]})
        await send(part(result(request["id"]), more=False))

    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer k\n")
    async with serving(app, counts=False, grace=0.1) as served:
        url = f"http://127.0.0.1:{served.port}/mcp"
        options = ("--upstream-header-file", str(headers), "--capture", str(tmp_path / "capture"))
        done = await run(wrapping(tmp_path / "log", url, *options), call(1) + b"\n" + call("x") + b"\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(done.stdout.splitlines()) == sorted([result(1), result("x")])
    assert {each[b"authorization"] for each in heard} == {b"Bearer k"}
    assert [operation["context"]["transport"] for operation in await stored(tmp_path / "log")] == ["http"] * 2
    assert (tmp_path / "capture").read_text().count("\n") == 4


async def test_a_list_is_answered_from_the_log(tmp_path: Path) -> None:
    done = await run(wrapping(tmp_path / "log", "http://127.0.0.1:1/mcp"), b'{"id":3,"method":"operations/list"}\n')
    assert json.loads(done.stdout) == {"jsonrpc": "2.0", "id": 3, "result": {"operations": []}}


async def test_a_log_that_cannot_work_costs_records_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = await run(wrapping(tmp_path / "file" / "log", "http://user:hunter2@127.0.0.1:1/mcp"), call(1) + b"\n")
    assert done.returncode == 0
    assert done.stderr.count(b"\n") == 1
    assert b"nothing is recorded" in done.stderr
    error = json.loads(done.stdout)["error"]
    assert error == {"code": -32000, "message": "the server cannot be reached: connection refused"}
    assert b"hunter2" not in done.stderr + done.stdout


async def test_a_signal_ends_it_with_what_is_open_on_record(tmp_path: Path) -> None:
    asked = trio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        asked.set()
        await receive()

    async with serving(app, counts=False, grace=0.1) as served:
        command = wrapping(tmp_path / "log", f"http://127.0.0.1:{served.port}/mcp")
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE)
        assert process.stdin is not None
        with trio.fail_after(PLENTY):
            async with process.stdin:
                await process.stdin.send_all(call(1) + b"\n")
                await asked.wait()
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 128 + signal.SIGTERM
    [operation] = await stored(tmp_path / "log")
    assert operation["result_meta"]["outcome"] == "unanswered"


async def test_records_that_were_lost_are_said(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "trio_oplog",
        "wrap",
        "--no-spool",
        "--to",
        "http://127.0.0.1:1",
        "--upstream",
        "http://127.0.0.1:1",
    ]
    done = await run(command, call(1) + b"\n", env={**os.environ, "TRIO_OPLOG_SECRET": "s"})
    assert done.returncode == 0
    assert b"operations were lost (1 " in done.stderr


async def test_a_descriptor_that_is_gone_is_a_stream_that_is_broken() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = StandardOutput(writing)
    await output.wait_send_all_might_not_block()
    with pytest.raises(trio.BrokenResourceError):
        await output.send_all(b"x")
    os.close(writing)
    with pytest.raises(trio.BrokenResourceError):
        await StandardInput(writing).receive_some()


async def test_a_command_goes_before_an_upstream_of_the_configuration_file(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('upstream = "ws://x"\nupstream-header-file = "headers"\n')
    command = [sys.executable, "-m", "trio_oplog", "--config", str(config), "wrap", "--to", f"sqlite:///{tmp_path / 'log'}"]
    done = await run([*command, "--", "cat"], b"hello\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"hello\n", b"", 0)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Name one server"),
        (["--upstream", "http://x", "--", "cat"], "Name one server"),
        (["--upstream", "ws://user:hunter2@x"], "must be an http or https URL"),
        (["--upstream", "http://x", "--upstream-header-file", "/no/such/file"], "cannot be read"),
        (["--upstream-header-file", "/no/such/file", "--", "cat"], "--upstream-header-file is for an --upstream"),
        (["--upstream-ca-file", "/no/such/file", "--", "cat"], "--upstream-ca-file is for an --upstream"),
        (["--upstream", "https://x", "--upstream-ca-file", "/no/such/file"], "/no/such/file cannot be read"),
        (["--upstream", "https://x", "--upstream-ca-file", __file__], "holds no certificates in PEM form"),
    ],
)
def test_a_wrong_call_is_refused_with_one_clear_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["wrap", *arguments])
    said = capsys.readouterr().err
    assert (left.value.code, said.count("\n")) == (2, 1)
    assert problem in said
    assert "hunter2" not in said
