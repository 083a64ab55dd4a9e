"""``trio-oplog ui`` in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from tests.http import http_client
from trio_oplog._cli import main
from trio_oplog._cli.ui import _show
from trio_oplog.collector import DEFAULT_PATH, open_store


class Shown:
    """A page that runs: its process, and the lines that it says."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._rest = b""

    async def line(self) -> str:
        assert self.process.stderr is not None
        while b"\n" not in self._rest:
            more = await self.process.stderr.receive_some()
            assert more, self._rest
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


@asynccontextmanager
async def page(*options: str, **env: str) -> AsyncIterator[Shown]:
    command = [sys.executable, "-m", "trio_oplog", "ui", *options]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE, env={**os.environ, **env})
    assert process.stderr is not None
    with trio.fail_after(150):
        async with process.stderr:
            try:
                yield Shown(process)
            finally:
                if process.returncode is None:
                    process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()


def parts(said: str, beginning: str) -> tuple[str, str]:
    """The address and the code of a link."""
    assert said.startswith(beginning)
    address, _, code = said.removeprefix(beginning).partition("/#code=")
    assert address.startswith("http://127.0.0.1:")
    return address, code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_link_signs_in_once_and_the_next_one_is_printed(tmp_path: Path, number: signal.Signals) -> None:
    async with page("--no-browser") as shown, http_client() as http:
        own = tmp_path / "state" / "trio-oplog" / "operations.sqlite3"
        assert await shown.line() == f"showing sqlite:///{own} until Ctrl-C"
        address, code = parts(await shown.line(), "open ")
        assert own.exists()
        headers = {"Authorization": f"Bearer {code}"}
        token = (await http.post(f"{address}/exchange", headers=headers)).text
        assert (await http.post(f"{address}/exchange", headers=headers)).status_code == 403
        _, another = parts(await shown.line(), "another browser signs in with ")
        assert another != code
        assert (await http.get(f"{address}{DEFAULT_PATH}/whoami")).status_code == 401
        reply = await http.get(f"{address}{DEFAULT_PATH}/whoami", headers={"Authorization": f"Bearer {token}"})
        assert (reply.json()["name"], reply.json()["role"]) == ("you", "audit")
        assert (await http.get(f"{address}/", headers={"Host": "evil.example"})).status_code == 400
        shown.process.send_signal(number)
        assert await shown.process.wait() == 0


async def test_it_opens_the_browser_that_the_user_has(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    os.mkfifo(opened)
    browser.chmod(0o755)
    async with page(BROWSER=str(browser)) as shown:
        await shown.line()
        address, code = parts(await shown.line(), "open ")
        assert await trio.to_thread.run_sync(opened.read_text) == f"{address}/#code={code}\n"
        shown.process.send_signal(signal.SIGINT)
        assert await shown.process.wait() == 0


async def test_in_one_process_the_link_that_is_opened_signs_in_until_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    links, opened = trio.open_memory_channel[str](1)
    monkeypatch.setattr(webbrowser, "open", lambda link: trio.from_thread.run_sync(links.send_nowait, link))
    async with trio.open_nursery() as nursery, http_client() as http:
        nursery.start_soon(_show, open_store(f"sqlite:///{tmp_path}/operations.sqlite3"), 0, True)
        link = await opened.receive()
        address, _, code = link.partition("/#code=")
        assert (await http.post(f"{address}/exchange", headers={"Authorization": f"Bearer {code}"})).status_code == 200
        signal.raise_signal(signal.SIGTERM)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"showing sqlite:///{tmp_path}/operations.sqlite3 until Ctrl-C"
    assert said[1] == f"open {link}"
    assert said[2].startswith(f"another browser signs in with {address}/#code=")
    assert len(said) == 3


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "trio_oplog", "ui", "--no-browser", "--port", str(port)]
        done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"trio-oplog: cannot listen on 127.0.0.1:{port}: Address already in use\n")


def test_a_store_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["ui", "--store", f"sqlite:///{tmp_path}/gone"])
    assert (done.exit_code, done.stderr) == (
        1,
        f"trio-oplog: nothing was recorded in {tmp_path}/gone yet: there is no such file\n",
    )
    assert not (tmp_path / "gone").exists()
    done = CliRunner().invoke(main, ["ui", "--store", "mysql://user:hunter2@host/database"])
    assert done.exit_code == 2
    assert "--store" in done.stderr
    assert "hunter2" not in done.stderr
