"""The naive reader by rules that the recorded sessions do not show."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.naive import expected, expected_of_connections

Record = dict[str, Any]
Step = tuple[str, Any]


def frame(message: Any) -> str | bytes:
    return message if isinstance(message, str | bytes) else json.dumps(message, ensure_ascii=False)


def play(*steps: Step, **settings: Any) -> list[Record]:
    """The records of a session with a second between two frames."""
    lines = [(direction, frame(message), float(t)) for t, (direction, message) in enumerate(steps)]
    return expected(lines, **{"source": "sdk", "workspace_id": "ws-1"} | settings)


def play_on(*steps: tuple[str, str, Any], shared: bool) -> list[Record]:
    lines = [(label, direction, frame(message), float(t)) for t, (label, direction, message) in enumerate(steps)]
    return expected_of_connections(lines, source="sdk", workspace_id="ws-1", shared=shared)


def c2s(method: str | None = None, request_id: Any = None, **params: Any) -> Step:
    return ("c2s", {"jsonrpc": "2.0", **({} if request_id is None else {"id": request_id}), "method": method, "params": params})


def s2c(method: str, request_id: Any = None, **params: Any) -> Step:
    return ("s2c", {**({} if request_id is None else {"id": request_id}), "method": method, "params": params})


def call(request_id: Any, tool: str = "x", **params: Any) -> Step:
    return c2s("tools/call", request_id, name=tool, **params)


def answer(request_id: Any, **result: Any) -> Step:
    return ("s2c", {"id": request_id, "result": result})


def reply(request_id: Any, **result: Any) -> Step:
    return ("c2s", {"id": request_id, "result": result})


def text(said: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": said}]


def outcome(record: Record) -> str | None:
    return record.get("result_meta", {}).get("outcome")


# Frames


def test_arguments_are_the_exact_text_in_a_batch_with_odd_spacing_and_repeated_names() -> None:
    batch = '[ {"params":{"arguments":1 ,"arguments" : {"a": 1e400,\t"b":-0} ,"name":"x"},"method":"tools/call","id": 7}\n, 3 ]'
    (record,) = play(("c2s", batch))
    assert record["arguments"] == '{"a": 1e400,\t"b":-0}'
    assert record["request_id"] == "7"


def test_arguments_of_a_frame_that_is_no_utf_8_are_the_size_and_digest_of_their_bytes() -> None:
    (record,) = play(("c2s", b'{"id":1,"method":"tools/call","params":{"name":"\xe2\x82","arguments":{"a":"\xff"}}}'))
    assert record["tool"] == "\ufffd\ufffd"
    assert record["arguments_meta"] == {"truncated": True, "size_bytes": 9, "sha256": hashlib.sha256(b'{"a":"\xff"}').hexdigest()}
    assert "arguments" not in record


def test_a_frame_in_utf_16_is_read_as_it_is() -> None:
    (record,) = play(("c2s", json.dumps(call(1, arguments={"a": "\xe9"})[1], ensure_ascii=False).encode("utf-16")))
    assert record["arguments"] == '{"a": "\xe9"}'


def test_an_answer_in_the_other_type_is_for_the_only_request_of_that_number() -> None:
    respelled, exact = play(call(7), answer("7", content=text("a")), call("8"), call(8), answer("8", content=text("b")))[:2]
    assert respelled["result_meta"] == {"id_respelled": True}
    assert (exact["request_id"], exact.get("result_meta")) == ("8", None)
    assert outcome(play(call(7), c2s("tools/list", "7"), answer("7", content=text("a")))[0]) == "unanswered"
    assert outcome(play(call("07"), answer(7))[0]) == "unanswered"


# What came back

LINK = {"type": "resource_link", "uri": "file:///a"}
EMBEDDED = {"type": "resource", "resource": {"text": "bee"}}


@pytest.mark.parametrize(
    ("result", "summary"),
    [
        ('{"content": "plain"}', "plain"),
        ('{"content": {"type": "text", "text": "one"}}', "one"),
        ('"just text"', "just text"),
        (json.dumps({"content": [EMBEDDED, *text("first")]}), "first"),
        (json.dumps({"content": [LINK, EMBEDDED, EMBEDDED], "structuredContent": 1}), "beebee"),
        ('{"content": [], "structuredContent": {"a" :1}, "toolResult": 2}', '{"a" :1}'),
        ('{"structuredContent": null, "toolResult": [2]}', "[2]"),
        (json.dumps({"content": [LINK, LINK | {"uri": "b:"}]}), "file:///a\nb:"),
        ('{"content": [{"type": "text", "text": ""}], "structuredContent": {"a": 1}}', None),
        ('{"content": [{"type": "image", "data": ""}]}', None),
    ],
)
def test_the_gist_of_a_result_is_the_first_of_text_embedded_text_structure_and_links(result: str, summary: str | None) -> None:
    (record,) = play(call(1), ("s2c", f'{{"id": 1, "result": {result}}}'))
    assert record.get("result_summary") == summary
    assert not record["is_error"]


@pytest.mark.parametrize(
    ("error", "summary", "code"),
    [
        ('"went wrong"', "went wrong", None),
        ('{"code": "E42", "message": {"reason" :"nested"}}', '{"reason" :"nested"}', None),
        ("[1, 2]", "[1, 2]", None),
        ('{"code": -1, "message": "no"}', "no", -1),
        ("{}", None, None),
    ],
)
def test_an_error_of_any_kind_says_what_it_can(error: str, summary: str | None, code: int | None) -> None:
    (record,) = play(call(1), ("s2c", f'{{"id": 1, "error": {error}}}'))
    assert (outcome(record), record.get("result_summary"), record["result_meta"].get("error_code")) == (
        "rpc_error",
        summary,
        code,
    )


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("traceparent", "is_kept"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-more", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"cc-{TRACE}-{SPAN}-01more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (7, False),
    ],
)
def test_a_traceparent_is_kept_where_it_is_well_formed(traceparent: Any, is_kept: bool) -> None:
    (record,) = play(call(1, _meta={"traceparent": traceparent}))
    assert record.get("context") == ({"trace_id": TRACE, "parent_span_id": SPAN} if is_kept else None)


def test_what_a_call_says_of_itself_goes_before_what_the_connection_said() -> None:
    own = {"io.modelcontextprotocol/clientInfo": {"name": "b"}, "io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    served = {"io.modelcontextprotocol/serverInfo": {"name": "t", "version": "2"}}
    first, second = play(
        c2s("initialize", 0, clientInfo={"name": "a", "version": "1"}),
        answer(0, serverInfo={"name": "s", "version": "1"}, protocolVersion="2025-11-25"),
        call(1),
        answer(1),
        call(2, _meta=own),
        answer(2, _meta=served),
        transport="stdio",
    )
    assert first["context"] == {"client": "a/1", "server": "s/1", "protocol": "2025-11-25", "transport": "stdio"}
    assert second["context"] == {"client": "b", "server": "t/2", "protocol": "2026-07-28", "transport": "stdio"}
    assert (first["env_id"], second["env_id"]) == ("s", "t")


# Tasks and rounds of input

ASKS = {"resultType": "input_required", "requestState": "s", "inputRequests": {"who": {"method": "elicitation/create"}}}
RETRY = {"requestState": "s", "inputResponses": {"who": {"action": "accept"}}}


@pytest.mark.parametrize("shared", [True, False])
def test_a_retry_on_another_connection_continues_the_call_where_the_table_is_shared(shared: bool) -> None:
    steps = [("a", *call(1)), ("a", *answer(1, **ASKS)), ("a", "close", ""), ("b", *call(9, **RETRY)), ("b", *answer(9))]
    records = play_on(*steps, shared=shared)
    if shared:
        (record,) = records
        assert (record["request_id"], record["duration_ms"]) == ("1", 4000)
        assert record["result_meta"] == {"waited_ms": 2000, "rounds": 2}
        assert record["approval"] == {"decision": "accept", "by": "client", "waited_ms": 2000}
    else:
        assert [(outcome(record), record["duration_ms"]) for record in records] == [("input_required", 1000), (None, 1000)]


@pytest.mark.parametrize(
    "other", [{"requestState": "t"}, {"inputResponses": {"what": {}}}, {"arguments": {}}, {"arguments": True}, {"name": "y"}]
)
def test_a_call_that_differs_is_no_retry(other: dict[str, Any]) -> None:
    records = play(call(1, arguments=1), answer(1, **ASKS), c2s("tools/call", 2, **{"name": "x", "arguments": 1} | RETRY | other))
    assert [outcome(record) for record in records] == ["unanswered", "input_required"]


def test_a_task_ends_on_whichever_connection_its_result_comes() -> None:
    steps = [
        ("a", *call(1)),
        ("a", *answer(1, task={"taskId": "t", "status": "working"})),
        ("a", "close", ""),
        ("b", *c2s("tasks/result", 1, taskId="t")),
        ("b", *answer(1, content=text("done"))),
    ]
    (record,) = play_on(*steps, shared=True)
    assert (record["result_summary"], record["result_meta"]) == ("done", {"task_id": "t"})
    assert outcome(play_on(*steps, shared=False)[0]) == "unanswered"


TASK = answer(1, resultType="task", taskId="t", status="working")


@pytest.mark.parametrize(
    ("steps", "ended", "summary", "seconds"),
    [
        ([], "unanswered", None, 1),
        ([s2c("notifications/tasks", taskId="t", status="completed"), s2c("ping", 1)], "unfetched", None, 2),
        ([s2c("notifications/tasks", taskId="t", status="failed", statusMessage="a"), s2c("ping", 1)], "failed", "a", 2),
        ([s2c("notifications/tasks", taskId="t", status="cancelled", statusMessage="b")], "cancelled", "b", 2),
        ([s2c("notifications/tasks", taskId="t", status="completed", result={"isError": True})], "tool_error", None, 2),
        ([c2s("tasks/get", 2, taskId="t"), answer(2, status="failed", error="c")], "rpc_error", "c", 3),
        ([c2s("tasks/cancel", 2, taskId="t"), answer(2)], "cancelled", None, 3),
        ([c2s("tasks/cancel", 2, taskId="t"), answer(2, status="completed")], "unfetched", None, 3),
        ([c2s("tasks/cancel", 2, taskId="t"), ("s2c", {"id": 2, "error": "too late"})], "unanswered", None, 3),
        ([c2s("tasks/result", 2, taskId="t"), answer(2)], None, None, 3),
        ([c2s("tasks/result", 2, taskId="t"), ("s2c", {"id": 2, "error": "gone"})], "rpc_error", "gone", 3),
    ],
)
def test_a_task_ends_as_its_statuses_and_results_say(
    steps: list[Step], ended: str | None, summary: str | None, seconds: int
) -> None:
    (record,) = play(call(1), TASK, *steps)
    assert (outcome(record), record.get("result_summary"), record["_ended_t"]) == (ended, summary, seconds)
    assert record["is_error"] == (ended not in (None, "unfetched"))
    assert record["result_meta"]["task_id"] == "t"


def test_an_elicitation_is_about_the_oldest_call_that_has_none_open() -> None:
    ended = play(
        call(1),
        call(2),
        s2c("sampling/createMessage", 0),
        s2c("elicitation/create", 1),
        s2c("elicitation/create", 2),
        reply(1, action="decline"),
        s2c("notifications/cancelled", requestId=0),
        answer(2),
        answer(1),
    )
    assert [record.get("approval") for record in ended] == [{"decision": "decline", "by": "client", "waited_ms": 2000}, None]
    assert [outcome(record) for record in ended] == [None, None]


# Codex


def item(event: str, status: str | None = None, *, turn: str = "u", started: int | None = 1, **fields: Any) -> Step:
    fields = {"type": "fileChange", "id": "i", "startedAtMs": started, "status": status} | fields
    return s2c(f"item/{event}", threadId="t", turnId=turn, item=fields)


def turn_over(turn: str = "u") -> Step:
    return s2c("turn/completed", threadId="t", turn={"id": turn})


APPROVAL = s2c("item/fileChange/requestApproval", 0, threadId="t", itemId="i", reason="why")


def test_what_is_repeated_of_an_execution_adds_nothing() -> None:
    begun, ended = item("started"), item("completed", "completed")
    assert len(play(begun, begun, ended, ended, begun)) == 1
    assert len(play(begun, ended, item("started", started=2), item("completed", "completed", started=2))) == 2
    assert [outcome(record) for record in play(begun, turn_over(), ended)] == ["interrupted"]


def test_two_executions_of_one_id_in_one_millisecond_are_two() -> None:
    steps = [item("started", changes=[1]), item("started", changes=[2])]
    records = play(*steps, item("completed", "completed", changes=[1]), item("completed", "completed", changes=[2], started=5))
    assert [record["arguments"] for record in records] == ['{"changes":[1]}', '{"changes":[2]}']
    assert [record["result_meta"] for record in records] == [{"duplicate_id": True}] * 2


def test_a_new_turn_ends_what_the_older_turns_left_and_a_closed_thread_ends_everything() -> None:
    command = item("started", type="commandExecution", id="c", command="x")
    records = play(
        item("started"), command, s2c("turn/started", threadId="t", turn={"id": "v"}), s2c("thread/closed", threadId="t")
    )
    assert [(record["tool"], outcome(record), record["_ended_t"]) for record in records] == [
        ("fileChange", "interrupted", 2),
        ("commandExecution", "interrupted", 3),
    ]


def hook(event: str, name: str, **run: Any) -> Step:
    return s2c(f"hook/{event}", threadId="t", run={"id": "x:1:/c.toml:i", "eventName": name} | run)


def review(event: str, status: str) -> Step:
    verdict = {"status": status, "rationale": "because", "riskLevel": "low"}
    return s2c(f"item/autoApprovalReview/{event}", threadId="t", reviewId="r", targetItemId="i", review=verdict)


ALLOWED = hook("completed", "permissionRequest", status="completed", entries=[])


@pytest.mark.parametrize(
    ("steps", "approval", "ended"),
    [
        ([hook("started", "permissionRequest"), ALLOWED], {"decision": "allow", "by": "hook", "waited_ms": 1000}, None),
        ([ALLOWED, review("started", "inProgress")], {"by": "none", "waited_ms": 2000}, None),
        (
            [ALLOWED, review("started", "inProgress"), review("completed", "denied")],
            {"decision": "denied", "by": "reviewer", "waited_ms": 1000, "reason": "because", "risk": "low"},
            "declined",
        ),
        (
            [hook("completed", "preToolUse", status="blocked", entries=[{"text": "no"}, {"text": "never"}])],
            {"decision": "block", "by": "hook", "waited_ms": 0, "reason": "no\nnever"},
            "declined",
        ),
        ([hook("completed", "postToolUse", status="blocked", entries=[])], None, None),
        ([hook("completed", "preToolUse", status="completed", entries=[])], None, None),
    ],
)
def test_hooks_and_reviews_may_come_before_the_item_they_decide_about(
    steps: list[Step], approval: Record | None, ended: str | None
) -> None:
    (record,) = play(*steps, item("started"), item("completed", "completed"))
    assert (record.get("approval"), outcome(record)) == (approval, ended)
    assert "waited_ms" not in record.get("result_meta", {})


@pytest.mark.parametrize(
    ("decision", "kept", "ended"),
    [
        ("accept", {"decision": "accept"}, None),
        ({"acceptWithExecpolicyAmendment": {}}, {"decision": "acceptWithExecpolicyAmendment"}, None),
        ("cancel", {"decision": "cancel"}, "declined"),
        (7, {}, None),
    ],
)
def test_an_approval_is_what_the_client_decides(decision: Any, kept: Record, ended: str | None) -> None:
    (record,) = play(item("started"), APPROVAL, reply(0, decision=decision), item("completed", "completed"))
    assert record["approval"] == {"by": "client", "waited_ms": 1000, "reason": "why"} | kept
    assert outcome(record) == ended


def test_an_error_is_an_answer_and_a_resolution_is_none() -> None:
    refused, resolved = ("c2s", {"id": 0, "error": {"message": "gone"}}), s2c("serverRequest/resolved", threadId="t", requestId=0)
    for step, approval in [(refused, {"by": "client", "reason": "gone"}), (resolved, {"by": "none", "reason": "why"})]:
        (record,) = play(item("started"), APPROVAL, step, item("completed", "failed"))
        assert record["approval"] == approval | {"waited_ms": 1000}
        assert outcome(record) == "failed"


def test_of_several_approvals_the_last_stands_even_if_nobody_answered_it() -> None:
    (record,) = play(item("started"), APPROVAL, reply(0, decision="accept"), APPROVAL, turn_over())
    assert record["approval"] == {"by": "none", "waited_ms": 1000, "reason": "why", "count": 2}
    assert record["result_meta"] == {"outcome": "interrupted", "waited_ms": 2000}


def test_a_refused_call_is_declined_even_if_it_never_ends() -> None:
    steps = [item("started"), APPROVAL, reply(0, decision="decline")]
    assert [outcome(play(*steps, *more)[0]) for more in ([], [turn_over()], [item("completed", "failed")])] == ["declined"] * 3


def test_permissions_refuse_nothing() -> None:
    asked = s2c("item/permissions/requestApproval", 0, threadId="t", itemId="i")
    for result, decision in [({"permissions": {}}, "decline"), ({"permissions": {"network": None}}, "turn")]:
        (record,) = play(item("started"), asked, reply(0, **result), item("completed", "completed"))
        assert (record["approval"]["decision"], outcome(record)) == (decision, None)


def test_a_question_to_the_user_is_a_wait_and_no_approval() -> None:
    asked = s2c("item/tool/requestUserInput", 0, threadId="t", itemId="i")
    (record,) = play(item("started"), asked, reply(0, answers={}), item("completed", "completed"))
    assert record["result_meta"] == {"waited_ms": 1000}
    assert "approval" not in record


def test_a_process_ends_when_it_exits_and_not_when_it_is_spawned() -> None:
    spawned = c2s("process/spawn", 1, command=["a"], processHandle="h")
    exited = s2c("process/exited", processHandle="h", exitCode=2, stdout="o", stderr="e")
    (record,) = play(spawned, answer(1), exited, exited)
    assert (record["result_summary"], record["duration_ms"]) == ("oe", 2000)
    assert record["result_meta"] == {"outcome": "tool_error", "exit_code": 2}


def test_the_user_s_own_command_is_not_the_model_s_and_a_generated_image_is_no_text() -> None:
    shell, image = play(
        item("completed", "completed", type="commandExecution", source="userShell"),
        item("completed", "odd", type="imageGeneration", result="aGVsbG8=", savedPath="/a"),
    )
    assert (shell["source"], image["source"]) == ("sdk", "llm")
    assert (image["arguments"], image.get("result_summary"), image["is_error"]) == ('{"savedPath":"/a"}', None, False)


# ACP


def update(said: str, **fields: Any) -> Step:
    return s2c("session/update", sessionId="s", update={"sessionUpdate": said, "toolCallId": "c"} | fields)


def content(said: str) -> list[dict[str, Any]]:
    return [{"type": "content", "content": {"type": "text", "text": said}}]


@pytest.mark.parametrize(
    ("earlier", "last", "summary"),
    [
        ({"content": content("a"), "rawOutput": "b"}, {"content": content("c"), "rawOutput": "d"}, "c"),
        ({"content": content("a"), "rawOutput": "b"}, {"rawOutput": {"d": 1}}, '{"d": 1}'),
        ({"content": content("a"), "rawOutput": "b"}, {"rawOutput": None}, "a"),
        ({"content": [{"type": "terminal"}], "rawOutput": "b"}, {}, "b"),
    ],
)
def test_the_gist_of_an_agent_s_call_is_its_last_content_or_output(earlier: Record, last: Record, summary: str) -> None:
    (record,) = play(update("tool_call", **earlier), update("tool_call_update", status="completed", **last))
    assert record["result_summary"] == summary


def test_an_agent_s_call_is_what_was_last_said_of_it() -> None:
    (record,) = play(
        update("tool_call", kind="read", title="a", rawInput={}),
        update("tool_call", kind="edit", title="b", rawInput={"x": 1}, _meta={"toolName": "Edit"}),
        update("tool_call_update", status="failed", rawInput=None),
        update("tool_call_update", status="completed"),
    )
    assert (record["tool"], record["arguments"], record["thread_id"], record["source"]) == ("Edit", '{"x": 1}', "s", "llm")
    assert record["result_meta"] == {"outcome": "failed", "title": "b"}
    assert record["context"] == {"session": "s"}


def test_the_answer_to_a_prompt_ends_what_is_open_and_late_words_add_nothing() -> None:
    asked = s2c(
        "session/request_permission",
        0,
        sessionId="s",
        toolCall={"toolCallId": "p"},
        options=[{"optionId": "n", "kind": "reject_once"}],
    )
    records = play(
        c2s("session/prompt", 1, sessionId="s"),
        update("tool_call"),
        asked,
        reply(0, outcome={"outcome": "selected", "optionId": "n"}),
        ("s2c", {"id": 1, "error": {"message": "stopped"}}),
        update("tool_call_update", status="completed"),
        asked,
    )
    assert [(record["request_id"], outcome(record)) for record in records] == [("c", "interrupted"), ("p", "declined")]


def test_a_loaded_session_s_history_is_no_call() -> None:
    replayed = update("tool_call", status="completed")
    records = play(c2s("session/load", 1, sessionId="s"), replayed, answer(1), replayed)
    assert [record["_ended_t"] for record in records] == [3]


def test_items_and_agents_are_left_out_on_request() -> None:
    assert play(item("started"), update("tool_call"), call(1), record_items=False)[0]["tool"] == "x"
