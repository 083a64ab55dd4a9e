"""The reference of the commands has every command and every option that the program says it has."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from trio_oplog._cli import main

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = runpy.run_path(str(DOCS / "command_reference.py"))


def help_of(*words: str) -> str:
    return CliRunner().invoke(main, [*words, "--help"], prog_name="trio-oplog").output


def listed(text: str, heading: str) -> list[str]:
    """What stands in the left column below a heading of the help."""
    _, _, below = text.partition(f"\n{heading}:\n")
    return re.findall(r"^  (\S.*?)(?:  .*)?$", below.partition("\n\n")[0], flags=re.MULTILINE)


def commands(*words: str) -> list[tuple[str, ...]]:
    names = [(*words, name) for name in listed(help_of(*words), "Commands")]
    return [*names, *(below for name in names for below in commands(*name))]


COMMANDS = commands()


@pytest.fixture(scope="module")
def sections() -> dict[str, str]:
    """The text below each heading."""
    parts = re.split(r"^#+ (.*)$", REFERENCE["render"](main), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_help_was_read() -> None:
    assert ("wrap",) in COMMANDS
    assert ("spool", "status") in COMMANDS
    assert "--workspace ID" in listed(help_of("list"), "Options")


def test_there_is_a_section_for_every_command_and_for_nothing_else(sections: dict[str, str]) -> None:
    assert sections.keys() == {"Options before the command", *map(" ".join, COMMANDS)}


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_a_section_has_every_option_and_the_whole_help(words: tuple[str, ...], sections: dict[str, str]) -> None:
    text = help_of(*words)
    section = sections[" ".join(words) or "Options before the command"]
    documented = re.findall(r"^```\{option\} (.*)$", section, flags=re.MULTILINE)
    expected = [option.replace(" / ", ", ") for option in listed(text, "Options") if "--help" not in option]
    assert documented == expected
    # Whatever the help says is there, whatever the marks around it.
    plain = "".join(re.findall(r"\w+", section))
    _, _, said = text.partition("\n\n")
    if words:
        for word in re.findall(r"\w+", said.partition("  -h, --help")[0].replace("Options:", "")):
            assert word in plain, word


def test_what_the_documentation_says_for_bash_completes_commands() -> None:
    page = (DOCS / "how-to" / "command-line.md").read_text(encoding="utf-8")
    [line] = re.findall(r"^eval .*bash_source.*$", page, flags=re.MULTILINE)
    script = f"""
        {line}
        COMP_WORDS=(trio-oplog s) COMP_CWORD=1
        _trio_oplog_completion trio-oplog s
        echo "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-euc", script], check=True, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.stdout.split() == [name for (name, *below) in COMMANDS if name.startswith("s") and not below]


def test_the_page_has_a_place_for_it() -> None:
    assert (DOCS / "commands.md").read_text(encoding="utf-8").count(REFERENCE["PLACE"]) == 1
