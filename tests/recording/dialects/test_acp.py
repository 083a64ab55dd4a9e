"""Agent Client Protocol: an agent's tool calls, from their updates and the permissions for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.watching import Watch, operation
from trio_oplog import Approval, Context, DecidedBy, Operation, Outcome
from trio_oplog._operation import ArgumentsMeta, ResultMeta

Message = dict[str, Any]
OPTIONS = [
    {"optionId": "y", "kind": "allow_once", "name": "Yes"},
    {"optionId": "a", "kind": "allow_always"},
    {"optionId": "n", "kind": "reject_once"},
    {"optionId": "odd"},
    {"kind": "allow_once"},
    {"optionId": 5, "kind": "allow_once"},
    "y",
]


def update(said: str = "tool_call_update", session: Any = "s", call_id: Any = "c", **more: Any) -> Message:
    params = {"sessionId": session, "update": {"sessionUpdate": said, "toolCallId": call_id} | more}
    return {"method": "session/update", "params": params}


def begins(call_id: str = "c", **more: Any) -> Message:
    return update("tool_call", call_id=call_id, **more)


def ends(status: str = "completed", call_id: str = "c", **more: Any) -> Message:
    return update(call_id=call_id, status=status, **more)


def ask(request_id: Any = 0, session: str = "s", call_id: Any = "c", **call: Any) -> Message:
    params = {"sessionId": session, "toolCall": {"toolCallId": call_id} | call, "options": OPTIONS}
    return {"id": request_id, "method": "session/request_permission", "params": params}


def chosen(option: Any, request_id: Any = 0) -> Message:
    return {"id": request_id, "result": {"outcome": {"outcome": "selected", "optionId": option}}}


def request(method: str, request_id: Any = 9, session: Any = "s") -> Message:
    return {"id": request_id, "method": f"session/{method}", "params": {"sessionId": session, "prompt": []}}


def content(*texts: str) -> list[Message]:
    return [{"type": "content", "content": {"type": "text", "text": text}} for text in texts]


IMAGE = {"type": "content", "content": {"type": "image", "data": ""}}
LINK = {"type": "content", "content": {"type": "resource_link", "uri": "file:///a"}}
EMBEDDED = {"type": "content", "content": {"type": "resource", "resource": {"text": "inside", "uri": "a:"}}}
DIFF = {"type": "diff", "path": "a", "oldText": "", "newText": "b"}


def tool_call(tool: str = "other", **fields: Any) -> Operation:
    usual = {"source": "llm", "thread_id": "s", "request_id": "c", "context": Context(session="s")}
    return operation(tool=tool, **usual | fields)


def failed(outcome: Outcome, **meta: Any) -> dict[str, Any]:
    return {"is_error": True, "result_meta": ResultMeta(outcome=outcome, **meta)}


def recorded(*messages: Message, **config: Any) -> list[Operation]:
    """What is recorded of a session in which a request or reply of the client's has ``sent`` beside it."""
    watch = Watch(**config)
    for message in messages:
        is_the_clients = "result" in message or str(message.get("method")) in ("session/prompt", "session/load")
        (watch.client if is_the_clients else watch.server)(message)
    return list(watch.close())


# Beginning and end


def test_a_tool_call_is_what_its_agent_says_of_it_from_beginning_to_end() -> None:
    watch = Watch(source="tui")
    watch.server(begins(title="Read a.py", kind="read", status="pending", rawInput={"path": "a.py"}))
    watch.seconds = 1.0
    watch.server(update(status="in_progress"))
    watch.seconds = 2.5
    watch.server(ends(content=content("def f(): ...")))
    assert watch.recorded == [
        tool_call(
            "read",
            arguments=b'{"path": "a.py"}',
            result_summary="def f(): ...",
            result_meta=ResultMeta(title="Read a.py"),
            seconds=2.5,
        )
    ]


@pytest.mark.parametrize(
    ("status", "fields"),
    [("completed", {}), ("failed", failed(Outcome.FAILED)), ("cancelled", None), ("", None), (5, None), (None, None)],
)
@pytest.mark.parametrize("said", ["tool_call", "tool_call_update"])
def test_a_call_ends_when_it_is_completed_or_failed(status: Any, fields: dict[str, Any] | None, said: str) -> None:
    watch = Watch()
    watch.server(begins(), update(said, status=status))
    assert watch.recorded == ([] if fields is None else [tool_call(**fields)])


def test_an_end_of_a_call_that_nothing_announced_is_recorded_all_the_same() -> None:
    assert recorded(ends("failed", title="x", rawOutput="no")) == [
        tool_call(result_summary="no", **failed(Outcome.FAILED, title="x"))
    ]


def test_news_of_a_call_that_never_began_or_that_has_ended_is_none() -> None:
    assert recorded(update(status="in_progress", title="x")) == []
    assert len(recorded(ends(), ends(), begins(), update(title="x"), ask())) == 1


def test_a_call_that_is_announced_twice_is_one() -> None:
    assert [op.result_meta for op in recorded(begins(), begins(title="x"), ends())] == [ResultMeta(title="x")]


def test_a_call_is_known_by_its_session_and_its_id() -> None:
    calls = recorded(begins(), begins("d"), begins(session="s2"), ends("failed", session="s2"), ends(call_id="d"))
    assert [(op.thread_id, op.request_id) for op in calls] == [("s2", "c"), ("s", "d"), ("s", "c")]
    assert all(op.result_meta is None or not op.result_meta.duplicate_id for op in calls)


@pytest.mark.parametrize("call_id", ["", None, 5, []])
def test_a_call_without_an_id_is_none(call_id: Any) -> None:
    assert recorded(update("tool_call", call_id=call_id), ask(call_id=call_id)) == []


@pytest.mark.parametrize("session", [None, "", 5])
def test_a_call_without_a_session_is_a_call(session: Any) -> None:
    calls = recorded(update("tool_call", session=session), update(session=session, status="completed"))
    assert calls == [tool_call(thread_id=None, context=None)]


@pytest.mark.parametrize(
    "message",
    [
        {"method": "session/update"},
        {"method": "session/update", "params": []},
        {"method": "session/update", "params": {"sessionId": "s"}},
        {"method": "session/update", "params": {"sessionId": "s", "update": None}},
        update("agent_message_chunk", content={"type": "text", "text": "hi"}),
        update("plan", entries=[]),
        begins() | {"id": 1},
        {"id": 0, "method": "session/request_permission"},
        {"id": 0, "method": "session/request_permission", "params": {"sessionId": "s"}},
        {"method": "session/request_permission", "params": {"sessionId": "s", "toolCall": {"toolCallId": "c"}}},
    ],
)
def test_what_is_no_news_of_a_call_is_none_of_the_logs(message: Message) -> None:
    assert recorded(message) == []


def test_an_agent_is_left_out_where_items_are() -> None:
    assert recorded(begins(), ask(), ends(), record_items=False) == []


# What is called


@pytest.mark.parametrize(
    ("news", "tool"),
    [
        ([{}], "other"),
        ([{"kind": "read"}], "read"),
        ([{"kind": "read"}, {"kind": "edit"}], "edit"),
        ([{"kind": "read"}, {"kind": ""}, {"kind": 5}, {"kind": None}], "read"),
        ([{}, {"kind": "other"}, {"kind": "edit"}], "edit"),
        ([{"_meta": {"claudeCode": {"toolName": "Read"}}, "kind": "read"}], "Read"),
        ([{"_meta": {"claudeCode": {"toolName": "Read"}}}, {"kind": "edit"}], "Read"),
        ([{"_meta": {"claudeCode": {"toolName": "Read"}}}, {"_meta": {"toolName": "Edit"}}], "Edit"),
        ([{"kind": "read"}, {"_meta": {"toolName": "Edit"}}, {"kind": "execute"}], "Edit"),
        ([{"_meta": {"toolName": "Edit", "claudeCode": {"toolName": "Read"}}}], "Read"),
        ([{"_meta": {"toolName": "Edit", "claudeCode": {"toolName": ""}}}], "Edit"),
        ([{"_meta": {"toolName": "Edit", "claudeCode": None}}], "Edit"),
        ([{"_meta": {"toolName": 5}}, {"_meta": []}, {"_meta": None}], "other"),
        ([{"_meta": {"toolName": "x" * 2_000}}], "x" * 1_024),
    ],
)
def test_the_tool_is_what_the_agent_calls_it_else_its_last_kind(news: list[Message], tool: str) -> None:
    assert recorded(begins(**news[0]), *[update(**more) for more in news[1:]], ends()) == [tool_call(tool)]


def test_a_call_keeps_the_last_that_was_said_of_it() -> None:
    (call,) = recorded(
        begins(title="one", rawInput={"a": 1, "environment_id": "e"}),
        update(title="two", rawInput=None),
        update(title="", rawInput=[2]),
        ends(title=None),
    )
    assert (call.arguments, call.env_id, call.result_meta) == (b"[2]", "e", ResultMeta(title="two"))
    (call,) = recorded(begins(), update(rawInput={"environment_id": "f"}), ends(rawInput="x" * 30), args_max_bytes=30)
    assert call.arguments is None
    assert call.arguments_meta is not None
    assert (call.env_id, call.arguments_meta.size_bytes) == ("f", 32)
    (call,) = recorded(begins(rawInput="x" * 30), ends(rawInput={}), args_max_bytes=30)
    assert (call.arguments, call.arguments_meta) == (b"{}", None)
    assert ArgumentsMeta(size_bytes=0, sha256="").truncated


# What came back


@pytest.mark.parametrize(
    ("news", "end", "summary", "types"),
    [
        ([{}], {}, None, None),
        ([{}], {"content": content("a", "b")}, "ab", None),
        ([{}], {"content": [EMBEDDED]}, "inside", ("resource",)),
        ([{}], {"content": [IMAGE]}, None, ("image",)),
        ([{}], {"content": [LINK, LINK]}, "file:///a\nfile:///a", ("resource_link", "resource_link")),
        ([{}], {"content": [IMAGE, *content("a"), DIFF, 5]}, "a", ("image", "text")),
        ([{}], {"content": [IMAGE], "rawOutput": {"x" : 1}}, '{"x": 1}', ("image",)),
        ([{}], {"content": [DIFF], "rawOutput": "out"}, "out", None),
        ([{}], {"content": content(""), "rawOutput": "out"}, None, None),
        ([{}], {"content": [], "rawOutput": None}, None, None),
        ([{}], {"content": "text", "rawOutput": 5}, "5", None),
        ([{}], {"content": content("a"), "rawOutput": "out"}, "a", None),
        ([{"content": content("a"), "rawOutput": "b"}], {}, "a", None),
        ([{"content": content("a"), "rawOutput": "b"}], {"rawOutput": "d"}, "d", None),
        ([{"content": content("a"), "rawOutput": "b"}], {"content": [DIFF]}, "a", None),
        ([{"content": [IMAGE, *content("a")]}], {}, "a", ("image", "text")),
        ([{"content": [IMAGE, *content("a")]}], {"content": [IMAGE]}, "a", ("image", "text")),
        ([{"content": content("a")}], {"content": [IMAGE]}, "a", None),
        ([{"content": [IMAGE], "rawOutput": "b"}], {}, "b", ("image",)),
        ([{"content": [IMAGE]}], {"content": [LINK, IMAGE]}, "file:///a", ("resource_link", "image")),
        ([{"content": [IMAGE]}], {}, None, ("image",)),
        ([{"content": content("a")}, {"content": content("b")}, {"content": None}], {}, "b", None),
        ([{"content": content("a")}, {"content": [DIFF]}], {}, None, None),
        ([{"content": content("a")}, {"content": content(""), "rawOutput": "out"}], {}, None, None),
        ([{"rawOutput": "a"}, {"rawOutput": {"b": 1}}, {"rawOutput": None}], {}, '{"b": 1}', None),
        ([{"rawOutput": "a"}, {"content": content("b")}], {}, "b", None),
        ([{"rawOutput": "a"}, {"content": [DIFF]}], {}, "a", None),
        ([{"content": content("a"), "status": "in_progress"}], {"rawOutput": ""}, None, None),
    ],
)  # fmt: skip
def test_what_came_back_is_the_last_content_or_output(
    news: list[Message], end: Message, summary: str | None, types: tuple[str, ...] | None
) -> None:
    meta = ResultMeta(content_types=types) if types else None
    assert recorded(begins(**news[0]), *[update(**more) for more in news[1:]], ends(**end)) == [
        tool_call(result_summary=summary, result_meta=meta)
    ]


def test_what_an_earlier_update_brought_is_cut_like_any_summary() -> None:
    (call,) = recorded(begins(content=content("caf\xe9!")), ends(), result_max_bytes=4)
    assert (call.result_summary, call.result_meta and call.result_meta.total_bytes) == ("caf", 6)


def test_content_that_only_python_reads_is_read() -> None:
    odd = json.dumps(ends(content=[*content("a"), {"type": "content", "content": 5}, 5, {"type": 5}]))
    assert [op.result_summary for op in recorded(json.loads(odd))] == ["a"]
    watch = Watch()
    watch.server(odd.replace('"a"', '"\\ud800"'))
    assert [op.result_summary for op in watch.recorded] == ["\ufffd"]


# Permissions


@pytest.mark.parametrize(
    ("outcome", "decision", "ended"),
    [
        ({"outcome": "selected", "optionId": "y"}, "allow_once", None),
        ({"outcome": "selected", "optionId": "a"}, "allow_always", None),
        ({"outcome": "selected", "optionId": "n"}, "reject_once", Outcome.DECLINED),
        ({"outcome": "selected", "optionId": "odd"}, "odd", None),
        ({"outcome": "selected", "optionId": "reject-all"}, "reject-all", Outcome.DECLINED),
        ({"outcome": "selected", "optionId": ""}, "selected", None),
        ({"outcome": "selected"}, "selected", None),
        ({"outcome": "cancelled"}, "cancelled", None),
        ({"outcome": "cancelled", "optionId": "n"}, "cancelled", None),
        ({"outcome": ""}, None, None),
        ({"optionId": "y"}, None, None),
        ("selected", None, None),
        (None, None, None),
    ],
)
def test_a_permission_means_what_the_kind_of_the_chosen_option_says(
    outcome: Any, decision: str | None, ended: Outcome | None
) -> None:
    watch = Watch()
    watch.server(begins(), ask())
    watch.seconds = 2.0
    watch.client({"id": 0, "result": {"outcome": outcome}})
    watch.seconds = 3.0
    watch.server(ends())
    approval = Approval(decision=decision, by=DecidedBy.CLIENT, waited_ms=2_000)
    meta = ResultMeta(outcome=ended, waited_ms=2_000)
    assert watch.recorded == [tool_call(seconds=3.0, is_error=ended is not None, approval=approval, result_meta=meta)]


def test_a_permission_without_options_or_result_is_what_it_says() -> None:
    for reply in ({"id": 0}, {"id": 0, "result": None}, {"id": 0, "result": {"outcome": None}}):
        watch = Watch()
        watch.server(begins(), ask())
        watch.client(reply)
        assert watch.close()[0].approval == Approval(by=DecidedBy.CLIENT, waited_ms=0)
    for options in (None, [], {}, "y"):
        message = ask()
        message["params"]["options"] = options
        (call,) = recorded(begins(), message, chosen("y"))
        assert call.approval == Approval(decision="y", by=DecidedBy.CLIENT, waited_ms=0)


def test_of_many_options_the_first_64_are_kept() -> None:
    message = ask()
    message["params"]["options"] = [{"optionId": f"o{number}", "kind": "reject_once"} for number in range(65)]
    for option, decision in (("o63", "reject_once"), ("o64", "o64")):
        (call,) = recorded(message, chosen(option))
        assert call.approval is not None
        assert call.approval.decision == decision


def test_a_permission_may_be_the_first_that_is_heard_of_a_call() -> None:
    watch = Watch()
    watch.server(ask(title="run it", kind="execute", rawInput={"command": "ls"}))
    watch.seconds = 1.0
    watch.client(chosen("y"))
    watch.server(begins(title="ran it"))
    watch.seconds = 2.0
    watch.server(ends())
    assert watch.recorded == [
        tool_call(
            "execute",
            arguments=b'{"command": "ls"}',
            approval=Approval(decision="allow_once", by=DecidedBy.CLIENT, waited_ms=1_000),
            result_meta=ResultMeta(title="ran it", waited_ms=1_000),
            seconds=2.0,
        )
    ]


def test_a_permission_says_what_the_call_is_like_an_update_does() -> None:
    calls = recorded(begins(kind="read"), ask(kind="edit", title="x", rawInput=[1]), ends())
    assert [(op.tool, op.arguments, op.result_meta and op.result_meta.title) for op in calls] == [("edit", b"[1]", "x")]


def test_what_codex_asks_about_an_item_of_that_name_is_not_about_the_call() -> None:
    asked = {"id": 0, "method": "item/fileChange/requestApproval", "params": {"threadId": "s", "itemId": "c"}}
    for steps in ([asked, begins()], [begins(), asked]):
        assert [op.approval for op in recorded(*steps)] == [None]


def test_an_agents_elicitation_is_about_the_call_that_it_names() -> None:
    for params, is_asked in [
        ({"sessionId": "s", "toolCallId": "c"}, True),
        ({"sessionId": "s", "toolCallId": "d"}, False),
        ({"sessionId": "s2", "toolCallId": "c"}, False),
        ({"sessionId": "s"}, False),
        ({}, False),
    ]:
        watch = Watch()
        watch.server(begins(), {"id": 0, "method": "elicitation/create", "params": params})
        assert (watch.close()[0].approval is not None) is is_asked


# Prompts and sessions


@pytest.mark.parametrize("answer", [{"result": {"stopReason": "cancelled"}}, {"result": None}, {"error": {"message": "no"}}])
def test_the_answer_to_a_prompt_ends_what_is_open_in_its_session(answer: Message) -> None:
    watch = Watch()
    watch.client(request("prompt"))
    item = {"type": "webSearch", "id": "i"}
    watch.server(begins(), ask(call_id="d"), {"method": "item/started", "params": {"threadId": "s", "item": item}})
    watch.server(begins("e", session="s2"))
    watch.client(chosen("n"))
    watch.seconds = 1.0
    watch.server({"id": 9} | answer)
    assert watch.recorded == [
        tool_call(seconds=1.0, **failed(Outcome.INTERRUPTED)),
        tool_call(
            id="id-2",
            request_id="d",
            seconds=1.0,
            approval=Approval(decision="reject_once", by=DecidedBy.CLIENT, waited_ms=0),
            **failed(Outcome.DECLINED, waited_ms=0),
        ),
    ]
    assert watch.statistics.open_calls == 2
    watch.server(ends(), begins(), ask(1))
    assert watch.statistics.open_calls == 2


@pytest.mark.parametrize("nothing", [{"id": 9}, {"id": 9, "error": None}, {"id": 8, "result": {}}, {"id": 9, "method": "x"}])
def test_what_is_no_answer_to_a_prompt_ends_nothing(nothing: Message) -> None:
    for method in ("prompt", "load"):
        watch = Watch()
        watch.client(request(method))
        watch.server(nothing)
        assert len(watch.interceptor._pairing.requests) == 1


@pytest.mark.parametrize("session", ["", None, 5])
def test_a_prompt_to_no_session_ends_nothing(session: Any) -> None:
    for method in ("prompt", "load"):
        watch = Watch()
        watch.client(request(method, session=session), {"method": f"session/{method}", "params": {"sessionId": "s"}})
        watch.client({"id": 9, "method": f"session/{method}"})
        watch.server(begins(), {"id": 9, "result": {}})
        assert watch.statistics.open_calls == 1


@pytest.mark.parametrize("answer", [{"result": None}, {"result": {}}, {"error": {"message": "no"}}])
def test_what_a_session_says_while_it_is_loaded_is_history(answer: Message) -> None:
    watch = Watch()
    watch.client(request("load"), request("load", 10))
    history = [begins(), ends(), update(call_id="d", status="failed")]
    watch.server(*history, begins(session="s2"), {"id": 9} | answer, *history)
    assert (watch.recorded, watch.statistics.open_calls) == ([], 1)
    watch.server({"id": 10} | answer, begins(), ends())
    assert [op.request_id for op in watch.recorded] == ["c"]


def test_a_permission_while_its_session_is_loaded_is_about_a_call_all_the_same() -> None:
    assert len(recorded(request("load"), ask())) == 1


def test_a_loading_that_is_taken_back_is_over() -> None:
    watch = Watch()
    watch.client(request("load"), {"method": "notifications/cancelled", "params": {"requestId": 9}})
    watch.server(begins())
    assert watch.statistics.open_calls == 1


def test_no_more_loadings_are_remembered_than_may_be_open() -> None:
    watch = Watch(max_pending=2, room=2)
    watch.client(*[request("load", number, f"s{number}") for number in range(3)])
    watch.server(*[begins(session=f"s{number}") for number in range(3)])
    assert [op.thread_id for op in watch.close()] == ["s0"]


def test_a_request_with_the_id_of_another_takes_its_place() -> None:
    watch = Watch()
    watch.client(request("load"), request("prompt"))
    watch.server(begins(), {"id": 9, "result": {}})
    assert [op.result_meta for op in watch.recorded] == [ResultMeta(outcome=Outcome.INTERRUPTED)]
