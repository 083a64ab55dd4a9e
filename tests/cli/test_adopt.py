"""``trio-oplog adopt``: a home with the configurations of several clients, and real programs around one of them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from click.testing import CliRunner, Result
from mcp import Client, StdioServerParameters

from tests.cli.test_ui import page, parts
from tests.http import http_client
from trio_oplog._cli import adopt, main
from trio_oplog.collector import DEFAULT_PATH

SERVER = Path(__file__).parents[2] / "examples" / "mcp_server.py"
CURSOR = """{
  // mine
  "mcpServers": {
    "files": {"command": "npx", "args": ["-y", "--key", "hunter2"], "env": {"KEY": "hunter2"}},
    "far": {"url": "https://mcp.example.com/mcp?key=hunter2", "headers": {"Authorization": "hunter2"}},
  },
}
"""
CODEX = '[mcp_servers.github]\ncommand = "uvx" # why\nargs = ["x"]\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody who uses Cursor, Codex and VS Code; the last of them without a server."""
    home = tmp_path / "home"
    for name, text in {
        ".cursor/mcp.json": CURSOR,
        ".codex/config.toml": CODEX,
        ".config/Code/User/settings.json": '{"editor.fontSize": 12}',
    }.items():
        path = home / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "COPILOT_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["adopt", *map(str, arguments)])


def contents(home: Path) -> dict[str, str]:
    return {str(path.relative_to(home)): path.read_text() for path in home.rglob("*") if path.is_file()}


def test_the_servers_of_every_client_are_adopted_shown_without_their_secrets_and_undone(home: Path) -> None:
    before = contents(home)
    result = run()
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines() if "is kept in" not in line]
    assert lines == [
        "Cursor: ~/.cursor/mcp.json",
        "files  is put on record",
        "far    is left alone: it has a URL, and no gateway was named for it with --http-gateway",
        "Codex: ~/.codex/config.toml",
        "github  is put on record",
    ]
    assert result.stderr.splitlines() == [
        "2 servers put on record; 1 server left alone; restart the clients for it to take effect",
        "then 'trio-oplog list' and 'trio-oplog ui' show what they call",
    ]
    assert "hunter2" not in result.output
    adopted = contents(home)
    assert adopted[".config/Code/User/settings.json"] == before[".config/Code/User/settings.json"]
    program = str(Path(sys.executable).with_name("trio-oplog"))
    assert f'"command": "{program}", "args": ["wrap", "--env", "files", "--", "npx", "-y"' in adopted[".cursor/mcp.json"]
    assert adopted[".codex/config.toml"].startswith(f'[mcp_servers.github]\ncommand = "{program}" # why\nargs = ["wrap"')

    again = run()
    assert again.stderr == "2 servers on record already; 1 server left alone\n"
    assert contents(home) == adopted

    undone = run("--undo")
    assert undone.stderr == "2 servers taken off the record; restart the clients for it to take effect\n"
    assert undone.stdout.count("the file is as it was before, byte for byte") == 2
    assert contents(home) == before
    nothing = run("--undo")
    assert nothing.stderr == "there is no server that was adopted in your home; name a file: trio-oplog adopt --undo FILE\n"
    assert nothing.exit_code == 0


def test_a_dry_run_says_what_would_be_and_does_nothing(home: Path, tmp_path: Path) -> None:
    before = contents(home)
    result = run("--dry-run")
    assert result.stderr == "2 servers put on record; 1 server left alone; nothing was written (--dry-run)\n"
    assert contents(home) == before
    assert "files  would be put on record\n" in result.stdout
    assert "far    is left alone" in result.stdout
    assert not (tmp_path / "state").exists()
    run()
    adopted = contents(home)
    undone = run("--undo", "--dry-run").stdout
    assert "files  would be taken off the record\n" in undone
    assert "the file would be as it was before, byte for byte" in undone
    assert contents(home) == adopted


def test_a_url_goes_to_the_gateway_that_was_named_for_it(home: Path) -> None:
    result = run("--http-gateway", "https://mcp.example.com=http://127.0.0.1:8086/", home / ".cursor" / "mcp.json")
    assert result.stderr.startswith("2 servers put on record;")
    assert '"url": "http://127.0.0.1:8086/mcp?key=hunter2", "headers"' in (home / ".cursor" / "mcp.json").read_text()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["https://a"], "must be two origins"),
        (["https://a=x"], "must be two origins"),
        (["https://a/mcp=http://b"], "must be two origins"),
        (["https://a=http://b?c"], "must be two origins"),
        (["https://a=http://b", "https://A:443=http://c"], "twice"),
        (["https://a=http://b", "https://c=http://b"], "twice"),
    ],
)
def test_gateways_that_are_no_origins_or_not_one_for_one_are_refused(values: list[str], problem: str, home: Path) -> None:
    before = contents(home)
    result = run(*(word for value in values for word in ("--http-gateway", value)))
    assert result.exit_code == 2
    assert problem in result.stderr
    assert contents(home) == before


def test_a_file_that_is_broken_or_being_edited_is_left_alone_and_the_others_are_adopted(home: Path) -> None:
    broken = home / ".cursor" / "mcp.json"
    broken.write_text("{\n")
    (home / ".gemini").mkdir()
    (home / ".gemini" / "settings.json").write_text("{}")
    (home / ".gemini" / ".settings.json.swp").touch()
    result = run()
    assert result.exit_code == 1
    assert "Cursor: ~/.cursor/mcp.json\n  left alone: it lacks a key (line 2)\n" in result.stdout
    assert "left alone: it is being edited: .settings.json.swp is beside it\n" in result.stdout
    assert result.stderr.startswith("1 server put on record; 2 files left alone; restart the clients for it to take effect\n")
    assert broken.read_text() == "{\n"


def test_a_named_file_is_adopted_wherever_it_lies_and_undone_without_being_named(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "project" / "mcp.json"
    path.parent.mkdir()
    path.write_text('{"servers": {"two\\nlines": {"command": "x"}}}')
    result = run(path, path)
    assert result.stdout.startswith(f"{path}\n  two\N{REPLACEMENT CHARACTER}lines  is put on record\n")
    assert result.stderr.startswith("1 server put on record;")
    assert contents(home)[".cursor/mcp.json"] == CURSOR
    assert run("--undo").stdout.startswith(f"{path}\n")
    assert path.read_text() == '{"servers": {"two\\nlines": {"command": "x"}}}'


def test_a_file_that_is_gone_is_nothing_to_undo_and_one_without_servers_nothing_to_change(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"servers": {"x": {"command": "x"}}}')
    run(path)
    path.unlink()
    assert run("--undo").exit_code == 0
    gone = run("--undo", path)
    assert (gone.exit_code, gone.stdout) == (1, f"{path}\n  left alone: it is not there\n")
    path.write_text("{}")
    result = run(path)
    assert (result.stdout, result.stderr) == (f"{path}\n  there is nothing to change\n", "nothing to change\n")


def test_a_home_without_clients_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = "there is no server in the configuration of an MCP client in your home; name a file: trio-oplog adopt FILE\n"
    assert run().stderr == expected


def test_the_program_is_the_one_beside_the_interpreter_else_the_one_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "bin"
    elsewhere.mkdir()
    program = elsewhere / "trio-oplog"
    shutil.copy("/bin/sh", program)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", str(elsewhere))
    assert adopt._program() == str(program)
    program.unlink()
    result = run()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "trio-oplog is neither beside /nowhere/python nor on your PATH" in result.stderr
    odd = tmp_path / "two\nlines"
    odd.mkdir()
    shutil.copy("/bin/sh", odd / "trio-oplog")
    monkeypatch.setenv("PATH", str(odd))
    assert "characters that no configuration can hold" in run().stderr


async def test_from_a_sample_configuration_to_the_call_on_the_page_with_real_programs(home: Path, tmp_path: Path) -> None:
    path = home / ".cursor" / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"workshop": {"command": sys.executable, "args": [str(SERVER)]}}}, indent=2))
    environment = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [str(Path(sys.executable).with_name("trio-oplog"))]
    await trio.run_process([*command, "adopt"], env=environment, capture_stdout=True, capture_stderr=True)
    entry: dict[str, Any] = json.loads(path.read_text())["mcpServers"]["workshop"]
    # What a client does with an entry of its configuration.  It is still there when the call is on the page: a client kills a
    # server that takes its time to end, and with it what is to store the call.
    server = StdioServerParameters(command=entry["command"], args=entry["args"], env=environment)
    async with Client(server) as client, page("--no-browser") as shown, http_client() as http:
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3.0}
        await shown.line()
        address, code = parts(await shown.line(), "open ")
        assert "text/html" in (await http.get(f"{address}/")).headers["Content-Type"]
        token = (await http.post(f"{address}/exchange", headers={"Authorization": f"Bearer {code}"})).text
        # What the page asks for, where the link has led to.
        http.params, http.headers["Authorization"] = httpx.QueryParams(workspace_id="local"), f"Bearer {token}"
        operations: list[dict[str, Any]] = []
        while not operations:
            await trio.sleep(0.1)
            operations = (await http.get(f"{address}{DEFAULT_PATH}")).json()["operations"]
    (operation,) = operations
    assert (operation["tool"], operation["arguments"], operation["env_id"]) == ("add", {"a": 1, "b": 2}, "workshop")
    backups = tmp_path / "state" / "trio-oplog" / "client-config"
    assert stat.S_IMODE(backups.stat().st_mode) == 0o700
