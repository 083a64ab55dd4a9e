"""MCP: a person is asked in the middle of a call, by a request of the server's or by rounds of input."""

from __future__ import annotations

from typing import Any

import pytest

from tests.watching import Watch, operation
from trio_oplog import Approval, DecidedBy, Outcome
from trio_oplog._operation import ResultMeta

Message = dict[str, Any]


def call(request_id: Any = 1, **params: Any) -> Message:
    return {"id": request_id, "method": "tools/call", "params": {"name": "x"} | params}


def answer(request_id: Any = 1, **result: Any) -> Message:
    return {"id": request_id, "result": result}


def elicit(request_id: Any = 0, method: str = "elicitation/create", **params: Any) -> Message:
    return {"id": request_id, "method": method, "params": params}


def by_client(decision: str | None, waited_ms: int, **more: Any) -> Approval:
    return Approval(decision=decision, by=DecidedBy.CLIENT, waited_ms=waited_ms, **more)


def by_nobody(waited_ms: int, **more: Any) -> Approval:
    return Approval(by=DecidedBy.NONE, waited_ms=waited_ms, **more)


ASKS = {"who": {"method": "elicitation/create"}, "where": {"method": "roots/list"}, "when": {"method": "elicitation/create"}}
ASKED = answer(resultType="input_required", requestState="s", inputRequests=ASKS)


# Requests of the server


@pytest.mark.parametrize(
    ("reply", "approval"),
    [
        ({"result": {"action": "accept", "content": {"a": 1}}}, by_client("accept", 1_000)),
        ({"result": {"action": "decline"}}, by_client("decline", 1_000)),
        ({"result": {"action": "cancel"}}, by_client("cancel", 1_000)),
        ({"result": {"action": ""}}, by_client(None, 1_000)),
        ({"result": {}}, by_client(None, 1_000)),
        ({"error": {"code": -32042, "message": "no"}}, by_client(None, 1_000, reason="no")),
    ],
)
def test_an_elicitation_is_an_approval_that_refuses_nothing(reply: Message, approval: Approval) -> None:
    watch = Watch()
    watch.client(call())
    watch.server(elicit())
    watch.seconds = 1.0
    watch.client({"id": 0} | reply)
    watch.seconds = 1.5
    watch.server(answer())
    meta = ResultMeta(waited_ms=1_000)
    assert watch.recorded == [operation(tool="x", request_id="1", seconds=1.5, approval=approval, result_meta=meta)]


def asked(*steps: Message) -> list[bool]:
    """Which of the calls of a session were asked about; every answer of the client's names a server's request."""
    watch = Watch()
    for step in steps:
        (watch.server if step.get("id") in (0, "a", "b") and "method" in step else watch.client)(step)
    return [call.consent is not None for call in watch.interceptor._pairing.calls]


def test_an_elicitation_is_about_the_oldest_call_that_has_no_request_open() -> None:
    calls = [call(1), call(2), call(3)]
    assert asked(*calls, elicit()) == [True, False, False]
    assert asked(*calls, elicit(), elicit("a"), elicit("b")) == [True, True, True]
    # A request to sample makes its call busy, too.
    assert asked(*calls, elicit(method="sampling/createMessage"), elicit("a")) == [True, True, False]
    assert asked(*calls, elicit(), {"id": 0, "result": {}}, elicit("a")) == [True, False, False]


def test_a_call_of_codex_or_an_item_is_not_what_mcp_asks_about() -> None:
    item = {"method": "item/started", "params": {"item": {"type": "mcpToolCall", "id": "i"}}}
    watch = Watch()
    watch.client({"id": 5, "method": "mcpServer/tool/call"})
    watch.server(item, elicit())
    assert [op.approval for op in watch.close()] == [None, None]


@pytest.mark.parametrize("request_id", [None, True, []])
def test_a_request_without_an_id_waits_for_nobody(request_id: Any) -> None:
    watch = Watch()
    watch.client(call())
    for method in ("elicitation/create", "sampling/createMessage"):
        watch.server({"method": method}, elicit(request_id, method))
    assert [op.approval for op in watch.close()] == [None]


def test_an_elicitation_without_its_parts_is_about_the_oldest_call() -> None:
    for params in (None, [], {"_meta": []}, {"_meta": {}}):
        watch = Watch()
        watch.client(call())
        watch.server({"id": 0, "method": "elicitation/create", "params": params})
        assert [op.approval for op in watch.close()] == [by_nobody(0)]


def test_only_the_server_takes_its_own_request_back() -> None:
    watch = Watch()
    watch.client(call(0))
    watch.server(elicit(0))
    watch.seconds = 1.0
    watch.server({"method": "notifications/cancelled", "params": {"requestId": 0}})
    assert watch.recorded == []
    watch.client({"method": "notifications/cancelled", "params": {"requestId": 0, "reason": "bored"}})
    assert watch.recorded == [
        operation(
            tool="x",
            request_id="0",
            seconds=1.0,
            is_error=True,
            result_summary="bored",
            approval=by_nobody(1_000),
            result_meta=ResultMeta(outcome=Outcome.CANCELLED, waited_ms=1_000),
        )
    ]


@pytest.mark.parametrize("params", [{}, None, [], {"requestId": None}, {"requestId": "0"}])
def test_a_server_that_takes_back_nothing_known_changes_nothing(params: Any) -> None:
    watch = Watch()
    watch.client(call())
    watch.server(elicit())
    watch.server({"method": "notifications/cancelled", "params": params}, {"method": "serverRequest/resolved", "params": params})
    assert list(watch.interceptor._pairing.approvals.open) == [0]


# Rounds


def test_a_round_waits_for_a_person_until_its_retry() -> None:
    watch = Watch()
    watch.client(call())
    watch.seconds = 1.0
    watch.server(ASKED)
    watch.seconds = 4.0
    watch.client(call(2, requestState="s", inputResponses={"who": {"action": "decline"}, "where": {}}))
    watch.seconds = 5.0
    watch.server(answer(2))
    # Whoever was not answered with the retry is answered no more.
    approval = by_nobody(3_000, count=2)
    meta = ResultMeta(waited_ms=3_000, rounds=2)
    assert watch.recorded == [operation(tool="x", request_id="1", seconds=5.0, approval=approval, result_meta=meta)]


def test_a_round_that_asks_no_person_waits_for_nobody() -> None:
    for requests in ({"where": {"method": "roots/list"}}, {"why": {"method": "sampling/createMessage"}}, {}, None):
        watch = Watch()
        watch.client(call())
        watch.server(answer(resultType="input_required", requestState="s", inputRequests=requests))
        watch.seconds = 4.0
        watch.client(call(2, requestState="s", inputResponses={key: {} for key in requests or ()}))
        watch.server(answer(2))
        assert [(op.approval, op.result_meta) for op in watch.recorded] == [(None, ResultMeta(rounds=2))]


def test_a_round_that_is_never_retried_waited_for_nothing() -> None:
    watch = Watch()
    watch.client(call())
    watch.seconds = 1.0
    watch.server(ASKED)
    watch.seconds = 4.0
    assert watch.close() == [
        operation(
            tool="x",
            request_id="1",
            seconds=1.0,
            approval=by_nobody(0, count=2),
            result_meta=ResultMeta(outcome=Outcome.INPUT_REQUIRED, waited_ms=0),
        )
    ]


def test_what_the_server_asks_in_a_later_round_counts_with_the_earlier_ones() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(answer(resultType="input_required", requestState="s", inputRequests={"who": {"method": "elicitation/create"}}))
    watch.seconds = 1.0
    watch.client(call(2, requestState="s", inputResponses={"who": {"action": "accept"}}))
    watch.server(elicit())
    watch.seconds = 3.0
    watch.client({"id": 0, "result": {"action": "cancel"}})
    watch.server(answer(2))
    (op,) = watch.recorded
    assert (op.approval, op.result_meta) == (by_client("cancel", 2_000, count=2), ResultMeta(waited_ms=3_000, rounds=2))


def test_a_call_with_responses_to_nothing_is_a_call() -> None:
    for params in ({"requestState": "s"}, {"inputResponses": {"who": {}}}, {"requestState": None}, {"inputResponses": "x"}):
        watch = Watch()
        watch.client(call(**params))
        watch.server(answer())
        assert watch.recorded == [operation(tool="x", request_id="1")]


def test_a_state_may_be_any_json() -> None:
    for state, other in [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([1], [1]), (0, 0), ("", "")]:
        watch = Watch()
        watch.client(call())
        watch.server(answer(resultType="input_required", requestState=state))
        watch.client(call(2, requestState=other))
        watch.server(answer(2))
        assert [op.result_meta for op in watch.recorded] == [ResultMeta(rounds=2)]
