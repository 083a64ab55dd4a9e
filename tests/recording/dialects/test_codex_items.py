"""Codex: items that are told again, turns and threads that end them, and what the newer types of items say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.watching import BEGAN, Watch, operation
from trio_oplog import Outcome
from trio_oplog._operation import ResultMeta

Message = dict[str, Any]


def note(event: str, type_: str, thread: Any = "t", turn: Any = "u", **item: Any) -> Message:
    params = {"threadId": thread, "turnId": turn, "item": {"type": type_, "id": "i"} | item}
    return {"method": f"item/{event}", "params": params}


def started(type_: str = "fileChange", **more: Any) -> Message:
    return note("started", type_, **more)


def completed(type_: str = "fileChange", **more: Any) -> Message:
    return note("completed", type_, **more)


def turn(event: str, turn_id: Any = "u", thread: Any = "t") -> Message:
    return {"method": f"turn/{event}", "params": {"threadId": thread, "turn": {"id": turn_id}}}


def closed(thread: Any = "t") -> Message:
    return {"method": "thread/closed", "params": {"threadId": thread}}


def item_operation(tool: str = "fileChange", **fields: Any) -> Any:
    return operation(**{"source": "llm", "thread_id": "t", "request_id": "i", "tool": tool} | fields)


def outcomes(watch: Watch) -> list[tuple[str, Outcome | None]]:
    """The items of a session, and how they ended."""
    return [(op.request_id or "", op.result_meta.outcome if op.result_meta else None) for op in watch.recorded]


# The types


@pytest.mark.parametrize(
    ("kind", "item", "fields"),
    [
        (
            "webSearch",
            {"query": "", "action": {"type": "openPage", "url": "http://127.0.0.1/page"}},
            {"arguments": b'{"query":"","action":{"type": "openPage", "url": "http://127.0.0.1/page"}}'},
        ),
        ("imageView", {"path": "/w/a.png", "query": "no"}, {"arguments": b'{"path":"/w/a.png"}'}),
        (
            "imageGeneration",
            {"savedPath": "/w/cat.png", "revisedPrompt": "a cat", "status": "generating", "result": "iVBOR", "failure": None},
            {"arguments": b'{"revisedPrompt":"a cat","savedPath":"/w/cat.png"}'},
        ),
        (
            "imageGeneration",
            {"status": "failed"},
            {"is_error": True, "result_meta": ResultMeta(outcome=Outcome.FAILED)},
        ),
        (
            "imageGeneration",
            {"status": "completed", "failure": {"reason": "policy"}},
            {"is_error": True, "result_meta": ResultMeta(outcome=Outcome.FAILED)},
        ),
        ("imageGeneration", {"status": "declined"}, {}),
        ("sleep", {"durationMs": 5, "status": "completed"}, {"arguments": b'{"durationMs":5}'}),
        (
            "subAgentActivity",
            {"agentPath": "/root/a", "kind": "started", "agentThreadId": "t-9"},
            {"arguments": b'{"kind":"started","agentThreadId":"t-9","agentPath":"/root/a"}'},
        ),
        (
            "commandExecution",
            {"command": "ls", "durationMs": -3, "exitCode": 0},
            {"arguments": b'{"command":"ls"}', "result_meta": ResultMeta(exit_code=0, reported_duration_ms=-3)},
        ),
        ("commandExecution", {"durationMs": "12"}, {}),
        ("commandExecution", {"durationMs": 10**25}, {}),
        ("commandExecution", {"source": "userShell"}, {"source": "sdk"}),
        ("commandExecution", {"source": "agent"}, {}),
    ],
)
def test_every_newer_type_of_item_is_recorded_with_what_it_has_for_arguments(
    kind: str, item: Message, fields: dict[str, Any]
) -> None:
    watch = Watch()
    watch.server(started(kind, **item), completed(kind, **item))
    assert watch.recorded == [item_operation(kind, **fields)]


def test_word_of_an_agents_end_is_no_call() -> None:
    watch = Watch()
    watch.server(started("subAgentActivity", kind="completed"), completed("subAgentActivity", kind="completed"))
    assert watch.close() == []


@pytest.mark.parametrize(
    ("item", "fields"),
    [
        ({"result": "the whole image"}, {}),
        ({"result": {"structuredContent": {"a": 1}}}, {"result_summary": '{"a": 1}'}),
        ({"result": {"content": "text"}, "contentItems": [{"type": "inputText", "text": "x"}]}, {"result_summary": "text"}),
        ({"contentItems": [{"type": "inputText", "text": ""}], "aggregatedOutput": "o"}, {"result_summary": "o"}),
        (
            {"result": {"isError": "True", "content": [{"type": "text", "text": "no"}]}},
            {"is_error": True, "result_summary": "no", "result_meta": ResultMeta(outcome=Outcome.TOOL_ERROR)},
        ),
        ({"error": [1]}, {"is_error": True, "result_summary": "[1]", "result_meta": ResultMeta(outcome=Outcome.FAILED)}),
    ],
)
def test_the_result_of_an_item_is_read_like_any_other(item: Message, fields: dict[str, Any]) -> None:
    watch = Watch()
    watch.server(completed("mcpToolCall", tool="f", **item))
    assert watch.recorded == [item_operation("f", **fields)]


# Told again


def test_an_item_that_is_told_again_with_its_beginning_is_the_same_execution() -> None:
    watch = Watch()
    begun, ended = started(startedAtMs=1), completed(startedAtMs=1)
    watch.server(begun, begun)
    assert watch.statistics.open_calls == 1
    watch.server(ended, ended, begun, ended)
    assert [op.result_meta for op in watch.close()] == [None]


@pytest.mark.parametrize("more", [{"startedAtMs": 2}, {"startedAtMs": None}, {"changes": []}, {"tool": "other"}])
def test_an_item_that_differs_in_its_beginning_its_arguments_or_its_tool_is_another_execution(more: Message) -> None:
    watch = Watch()
    first = {"startedAtMs": 1, "changes": [1]}
    watch.server(started(**first), started(**first | more))
    assert watch.statistics.open_calls == 2
    watch.server(completed(**first | more), completed(**first))
    assert len(watch.close()) == 2


def test_of_items_that_began_apart_each_ends_by_its_own_beginning() -> None:
    watch = Watch()
    for seconds in (1, 2, 3):
        watch.seconds = float(seconds)
        watch.server(started(startedAtMs=seconds))
    watch.seconds = 10.0
    watch.server(completed(startedAtMs=2), completed(startedAtMs=9), completed(startedAtMs=3), completed(startedAtMs=None))
    # One that began at no known time is taken for the oldest.
    assert [op.duration_ms for op in watch.recorded] == [8_000, 9_000, 7_000, 0]
    assert [op.result_meta for op in watch.recorded] == [ResultMeta(duplicate_id=True)] * 3 + [None]


def test_items_without_a_beginning_are_never_the_same() -> None:
    watch = Watch()
    watch.server(started(), started(), completed(), completed(), completed())
    assert len(watch.close()) == 3


def test_a_completion_that_nothing_announced_is_recorded_once() -> None:
    watch = Watch()
    watch.server(completed(startedAtMs=1), completed(startedAtMs=1), completed(startedAtMs=2))
    assert len(watch.recorded) == 2


def test_a_completion_that_is_told_again_does_not_end_the_next_execution_of_its_id() -> None:
    watch = Watch()
    first, second = {"startedAtMs": 1}, {"startedAtMs": 2}
    watch.server(started(**first), completed(**first), started(**second), completed(**first))
    assert (len(watch.recorded), watch.statistics.open_calls) == (1, 1)


def test_a_beginning_is_remembered_also_where_the_completion_does_not_repeat_it() -> None:
    watch = Watch()
    watch.server(started(startedAtMs=1), completed(), started(startedAtMs=1))
    assert (len(watch.recorded), watch.statistics.open_calls) == (1, 0)


def test_equal_arguments_are_the_same_however_much_of_them_is_kept() -> None:
    watch = Watch(args_max_bytes=10)
    long = {"changes": ["x" * 20], "startedAtMs": 1}
    watch.server(started(**long), started(**long), started(**long | {"changes": ["y" * 20]}))
    assert watch.statistics.open_calls == 2


# Turns and threads


def test_what_its_turn_has_ended_does_not_end_once_more() -> None:
    for more in ({}, {"startedAtMs": 1}):
        watch = Watch()
        watch.server(started(**more), turn("completed"), completed(**more), completed(**more | {"changes": []}))
        assert outcomes(watch) == [("i", Outcome.INTERRUPTED)]


def test_an_item_that_begins_again_after_its_turn_ended_it_is_another_execution() -> None:
    for first, second in (({}, {}), ({"startedAtMs": 1}, {"startedAtMs": 2})):
        watch = Watch()
        watch.server(started(**first), turn("completed"), started(**second), completed(**second))
        assert outcomes(watch) == [("i", Outcome.INTERRUPTED), ("i", None)]
    watch = Watch()
    watch.server(started(startedAtMs=1), turn("completed"), started(startedAtMs=1))
    assert (len(watch.recorded), watch.statistics.open_calls) == (1, 0)


def test_a_new_turn_of_the_thread_ends_the_items_of_the_older_ones() -> None:
    watch = Watch()
    watch.server(started(id="a"), started(id="b", turn="v"), started(id="c", thread="t2"), started("commandExecution", id="d"))
    watch.seconds = 1.0
    watch.server(turn("started", "v"))
    assert watch.recorded == [
        item_operation(
            request_id="a",
            seconds=1.0,
            is_error=True,
            result_meta=ResultMeta(outcome=Outcome.INTERRUPTED),
        )
    ]
    assert watch.statistics.open_calls == 3


def test_a_closed_thread_ends_everything_in_it() -> None:
    watch = Watch()
    watch.client({"id": 1, "method": "mcpServer/tool/call", "params": {"threadId": "t"}})
    watch.server(started(id="a"), started("commandExecution", id="b", turn="v"), started(id="c", thread="t2"), closed())
    assert outcomes(watch) == [("a", Outcome.INTERRUPTED), ("b", Outcome.INTERRUPTED)]
    watch.server(completed(id="a"), closed(None), closed("t3"))
    assert watch.statistics.open_calls == 2


@pytest.mark.parametrize(
    "message",
    [
        {"method": "thread/closed"},
        {"method": "thread/closed", "params": []},
        closed() | {"id": 1},
        turn("started", "v") | {"id": 1},
        {"method": "turn/started", "params": {"threadId": "t"}},
        {"method": "turn/started", "params": {"threadId": "t", "turn": 5}},
    ],
)
def test_a_request_or_a_message_without_its_parts_ends_nothing(message: Message) -> None:
    watch = Watch()
    watch.server(started(), message)
    assert watch.statistics.open_calls == 1


def test_a_command_ends_with_its_turn_only_while_it_waits_to_be_allowed() -> None:
    asked = {"method": "item/commandExecution/requestApproval", "params": {"threadId": "t", "itemId": "i"}}
    reviewed = {
        "method": "item/autoApprovalReview/started",
        "params": {"threadId": "t", "targetItemId": "i", "reviewId": "r", "review": {}},
    }
    question = {"id": 1, "method": "item/tool/requestUserInput", "params": {"threadId": "t", "itemId": "i"}}
    for step, ends in [(asked | {"id": 0}, True), (reviewed, True), (question, False)]:
        for over in (turn("completed"), turn("started", "v")):
            watch = Watch()
            watch.server(started("commandExecution"), step, over)
            assert len(watch.recorded) == ends
    watch = Watch()
    watch.server(started("commandExecution"), asked | {"id": 0})
    watch.client({"id": 0, "result": {"decision": "accept"}})
    watch.server(turn("completed"))
    assert watch.recorded == []


def test_no_more_executions_are_remembered_than_may_be_open() -> None:
    watch = Watch(max_pending=2, room=4)
    watch.server(*[completed(id=str(number), startedAtMs=number) for number in range(3)])
    watch.server(*[completed(id=str(number), startedAtMs=number) for number in (2, 1, 0)])
    assert [op.request_id for op in watch.recorded] == ["0", "1", "2", "0"]


def test_what_was_remembered_last_is_forgotten_last() -> None:
    watch = Watch(max_pending=2, room=2)
    watch.server(started(id="a"), started(id="b"), turn("completed"), started(id="a"), turn("completed"), started(id="c"))
    # a is remembered anew, so that b goes first.
    watch.server(turn("completed"), completed(id="a"), completed(id="c"), completed(id="b"))
    assert [op.request_id for op in watch.recorded] == ["a", "b", "a", "c", "b"]


def test_the_case_of_the_tool_that_the_client_never_answers() -> None:
    # A turn is interrupted while the client has a dynamic tool to run: the item's end may come after that of its turn.
    item = {"tool": "lookup", "arguments": {"q": 1}, "id": "dyn-1"}
    asked = {"id": 0, "method": "item/tool/call", "params": {"threadId": "t", "turnId": "u", "callId": "dyn-1", "tool": "lookup"}}
    watch = Watch()
    watch.server(started("dynamicToolCall", status="inProgress", **item), asked)
    watch.client({"id": 9, "method": "turn/interrupt", "params": {"threadId": "t", "turnId": "u"}})
    watch.server({"id": 9, "result": {}})
    watch.seconds = 1.0
    watch.server(turn("completed"))
    watch.client({"id": 0, "result": {"contentItems": [{"type": "inputText", "text": "late"}], "success": True}})
    watch.server(completed("dynamicToolCall", status="completed", success=True, **item))
    assert watch.close() == [
        item_operation(
            "lookup",
            request_id="dyn-1",
            arguments=b'{"q": 1}',
            is_error=True,
            result_meta=ResultMeta(outcome=Outcome.INTERRUPTED),
            completed_at=BEGAN + timedelta(seconds=1),
            duration_ms=1_000,
        )
    ]
