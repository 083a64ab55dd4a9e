"""``trio-oplog wrap`` starts its server before it reads its command line: only where that line is right beyond doubt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_oplog._cli.wrap import command
from trio_oplog._tap.launch import WITH_NOTHING, WITH_NUMBER, WITH_TEXT, find_command, launch_early

ELSEWHERE = {"--upstream", "--upstream-ca-file", "--upstream-header-file"}
"""Options about a server that is not started."""
NAMES = sorted(option.opts[0] for option in command.params if isinstance(option, click.Option) and not option.is_eager)
VALUES = [
    "x",
    "",
    "-",
    "--",
    "-x",
    "0",
    "1",
    "07",
    "\u0664",
    "1" * 5_000,
    "http://h",
    "sqlite:///s",
    "ftp://h",
    "otlp+http://h",
    "--env",
    "wrap",
]


def read(arguments: list[str]) -> tuple[str, ...]:
    """The command of a server as the usual way finds it.

    Raises:
        click.UsageError: It is called wrongly.
    """
    return command.make_context("wrap", arguments).params["words"]  # type: ignore[no-any-return]


@given(st.lists(st.sampled_from([*NAMES, *VALUES]), max_size=9))
@example(["--user", "--", "--", "cat"])
@example(["--grace", "1" * 5_000, "--", "cat"])
@example(["--to", "http://h", "--to", "sqlite:///s", "--", "cat"])
@example(["--to", "http://h", "--to", "otlp+http://h", "--to", "otlp+https://h", "--", "cat"])
@example(["--args-max", "0", "--", "cat"])
@example(["--to", "ftp://h", "--", "cat"])
@example(["--", "cat", "--", "x"])
@example(["--"])
@example(["--user"])
def test_what_is_started_early_is_what_would_be_started(arguments: list[str]) -> None:
    found = find_command(["wrap", *arguments])
    assert found is None or found == read(arguments)


@pytest.mark.parametrize("name", sorted({*NAMES} - ELSEWHERE))
def test_every_option_leaves_the_server_its_early_start(name: str) -> None:
    value = [] if name in WITH_NOTHING else ["7" if name in WITH_NUMBER else "sqlite:///s" if name == "--to" else "x"]
    assert find_command(["wrap", name, *value, "--", "cat", "-u"]) == read([name, *value, "--", "cat", "-u"]) == ("cat", "-u")


def test_two_stores_are_one_too_many() -> None:
    assert find_command(["wrap", "--to", "http://h", "--to", "sqlite:///s", "--", "cat"]) is None
    assert find_command(["wrap", "--to", "http://h", "--to", "otlp+http://h", "--", "cat"]) == ("cat",)


def test_no_option_is_known_that_there_is_not() -> None:
    assert sorted(WITH_TEXT | WITH_NUMBER | WITH_NOTHING | ELSEWHERE) == NAMES


@pytest.mark.parametrize(
    "arguments",
    [[], ["list"], ["--config", "x", "wrap", "--", "cat"], ["wrap", "--"], ["wrap", "--", "no-such-command-anywhere"]],
)
def test_what_is_no_server_is_left_to_the_usual_way(arguments: list[str]) -> None:
    before = set(os.listdir("/proc/self/fd"))
    assert launch_early(arguments) is None
    assert set(os.listdir("/proc/self/fd")) == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_a_server_that_was_started_does_not_outlive_a_command_line_that_cannot_be_read() -> None:
    # What pip has not installed cannot be imported: that much of it is played here.
    code = "import sys; sys.modules['click'] = None; import runpy; runpy.run_module('trio_oplog', run_name='__main__')"
    alive, held = os.pipe()
    command = [sys.executable, "-c", code, "wrap", "--", "sleep", "600"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, pass_fds=[held]) as process:
        os.close(held)
        assert os.read(alive, 1) == b""  # the end: nobody is left who holds it
        assert process.wait(60) == 1
    os.close(alive)
