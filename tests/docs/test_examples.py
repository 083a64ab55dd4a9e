"""Every example of the README and of the documentation works as it stands.

One page is one test: its examples run in order in one namespace, in a working folder of their own that shows the files of
the project.  What a block's language promises:

- ``python``: runs as the ``__main__`` module; with ``>>>`` the output is compared, too.
- ``console``: each line after ``$`` runs in bash, and the output is what is printed below it, but for white
  space; ``...`` stands for anything.
- ``bash``: is not run, but is bash, and every ``trio-oplog`` in it gets options and arguments that the program knows.
- ``toml`` and ``json``: can be read.

Any other language is for reading only (``text``, ``mermaid``); a block without a language is an oversight.
"""

from __future__ import annotations

import doctest
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest.mock import patch

import click
import pytest
from sybil import Example, Sybil
from sybil.document import Document
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

from trio_oplog._cli import main

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
FOR_READING = {"text", "mermaid", "http", "sql", "ini", "yaml", "nginx", "diff"}
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *ROOT.glob("docs/**/*.md"))
    if "_build" not in page.parts
)


def run_transcript(example: Example) -> None:
    commands = re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)
    assert not commands[0].strip(), "a console block begins with `$ `"
    for command in commands[1:]:
        # A command goes on over lines that end in a backslash; the rest is what it prints.
        written, expected = re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*\n?)(.*)", command, flags=re.DOTALL).groups()
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", written],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        printed = "".join(ran.stdout.split())
        pattern = ".*".join(re.escape(part) for part in "".join(expected.split()).split("..."))
        assert re.fullmatch(pattern, printed), f"`{written.strip()}` printed:\n{ran.stdout}"


def check_script(example: Example) -> None:
    subprocess.run(["bash", "-n"], input=example.parsed, check=True, text=True)
    for line in example.parsed.replace("\\\n", " ").splitlines():
        for words in simple_commands(line):
            arguments = arguments_of_ours(words)
            if arguments is not None:
                parse(arguments)


def simple_commands(line: str) -> list[list[str]]:
    """Split a line of bash at what ends a simple command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    commands: list[list[str]] = [[]]
    redirected = False
    for word in lexer:
        if redirected:
            redirected = False
        elif set(word) <= set("<>"):
            redirected = True
        elif set(word) <= set(";|&()"):
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def arguments_of_ours(words: list[str]) -> list[str] | None:
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    if words and Path(words[0]).name == "trio-oplog":
        return words[1:]
    if words[1:3] == ["-m", "trio_oplog"]:
        return words[3:]
    return None


def parse(arguments: list[str]) -> None:
    """Have click read the arguments without running the command that they name."""
    group = click.Context(main)
    own = list(itertools.takewhile(lambda argument: argument.startswith("-"), arguments))
    assert set(own) <= {option for parameter in main.get_params(group) for option in parameter.opts}, own
    if len(own) == len(arguments):
        return
    name, *rest = arguments[len(own) :]
    command = main.get_command(group, name)
    assert command is not None, f"there is no command {name}"
    try:
        command.make_context(name, rest, parent=group)
    except click.exceptions.Exit:  # --help
        return


def is_readable(example: Example) -> None:
    {"json": json.loads, "toml": tomllib.loads}[example.region.lexemes["arguments"]](example.parsed)


PARSERS = [
    PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE),
    CodeBlockParser("console", run_transcript),
    CodeBlockParser("bash", check_script),
    CodeBlockParser("json", is_readable),
    CodeBlockParser("toml", is_readable),
    SkipParser(),
]
CHECKED = {"python", "console", "bash", "json", "toml"}


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the clone, where an example may leave files; ``trio-oplog`` is on PATH."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("tests", "examples", "benchmarks", "docs", "trio_oplog", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TZ", "UTC")
    for name in [name for name in os.environ if name.startswith("TRIO_OPLOG_")]:
        monkeypatch.delenv(name)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_every_example_of_a_page_works_as_it_stands(page: str, working_folder: Path) -> None:
    document = Sybil(PARSERS, path=str(ROOT), patterns=[page]).parse(ROOT / page)
    document.namespace["__name__"] = "__main__"
    with patch.dict(os.environ):  # an example may set some
        for example in document.examples():
            example.evaluate()


@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_of_a_page_has_a_language_that_is_checked_or_is_for_reading(page: str) -> None:
    fences = re.findall(r"^[ \t]*(?:`{3,}|~{3,})([^\n]*)$", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    opened = [info.strip() for info in fences[::2]]
    assert all(info in CHECKED | FOR_READING or info.startswith("{") for info in opened), opened


def test_ci_runs_what_the_readme_tells_everybody_to_run() -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    (command,) = [block.strip() for block in blocks if "nox" in block]
    assert command == (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]


class TestTheChecksThemselves:
    """A check that cannot fail is none."""

    def check(self, text: str, folder: Path) -> None:
        page = folder / "page.md"
        page.write_text(text, encoding="utf-8")
        document = Document.parse(str(page), *PARSERS)
        for example in document.examples():
            example.evaluate()

    @pytest.mark.parametrize(
        "block",
        [
            "```python\nraise AssertionError\n```\n",
            "```python\n>>> 1 + 1\n3\n```\n",
            "```console\n$ echo one\ntwo\n```\n",
            "```console\n$ echo \\\none\ntwo\n```\n",
            "```bash\nif then\n```\n",
            "```bash\ncd x && trio-oplog no-such-command\n```\n",
            "```bash\nA=b python -m trio_oplog list --no-such-option | wc\n```\n",
            '```json\n{"a": }\n```\n',
            "```toml\na = \n```\n",
        ],
    )
    def test_what_does_not_work_is_seen(self, block: str, working_folder: Path) -> None:
        with pytest.raises((Exception, pytest.fail.Exception)):
            self.check(block, working_folder)

    @pytest.mark.parametrize(
        "block",
        [
            "```python\n>>> 1 + 1\n2\n```\n",
            "```console\n$ echo one && echo two\none\ntwo\n$ echo \\\nthree\nthree\n$ seq 9\n1\n...\n9\n```\n",
            "```bash\ncd x && trio-oplog --help > file\n```\n",
            "```bash\n# a word\nA=b python -m trio_oplog list --json | wc\n```\n",
            '```json\n{"a": 1}\n```\n',
            "```toml\na = 1\n```\n",
        ],
    )
    def test_what_works_passes(self, block: str, working_folder: Path) -> None:
        self.check(block, working_folder)
