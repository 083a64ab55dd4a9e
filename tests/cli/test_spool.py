"""``trio-oplog spool``: what is in a spool can be seen, exported and requeued."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from trio_oplog import Operation
from trio_oplog._cli import main
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool_file import DeadRow, SpoolFile, SpoolLock


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
        record = Record(number, operation, 0, 0.0, workspace="w")
        record.seal(10_000)
        records.append(record)
    file = SpoolFile.open(path, 10, "http://collector/")
    file.commit(records, [], [])
    file.commit([], [2, 3], [DeadRow("w", record.id, record.wire, "rejected", 0.0) for record in records[1:]])
    file.close()
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["spool", *map(str, arguments)])


def test_the_status_says_what_waits_and_what_is_dead(path):
    result = run("status", path)
    assert result.exit_code == 0
    assert [line.split()[-1] for line in result.output.splitlines()] == ["bytes)", "2026-11-22T00:00:00Z", "2", "3", "no"]
    found = json.loads(run("status", path, "--json").output)
    assert (found["waiting"], found["dead"], found["last_number"], found["in_use"]) == (1, 2, 3, False)


def test_a_folder_is_listed_file_by_file(path, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path.rename(folder / "0123-1-a.spool")
    other = SpoolFile.open(folder / "0123-2-b.spool", 10, "sqlite:///x")
    lock = SpoolLock(folder / "0123-2-b.spool")
    result = run("status", folder)
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines() if line]
    assert lines[:3] == [
        ["file", "0123-1-a.spool"],
        ["destination", "http://collector/"],
        ["waiting", *lines[2][1:]],
    ]
    assert [line[-1] for line in lines if line[0] == "in"] == ["no", "yes"]
    assert [line[-1] for line in lines if line[0] == "oldest"] == ["2026-11-22T00:00:00Z"]
    found = [json.loads(line) for line in run("status", folder, "--json").output.splitlines()]
    assert [(one["path"], one["destination"], one["in_use"]) for one in found] == [
        (str(folder / "0123-1-a.spool"), "http://collector/", False),
        (str(folder / "0123-2-b.spool"), "sqlite:///x", True),
    ]
    assert len(run("dead", folder).output.splitlines()) == 2
    assert len(run("export", folder).output.splitlines()) == 1
    other.close()
    assert "in use" in run("requeue", folder).output
    lock.release()
    assert run("requeue", folder).output == "requeued 0\n"  # the first one was done before
    assert run("status", tmp_path / "nothing").exit_code == 1
    (tmp_path / "empty").mkdir()
    assert run("status", tmp_path / "empty").output == f"there is no spool in {tmp_path / 'empty'}\n"


def test_without_a_path_it_is_the_folder_of_the_programs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert f"the spool {tmp_path / 'state' / 'trio-oplog' / 'spool'} does not exist" in run("dead").output
    (tmp_path / "state" / "trio-oplog" / "spool").mkdir(parents=True)
    path.rename(tmp_path / "state" / "trio-oplog" / "spool" / "0123-1-a.spool")
    assert len(run("dead").output.splitlines()) == 2


def test_the_oldest_that_is_no_operation_has_no_time(tmp_path):
    file = SpoolFile.open(tmp_path / "spool", 10)
    file.commit([Record(1, None, 0, 0.0, b"{}", "x", workspace="w")], [], [])
    file.close()
    assert "oldest" not in run("status", tmp_path / "spool").output


def test_the_dead_are_listed_with_the_reason(path):
    lines = run("dead", path).output.splitlines()
    assert [line.split("  ")[:3] for line in lines] == [["1", "'id-2'", "rejected"], ["2", "'id-3'", "rejected"]]
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
