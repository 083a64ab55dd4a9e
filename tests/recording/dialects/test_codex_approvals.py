"""Codex: what each way of asking for approval is about, and what each answer to it means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.watching import Watch
from trio_oplog import Approval, DecidedBy, Outcome

Message = dict[str, Any]
ITEM = {"threadId": "t", "turnId": "u", "item": {"type": "commandExecution", "id": "i"}}
STARTED = {"method": "item/started", "params": ITEM}
COMPLETED = {"method": "item/completed", "params": ITEM}


def by_client(decision: str | None = None, reason: str | None = None) -> Approval:
    return Approval(decision=decision, by=DecidedBy.CLIENT, waited_ms=1_000, reason=reason)


def decided(method: str, params: Any, reply: Message, before: Message = STARTED) -> tuple[Approval | None, Outcome | None]:
    """What becomes of a call about which the server asks, and a second later gets this reply."""
    watch = Watch()
    watch.server(before)
    watch.server({"id": 0, "method": method, "params": params})
    watch.seconds = 1.0
    watch.client({"id": 0} | reply)
    watch.server(before | {"method": "item/completed"})
    (op,) = watch.close()
    assert op.result_meta is None or op.result_meta.waited_ms in (None, 1_000)
    return op.approval, op.result_meta.outcome if op.result_meta else None


# About an item


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("item/commandExecution/requestApproval", {"threadId": "t", "itemId": "i", "turnId": "u", "approvalId": "a"}),
        ("item/fileChange/requestApproval", {"threadId": "t", "itemId": "i"}),
        ("execCommandApproval", {"conversationId": "t", "callId": "i"}),
        ("applyPatchApproval", {"conversationId": "t", "callId": "i"}),
    ],
)
@pytest.mark.parametrize(
    ("decision", "shown", "outcome"),
    [
        ("accept", "accept", None),
        ("acceptForSession", "acceptForSession", None),
        ("approved_for_session", "approved_for_session", None),
        ({"acceptWithExecpolicyAmendment": {"execpolicy_amendment": ["ls"]}}, "acceptWithExecpolicyAmendment", None),
        ({"decline": {}}, "decline", Outcome.DECLINED),
        ("decline", "decline", Outcome.DECLINED),
        ("cancel", "cancel", Outcome.DECLINED),
        ("denied", "denied", Outcome.DECLINED),
        ("abort", "abort", Outcome.DECLINED),
        ("", None, None),
        ({}, None, None),
        ({"decline": 1, "accept": 2}, None, None),
        (["decline"], None, None),
        (5, None, None),
        (None, None, None),
    ],
)
def test_a_command_or_change_is_approved_by_the_decision(
    method: str, params: Message, decision: Any, shown: str | None, outcome: Outcome | None
) -> None:
    assert decided(method, params, {"result": {"decision": decision}}) == (by_client(shown), outcome)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"error": {"code": -32601, "message": "no such method"}}, "no such method"),
        ({"error": "no"}, "no"),
        ({"error": {"message": {"why": 1}}}, None),
        ({"error": ["no"]}, None),
        ({"error": 5}, None),
        ({"error": {}}, None),
        ({"error": None, "result": {}}, "why"),
        ({"result": None}, "why"),
        ({"result": "accept"}, "why"),
        ({}, "why"),
    ],
)
def test_an_error_or_nonsense_is_an_answer_without_a_decision(reply: Message, reason: str | None) -> None:
    asked = ("item/fileChange/requestApproval", {"threadId": "t", "itemId": "i", "reason": "why"})
    assert decided(*asked, reply) == (by_client(None, reason or "why"), None)


def test_to_refuse_that_something_is_typed_into_a_command_refuses_no_command() -> None:
    params = {"threadId": "t", "itemId": "i", "kind": "writeStdin"}
    method = "item/commandExecution/requestApproval"
    assert decided(method, params, {"result": {"decision": "decline"}}) == (by_client("decline"), None)
    assert decided(method, params | {"kind": "x"}, {"result": {"decision": "decline"}})[1] is Outcome.DECLINED
    assert decided(method, params, {}) == (by_client(), None)


@pytest.mark.parametrize(
    ("result", "decision"),
    [
        ({"permissions": {"network": True}}, "turn"),
        ({"permissions": {"network": True}, "scope": "session"}, "session"),
        ({"permissions": {"network": None}, "scope": ""}, "turn"),
        ({"permissions": {}, "scope": "session"}, "decline"),
        ({"permissions": None}, None),
        ({"scope": "session"}, None),
        (None, None),
    ],
)
def test_permissions_are_given_for_a_scope_and_refuse_nothing(result: Any, decision: str | None) -> None:
    params = {"threadId": "t", "itemId": "i"}
    assert decided("item/permissions/requestApproval", params, {"result": result}) == (by_client(decision), None)


def test_no_permissions_are_none_however_they_are_spelled() -> None:
    watch = Watch()
    watch.server(STARTED, {"id": 0, "method": "item/permissions/requestApproval", "params": {"threadId": "t", "itemId": "i"}})
    watch.client('{"id":0,"result":{"permissions":{ \n}}}')
    watch.server(COMPLETED)
    assert watch.recorded[0].approval == Approval(decision="decline", by=DecidedBy.CLIENT, waited_ms=0)


def test_a_question_to_the_user_is_no_approval() -> None:
    assert decided("item/tool/requestUserInput", {"threadId": "t", "itemId": "i"}, {"result": {"decision": "decline"}}) == (
        None,
        None,
    )


METHODS = [
    "item/commandExecution/requestApproval",
    "item/fileChange/requestApproval",
    "item/permissions/requestApproval",
    "item/tool/requestUserInput",
    "execCommandApproval",
    "applyPatchApproval",
    "mcpServer/elicitation/request",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("params", [None, [], {}, {"threadId": "t", "itemId": ""}, {"threadId": "t", "itemId": 5}])
def test_a_request_that_names_nothing_is_about_no_call(method: str, params: Any) -> None:
    assert decided(method, params, {"result": {"decision": "decline"}}) == (None, None)


@pytest.mark.parametrize("method", METHODS)
def test_what_needs_no_answer_asks_for_no_approval(method: str) -> None:
    watch = Watch()
    params = {"threadId": "t", "itemId": "i", "callId": "i", "conversationId": "t", "serverName": "s"}
    watch.server(STARTED, {"method": method, "params": params}, COMPLETED)
    assert watch.recorded[0].approval is None


def test_where_items_are_left_out_nobody_is_asked_about_them() -> None:
    watch = Watch(record_items=False)
    watch.server(*[{"id": number, "method": method, "params": {"itemId": "i"}} for number, method in enumerate(METHODS)])
    assert watch.interceptor._pairing.approvals.open == {}


# About a tool of an MCP server


def tool_call(call_id: str = "i", thread: str = "t", server: str = "s", tool: str = "f", **item: Any) -> Message:
    item = {"type": "mcpToolCall", "id": call_id, "server": server, "tool": tool, "arguments": {"x": 1, "y": [2]}} | item
    return {"method": "item/started", "params": {"threadId": thread, "turnId": "u", "item": item}}


def whether(tool: Any = "f", params: Any = None, **more: Any) -> Message:
    """Codex asks whether a tool may run."""
    meta = {
        "codex_approval_kind": "mcp_tool_call",
        "tool_name": tool,
        "tool_params": {"y": [2], "x": 1} if params is None else params,
    }
    return {"threadId": "t", "turnId": "u", "serverName": "s", "_meta": meta} | more


def asked_about(*calls: Message, params: Message, before: Message | None = None) -> list[str | None]:
    """The ids of the calls about which a request for approval is."""
    watch = Watch(args_max_bytes=100)
    for call in calls:
        (watch.server if call.get("id") is None else watch.client)(call)
    if before is not None:
        watch.server({"id": "before", "method": "mcpServer/elicitation/request", "params": before})
        watch.client({"id": "before", "result": {"action": "accept"}})
    known = watch.interceptor._pairing.approvals.open
    watch.server({"id": 0, "method": "mcpServer/elicitation/request", "params": params})
    return [call.request_id for call in watch.interceptor._pairing.calls if 0 in known and call.consent is known[0].consent]


@pytest.mark.parametrize(
    ("result", "decision", "outcome"),
    [
        ({"action": "accept"}, "accept", None),
        ({"action": "accept", "_meta": {"persist": "session"}}, "accept persist=session", None),
        ({"action": "accept", "_meta": {"persist": "always"}}, "accept persist=always", None),
        ({"action": "accept", "_meta": {"persist": ""}}, "accept", None),
        ({"action": "accept", "_meta": {"persist": 5}}, "accept", None),
        ({"action": "decline"}, "decline", Outcome.DECLINED),
        ({"action": "decline", "_meta": {"persist": "session"}}, "decline persist=session", Outcome.DECLINED),
        ({"action": "cancel"}, "cancel", Outcome.DECLINED),
        ({"action": 5, "_meta": {"persist": "session"}}, None, None),
        ({}, None, None),
        (None, None, None),
    ],
)
def test_codexs_question_whether_a_tool_may_run_is_an_approval(
    result: Any, decision: str | None, outcome: Outcome | None
) -> None:
    assert decided("mcpServer/elicitation/request", whether(), {"result": result}, tool_call()) == (by_client(decision), outcome)


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
def test_an_elicitation_of_an_mcp_server_refuses_nothing(action: str) -> None:
    params = {"threadId": "t", "serverName": "s", "message": "who?"}
    for more in ({}, {"_meta": None}, {"_meta": {}}):
        answer = {"result": {"action": action, "_meta": {"persist": "session"}}}
        assert decided("mcpServer/elicitation/request", params | more, answer, tool_call()) == (by_client(action), None)
    assert decided("mcpServer/elicitation/request", params, {"result": None}, tool_call()) == (by_client(), None)


def test_a_question_whether_a_tool_may_run_is_about_the_oldest_call_with_its_parameters() -> None:
    calls = [tool_call("a"), tool_call("b"), tool_call("c", arguments={"x": 2}), tool_call("d", tool="g"), tool_call("e")]
    assert asked_about(*calls, params=whether()) == ["a"]
    assert asked_about(*calls, params=whether(), before=whether()) == ["b"]
    assert asked_about(*calls, params=whether(params={"x": 2})) == ["c"]
    assert asked_about(*calls, params=whether("g")) == ["d"]
    for other in (whether("h"), whether(params={"x": 3}), whether(threadId="t2"), whether(serverName="s2"), whether(params=5)):
        assert asked_about(*calls, params=other) == []


def test_a_call_that_waited_for_something_else_was_not_asked_about() -> None:
    assert asked_about(tool_call("a"), tool_call("b"), params=whether(), before={"threadId": "t", "serverName": "s"}) == ["a"]


def test_calls_without_arguments_are_asked_about_without_parameters() -> None:
    calls = [tool_call("a"), tool_call("b", arguments=None)]
    nothing = whether()
    nothing["_meta"]["tool_params"] = None
    assert asked_about(*calls, params=nothing) == ["b"]
    del nothing["_meta"]["tool_params"]
    assert asked_about(*calls, params=nothing) == ["b"]
    assert asked_about(calls[1], params=whether()) == []


def test_of_arguments_that_were_not_kept_any_parameters_may_be() -> None:
    assert asked_about(tool_call("a", arguments="x" * 100), params=whether()) == ["a"]
    assert asked_about(tool_call("a", arguments="x" * 98), params=whether()) == []


def test_a_tool_that_is_not_named_is_the_unknown_one() -> None:
    assert asked_about(tool_call("a", tool=""), params=whether("")) == ["a"]
    assert asked_about(tool_call("a", tool=""), params=whether(None)) == ["a"]


def test_an_elicitation_is_about_the_oldest_call_of_its_server_that_waits_for_nobody() -> None:
    direct = {"id": 9, "method": "mcpServer/tool/call", "params": {"threadId": "t", "server": "s", "tool": "f"}}
    plain = {"threadId": "t", "serverName": "s"}
    assert asked_about(tool_call("a"), tool_call("b"), params=plain) == ["a"]
    assert asked_about(direct, tool_call("b"), params=plain) == ["9"]
    assert asked_about(tool_call("a", server="x"), tool_call("b", thread="t2"), params=plain) == []
    # One that was answered waits for nobody.
    assert asked_about(tool_call("a"), tool_call("b"), params=plain, before=plain) == ["a"]
    watch = Watch()
    watch.server(tool_call("a"), tool_call("b"))
    for number in (1, 2, 3):
        watch.server({"id": number, "method": "mcpServer/elicitation/request", "params": plain})
    approvals = watch.interceptor._pairing.approvals
    assert [approvals.open[number].consent for number in approvals.open] == [c.consent for c in watch.interceptor._pairing.calls]


def test_a_server_that_is_not_named_asks_about_nothing() -> None:
    calls = [tool_call("a", server=""), {"id": 1, "method": "tools/call"}]
    for server in ("", None, 5):
        assert asked_about(*calls, params={"threadId": "t", "serverName": server}) == []


def test_parameters_with_numbers_beyond_python_are_compared_as_they_are() -> None:
    for arguments in ('{"n":1e400}', f'{{"n":{"7" * 5_000}}}'):
        watch = Watch()
        call = json.dumps(tool_call()).replace('{"x": 1, "y": [2]}', arguments)
        ask = json.dumps({"id": 0, "method": "mcpServer/elicitation/request", "params": whether(params="@")})
        watch.server(call, ask.replace('"@"', arguments.replace("7", "8", 1)))
        assert list(watch.interceptor._pairing.approvals.open) == ([] if "7" in arguments else [0])
        watch.server(ask.replace('"@"', arguments))
        assert list(watch.interceptor._pairing.approvals.open) == [0]
