"""What a person sees, at three widths, on a terminal and in a pipe: kept in the folder ``golden`` to be looked at.

``cat`` shows their colours.
To write the files again after a change, and then look at what changed::

    GOLDEN=write pytest tests/cli/test_golden.py && git diff tests/cli/golden
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.cli.terminal import folder, on_a_terminal, on_a_terminal_of_its_own
from trio_oplog import Approval, Context, DecidedBy, Operation, Outcome, ResultMeta
from trio_oplog._cli import main
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool_file import DeadRow, SpoolFile
from trio_oplog.collector import open_store

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
WIDTHS = (80, 120, 200)
DESK, CODEX = Context(client="desk/1.2", server="files/3.4"), Context(client="codex/0.171.0")


def operation(number: int, tool: str, arguments: str, result: str | None, took: int, **changes: Any) -> Operation:
    began = NOON + timedelta(seconds=417 * number, milliseconds=number)
    values: dict[str, Any] = {
        "id": f"{(number + 1) * 0x1D2C3B4A & 0xFFFFFFFF:08x}-0000-4000-8000-000000000000",
        "workspace_id": "local",
        "source": "mcp",
        "env_id": "laptop",
        "tool": tool,
        "is_error": False,
        "started_at": began,
        "completed_at": began + timedelta(milliseconds=took),
        "duration_ms": took,
        "user_id": "ada",
        "arguments": arguments.encode(),
        "result_summary": result,
        "context": DESK,
    }
    return Operation(**(values | changes))


OPERATIONS = [
    operation(0, "read_file", '{"path":"/home/ada/notes.txt"}', "buy milk", 7),
    operation(1, "search_issues", '{"query":"is:open label:bug","limit":20}', "no issues", 1_540),
    operation(
        2,
        "shell",
        '{"command":["rm","-rf","build"],"cwd":"/home/ada/src/project"}',
        "the user declined to run this command",
        61_000,
        user_id=None,
        source="llm",
        context=CODEX,
        is_error=True,
        result_meta=ResultMeta(outcome=Outcome.DECLINED, waited_ms=58_100, exit_code=1),
        approval=Approval(decision="decline", by=DecidedBy.CLIENT, waited_ms=58_100, reason="too dangerous"),
    ),
    operation(
        3,
        "query_database",
        '{"sql":"SELECT count(*) FROM users WHERE created_at > now() - interval \'1 day\'"}',
        'relation "users" does not exist',
        312,
        user_id="grace.hopper@example.org",
        env_id="production-eu-west",
        is_error=True,
        result_meta=ResultMeta(outcome=Outcome.TOOL_ERROR),
    ),
    operation(
        4,
        "write_file",
        '{"path":"/home/ada/\u6771\u4eac.md","text":"\u6771\u4eac\u306b\u884c\u304f"}',
        "wrote 21 bytes",
        18,
        user_id="bob",
        approval=Approval(decision="acceptForSession", by=DecidedBy.CLIENT, waited_ms=4_200),
    ),
    operation(5, "read_file", '{"path":"/etc/hosts"}', '{"lines":["127.0.0.1 localhost"]}', 3, user_id="bob"),
]
SHOWN = OPERATIONS[2]
COMMANDS = {
    "list": ["list", "--from", "sqlite:///log"],
    "show": ["show", SHOWN.id[:8], "--from", "sqlite:///log"],
    "stats": ["stats", "--from", "sqlite:///log"],
    "stats-by-hour": ["stats", "--by", "hour", "--from", "sqlite:///log"],
    "export": ["export", "--format", "csv", "--from", "sqlite:///log", "--tool", "shell"],
    "workspaces": ["workspaces", "--from", "sqlite:///log"],
    "spool-status": ["spool", "status", "spool"],
    "check": ["check", "--to", "sqlite:///log", "--spool", "spool", "--user", "ada"],
}
CHANGING = {r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}": "ba0b75cf-3d24-5b50-9c5d-2d40e9d4c1a2"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a folder of spools."""
    place = tmp_path_factory.mktemp("golden")

    async def fill() -> None:
        async with open_store(f"sqlite:///{place / 'log'}") as store:
            await store.add([*OPERATIONS, operation(6, "read_file", "{}", "", 1, workspace_id="research")])

    trio.run(fill)
    records = [Record(number, each, 0, 0.0, workspace="local") for number, each in enumerate(OPERATIONS[:3], 1)]
    for record in records:
        record.seal(10_000)
    (place / "spool").mkdir()
    file = SpoolFile.open(place / "spool" / "wrap-1.spool", 10, "https://oplog.example/internal/operations")
    file.commit(records, [], [])
    file.commit([], [3], [DeadRow("local", records[2].id, records[2].wire, "rejected", 0.0)])
    file.close()
    return place


@pytest.fixture(autouse=True)
def _there_in_utc(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(place)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def in_a_pipe(words: list[str], width: int) -> str:
    return CliRunner().invoke(main, words, env={"COLUMNS": str(width)}).output


def looks(words: list[str]) -> dict[str, str]:
    """What is to be seen by what shows it; widths at which it is the same stand together."""
    ways = {"on a terminal": lambda width: on_a_terminal(words, width)[0], "in a pipe": lambda width: in_a_pipe(words, width)}
    found: dict[str, str] = {}
    for way, see in ways.items():
        seen: dict[str, list[str]] = {}
        for width in WIDTHS:
            seen.setdefault(steady(see(width)), []).append(str(width))
        found |= {f"{way} of {', '.join(widths)} columns": text for text, widths in seen.items()}
    return found


def steady(text: str) -> str:
    """The text without what another day or another machine would change, and without white space at the end of lines."""
    for pattern, always in CHANGING.items():
        text = re.sub(pattern, always, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_it_looks_as_it_did(name: str) -> None:
    words = COMMANDS[name]
    command = " ".join(words)
    text = "".join(f"$ trio-oplog {command}    # {way}\n{seen}\n" for way, seen in looks(words).items())
    path = folder() / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_a_process_finds_out_how_wide_its_terminal_is() -> None:
    written, status = on_a_terminal_of_its_own(COMMANDS["list"], 120)
    assert status == 0
    assert f"of 120 columns\n{steady(written)}\n" in (folder() / "list.txt").read_text()
