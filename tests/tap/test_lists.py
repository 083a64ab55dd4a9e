"""``operations/list`` through ``wrap``, and what becomes of it when the log does not work."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import trio

from .conftest import LIST, PRELUDE, PYTHON, Program, running, until_it_records, wrapping

CALL = b'{"id":1,"method":"tools/call","params":{"name":"t","arguments":{}}}\n'
ECHO = "while data := read(): write(data)"


def framed(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


async def receive_framed(program: Program) -> Any:
    size = int((await program.receive_line()).split(b":")[1])
    assert await program.receive_line() == b"\r\n"
    return json.loads(await program.receive(size))


async def test_a_list_is_answered_between_two_messages_of_the_server_and_never_reaches_it(tmp_path: Path) -> None:
    # Each time it is told to, the server writes one more piece of a line.
    script = "while data := read(): write({b'1': b'begin', b'2': b' and end\\nnext', b'3': b'\\n'}.get(data[:1], data))"
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + script])) as program:
        await program.send(b"1\n")
        assert await program.receive(5) == b"begin"
        await program.send(LIST + b"\n")
        await program.send(b"2\n")
        line = await program.receive_line()
        assert line == b" and end\n"
        # Before or after the beginning of the next line's rest, but at the beginning of a line.
        await program.send(b"3\n")
        lines = [await program.receive_line(), await program.receive_line()]
        assert lines.index(b"next\n") in (0, 1)
        lines.remove(b"next\n")
        answer = json.loads(lines[0])
        assert (answer["id"], answer["result"]) == ("mine", {"operations": []})
        await program.send(LIST[:30])
        await program.send(b"?\n")
        assert await program.receive_line() == LIST[:30] + b"?\n"
        await program.stdin.aclose()
        assert await program.wait() == 0


async def test_a_framed_list_gets_a_framed_answer(tmp_path: Path) -> None:
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + ECHO])) as program:
        await program.send(framed(LIST))
        assert (await receive_framed(program))["result"] == {"operations": []}
        await program.stdin.aclose()
        assert await program.receive_all() == b""


async def test_a_list_at_the_end_of_the_input_is_answered_before_we_leave(tmp_path: Path) -> None:
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + ECHO + "\nwrite(b'no newline')"])) as program:
        await until_it_records(program)
        await program.send(LIST)
        await program.stdin.aclose()
        first, second = (await program.receive_all()).split(b"\n", 1)
        assert first == b"no newline"
        assert json.loads(second)["id"] == "mine"


async def test_without_a_log_a_list_gets_an_error_and_later_ones_are_the_servers(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as stderr:
        command = wrapping(tmp_path, [*PYTHON, PRELUDE + ECHO])
        async with running(command, stderr=stderr) as program:
            await program.send(LIST + b"\n")
            answer = json.loads(await program.receive_line())
            assert answer["error"] == {"code": -32603, "message": "The operation log is not available"}
            await program.send(LIST + b"\n")
            assert await program.receive_line() == LIST + b"\n"
            await program.stdin.aclose()
            assert await program.receive_all() == b""


async def test_traffic_goes_on_while_a_list_hangs_and_the_ninth_is_refused(tmp_path: Path) -> None:
    requests = 0

    async def hang(stream: trio.SocketStream) -> None:
        nonlocal requests
        requests += 1
        await stream.receive_some()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, hang, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/operations"
        command = [sys.executable, "-m", "trio_oplog", "wrap", "--to", url, "--", *PYTHON, PRELUDE + ECHO]
        async with running(command, env={**os.environ, "TRIO_OPLOG_SECRET": "s"}) as program:
            await program.send(b"".join(LIST + b"\n" for _ in range(9)))
            assert json.loads(await program.receive_line())["error"] == {"code": -32001, "message": "overloaded"}
            await program.send(b"hello\n")
            assert await program.receive_line() == b"hello\n"
            await program.send(b'{"id":1e400,"method":"operations/list"}\n')
            assert "error" in json.loads(await program.receive_line())
        nursery.cancel_scope.cancel()
