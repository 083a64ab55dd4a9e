from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from trio_oplog import ListError
from trio_oplog._cli.output import make_console
from trio_oplog._cli.table import Shown, print_operations, read_reply

RECORD = {
    "id": "1",
    "workspace_id": "ws",
    "started_at": "2026-01-31T12:00:00.123456Z",
    "source": "sdk",
    "env_id": "local",
    "tool": "echo",
    "is_error": False,
    "duration_ms": 7,
}


def shown(*changes: dict[str, Any]) -> list[Shown]:
    return read_reply(json.dumps({"operations": [RECORD | change for change in changes]}).encode())


def printed(*changes: dict[str, Any], width: int = 140) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    print_operations(shown(*changes), console, utc=True)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"{}", "is no list of operations"),
        (b"[]", "is no list of operations"),
        (b'{"operations": [{"id": "1"}]}', "lists something that is no operation"),
        (b'{"operations": [5]}', "lists something that is no operation"),
    ],
)
def test_an_answer_that_is_something_else_is_told_so(answer: bytes, problem: str) -> None:
    with pytest.raises(ListError, match=problem):
        read_reply(answer)


def test_at_140_columns_everything_is_on_a_line() -> None:
    assert printed({"arguments": {"text": "hi"}, "result_summary": "hi"}) == [
        "ID  2026-01-31 UTC  SOURCE  ENV    TOOL  TOOK  OUTCOME  ARGUMENTS       RESULT",
        '1   12:00:00.123    sdk     local  echo  7 ms  ok       {"text": "hi"}  hi',
    ]


def test_at_80_columns_arguments_and_result_share_what_there_is_room_for() -> None:
    assert printed({"arguments": {"text": "hi"}, "result_summary": "hi " * 100}, width=80) == [
        "ID 01-31 UTC SOURCE ENV   TOOL TOOK OUTCOME ARGUMENTS      RESULT",
        '1  12:00:00  sdk    local echo 7 ms ok      {"text": "hi"} hi hi hi hi hi hi hi…',
    ]


def test_more_than_one_day_is_shown_as_days() -> None:
    later = {"started_at": "2026-02-01T00:00:00Z"}
    assert [line[4:23] for line in printed({}, later)] == ["STARTED (UTC)      ", "2026-01-31 12:00:00", "2026-02-01 00:00:00"]
    assert [line[3:17] for line in printed({}, later, width=80)] == ["(UTC)         ", "01-31 12:00:00", "02-01 00:00:00"]


def test_a_time_that_is_none_is_shown_as_it_came() -> None:
    assert "some day" in printed({"started_at": "some day"})[1]
    assert printed({"started_at": "some day"})[0].split()[:3] == ["ID", "STARTED", "(UTC)"]


def test_ids_are_as_long_as_it_takes_to_tell_them_apart() -> None:
    ids = [line.split()[0] for line in printed({"id": "0123456789ab"}, {"id": "0123456789ac"}, {"id": "1" * 40})[1:]]
    assert ids == ["0123456789ab", "0123456789ac", "1" * 12]


def test_who_is_the_user_and_else_the_client() -> None:
    lines = printed({"user_id": "ada", "context": {"client": "c/1"}}, {"context": {"client": "c/1"}}, {"context": {}})
    who = lines[0].index("WHO")
    assert [line[who : who + 5].strip() for line in lines] == ["WHO", "ada", "(c/1)", ""]


@pytest.mark.parametrize("width", [20, 60, 80, 120, 139, 140, 200])
def test_no_line_is_wider_than_the_terminal_or_broken_in_two(width: int) -> None:
    long = {
        "tool": "t" * 50,
        "env_id": "\u6771\u4eac" * 20,
        "source": "s" * 50,
        "result_summary": "x" * 999,
        "duration_ms": 2**31 - 1,
    }
    approval = {"decision": "acceptWithExecpolicyAmendment", "by": "client", "waited_ms": 2**31 - 1}
    meta = {"outcome": "input_required", "waited_ms": 2**31 - 1}
    lines = printed(long | {"is_error": True, "result_meta": meta, "approval": approval}, {}, width=width)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)


def test_what_strangers_wrote_cannot_move_the_cursor_or_forge_a_row() -> None:
    [_, line] = printed({"tool": "\x1b[2Jx\x9b", "result_summary": "a\nb\r\n\tc \u202e\u2028d [red]e[/red] :smile:"})
    assert "\ufffd[2Jx\ufffd" in line
    assert "a b c \ufffd d [red]e[/red] :smile:" in line


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (59_940, "59.9 s"),
        (60_000, "1 min 0 s"),
        (3_599_999, "59 min 59 s"),
        (3_600_000, "1 h 0 min"),
    ],
)
def test_a_duration_is_told_in_the_unit_that_fits(milliseconds: int, text: str) -> None:
    assert text in printed({"duration_ms": milliseconds})[1]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "ok"),
        ({"result_meta": {"truncated": True}}, "ok"),
        ({"is_error": True}, "error"),
        ({"is_error": True, "result_meta": {"outcome": "declined"}}, "declined"),
        ({"result_meta": {"outcome": "input_required"}}, "input_required"),
    ],
)
def test_the_outcome_is_the_most_exact_word_there_is(change: dict[str, Any], outcome: str) -> None:
    assert f" {outcome}" in printed(change)[1]


def test_arguments_that_were_not_kept_are_shown_as_their_size() -> None:
    meta = {"truncated": True, "size_bytes": 70_000, "sha256": "00"}
    assert "(70000 bytes)" in printed({"arguments_meta": meta})[1]


APPROVED = {"approval": {"decision": "accept", "by": "client", "waited_ms": 2_090}, "result_meta": {"waited_ms": 2_100}}


def test_who_approved_a_call_and_how_long_it_waited_is_shown_where_any_call_has_it() -> None:
    assert printed(APPROVED | {"result_summary": "hi"}, {"result_summary": "hello", "id": "2"}) == [
        "ID  2026-01-31 UTC  SOURCE  ENV    TOOL  TOOK  OUTCOME  APPROVED         WAITED  ARGUMENTS  RESULT",
        "1   12:00:00.123    sdk     local  echo  7 ms  ok       accept (client)   2.1 s             hi",
        "2   12:00:00.123    sdk     local  echo  7 ms  ok                                           hello",
    ]


def test_at_80_columns_the_approval_is_shown_before_the_wait_and_both_leave_room_for_the_rest() -> None:
    assert printed(APPROVED | {"result_summary": "x" * 99}, width=80) == [
        "ID 01-31 UTC SOURCE ENV   TOOL TOOK OUTCOME APPROVED        ARGUMENTS RESULT",
        "1  12:00:00  sdk    local echo 7 ms ok      accept (client)           xxxxxxxxx…",
    ]
    assert "APPROVED" not in printed(APPROVED | {"tool": "commandExecution"}, width=50)[0]


@pytest.mark.parametrize(
    ("approval", "shown"),
    [
        ({"decision": "approved", "by": "reviewer", "waited_ms": 900}, "approved (reviewer)  900 ms"),
        ({"by": "none", "waited_ms": 0}, "(none)      0 ms"),
        ({"decision": "\x1b[2J", "by": 5, "waited_ms": "long"}, "\ufffd[2J (none)"),
    ],
)
def test_an_approval_is_its_decision_and_who_made_it(approval: dict[str, Any], shown: str) -> None:
    assert shown in printed({"approval": approval})[1]


def test_a_call_that_waited_without_an_approval_shows_its_wait_alone() -> None:
    [header, line] = printed({"result_meta": {"waited_ms": 0}})
    assert "APPROVED" not in header
    assert "  0 ms" in line[header.index("WAITED") - 1 :]


def test_a_pipe_gets_long_lines_unless_it_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert make_console().width == 240
    monkeypatch.setenv("COLUMNS", "100")
    assert make_console().width == 100
    assert make_console(width=50).width == 50
