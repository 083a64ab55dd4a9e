"""``trio-oplog prune``, and the lengths of time that it and ``collect`` take."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from trio_oplog import ListQuery, Operation
from trio_oplog._cli import main, prune
from trio_oplog.collector import open_store

NOW = datetime.now(UTC)


def operation(number: int, **changes: object) -> Operation:
    values = {
        "id": f"id-{number}",
        "workspace_id": "ws",
        "source": "sdk",
        "env_id": "local",
        "tool": "echo",
        "is_error": False,
        "started_at": NOW - timedelta(days=number),
        "completed_at": NOW,
        "duration_ms": 0,
    }
    return Operation(**(values | changes))  # type: ignore[arg-type]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def stored(url: str, operations: Iterable[Operation] = ()) -> int:
    """Store operations, and count what the workspace has."""

    async def visit() -> int:
        async with open_store(url) as store:
            await store.add(operations)
            return len(await store.find(ListQuery(workspace_id="ws", limit=1000)))

    return trio.run(visit)


def on_record(url: str) -> list[tuple[str, date, str | None]]:
    """Who deleted what came before which day, and of whom."""

    async def visit() -> list[bytes]:
        async with open_store(url) as store:
            return await store.find(ListQuery(workspace_id="trio-oplog", tool="audit/prune"))

    found = [json.loads(body) for body in reversed(trio.run(visit))]
    return [
        (each["user_id"], date.fromisoformat(each["arguments"]["before"]), each["arguments"].get("workspace_id"))
        for each in found
    ]


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the day might end between the making of an operation and its deletion."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return NOW

    monkeypatch.setattr(prune, "datetime", Clock)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'operations.sqlite3'}"


def test_what_is_older_is_deleted_and_a_dry_run_only_says_so(url: str) -> None:
    others = [operation(number, workspace_id="other") for number in range(5)]
    stored(url, [*(operation(number) for number in range(5)), *others])
    day = (NOW - timedelta(days=2)).date()
    done = run("prune", "--store", url, "--older-than", "48h", "--workspace", "ws", "--dry-run")
    assert (done.exit_code, done.output) == (0, f"2 operations of the workspace ws from before {day} would be deleted\n")
    assert stored(url) == 5
    done = run("prune", "--store", url, "--older-than", "2d", "--workspace", "ws")
    assert (done.exit_code, done.output) == (0, f"2 operations of the workspace ws from before {day} were deleted\n")
    assert stored(url) == 3
    done = run("prune", "--store", url, "--older-than", "3d")
    assert done.output == f"1 operation from before {(NOW - timedelta(days=3)).date()} was deleted\n"
    assert on_record(url) == [("trio-oplog prune", day, "ws"), ("trio-oplog prune", (NOW - timedelta(days=3)).date(), None)]


@pytest.mark.parametrize("length", ["", "90", "d", "0d", "-1d", "1.5d", "90days", "99999y", "٣d"])
def test_a_length_of_time_that_is_none_is_refused(url: str, length: str) -> None:
    for command in (["prune", "--older-than", length], ["collect", "--keep", length]):
        done = run(*command, "--store", url)
        assert done.exit_code == 2
        assert "must be a length of time, such as 12h, 90d, 8w or 2y." in done.output


def test_a_store_that_is_not_there_is_not_made(url: str, tmp_path: Path) -> None:
    done = run("prune", "--store", url, "--older-than", "1y")
    assert done.exit_code == 1
    assert "there is no such file" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_url_that_is_none_is_refused() -> None:
    done = run("prune", "--store", "mysql://host/database", "--older-than", "1w")
    assert done.exit_code == 2
    assert "must begin with sqlite:/// or postgresql://" in done.output
