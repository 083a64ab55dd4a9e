"""Calls that were answered and have not ended wait in a table that connections can share, bounded by count and by age."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from tests.watching import Watch, operation
from trio_oplog import Approval, ConfigError, Context, DecidedBy, Outcome
from trio_oplog._operation import ResultMeta
from trio_oplog._recording import SuspendedCalls

Message = dict[str, Any]
Fields = dict[str, Any]


def call(request_id: Any = 1, tool: str = "x", **params: Any) -> Message:
    return {"id": request_id, "method": "tools/call", "params": {"name": tool} | params}


def answer(request_id: Any = 1, **result: Any) -> Message:
    return {"id": request_id, "result": result}


def task(request_id: Any = 1, task_id: str = "t", status: str = "working") -> Message:
    return answer(request_id, task={"taskId": task_id, "status": status})


def asking(request_id: Any = 1, state: Any = "s", **requests: str) -> Message:
    asks = {key: {"method": method} for key, method in requests.items()}
    return answer(request_id, resultType="input_required", requestState=state, inputRequests=asks)


def retry(request_id: Any = 2, tool: str = "x", state: Any = "s", **responses: Any) -> Message:
    return call(request_id, tool, requestState=state, inputResponses=responses)


def status(told: str, task_id: str = "t", **more: Any) -> Message:
    return {"method": "notifications/tasks", "params": {"taskId": task_id, "status": told} | more}


def fetch(request_id: Any, task_id: str = "t", method: str = "tasks/result") -> Message:
    return {"id": request_id, "method": method, "params": {"taskId": task_id}}


def text(said: str) -> list[Message]:
    return [{"type": "text", "text": said}]


def waiting(outcome: Outcome, is_error: bool, **meta: Any) -> Fields:
    return {"tool": "x", "request_id": "1", "is_error": is_error, "result_meta": ResultMeta(outcome=outcome, **meta)}


UNANSWERED = waiting(Outcome.UNANSWERED, is_error=True, task_id="t")
INPUT_REQUIRED = waiting(Outcome.INPUT_REQUIRED, is_error=False)


# Where they wait


def test_a_task_waits_in_the_table_and_is_no_open_call() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(task())
    assert watch.recorded == []
    assert (watch.statistics.open_calls, watch.statistics.suspended_calls) == (0, 1)


def test_a_table_of_its_own_is_closed_with_the_interceptor() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(task())
    watch.seconds = 2.0
    assert watch.close() == [operation(seconds=2.0, **UNANSWERED)]
    assert watch.statistics.suspended_calls == 0
    # The connection had no open call any more.
    assert (watch.statistics.unanswered, watch.statistics.recorded) == (0, 1)


def test_a_shared_table_outlives_the_connections_that_share_it() -> None:
    one = Watch(shared={}, workspace_id="ws-1")
    other = one.beside()
    one.client(call())
    one.server(task())
    one.seconds = 1.0
    assert one.close() == []
    other.client(fetch("r"))
    one.seconds = 3.0
    other.server(answer("r", content=text("done")))
    done = operation(tool="x", request_id="1", result_summary="done", result_meta=ResultMeta(task_id="t"), seconds=3.0)
    assert one.recorded == [done]
    assert (one.statistics.recorded, other.statistics.recorded) == (1, 0)


def test_a_record_says_what_the_connection_said_on_which_the_call_began() -> None:
    one = Watch(shared={}, source="tui", user_id="u", transport="http")
    other = one.beside(source="sdk", user_id="v", transport="stdio")
    one.client({"id": 0, "method": "initialize", "params": {"clientInfo": {"name": "c"}}})
    one.server(answer(0, serverInfo={"name": "s"}))
    one.client(call())
    one.server(task())
    other.client(fetch(5))
    other.server(answer(5, content=text("done")))
    assert one.recorded == [
        operation(
            source="tui",
            user_id="u",
            env_id="s",
            tool="x",
            request_id="1",
            result_summary="done",
            result_meta=ResultMeta(task_id="t"),
            context=Context(client="c", server="s", transport="http"),
        )
    ]


def test_what_waits_in_one_workspace_is_not_found_in_another() -> None:
    one = Watch(shared={})
    other = one.beside(workspace_id="ws-2")
    one.client(call(), call(2, tool="y"))
    one.server(task(), asking(2, who="roots/list"))
    other.client(fetch(1), retry(7, tool="y", who={}))
    other.server(answer(1, content=text("not this")), status("cancelled"), answer(7))
    assert [(op.workspace_id, op.request_id) for op in one.recorded] == [("ws-2", "7")]
    assert other.statistics.suspended_calls == 2


def test_a_round_is_carried_on_only_for_the_same_user() -> None:
    one = Watch(shared={}, user_id="u")
    other = one.beside(user_id="v")
    one.client(call())
    one.server(asking(who="roots/list"))
    other.client(retry(who={}))
    other.server(answer(2))
    assert [op.user_id for op in one.recorded] == ["v"]
    assert one.statistics.suspended_calls == 1


def test_a_task_id_that_the_server_gives_out_again_is_another_task() -> None:
    watch = Watch()
    watch.client(call(), call(2, tool="y"))
    watch.server(task())
    watch.seconds = 1.0
    watch.server(task(2), status("cancelled"))
    assert watch.recorded == [
        operation(seconds=1.0, **UNANSWERED),
        operation(
            id="id-2",
            tool="y",
            request_id="2",
            is_error=True,
            result_meta=ResultMeta(outcome=Outcome.CANCELLED, task_id="t"),
            seconds=1.0,
        ),
    ]
    assert watch.statistics.suspended_calls == 0


# Its bounds


def test_one_call_too_many_costs_the_oldest_its_place() -> None:
    watch = Watch(max_suspended=2)
    watch.client(*[call(number, tool="x") for number in (1, 2, 3)])
    watch.server(task(1), asking(2, who="roots/list"))
    assert watch.recorded == []
    watch.seconds = 1.0
    watch.server(task(3, task_id="t3"))
    assert watch.recorded == [operation(seconds=1.0, **UNANSWERED)]
    assert watch.statistics.suspended_calls == 2
    # Neither is found any more.
    watch.server(status("cancelled"))
    assert len(watch.recorded) == 1


def test_a_call_waits_for_an_hour_and_not_longer() -> None:
    watch = Watch(shared={"max_age": 3_600.0})
    watch.client(call())
    watch.server(task())
    assert watch.suspended is not None
    watch.seconds = 3_600.0
    watch.suspended.expire()
    assert watch.recorded == []
    watch.seconds = 3_600.5
    watch.suspended.expire()
    assert watch.recorded == [operation(seconds=3_600.5, **UNANSWERED)]


def test_only_what_is_too_old_expires_however_it_is_found_out() -> None:
    steps: list[Callable[[Watch], None]] = [
        lambda watch: watch.client(retry(9, state="?")),
        lambda watch: watch.server(status("working", "?")),
        lambda watch: watch.server(task(3, "t3")),
    ]
    for step in steps:
        watch = Watch(shared={"max_age": 10.0})
        watch.client(call(1), call(2), call(3))
        watch.server(task(1))
        watch.seconds = 5.0
        watch.server(task(2, "t2"))
        watch.seconds = 10.5
        step(watch)
        assert [op.request_id for op in watch.recorded] == ["1"]


def test_the_bounds_of_an_interceptors_own_table_are_those_of_its_config() -> None:
    watch = Watch(max_suspended_age=2.0)
    watch.client(call(), call(2))
    watch.server(task())
    watch.seconds = 2.5
    watch.server(task(2, "t2"))
    assert watch.recorded == [operation(seconds=2.5, **UNANSWERED)]


@pytest.mark.parametrize(
    ("bounds", "field"),
    [
        ({"max_calls": 0}, "max_calls"),
        ({"max_calls": -1}, "max_calls"),
        ({"max_age": 0}, "max_age"),
        ({"max_age": -0.5}, "max_age"),
        ({"max_age": float("nan")}, "max_age"),
    ],
)
def test_a_bound_that_lets_nothing_in_is_a_mistake(bounds: Fields, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SuspendedCalls(**bounds)
    assert caught.value.field == field
    SuspendedCalls(max_calls=1, max_age=0.001).close()


def test_the_usual_bounds_are_1024_calls_and_an_hour_of_real_time() -> None:
    with SuspendedCalls() as suspended:
        assert repr(suspended) == "<SuspendedCalls 0 of 1024>"
        assert (suspended._max_age, suspended._monotonic.__module__) == (3_600.0, "time")


def test_leaving_the_block_records_what_waits() -> None:
    watch = Watch(shared={})
    assert watch.suspended is not None
    with pytest.raises(KeyError, match="bug"), watch.suspended as entered:
        assert entered is watch.suspended
        watch.client(call(), call(2))
        watch.server(task(), asking(2))
        assert (len(entered), repr(entered)) == (2, "<SuspendedCalls 2 of 1024>")
        raise KeyError("bug")
    assert [op.request_id for op in watch.recorded] == ["1", "2"]
    watch.suspended.close()
    assert len(watch.recorded) == 2


# How they fall out

DONE = operation(
    tool="x", request_id="1", result_meta=ResultMeta(outcome=Outcome.UNFETCHED, task_id="t"), is_error=False, seconds=1.0
)


def test_a_task_that_completed_and_that_nobody_fetched_ended_when_it_was_first_seen_to_have() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(task())
    watch.seconds = 1.0
    watch.server(status("completed", statusMessage="no summary"))
    watch.seconds = 2.0
    watch.server(status("completed"), status("working"))
    watch.seconds = 9.0
    assert watch.close() == [DONE]


def test_what_the_client_asked_for_counts_more_than_what_it_was_told() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(task())
    watch.seconds = 0.5
    watch.server(status("completed"))
    watch.seconds = 1.0
    for request_id in (5, 6):
        watch.client(fetch(request_id, method="tasks/get"))
        watch.server(answer(request_id, taskId="t", status="completed"))
        watch.seconds = 2.0
    assert watch.close() == [DONE]


def test_a_task_that_failed_says_why_and_ended_when_that_was_first_seen() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(task())
    watch.seconds = 1.0
    watch.server(status("failed", statusMessage="disk full"))
    watch.seconds = 3.0
    watch.server(status("failed", statusMessage="disk still full"))
    failed = waiting(Outcome.FAILED, is_error=True, task_id="t")
    assert watch.close() == [operation(seconds=1.0, result_summary="disk still full", **failed)]


def test_a_reason_of_which_nothing_fits_is_empty_and_not_missing_as_with_any_text() -> None:
    cut: Fields = {"truncated": True, "total_bytes": 2, "sha256": sha256("ü".encode()).hexdigest()}
    watch = Watch(result_max_bytes=1)
    watch.client(call(), call(2))
    watch.server({"id": 2, "error": {"code": 1, "message": "ü"}}, task(), status("failed", statusMessage="ü"))
    at_once, kept = watch.close()
    assert (at_once.result_summary, at_once.result_meta) == (
        "",
        ResultMeta(outcome=Outcome.RPC_ERROR, error_code=1, **cut),
    )
    failed = waiting(Outcome.FAILED, is_error=True, task_id="t", **cut)
    assert kept == operation(id=kept.id, result_summary="", **failed)


def test_a_round_that_nobody_retries_ended_with_the_answer_that_asked() -> None:
    watch = Watch()
    watch.client(call())
    watch.seconds = 1.0
    watch.server(answer(resultType="input_required", requestState="s", content=text("who?")))
    watch.seconds = 4.0
    assert watch.close() == [operation(seconds=1.0, result_summary="who?", **INPUT_REQUIRED)]


def test_what_waits_holds_no_more_text_than_a_record_keeps() -> None:
    watch = Watch(max_suspended=1_000, max_pending=1_000)
    said = "x" * 2**20
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(100):
            watch.client(call(number), call(f"f{number}"))
            watch.server(answer(number, resultType="input_required", requestState=number, content=text(said)))
            watch.server(task(f"f{number}", f"t{number}"), status("failed", f"t{number}", statusMessage=said))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert watch.statistics.suspended_calls == 200
    assert held < 200 * 16 * 2**10
    whole = sha256(said.encode()).hexdigest()
    for op in watch.close():
        assert (len(op.result_summary or ""), op.result_meta and op.result_meta.sha256) == (4_096, whole)


# Rounds


def test_a_retry_carries_on_the_oldest_call_that_asked_the_same() -> None:
    watch = Watch()
    for number in (1, 2, 3):
        watch.seconds = float(number)
        watch.client(call(number))
        watch.server(asking(number, who="elicitation/create"))
    watch.seconds = 10.0
    watch.client(retry(7, who={"action": "accept"}))
    watch.server(answer(7, content=text("first")))
    watch.client(retry(8, who={"action": "accept"}))
    watch.server(answer(8, content=text("second")))
    approval = Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=9_000)
    assert watch.recorded == [
        operation(
            tool="x",
            request_id="1",
            result_summary="first",
            result_meta=ResultMeta(rounds=2, waited_ms=9_000),
            approval=approval,
            began=1.0,
            seconds=10.0,
        ),
        operation(
            id="id-2",
            tool="x",
            request_id="2",
            result_summary="second",
            result_meta=ResultMeta(rounds=2, waited_ms=8_000),
            approval=Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=8_000),
            began=2.0,
            seconds=10.0,
        ),
    ]
    assert watch.statistics.suspended_calls == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"tool": "y"}),
        ({}, {"state": "s2"}),
        ({"state": 1}, {"state": True}),
        ({}, {"arguments": {}}),
        ({"arguments": {"a": 1}}, {"arguments": {"a": 2}}),
        ({"arguments": "a"}, {"arguments": None}),
        ({"state": "s" * 70}, {"state": "s" * 71}),
        ({}, {"who": None}),
    ],
)
def test_a_call_that_differs_in_tool_arguments_state_or_responses_is_another_one(first: Fields, second: Fields) -> None:
    watch = Watch(args_max_bytes=1_000)

    def sent(request_id: int, tool: str = "x", state: Any = "s", who: Any = "given", **params: Any) -> Message:
        responses = {"who": who} if who == "given" else {}
        given = {} if request_id == 1 else {"requestState": state, "inputResponses": responses}
        return call(request_id, tool, **params, **given)

    watch.client(sent(1, **first))
    watch.server(asking(state=first.get("state", "s"), who="roots/list"))
    watch.client(sent(2, **first | second))
    watch.server(answer(2))
    assert [op.request_id for op in watch.recorded] == ["2"]
    assert watch.recorded[0].result_meta is None
    watch.client(sent(3, **first))
    watch.server(answer(3))
    assert [(op.request_id, op.result_meta) for op in watch.recorded[1:]] == [("1", ResultMeta(rounds=2))]


@pytest.mark.parametrize("limit", [1_000, 10])
def test_equal_arguments_may_be_spelled_otherwise_where_they_are_kept(limit: int) -> None:
    watch = Watch(args_max_bytes=limit)
    watch.client('{"id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1,"b":[2]}}}')
    watch.server(asking(who="roots/list"))
    same = '"arguments":{"a":1,"b":[2]}' if limit < 1_000 else '"arguments":{ "b":[ 2], "a":1 }'
    watch.client(
        f'{{"id":2,"method":"tools/call","params":{{"name":"x",{same},"requestState":"s","inputResponses":{{"who":1}}}}}}'
    )
    watch.server(answer(2))
    (recorded,) = watch.recorded
    assert (recorded.request_id, recorded.result_meta) == ("1", ResultMeta(rounds=2))


def test_a_state_may_come_back_in_other_escapes() -> None:
    watch = Watch()
    watch.client(call())
    watch.server('{"id":1,"result":{"resultType":"input_required","requestState":"caf\xe9/"}}')
    watch.client('{"id":2,"method":"tools/call","params":{"name":"x","requestState":"caf\\u00e9\\/"}}')
    watch.server(answer(2))
    assert watch.recorded == [operation(tool="x", request_id="1", result_meta=ResultMeta(rounds=2))]


def test_a_state_alone_is_enough_to_know_a_retry_by() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(asking())
    watch.seconds = 1.0
    watch.client(call(2, requestState="s"))
    watch.server(answer(2))
    assert watch.recorded == [operation(tool="x", request_id="1", result_meta=ResultMeta(rounds=2), seconds=1.0)]


def test_requests_alone_are_enough_to_know_a_retry_by() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(answer(resultType="input_required", inputRequests={"who": {"method": "roots/list"}}))
    watch.client(call(2, inputResponses={"who": {}}))
    watch.server(answer(2))
    assert watch.recorded == [operation(tool="x", request_id="1", result_meta=ResultMeta(rounds=2))]


@pytest.mark.parametrize("more", [{}, {"inputRequests": {}}, {"inputRequests": []}, {"requestState": None}])
def test_an_answer_that_asks_for_nothing_by_which_to_know_a_retry_ends_the_call(more: Fields) -> None:
    watch = Watch()
    watch.client(call())
    watch.server(answer(resultType="input_required", **more))
    assert watch.recorded == [operation(**INPUT_REQUIRED)]


def test_a_failure_that_asks_for_input_ends_the_call() -> None:
    watch = Watch()
    watch.client(call(), call(2))
    watch.server(
        answer(resultType="input_required", requestState="s", isError=True),
        {"id": 2, "error": {"message": "no"}, "result": {"resultType": "input_required", "requestState": "s"}},
    )
    assert [op.result_meta and op.result_meta.outcome for op in watch.recorded] == [Outcome.TOOL_ERROR, Outcome.RPC_ERROR]


def test_a_call_may_take_any_number_of_rounds_on_any_connection() -> None:
    one = Watch(shared={})
    other = one.beside()
    one.client(call())
    one.server(asking(state="s1"))
    one.seconds = 1.0
    other.client(retry(1, state="s1"))
    other.server(asking(1, state="s2", who="elicitation/create"))
    one.seconds = 3.0
    one.client(retry(9, state="s2", who={"action": "decline"}))
    one.seconds = 4.0
    one.server(answer(9, content=text("done")))
    assert one.recorded == [
        operation(
            tool="x",
            request_id="1",
            result_summary="done",
            result_meta=ResultMeta(rounds=3, waited_ms=2_000),
            approval=Approval(decision="decline", by=DecidedBy.CLIENT, waited_ms=2_000),
            seconds=4.0,
        )
    ]


def test_a_round_may_end_in_any_way_that_a_call_ends() -> None:
    ends: list[tuple[Any, Outcome, str | None]] = [
        (lambda watch: watch.server({"id": 2, "error": {"message": "no"}}), Outcome.RPC_ERROR, "no"),
        (
            lambda watch: watch.client({"method": "notifications/cancelled", "params": {"requestId": 2, "reason": "bored"}}),
            Outcome.CANCELLED,
            "bored",
        ),
        (lambda watch: watch.close(), Outcome.UNANSWERED, None),
    ]
    for end, outcome, summary in ends:
        watch = Watch()
        watch.client(call())
        watch.server(asking())
        watch.client(retry())
        end(watch)
        ended = waiting(outcome, is_error=True, rounds=2)
        assert watch.recorded == [operation(**ended, result_summary=summary)]


def test_a_round_may_become_a_task() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(asking())
    watch.client(retry())
    watch.server(task(2), status("completed", result={"content": text("done")}))
    meta = ResultMeta(rounds=2, task_id="t")
    assert watch.recorded == [operation(tool="x", request_id="1", result_summary="done", result_meta=meta)]


def test_of_more_requests_than_are_looked_at_the_first_64_count() -> None:
    watch = Watch()
    watch.client(call())
    many = {f"k{number}": "elicitation/create" for number in range(70)}
    watch.server(asking(**many))
    watch.seconds = 1.0
    watch.client(retry(k69={"action": "accept"}), retry(3, k63={"action": "accept"}))
    watch.server(answer(2), answer(3))
    assert [(op.request_id, op.approval and op.approval.count) for op in watch.recorded] == [("2", None), ("1", 64)]


def test_a_call_that_is_carried_on_makes_room_like_any_other() -> None:
    watch = Watch(max_pending=1)
    watch.client(call())
    watch.server(asking())
    watch.client(call(5, tool="y"), retry(7))
    assert [(op.request_id, op.result_meta and op.result_meta.outcome) for op in watch.recorded] == [("5", Outcome.EVICTED)]
    assert watch.statistics.evicted == 1
    watch.server(answer(7))
    assert watch.recorded[1].result_meta == ResultMeta(rounds=2)
