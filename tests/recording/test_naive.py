"""The naive reader against what others counted in the recorded sessions, call by call.

``expected-mcp.jsonl`` was made by scripts and ``expected-codex-acp.jsonl`` by hand, both from the frames and without this reader.
Where they contradict the frames, the frames stand: the tables below say where and why.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.naive import CAPTURES, SESSIONS, expected_of

Row = dict[str, Any]
Record = dict[str, Any]


def rows_of(name: str, where: str) -> dict[str, list[Row]]:
    """The rows of a file of expectations by capture."""
    rows: dict[str, list[Row]] = {}
    for line in (CAPTURES / name).read_text().split("\n"):
        if line:
            row = json.loads(line)
            rows.setdefault(row[where], []).append(row)
    return rows


def records_of(capture: str) -> list[Record]:
    """The naive reader's records of a capture, in the order in which the calls began."""
    return sorted(expected_of(CAPTURES / f"{capture}.jsonl"), key=lambda record: record["_began"])


def milliseconds(record: Record) -> float:
    return 1000 * (record["_ended_t"] - record["_began_t"])


# MCP

MCP = rows_of("expected-mcp.jsonl", "file")
MCP_OUTCOMES = {"ok": None, "malformed": "unanswered"}
"""Their word, ours: neither a result nor an error is no answer."""

NEVER_ANSWERED = "neither a result nor an error is no answer: the call is open until the connection closes"
MCP_DISAGREEMENTS = {
    ("mcp/py2_tasks", 39): ({"human_ms": 2}, "an answer showed the elicitation 2 ms before the task was cancelled"),
    ("mcp/raw_oddities", 11): ({"duration_ms": 1570}, NEVER_ANSWERED),
}
"""By capture and id of the first request: what the frames say instead."""


def outcome_of_mcp(row: Row) -> str | None:
    remarks = " ".join(row["remarks"])
    if row["outcome"] == "unanswered" and "last status known: completed" in remarks:
        return "unfetched"
    if row["outcome"] == "task failed":
        never_crossed = "result never fetched" in remarks or "no content" in remarks
        return "failed" if never_crossed else "rpc_error"
    return MCP_OUTCOMES.get(row["outcome"], row["outcome"])


@pytest.mark.parametrize("capture", MCP)
def test_every_mcp_call_is_the_one_that_scripts_counted(capture: str) -> None:
    records = records_of(capture)
    assert len(records) == len(MCP[capture])
    for counted, record in zip(MCP[capture], records, strict=True):
        row = counted | MCP_DISAGREEMENTS.get((capture, counted["ids"][0]), ({}, ""))[0]
        meta = record.get("result_meta", {})
        assert (record["tool"], record["request_id"]) == (row["tool"], str(row["ids"][0]))
        assert json.loads(record.get("arguments", "null")) == row["arguments"]
        assert meta.get("outcome") == outcome_of_mcp(row), row
        assert meta.get("task_id") == row["task"], row
        assert meta.get("waited_ms", 0) == pytest.approx(row["human_ms"], abs=1), row
        assert record["_began_t"] == pytest.approx(row["start_t"], abs=1e-6)
        if row["duration_ms"] is not None:
            assert milliseconds(record) == pytest.approx(row["duration_ms"], abs=1), row
        retries = re.search(r"(\d+) retr", " ".join(row["remarks"]))
        assert meta.get("rounds", 1) == (int(retries[1]) + 1 if retries else 1), row


# Codex and ACP

CODEX_AND_ACP = rows_of("expected-codex-acp.jsonl", "capture")

NOT_COUNTED = {
    r"request_permissions|request_user_input": "it makes no item: an approval that is about no call leaves nothing",
    r"permissionRequest hook|\(blocked by a preToolUse hook": "a run of a hook is no call; if it decided, its call says so",
    r"fs/(readFile|getMetadata|readDirectory) ": "it only reads",
}
"""Rows of the notes that are no calls, by what their tool matches."""
HISTORY = {"acp/codex_load_session"}
"""Captures that only replay old calls."""

ENDED_BEFORE = "the call ended before the client answered, with its prompt; the row has the answer that came 292 ms later"
ALLOWED_BY_HOOK = "the row of the hook has this decision; the notes give it a line of its own"
DISAGREEMENTS = {
    ("acp/codex_permission_unanswered", "execute: touch u.txt"): (
        {"decision": "unanswered", "wait_ms": 710, "decided_by": "-"},
        ENDED_BEFORE,
    ),
    ("acp/codex_permission_unanswered", "execute: touch u2.txt"): (
        {"wait_ms": 507},
        "the row leaves the wait open, the prompt ended it",
    ),
    ("codex171/items_hooks", "command `touch h2.txt; echo hookallow`"): (
        {"decision": "allow", "wait_ms": 3, "decided_by": "hook"},
        ALLOWED_BY_HOOK,
    ),
    ("codex171/items_hooks", "fileChange hookallow.txt"): (
        {"decision": "allow", "wait_ms": 3, "decided_by": "hook"},
        ALLOWED_BY_HOOK,
    ),
}
"""By capture and tool: what the frames say instead."""

DECIDED_BY = {"client (user)": "client", "auto review": "reviewer", "hook": "hook", "": None}
REFUSALS = ("decline", "cancel", "denied", "aborted", "reject_once")


def calls_of(capture: str) -> list[Row]:
    """The rows that are calls.  A row ``same`` is a further approval of the one before it."""
    calls: list[Row] = []
    for counted in [] if capture in HISTORY else CODEX_AND_ACP[capture]:
        row = counted | DISAGREEMENTS.get((capture, counted["tool"]), ({}, ""))[0] | {"count": 1}
        if row["tool"] == "same":
            calls[-1] |= {key: row[key] for key in ("wait_ms", "decided_by")}
            calls[-1] |= {"decision": row["decision"].removeprefix("stdin "), "count": calls[-1]["count"] + 1, "of_input": True}
        elif not any(re.match(pattern, row["tool"]) for pattern in NOT_COUNTED):
            calls.append(row)
    return calls


def outcome_of(row: Row) -> str | None:
    ended, refused = row["ended"], row["decision"].split(" ")[0] in REFUSALS and not row.get("of_input")
    if refused:
        return "declined"
    if re.match(r"completed|ok|exit 0", ended):
        return None
    if re.match(r"exit", ended):
        return "tool_error"
    if ended == "never ended in this capture":  # a command that nobody waits to allow may outlive its turn
        return "unanswered" if row["tool"].startswith("command") and not row["decision"] else "interrupted"
    words = {"refused": "rpc_error", "no final update": "interrupted", "failed": "failed", "declined": "declined"}
    return next(ours for theirs, ours in words.items() if ended.startswith(theirs))


def is_tool_of(record: Record, text: str) -> bool:
    """Whether a record's tool and arguments are what a row says in its own words."""
    arguments, tool = json.loads(record.get("arguments", "{}")), record["tool"]
    kind, _, rest = text.partition(" ")
    about = rest.strip("`")
    match kind:
        case "mcp" | "mcpServer/tool/call":
            return f"{record['env_id']}/{tool}" == about
        case "command" | "userShell":
            return tool == "commandExecution" and about in arguments["command"]
        case "fileChange":
            return tool == kind and arguments["changes"][0]["path"].endswith(about)
        case "dynamic" | "collab":
            return tool == about
        case "subAgentActivity":
            return tool == kind and f"{arguments['kind']} {arguments['agentPath']}" == about
        case "sleep":
            return tool == kind and f"{arguments['durationMs']} ms" == about
        case "command/exec" | "process/spawn":
            return tool == kind and about.removeprefix("w: ") == " ".join(arguments["command"])
        case "mcpServer/resource/read":
            return tool == kind and about == f"{arguments['server']} {arguments['uri']}"
        case "fs/copy":
            return tool == kind and arguments["sourcePath"].endswith(about)
        case _:
            return tool == kind and arguments.get("path", "").endswith(about)


@pytest.mark.parametrize("capture", CODEX_AND_ACP)
def test_every_call_of_codex_and_acp_is_the_one_that_the_notes_count(capture: str) -> None:
    records = records_of(capture)
    calls = calls_of(capture)
    assert len(records) == len(calls)
    for row, record in zip(calls, records, strict=True):
        meta, approval = record.get("result_meta", {}), record.get("approval", {})
        if capture.startswith("acp/"):
            kind, _, title = row["tool"].partition(": ")
            assert meta["title"] == title
            assert record["tool"] == ("other" if kind == "-" else kind) or capture.startswith("acp/claude")
        else:
            assert is_tool_of(record, row["tool"]), (row, record)
        assert meta.get("outcome") == outcome_of(row), (row, record)
        assert record["is_error"] == (outcome_of(row) is not None)
        if code := re.search(r"exit(?:ed)? (-?\d+)", row["ended"]):
            assert meta["exit_code"] == int(code[1])
        if refused := re.match(r"refused: (-?\d+) (.*)", row["ended"]):
            assert meta["error_code"] == int(refused[1])
            assert record["result_summary"].startswith(refused[2])
        decision = re.sub(r" \(.*|^(none|unanswered).*", "", row["decision"])
        assert approval.get("decision", "") == decision, (row, record)
        assert approval.get("by") == DECIDED_BY.get(row["decided_by"], "none"), (row, record)
        assert approval.get("count", 1) == row["count"], (row, record)
        if row["wait_ms"] is not None:
            assert approval["waited_ms"] == pytest.approx(row["wait_ms"], abs=1), (row, record)


def test_every_row_that_is_said_to_contradict_the_frames_is_a_row() -> None:
    assert all(any(row["ids"][0] == first for row in MCP[capture]) for capture, first in MCP_DISAGREEMENTS)
    assert all(any(row["tool"] == tool for row in CODEX_AND_ACP[capture]) for capture, tool in DISAGREEMENTS)


def test_the_expectations_are_about_every_newer_capture() -> None:
    older = {"mcp/py1_demo", "mcp/py2_demo_modern", "mcp/py2_everything_auto"}
    newer = {str(path.relative_to(CAPTURES).with_suffix("")) for path in SESSIONS if path.parent != CAPTURES} - older
    assert newer == MCP.keys() | CODEX_AND_ACP.keys()


def test_the_naive_reader_shares_nothing_with_the_package() -> None:
    assert not any("trio_oplog" in path.read_text() for path in (CAPTURES.parent / "naive").glob("*.py"))
