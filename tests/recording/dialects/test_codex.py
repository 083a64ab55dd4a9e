"""Codex app-server: direct calls, and items, which are what the model calls."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from tests.watching import BEGAN, Watch, operation
from trio_oplog import Outcome
from trio_oplog._operation import ArgumentsMeta, ResultMeta

TYPES = ["mcpToolCall", "commandExecution", "fileChange", "dynamicToolCall", "collabAgentToolCall", "webSearch"]


def call(**params: Any) -> dict[str, Any]:
    return {"id": 1, "method": "mcpServer/tool/call", "params": params}


def started(kind: str = "mcpToolCall", *, thread: Any = "t-1", turn: Any = "u-1", **item: Any) -> dict[str, Any]:
    return note("item/started", kind, thread, turn, item)


def completed(kind: str = "mcpToolCall", *, thread: Any = "t-1", turn: Any = "u-1", **item: Any) -> dict[str, Any]:
    return note("item/completed", kind, thread, turn, item)


def note(method: str, kind: str, thread: Any, turn: Any, item: dict[str, Any]) -> dict[str, Any]:
    return {"method": method, "params": {"threadId": thread, "turnId": turn, "item": {"type": kind, "id": "i-1"} | item}}


def turn_completed(thread: Any = "t-1", turn: Any = "u-1") -> dict[str, Any]:
    return {"method": "turn/completed", "params": {"threadId": thread, "turn": {"id": turn, "items": []}}}


def item_operation(**fields: Any) -> Any:
    return operation(**{"source": "llm", "thread_id": "t-1", "request_id": "i-1"} | fields)


# Direct calls


def test_a_direct_call_with_its_answer_is_one_operation() -> None:
    watch = Watch()
    watch.client(
        '{"method":"mcpServer/tool/call","id":7,"params":{"threadId":"t-1","server":"demo","tool":"echo","name":"no",'
        '"arguments":{"a":1},"_meta":{"agentserver_user_id":"u-1","threadId":"no"}}}'
    )
    watch.server(
        '{"id":7,"result":{"content":[{"type":"text","text":"hi"}],"structuredContent":null,"isError":null,"_meta":null}}'
    )
    assert watch.recorded == [
        operation(
            tool="echo", env_id="demo", thread_id="t-1", user_id="u-1", request_id="7", arguments=b'{"a":1}', result_summary="hi"
        )
    ]


@pytest.mark.parametrize("params", [None, [], "x", {}, {"tool": ""}, {"tool": 5}, {"name": "echo"}])
def test_a_direct_call_that_names_no_tool_is_recorded_as_unknown(params: Any) -> None:
    watch = Watch()
    watch.client({"id": 1, "method": "mcpServer/tool/call", "params": params})
    assert watch.close() == [operation(request_id="1", is_error=True, result_meta=ResultMeta(outcome=Outcome.UNANSWERED))]


@pytest.mark.parametrize("request_id", [None, False, [], {}])
def test_a_direct_call_needs_a_string_or_a_number_as_its_id(request_id: Any) -> None:
    watch = Watch()
    watch.client(call() | {"id": request_id}, {"method": "mcpServer/tool/call", "params": {"tool": "echo"}})
    assert watch.close() == []


@pytest.mark.parametrize(
    ("params", "thread_id"),
    [
        ({"threadId": "a", "thread_id": "b"}, "a"),
        ({"thread_id": "b"}, "b"),
        ({"threadId": "", "thread_id": "b"}, "b"),
        ({"threadId": 5, "thread_id": "b"}, "b"),
        ({"threadId": None}, None),
        ({"thread_id": ""}, None),
        ({"_meta": {"threadId": "c"}}, None),
    ],
)
def test_the_thread_is_read_in_both_spellings(params: dict[str, Any], thread_id: str | None) -> None:
    watch = Watch()
    watch.client(call(**params))
    assert [op.thread_id for op in watch.close()] == [thread_id]


@pytest.mark.parametrize(
    ("params", "env_id"),
    [
        ({"server": "demo", "arguments": {"environment_id": "e"}}, "e"),
        ({"server": "demo", "arguments": {"environment_id": ""}}, "demo"),
        ({"server": "demo"}, "demo"),
        ({"server": ""}, "local"),
        ({"server": 5}, "local"),
        ({"server": "x" * 2_000}, "x" * 1_024),
    ],
)
def test_the_environment_is_the_one_in_the_arguments_else_the_server(params: dict[str, Any], env_id: str) -> None:
    watch = Watch()
    watch.client(call(**params))
    assert [op.env_id for op in watch.close()] == [env_id]


def test_a_direct_call_keeps_names_and_arguments_within_their_limits() -> None:
    watch = Watch(args_max_bytes=3)
    watch.client(call(tool="\xe9" * 600, threadId="x" * 2_000, arguments=[100], _meta={"agentserver_user_id": "y" * 2_000}))
    watch.client('{"id":2,"method":"mcpServer/tool/call","params":{"arguments":100,"_meta":[]}}')
    watch.client('{"id":3,"method":"mcpServer/tool/call","params":{"arguments":null,"_meta":{"agentserver_user_id":""}}}')
    first, second, third = watch.close()
    assert (first.tool, first.thread_id, first.user_id) == ("\xe9" * 512, "x" * 1_024, "y" * 1_024)
    assert (first.arguments, first.arguments_meta) == (None, ArgumentsMeta(size_bytes=5, sha256=sha256(b"[100]").hexdigest()))
    assert (second.arguments, second.arguments_meta, second.user_id) == (b"100", None, None)
    assert (third.arguments, third.arguments_meta, third.user_id) == (None, None, None)


# Items


@pytest.mark.parametrize(
    ("kind", "item", "fields"),
    [
        (
            "mcpToolCall",
            {"server": "demo", "tool": "echo", "arguments": {"a": 1}, "result": {"content": [{"type": "text", "text": "hi"}]}},
            {"tool": "echo", "env_id": "demo", "arguments": b'{"a": 1}', "result_summary": "hi"},
        ),
        (
            "mcpToolCall",
            {"server": "demo", "arguments": {"environment_id": "e"}},
            {"env_id": "e", "arguments": b'{"environment_id": "e"}'},
        ),
        ("mcpToolCall", {"arguments": None, "command": "ls"}, {}),
        (
            "dynamicToolCall",
            {
                "tool": "lookup",
                "arguments": [1],
                "contentItems": [{"type": "inputText", "text": "a"}, {"type": "inputText", "text": "b"}],
            },
            {"tool": "lookup", "arguments": b"[1]", "result_summary": "ab"},
        ),
        (
            "dynamicToolCall",
            {"contentItems": [{"type": "inputText", "text": "a"}, {"type": "inputImage", "imageUrl": "x"}]},
            {"result_summary": "a", "result_meta": ResultMeta(content_types=("inputText", "inputImage"))},
        ),
        (
            "commandExecution",
            {"cwd": "/w", "command": "ls", "aggregatedOutput": "a\n", "exitCode": 0, "durationMs": 12, "arguments": {"no": 1}},
            {
                "tool": "commandExecution",
                "arguments": b'{"command":"ls","cwd":"/w"}',
                "result_summary": "a\n",
                "result_meta": ResultMeta(exit_code=0, reported_duration_ms=12),
            },
        ),
        ("commandExecution", {"command": ["ls", "-l"]}, {"tool": "commandExecution", "arguments": b'{"command":["ls", "-l"]}'}),
        ("commandExecution", {}, {"tool": "commandExecution"}),
        (
            "commandExecution",
            {"command": "x", "environment_id": "e"},
            {"tool": "commandExecution", "arguments": b'{"command":"x"}'},
        ),
        ("fileChange", {"changes": [{"path": "a"}]}, {"tool": "fileChange", "arguments": b'{"changes":[{"path": "a"}]}'}),
        ("webSearch", {"query": "trio"}, {"tool": "webSearch", "arguments": b'{"query":"trio"}'}),
        ("webSearch", {"query": None}, {"tool": "webSearch", "arguments": b'{"query":null}'}),
        (
            "collabAgentToolCall",
            {"tool": "spawnAgent", "prompt": "go", "receiverThreadIds": ["t-2"]},
            {"tool": "spawnAgent", "arguments": b'{"prompt":"go","receiverThreadIds":["t-2"]}'},
        ),
    ],
)
def test_every_type_of_item_is_recorded_with_what_it_has_for_arguments(
    kind: str, item: dict[str, Any], fields: dict[str, Any]
) -> None:
    watch = Watch()
    watch.server(started(kind, **item), completed(kind, status="completed", **item))
    assert watch.recorded == [item_operation(**fields)]


@pytest.mark.parametrize("kind", ["agentMessage", "userMessage", "reasoning", "plan", "", 5, None, "mcptoolcall"])
def test_an_item_that_is_no_tool_call_is_not_recorded(kind: Any) -> None:
    watch = Watch()
    watch.server(started(kind), completed(kind, startedAtMs=1))
    assert watch.close() == []


@pytest.mark.parametrize("kind", TYPES)
def test_items_are_not_recorded_where_nobody_asked_for_them(kind: str) -> None:
    watch = Watch(record_items=False)
    watch.client(call())
    watch.server(started(kind), completed(kind), turn_completed())
    assert watch.recorded == []


@pytest.mark.parametrize("frame", [started, completed, turn_completed])
def test_what_a_client_sends_is_no_item(frame: Any) -> None:
    watch = Watch()
    watch.server(started())
    watch.client(frame())
    assert watch.recorded == []


@pytest.mark.parametrize("frame", [started(), completed(), turn_completed()])
def test_a_request_is_no_notification(frame: dict[str, Any]) -> None:
    watch = Watch()
    watch.server(started(id="i-2"), frame | {"id": 7})
    assert watch.recorded == []
    assert watch.statistics.open_calls == 1


@pytest.mark.parametrize("method", ["item/started", "item/completed", "turn/completed"])
@pytest.mark.parametrize(
    "params", [None, [], {}, {"item": None, "turn": None}, {"item": [], "turn": 5}, {"item": {}, "turn": {}}]
)
def test_a_notification_without_its_parts_says_nothing(method: str, params: Any) -> None:
    watch = Watch()
    watch.server(started(), {"method": method, "params": params}, {"method": method})
    assert watch.recorded == []
    assert watch.statistics.open_calls == 1
    assert watch.statistics.internal_errors == 0


def test_an_item_begins_when_it_started_and_says_the_rest_when_it_completed() -> None:
    watch = Watch()
    watch.server(started(tool="early", server="early", arguments={"a": 1}, status="inProgress"))
    watch.seconds = 2.0
    watch.server(completed(tool="late", server="late", arguments={"a": 2}))
    assert watch.recorded == [
        item_operation(
            tool="late", env_id="late", arguments=b'{"a": 2}', completed_at=BEGAN + timedelta(seconds=2), duration_ms=2_000
        )
    ]


def test_an_item_that_nothing_announced_is_recorded_all_the_same() -> None:
    watch = Watch()
    watch.seconds = 1.0
    watch.server(completed(tool="echo"))
    later = BEGAN + timedelta(seconds=1)
    assert watch.recorded == [item_operation(tool="echo", started_at=later, completed_at=later)]


@pytest.mark.parametrize(
    "other",
    [
        {"thread": "t-2"},
        {"turn": "u-2"},
        {"id": "i-2"},
        {"kind": "dynamicToolCall"},
        {"thread": None},
        {"turn": None},
        {"id": None},
    ],
)
def test_an_item_ends_only_by_its_own_thread_turn_id_and_type(other: dict[str, Any]) -> None:
    watch = Watch()
    watch.server(started(tool="echo"), completed(**{"tool": "other"} | other))
    assert [op.tool for op in watch.recorded] == ["other"]
    assert watch.statistics.open_calls == 1
    watch.server(completed(tool="echo"))
    assert watch.recorded[1:] == [item_operation(id="id-2", tool="echo")]


def test_items_with_one_id_end_in_the_order_in_which_they_began() -> None:
    watch = Watch()
    watch.server(started())
    watch.seconds = 1.0
    watch.server(started())
    watch.seconds = 3.0
    watch.server(completed(tool="a"), completed(tool="b"), started(), completed(tool="c"))
    assert [(op.tool, op.duration_ms, op.result_meta) for op in watch.recorded] == [
        ("a", 3_000, ResultMeta(duplicate_id=True)),
        ("b", 2_000, ResultMeta(duplicate_id=True)),
        ("c", 0, None),
    ]


def error(outcome: Outcome, summary: str | None = None, **meta: Any) -> dict[str, Any]:
    return {"is_error": True, "result_summary": summary, "result_meta": ResultMeta(outcome=outcome, **meta)}


def noted(**meta: Any) -> dict[str, Any]:
    return {"result_meta": ResultMeta(**meta)}


FAILED = error(Outcome.FAILED)
TOOL_ERROR = error(Outcome.TOOL_ERROR)
TEXT = [{"type": "text", "text": "r"}]
INPUT_TEXT = [{"type": "inputText", "text": "x"}]


@pytest.mark.parametrize(
    ("item", "fields"),
    [
        ({"status": "completed"}, {}),
        ({"status": "inProgress"}, {}),
        ({"status": None}, {}),
        ({}, {}),
        ({"status": "failed"}, FAILED),
        ({"status": "exploded"}, FAILED),
        ({"status": ""}, FAILED),
        ({"status": "declined"}, error(Outcome.DECLINED)),
        ({"status": "interrupted"}, error(Outcome.INTERRUPTED)),
        ({"status": "declined", "error": {"message": "no"}, "success": False}, error(Outcome.DECLINED, "no")),
        ({"status": "completed", "success": False}, TOOL_ERROR),
        ({"success": False}, TOOL_ERROR),
        ({"success": True}, {}),
        ({"success": None}, {}),
        ({"success": 0}, {}),
        ({"status": "failed", "success": False}, FAILED),
        ({"result": {"isError": True}}, TOOL_ERROR),
        ({"result": {"isError": False}}, {}),
        ({"result": {"isError": True}, "status": "failed"}, FAILED),
        ({"error": None}, {}),
        ({"error": {"message": "boom"}}, FAILED | {"result_summary": "boom"}),
        ({"error": {"message": "boom"}, "status": "completed", "success": False}, FAILED | {"result_summary": "boom"}),
        ({"error": {"message": "boom", "code": -5}, "status": "failed"}, error(Outcome.FAILED, "boom", error_code=-5)),
        ({"error": {"code": 2**63}}, FAILED),
        ({"error": {"message": ""}, "aggregatedOutput": "out"}, FAILED | {"result_summary": "out"}),
        ({"error": {"message": "boom"}, "aggregatedOutput": "out"}, FAILED | {"result_summary": "boom"}),
        ({"error": "boom"}, FAILED | {"result_summary": "boom"}),
        ({"error": {}, "result": {"content": [{"type": "text", "text": "x"}]}}, FAILED | {"result_summary": "x"}),
        ({"exitCode": 3, "status": "failed"}, error(Outcome.FAILED, exit_code=3)),
        ({"exitCode": 2**63, "durationMs": 2**63}, {}),
        ({"exitCode": -(2**63), "durationMs": 2**63 - 1}, noted(exit_code=-(2**63), reported_duration_ms=2**63 - 1)),
        ({"exitCode": "3", "durationMs": 1.5}, {}),
        ({"exitCode": 0}, noted(exit_code=0)),
        ({"durationMs": 0}, noted(reported_duration_ms=0)),
        ({"exitCode": None, "durationMs": None, "aggregatedOutput": None, "result": None, "contentItems": None}, {}),
        ({"aggregatedOutput": ""}, {}),
        ({"aggregatedOutput": 5}, {}),
        ({"result": {"content": []}, "contentItems": INPUT_TEXT}, {"result_summary": "x"}),
        ({"result": {"content": TEXT}, "contentItems": INPUT_TEXT, "aggregatedOutput": "o"}, {"result_summary": "r"}),
        ({"result": {"content": [{"type": "image"}]}, "durationMs": 1}, noted(content_types=("image",), reported_duration_ms=1)),
        ({"result": {"resultType": "input_required"}}, {}),
        ({"result": 5}, {}),
    ],
)  # fmt: skip
def test_a_completed_item_says_how_it_went(item: dict[str, Any], fields: dict[str, Any]) -> None:
    watch = Watch()
    watch.server(completed(**item))
    assert watch.recorded == [item_operation(**fields)]


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind != "commandExecution"])
def test_an_item_cannot_outlive_its_turn(kind: str) -> None:
    watch = Watch()
    watch.server(started(kind, tool="x"), turn_completed("t-1", "u-2"), turn_completed("t-2", "u-1"), turn_completed(None, None))
    assert watch.recorded == []
    watch.seconds = 1.0
    watch.server(turn_completed(), turn_completed())
    meta = ResultMeta(outcome=Outcome.INTERRUPTED)
    end = {"completed_at": BEGAN + timedelta(seconds=1), "duration_ms": 1_000, "is_error": True, "result_meta": meta}
    assert watch.recorded == [item_operation(tool="x", **end)]


def test_a_command_may_complete_after_its_turn() -> None:
    watch = Watch()
    watch.server(started("commandExecution"), turn_completed(), completed("commandExecution", exitCode=0))
    assert watch.recorded == [item_operation(tool="commandExecution", result_meta=ResultMeta(exit_code=0))]


def test_a_turn_ends_all_of_its_items_in_their_order_and_no_other_call() -> None:
    watch = Watch()
    watch.client(call(threadId="t-1", turnId="u-1"))
    watch.server(started(id="a"), started(id="b", turn="u-2"), started(id="c"), started(id="a"), turn_completed())
    assert [(op.request_id, op.result_meta) for op in watch.recorded] == [
        ("a", ResultMeta(outcome=Outcome.INTERRUPTED, duplicate_id=True)),
        ("c", ResultMeta(outcome=Outcome.INTERRUPTED)),
        ("a", ResultMeta(outcome=Outcome.INTERRUPTED, duplicate_id=True)),
    ]
    assert [op.request_id for op in watch.close()[3:]] == ["1", "b"]


def test_an_item_without_thread_turn_and_id_is_recorded_without_them() -> None:
    watch = Watch()
    bare = {"item": {"type": "webSearch"}}
    watch.server({"method": "item/started", "params": bare}, {"method": "item/completed", "params": bare})
    assert watch.recorded == [operation(source="llm", tool="webSearch")]


def test_long_names_of_items_are_cut() -> None:
    watch = Watch()
    long = "x" * 2_000
    watch.server(started(thread=long, turn=long, id=long), completed(thread=long, turn=long, id=long, tool=long, server=long))
    (op,) = watch.recorded
    assert (op.thread_id, op.request_id, op.tool, op.env_id) == ("x" * 1_024,) * 4
    watch.server(started(thread=long, turn=long), turn_completed(long, long))
    assert len(watch.recorded) == 2


def test_arguments_of_items_over_the_limit_leave_their_size_and_digest() -> None:
    watch = Watch(args_max_bytes=20)
    watch.server(
        completed("webSearch", query="12345678"), completed("webSearch", query="123456789"), completed(arguments="x" * 19)
    )
    assert [op.arguments for op in watch.recorded] == [b'{"query":"12345678"}', None, None]
    digests = [sha256(text).hexdigest() for text in (b'{"query":"123456789"}', b'"' + b"x" * 19 + b'"')]
    assert [op.arguments_meta for op in watch.recorded[1:]] == [ArgumentsMeta(size_bytes=21, sha256=digest) for digest in digests]


def test_a_stand_in_for_arguments_that_no_json_can_hold_leaves_its_digest() -> None:
    watch = Watch()
    watch.server('{"method":"item/completed","params":{"item":{"type":"webSearch","query":[NaN]}}}')
    assert watch.recorded[0].arguments_meta == ArgumentsMeta(size_bytes=15, sha256=sha256(b'{"query":[NaN]}').hexdigest())


# The identity of an execution


def identity(workspace: str = "ws-1", **changes: Any) -> str:
    watch = Watch(workspace_id=workspace)
    watch.server(completed(**{"startedAtMs": 100, "completedAtMs": 200, "tool": "echo"} | changes))
    return watch.recorded[0].id


def test_two_connections_that_watch_one_execution_record_one_id() -> None:
    assert identity() == identity() == identity(tool="other", status="failed", arguments=[1])
    watch = Watch()
    watch.server(started(startedAtMs=100), completed(startedAtMs=100, completedAtMs=200))
    assert watch.recorded[0].id == identity()


def test_the_identity_of_an_execution_is_fixed_for_ever() -> None:
    assert identity() == "ec543185-94e3-5d86-9c8e-0b0e9d2b1955"
    assert identity(thread="\ud800\xe9", turn=None, id=None, completedAtMs=None) == "f3fceade-c63d-5d2e-8b2d-d085f5854365"


@pytest.mark.parametrize(
    "change",
    [
        {"workspace": "ws-2"},
        {"thread": "t-2"},
        {"turn": "u-2"},
        {"id": "i-2"},
        {"kind": "webSearch"},
        {"startedAtMs": 101},
        {"completedAtMs": 201},
        {"completedAtMs": None},
        {"thread": None},
    ],
)
def test_executions_that_differ_in_anything_have_different_ids(change: dict[str, Any]) -> None:
    assert identity(**change) != identity()


@pytest.mark.parametrize("began", [None, 1.5, "100", True])
def test_an_item_that_does_not_say_when_it_started_has_a_random_id(began: Any) -> None:
    assert identity(startedAtMs=began) == "id-1"


def test_two_connections_give_an_interrupted_item_one_id() -> None:
    ids = []
    for times in (100, 100, 101, None):
        watch = Watch()
        watch.server(started(startedAtMs=times), turn_completed())
        ids.append(watch.recorded[0].id)
    assert ids[0] == ids[1] != ids[2]
    assert ids[3] == "id-1"


def test_items_in_a_batch_are_read_like_others() -> None:
    watch = Watch()
    watch.server([started(), completed(tool="echo"), {"id": 1, "result": {}}])
    assert watch.recorded == [item_operation(tool="echo")]


def test_odd_spelling_hides_no_item() -> None:
    watch = Watch()
    for field in (
        '"startedAtMs":NaN',
        '"x":"\ud800"',
        '"exitCode":1.0',
        '"status":"completed","success":"no"',
        f'"x":{"7" * 5_000},"tool":5',
    ):
        frame = '{"method":"item\\/completed","params":{"threadId":"t-1","item":{"id":"i-1","type":"mcpToolCall",%s}}}'
        watch.server(frame.replace("%s", field), json.dumps(turn_completed()))
    assert watch.recorded == [item_operation(id=f"id-{number}") for number in range(1, 6)]
