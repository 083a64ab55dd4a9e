"""The program itself: which commands there are, and how it leaves."""

from __future__ import annotations

import errno
import subprocess
import sys
from importlib import import_module
from typing import Any

import click
import pytest
from click.testing import CliRunner

import trio_oplog
from trio_oplog import _cli
from trio_oplog._cli import main


@pytest.mark.parametrize("name", list(_cli._COMMANDS))
def test_every_command_has_help_and_the_list_of_them_says_what_it_is_for(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert name in CliRunner().invoke(main, ["-h"]).stdout


def test_help_imports_no_command() -> None:
    code = "import sys; from trio_oplog._cli import main; main.main(['--help'], standalone_mode=True)"
    lines = f"try:\n {code}\nexcept SystemExit:\n assert not {{'sqlalchemy', 'h11'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", lines], check=True, stdout=subprocess.DEVNULL)


def test_a_shell_can_complete_the_name_of_every_command() -> None:
    assert main.list_commands(click.Context(main)) == list(_cli._COMMANDS)


def test_a_shell_can_complete_what_is_no_command_yet() -> None:
    assert main.resolve_command(click.Context(main, resilient_parsing=True), ["gate"]) == (None, None, [])


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"trio-oplog {trio_oplog.__version__}\n"


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "trio_oplog", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"trio-oplog {trio_oplog.__version__}\n"


@pytest.mark.parametrize(
    ("missing", "arguments", "message"),
    [
        ("click", [], "trio-oplog: the command line needs click: pip install 'trio-oplog[cli]'\n"),
        ("click", ["wrap", "--", "cat"], "trio-oplog: the command line needs click: pip install 'trio-oplog[cli]'\n"),
        ("rich", ["list"], "trio-oplog: list needs rich: pip install 'trio-oplog[cli]'\n"),
        ("sqlalchemy", ["collect"], "trio-oplog: collect needs sqlalchemy: pip install 'trio-oplog[cli]'\n"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(missing: str, arguments: list[str], message: str) -> None:
    # What pip has not installed cannot be imported: that much of it is played here.
    code = f"import sys; sys.modules[{missing!r}] = None; import runpy; runpy.run_module('trio_oplog', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, message)


def test_a_command_without_its_extra_does_not_hurt_the_help() -> None:
    code = "import sys; sys.modules['rich'] = None; import runpy; runpy.run_module('trio_oplog', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code, "--help"], check=False, capture_output=True, text=True)
    assert done.returncode == 0
    assert "  list " in done.stdout


def test_a_mistake_of_our_own_is_not_called_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio_oplog._cli.listing", None)
    with pytest.raises(ModuleNotFoundError, match=r"trio_oplog\._cli\.listing"):
        main.get_command(click.Context(main), "list")
    monkeypatch.setitem(sys.modules, "trio_oplog._cli", None)
    with pytest.raises(ModuleNotFoundError, match=r"trio_oplog\._cli"):
        import_module("trio_oplog.__main__").main()


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (click.Abort(), 130, "trio-oplog: interrupted\n"),
        (KeyboardInterrupt(), 130, "trio-oplog: interrupted\n"),
        (OSError(errno.EPIPE, "Broken pipe"), 1, ""),
        (OSError(errno.ENOSPC, "No space left on device", "/full"), 1, "trio-oplog: No space left on device: /full\n"),
        (OSError(errno.EIO, "Input/output error"), 1, "trio-oplog: Input/output error\n"),
        (click.UsageError("Nobody asked."), 2, "trio-oplog list: Nobody asked. Try 'trio-oplog list --help'.\n"),
        (trio_oplog.StoreError("it broke"), 1, "trio-oplog: it broke\n"),
    ],
)
def test_every_end_has_its_status_and_one_line(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(import_module("trio_oplog._cli.listing").command, "callback", fail)
    result = CliRunner().invoke(main, ["list"])
    assert result.exit_code == status
    assert result.stderr.lstrip("\n") == said


def test_no_such_command_is_a_wrong_call() -> None:
    result = CliRunner().invoke(main, ["lisst"])
    assert result.exit_code == 2
    assert result.stderr == "trio-oplog: No such command 'lisst'. Try 'trio-oplog --help'.\n"


@pytest.mark.parametrize("arguments", [[], ["spool"]])
def test_without_arguments_there_is_the_help_and_nothing_else(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments, prog_name="trio-oplog")
    asked = CliRunner().invoke(main, [*arguments, "--help"], prog_name="trio-oplog")
    assert (result.exit_code, result.stdout, result.stderr) == (0, asked.stdout, "")
    assert result.stdout.startswith("Usage: trio-oplog")


@pytest.mark.parametrize("name", list(_cli._COMMANDS))
def test_no_help_shows_the_marks_that_it_is_laid_out_with(name: str) -> None:
    assert "\\" not in CliRunner().invoke(main, [name, "--help"]).stdout
