"""``trio-oplog spool``: what is in a spool can be seen, exported and requeued."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from trio_oplog import DropReason, Operation
from trio_oplog.__main__ import main
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool_file import SpoolFile


@pytest.fixture
def path(tmp_path):
    """A spool with one operation that waits and two that were rejected, one of them over two lines."""
    path = tmp_path / "spool.sqlite3"
    records = []
    for number in (1, 2, 3):
        now = datetime(2026, 11, 22, tzinfo=UTC)
        arguments = b'{\n"n": 1}' if number == 3 else b"{}"
        operation = Operation(
            id=f"id-{number}",
            workspace_id="w",
            source="sdk",
            env_id="e",
            tool="t",
            is_error=False,
            started_at=now,
            completed_at=now,
            duration_ms=0,
            arguments=arguments,
        )
        record = Record(number, operation, 0, 0.0)
        record.seal(10_000)
        records.append(record)
    file = SpoolFile.open(path, 10)
    file.commit(records, [], [])
    file.commit([], [2, 3], [(record, DropReason.REJECTED) for record in records[1:]])
    file.close()
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["spool", *map(str, arguments)])


def test_the_status_says_what_waits_and_what_is_dead(path):
    result = run("status", path)
    assert result.exit_code == 0
    assert [line.split()[-1] for line in result.output.splitlines()] == ["bytes)", "2", "3", "no"]
    found = json.loads(run("status", path, "--json").output)
    assert (found["waiting"], found["dead"], found["last_number"], found["in_use"]) == (1, 2, 3, False)


def test_the_dead_are_listed_with_the_reason(path):
    lines = run("dead", path).output.splitlines()
    assert [line.split("  ")[:3] for line in lines] == [["2", "'id-2'", "rejected"], ["3", "'id-3'", "rejected"]]
    found = [json.loads(line) for line in run("dead", path, "--json").output.splitlines()]
    assert [record["id"] for record in found] == ["id-2", "id-3"]
    assert found[0]["died_at"].endswith("Z")


def test_an_export_is_one_document_a_line(path):
    assert [json.loads(line)["id"] for line in run("export", path).output.splitlines()] == ["id-1"]
    assert [json.loads(line)["id"] for line in run("export", "--dead", path).output.splitlines()] == ["id-2", "id-3"]


def test_what_was_given_up_is_requeued(path):
    assert run("requeue", path).output == "requeued 2\n"
    assert json.loads(run("status", path, "--json").output)["waiting"] == 3
    assert run("requeue", path).output == "requeued 0\n"


def test_a_spool_that_is_not_there_is_one_line(tmp_path):
    result = run("status", tmp_path / "nothing")
    assert result.exit_code == 1
    assert result.output == f"trio-oplog: the spool {tmp_path / 'nothing'} does not exist\n"
