"""The configuration file gives every option a default; its mistakes are named, and keep no server from running."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.cli.test_wrap import CALL, ECHO, PYTHON, run, stored, wrapping
from trio_oplog import _cli
from trio_oplog._cli import config, main
from trio_oplog._cli.options import Recording, default_spool

MISSING = "The endpoint's secret is missing"


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes the user's configuration file."""

    def write(text: str) -> Path:
        path = tmp_path / "config" / "trio-oplog" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def loaded(name: str, path: Path | None = None) -> config.Loaded:
    return config.load(config.read(path), command(name), [name], _cli._COMMANDS)


def all_options(of: click.Command) -> set[str]:
    below = [all_options(inner) for inner in of.commands.values()] if isinstance(of, click.Group) else []
    return set(config.options_of(of)).union(*below)


def test_every_option_of_every_command_is_known() -> None:
    assert set().union(*(all_options(command(name)) for name in _cli._COMMANDS)) == config.OPTIONS


def test_reading_options_and_the_file_imports_nothing_heavy() -> None:
    folder = str(Path(_cli.__file__).parents[1])
    code = (
        "import sys, types\n"
        "for name, path in (('trio_oplog', sys.argv[1]), ('trio_oplog._cli', sys.argv[1] + '/_cli')):\n"
        "    sys.modules[name] = types.ModuleType(name); sys.modules[name].__path__ = [path]\n"
        "import trio_oplog._cli.options, trio_oplog._cli.config as config\n"
        "config.read(None)\n"
        "print(sorted({'trio', 'httpx', 'attr', 'msgspec', 'sqlalchemy', 'trio_oplog._operation'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_file_gives_defaults_at_its_top_and_by_command(written: Any, tmp_path: Path) -> None:
    path = written(
        """
        to = "http://collector.test/"
        workspace = "ws-1"
        secret-file = "secret"
        tokens = "~/tokens.toml"
        grace = 3
        json = true
        redact = ["konto"]

        [wrap]
        workspace = "ws-2"
        args-max = 100
        no-spool = true

        [list]
        errors = true
        since = "2h"

        [spool.status]
        json = false
        """
    )
    found = loaded("wrap")
    assert not found.problems
    assert found.defaults == {
        "dests": ["http://collector.test/"],
        "workspace": "ws-2",
        "secret_file": path.parent / "secret",
        "grace": 3,
        "args_max": 100,
        "no_spool": True,
        "redact": ["konto"],
    }
    assert loaded("gateway").defaults["tokens"] == Path.home() / "tokens.toml"
    assert loaded("list").defaults == {
        "workspace": "ws-1",
        "secret_file": path.parent / "secret",
        "is_error": True,
        "since": "2h",
        "as_json": True,
    }
    assert loaded("spool").defaults == {
        "status": {"as_json": False},
        "dead": {"as_json": True},
        "requeue": {},
        "export": {},
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workspce = 1", "workspce is no option: write workspace"),
        ("secret = 's'", "secret is no option: write secret-file"),
        ("secret_file = 's'", "secret_file is no option: write secret-file"),
        ("zzzzzz = 1", "zzzzzz is no option: remove it"),
        ("[wrapp]", "there is no command [wrapp]: write wrap"),
        ("[wrap]\nlisten = '127.0.0.1:0'", "[wrap] listen is no option: remove it"),
        ("wrap = 1", "wrap is no option"),
        ("[wrap]\nto = 5", "[wrap] to must be a string"),
        (
            "to = 'ftp://x'",
            "to is wrong: The destination must be http(s)://..., otlp+http(s)://..., postgresql://... or sqlite:///path",
        ),
        ("[wrap]\nredact = 'a'", '[wrap] redact must be an array, such as ["a", "b"]'),
        ("redact = [1]", "redact must be a string"),
        ("redact-none = 1", "redact-none must be true or false"),
        ("args-max = true", "args-max must be a whole number"),
        ("args-max = 1.5", "args-max must be a whole number"),
        ("args-max = 0", "args-max is wrong: 0 is not in the range x>=1"),
        ("grace = 'long'", "grace must be a number"),
        ("to = ", "it is no TOML: Invalid value"),
        ("a = " + "[" * 10_000, "it is no TOML"),
        ("#" * (1024 * 1024 + 1), "it is over 1 MiB: make it smaller"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(text: str, problem: str, written: Any) -> None:
    path = written(text)
    found = loaded("wrap")
    assert found.sentence.startswith(f"{path}: {problem}")
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[spool.stat]\nx = 1", "[spool] stat"),
        ("[spool.status]\nx = 1", "[spool.status] x"),
        ("wrap = 1", "wrap is no option"),
        ("[spool]\nlimit = 1", "[spool] limit"),
    ],
)
def test_tables_of_commands_below_commands_are_checked_too(text: str, problem: str, written: Any) -> None:
    written(text)
    [found] = loaded("spool").problems
    assert found.text.startswith(problem)


def test_a_table_of_one_command_below_another_may_stand_above_it(written: Any) -> None:
    written("[spool]\njson = true\nstatus = 5")
    found = loaded("spool")
    assert (found.defaults["dead"], found.problems) == ({"as_json": True}, ())


def test_files_that_cannot_be_trusted_or_read_are_not(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for problem in ("there is no such file", "everybody can write to it: run chmod o-w", "it is no UTF-8"):
        assert problem in loaded("wrap", path).sentence
        if path.exists():
            path.chmod(0o644)
        else:
            path.write_bytes(b"a = '\xff'")
            path.chmod(0o666)
    assert "it cannot be read (Is a directory)" in loaded("wrap", tmp_path).sentence
    os.mkfifo(tmp_path / "fifo")
    assert "it is no file" in loaded("wrap", tmp_path / "fifo").sentence
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "it cannot be read (Too many levels of symbolic links)" in loaded("wrap", loop).sentence
    assert all(loaded("wrap", bad).is_off for bad in (path, tmp_path, loop))


def test_without_a_file_there_are_no_defaults() -> None:
    assert loaded("wrap") == (config.File(None), {}, ())


# What wins: the command line, then the environment, then the file.


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """What ``wrap`` would record with; the command itself does nothing."""
    found: list[Recording] = []

    def run_nothing(launched: object, record: Callable[[object], object], **_: object) -> int:
        record(None)
        return 0

    monkeypatch.setattr("trio_oplog._cli.wrap.launch", lambda words: words)
    monkeypatch.setattr("trio_oplog._cli.wrap.run_tap", run_nothing)
    monkeypatch.setattr("trio_oplog._cli.recording.record", lambda _, recording: found.append(recording))
    return found


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    written: Any, recordings: list[Recording], tmp_path: Path
) -> None:
    path = written("workspace = 'file'\nsecret-file = 'secret'\nuser = 'ada'\n[wrap]\nenv = 'box'\n")
    environments: list[dict[str, str]] = [{}, {"TRIO_OPLOG_SECRET": "s"}, {"TRIO_OPLOG_SECRET_FILE": "f"}]
    for environment in environments:
        assert CliRunner().invoke(main, ["wrap", "--env", "cli", "cat"], env=environment).exit_code == 0
    assert [recording.secret_file for recording in recordings] == [path.parent / "secret", None, None]
    assert {(recording.workspace, recording.user, recording.env) for recording in recordings} == {("file", "ada", "cli")}
    other = tmp_path / "other.toml"
    other.write_text("workspace = 'other'")
    CliRunner().invoke(main, ["--config", str(other), "wrap", "cat"])
    CliRunner().invoke(main, ["wrap", "cat"], env={"TRIO_OPLOG_CONFIG": str(other)})
    assert [recording.workspace for recording in recordings[3:]] == ["other", "other"]


@pytest.mark.parametrize(
    ("text", "arguments", "spool"),
    [
        ("", [], None),
        ("", ["--no-spool"], "off"),
        ("no-spool = true", [], "off"),
        ("no-spool = true", ["--spool", "here"], "here"),
        ("spool = '/there'", [], "/there"),
        ("spool = '/there'", ["--no-spool"], "off"),
        ("spool = '/there'\nno-spool = true", [], "off"),
    ],
)
def test_of_spool_and_no_spool_the_nearer_one_counts(
    text: str, arguments: list[str], spool: str | None, written: Any, recordings: list[Recording]
) -> None:
    written(text)
    assert CliRunner().invoke(main, ["wrap", *arguments, "cat"]).exit_code == 0
    expected = default_spool() if spool is None else None if spool == "off" else Path(spool)
    assert recordings[0].spool == expected


# What a mistake costs.


def test_a_mistake_is_a_wrong_call_for_every_other_command_but_not_for_help(written: Any) -> None:
    path = written("workspce = 1\n")
    result = CliRunner().invoke(main, ["list"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"trio-oplog: {path}: workspce is no option: write workspace. Try 'trio-oplog --help'.\n"
    assert CliRunner().invoke(main, ["list", "--help"]).exit_code == 0
    wrong = CliRunner().invoke(main, ["list", "--no-such-option"])
    assert "--no-such-option" in wrong.stderr


def test_a_wrong_value_that_only_the_command_can_see_is_said_to_be_from_the_file(written: Any) -> None:
    path = written("[list]\nsince = 'someday'\n")
    result = CliRunner().invoke(main, ["list"])
    assert result.exit_code == 2
    assert f"or how long ago, such as 90s, 2h or 1w. (It stands in {path}.)" in result.stderr


async def test_a_server_runs_whatever_is_wrong_with_the_file(tmp_path: Path, written: Any) -> None:
    path = written("workspce = 'x'\nenv = 'box'\n")
    done = await run(wrapping(tmp_path / "log", *PYTHON, ECHO), CALL)
    assert (done.stdout, done.returncode) == (b'{"id": 1, "result": {"content": []}}\n', 0)
    assert done.stderr.decode() == f"trio-oplog: {path}: workspce is no option: write workspace; the rest of the file stands\n"
    [operation] = await stored(tmp_path / "log")
    assert operation["env_id"] == "box"


async def test_nothing_is_recorded_where_it_might_be_in_the_clear_or_in_the_wrong_place(tmp_path: Path, written: Any) -> None:
    path = written("redact = 'konto'\n")
    done = await run(wrapping(tmp_path / "log", *PYTHON, ECHO), CALL)
    assert (done.stdout, done.returncode) == (b'{"id": 1, "result": {"content": []}}\n', 0)
    said = f'trio-oplog: {path}: redact must be an array, such as ["a", "b"]; the server runs, and nothing is recorded\n'
    assert done.stderr.decode() == said
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'to = "http://127.0.0.1:9/"\n',
            "The endpoint's secret is missing: set TRIO_OPLOG_SECRET, or name its file with --secret-file",
        ),
        ('user = ""\n', "user_id must be a non-empty string"),
        ("", "{}: Not a directory (name another place with --to)"),
    ],
)
async def test_what_keeps_a_log_from_working_costs_records_only(text: str, problem: str, tmp_path: Path, written: Any) -> None:
    written(text)
    (tmp_path / "file").touch()
    where = tmp_path / "file" / "trio-oplog"
    command = [argument for argument in wrapping(tmp_path, *PYTHON, ECHO) if argument not in ("--to", f"sqlite:///{tmp_path}")]
    done = await run(command, CALL, env={**os.environ, "XDG_STATE_HOME": str(where.parent)})
    assert (done.stdout, done.returncode) == (b'{"id": 1, "result": {"content": []}}\n', 0)
    assert done.stderr.decode() == f"trio-oplog: {problem.format(where)}; the server runs, and nothing is recorded\n"


@pytest.mark.once
async def test_the_programs_redact_unless_told_not_to(tmp_path: Path) -> None:
    call = {
        "id": 1,
        "method": "tools/call",
        "params": {"name": "login", "arguments": {"githubToken": "ghp_1", "konto": "DE02", "n": 1}},
    }
    options = (["--redact", "Konto"], ["--redact-none"], ["--redact-none", "--redact", "konto"], [])
    kept = []
    for number, chosen in enumerate(options):
        await run(wrapping(tmp_path / f"log{number}", *PYTHON, ECHO, options=chosen), json.dumps(call).encode() + b"\n")
        [operation] = await stored(tmp_path / f"log{number}")
        kept.append({key for key, value in operation["arguments"].items() if not isinstance(value, dict)})
    assert kept == [{"n"}, {"n", "konto", "githubToken"}, {"n", "githubToken"}, {"n", "konto"}]
    assert (tmp_path / "state" / "trio-oplog" / "spool").is_dir()


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "command-line.md").read_text(encoding="utf-8")


def test_the_file_that_the_documentation_shows_is_right(tmp_path: Path) -> None:
    [shown] = re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "config.toml"
    path.write_text(shown)
    assert not [problem for name in _cli._COMMANDS for problem in loaded(name, path).problems]
    assert loaded("wrap", path).defaults["redact"] == ["iban", "konto"]
    assert loaded("list", path).defaults["source_of"] == loaded("gateway", path).defaults["dests"][0]


def test_the_documentation_lists_every_option_about_recording() -> None:
    shared = config.options_of(command("wrap")).keys() & config.options_of(command("gateway")).keys() - {
        "grace",
        "upstream",
        "upstream-ca-file",
        "upstream-header-file",
    }
    section = PAGE.partition("\n## Say what is recorded\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `--([a-z-]+)", section, flags=re.MULTILINE)) == shared
