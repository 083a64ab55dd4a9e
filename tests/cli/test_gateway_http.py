"""``trio-oplog gateway`` in front of a server with an http URL."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.cli.test_gateway import Running, gateway
from tests.cli.test_wrap import run, stored
from tests.gateway.fronted import JSON, STREAM, call, http, result
from tests.serving.peer import PLENTY, read_all, read_body, read_until, request, serving
from tests.serving.test_streaming import POST, START, part
from trio_oplog._asgi import Receive, Send
from trio_oplog._cli import main
from trio_oplog._cli.headers import read_headers
from trio_oplog._cli.token import command as token_command

LIST = b'{"jsonrpc":"2.0","id":7,"method":"operations/list"}'


class Upstream:
    """A server that answers calls, with events where the tool is ``stream``, and never where it is ``hang``."""

    def __init__(self) -> None:
        self.heard: list[dict[bytes, bytes]] = []

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.heard.append(dict(scope["headers"]))
        request = json.loads(await read_body(receive))
        tool = request["params"]["name"]
        await send(START | {"headers": [STREAM if tool == "stream" else JSON]})
        if tool == "hang":
            await send(part(b" "))
            await receive()
        elif tool == "stream":
            await send(part(b"data: 1\n\n"))
            await receive()
        else:
            await send(part(result(request["id"]), more=False))


async def connect(running: Running) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", int(running.url.split(":")[2].split("/")[0]))


def posted(body: bytes) -> bytes:
    return request(b"Content-Length: %d\r\n" % len(body), line=POST, body=body)


async def test_clients_use_the_url_that_is_printed_and_sigterm_ends_with_a_report_and_0(tmp_path: Path) -> None:
    async with serving(Upstream(), counts=False) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/a/mcp?key=k"
        async with gateway(tmp_path / "log", "--upstream", url, "--workspace", "w") as running, http() as client:
            assert running.url.startswith("http://127.0.0.1:")
            assert running.url.endswith("/a/mcp")
            assert (await client.post(running.url, content=call())).content == result(1)
            with trio.fail_after(60):
                while not json.loads((await client.post(running.url, content=LIST)).content)["result"]["operations"]:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            running.process.send_signal(signal.SIGTERM)
            assert await running.process.wait() == 0
    assert running.said.endswith(" requests, 0 refused, 1 operation, 1 delivered\n")
    [operation] = await stored(tmp_path / "log", workspace="w")
    assert (operation["tool"], operation["context"]["transport"]) == ("echo", "http")


async def test_sigterm_under_load_ends_streams_cleanly_and_puts_open_calls_on_record(tmp_path: Path) -> None:
    statuses: list[str] = []

    async def ask(running: Running, tool: str, number: int) -> None:
        async with await connect(running) as stream:
            await stream.send_all(posted(call(number, tool)))
            statuses.append("whole" if (await read_all(stream)).endswith(b"0\r\n\r\n") else "broken off")

    app = Upstream()
    async with serving(app, counts=False, grace=0.01) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/mcp"
        async with gateway(tmp_path / "log", "--upstream", url, "--grace", "0.1") as running, trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, running, "stream", number)
                nursery.start_soon(ask, running, "hang", number)
            while len(app.heard) < 20:  # noqa: ASYNC110
                await trio.sleep(0.01)
            running.process.send_signal(signal.SIGTERM)
            assert await running.process.wait() == 0
    assert sorted(statuses) == ["broken off"] * 10 + ["whole"] * 10
    assert running.said == "20 requests, 0 refused, 20 operations, 20 delivered\n"
    outcomes = [operation["result_meta"]["outcome"] for operation in await stored(tmp_path / "log")]
    assert outcomes == ["unanswered"] * 20


async def reload(running: Running) -> list[str]:
    """What the program says of the two files that it reads again."""
    assert running.process.stderr is not None
    said = b""
    running.process.send_signal(signal.SIGHUP)
    with trio.fail_after(PLENTY):
        while said.count(b"\n") < 2:
            said += await running.process.stderr.receive_some()
    return said.decode().splitlines()


async def test_tokens_are_the_gateways_and_headers_from_a_file_are_the_upstreams(tmp_path: Path) -> None:
    entries, given = [], []
    for user in ("alice", "bob"):
        made = CliRunner().invoke(token_command, ["--user", user])
        entries.append(made.stdout)
        given.append({"authorization": f"Bearer {made.stderr.split()[-1]}"})
    tokens, headers = tmp_path / "tokens.toml", tmp_path / "headers"
    tokens.write_text(entries[0])
    headers.write_text("# what the server wants\n\nAuthorization: Bearer upstream\nX-Api-Key:k\r\n")
    app = Upstream()
    async with serving(app, counts=False, grace=0.01) as upstream:
        url = f"http://user:hunter2@127.0.0.1:{upstream.port}/mcp"
        options = ("--upstream", url, "--tokens", str(tokens), "--upstream-header-file", str(headers))
        async with gateway(tmp_path / "log", *options) as running, http() as client:

            async def ask() -> list[int]:
                return [(await client.post(running.url, content=call(), headers=each)).status_code for each in (*given, {})]

            assert await ask() == [200, 401, 401]
            tokens.write_text(entries[1])
            headers.write_text("Authorization: Bearer newer\n")
            assert await reload(running) == ["SIGHUP: the tokens were read again", "SIGHUP: the headers were read again"]
            assert await ask() == [401, 200, 401]
            headers.write_text("hunter2\n")
            problem = f"line 1 of {headers} must be 'Name: value'; the headers stay as they were"
            assert await reload(running) == ["SIGHUP: the tokens were read again", f"SIGHUP: {problem}"]
            assert await ask() == [401, 200, 401]
    sent = [(each[b"authorization"], each.get(b"x-api-key")) for each in app.heard]
    assert sent == [(b"Bearer upstream", b"k"), (b"Bearer newer", None), (b"Bearer newer", None)]
    assert running.said == "3 requests, 6 refused, 3 operations, 3 delivered\n"
    assert "hunter2" not in running.url + running.said
    assert [operation["user_id"] for operation in await stored(tmp_path / "log")] == ["alice", "bob", "bob"]


async def test_a_captured_session_of_exchanges_replays_to_the_same_operations(tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    async with serving(Upstream(), counts=False, grace=0.01) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/mcp"
        async with gateway(tmp_path / "log", "--upstream", url, "--capture", str(file)) as running, http() as client:
            for text in ("hunter2", "ü\u2028"):
                await client.post(running.url, content=call("x", password=text))
            await client.post(running.url, content=b"\xff\x00")
            async with await connect(running) as stream:
                await stream.send_all(posted(call(3, "stream")))
                await read_until(stream, b"data: 1\n\n\r\n")
            while len(heard := file.read_text()) and "client_closed" not in heard:  # noqa: ASYNC110
                await trio.sleep(0.01)
            upstream.server.stop()
            await upstream.ended.wait()
            assert (await client.post(running.url, content=call(4))).status_code == 502
    done = await run([sys.executable, "-m", "trio_oplog", "replay", str(file), "--to", f"sqlite:///{tmp_path / 'replayed'}"])
    assert done.returncode == 0, done.stderr
    names = ("tool", "request_id", "is_error", "result_summary", "result_meta", "context")
    facts = [
        [[operation.get(name) for name in names] for operation in await stored(tmp_path / where)] for where in ("log", "replayed")
    ]
    assert len(facts[0]) == 4
    assert facts[0] == facts[1]
    # What redaction keeps out of the log is in the capture.
    assert "hunter2" in file.read_text()
    assert "hunter2" not in json.dumps(await stored(tmp_path / "log"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no header fields"),
        ("# nothing\n", "holds no header fields"),
        ("Authorization: Bearer hunter2\nhunter2", "line 2 of {file} must be"),
        ("hunter2: \n", "line 1 of {file} must be"),
        ("a b: hunter2\n", "line 1 of {file} must be"),
        ("a: hunter2\x00\n", "line 1 of {file} must be"),
        (": hunter2\n", "line 1 of {file} must be"),
        ("Content-Length: 5\n", "line 1 of {file}: Content-Length is not for a file to say"),
    ],
)
def test_a_file_that_holds_no_headers_is_refused_and_not_quoted(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "headers"
    file.write_text(text)
    said = wrong(["--upstream", "http://x/mcp", "--upstream-header-file", str(file)], capsys)
    assert problem.format(file=file) in said
    assert "hunter2" not in said


def test_headers_are_taken_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_bytes(b"X-A:  b: c \t\nx-a: \xfc d\n")
    assert read_headers(file, "--x") == [(b"X-A", b"b: c"), (b"x-a", b"\xfc d")]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--upstream", "http://x", "--", "cat"], "Name one server"),
        (["--upstream", "http://user:hunter2@"], "must be an http or https URL with a host"),
        (["--upstream", "ftp://user:hunter2@x"], "must be an address that begins with http://, https://, ws:// or wss://"),
        (["--upstream", "http://x", "--upstream-header-file", "/no/such/file"], "cannot be read"),
        (["--upstream", "ws://x", "--upstream-header-file", "/no/such/file"], "--upstream-header-file is for"),
        (["--upstream", "ws://x", "--upstream-ca-file", "/no/such/file"], "--upstream-ca-file is for"),
        (["--upstream", "https://x", "--upstream-ca-file", "/no/such/file"], "/no/such/file cannot be read"),
        (["--listen", "0.0.0.0:0", "--upstream", "http://x"], "--tokens"),
    ],
)
def test_a_wrong_call_is_refused_with_one_clear_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = wrong(arguments, capsys)
    assert problem in said
    assert "hunter2" not in said


def wrong(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(["gateway", *arguments])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said
