"""MCP: a call that goes on as a task ends with its result, with its status, or unfetched."""

from __future__ import annotations

from typing import Any

import pytest

from tests.watching import Watch, operation
from trio_oplog import Approval, DecidedBy, Operation, Outcome
from trio_oplog._operation import ResultMeta

Message = dict[str, Any]
CALL = {"id": 1, "method": "tools/call", "params": {"name": "x", "task": {"ttl": 60_000}}}
GET, RESULT, CANCEL = ({"id": 2, "method": f"tasks/{what}", "params": {"taskId": "t"}} for what in ("get", "result", "cancel"))
RELATED = {"_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t"}}}
ASKS = {"who": {"method": "elicitation/create"}, "where": {"method": "roots/list"}}


def answer(request_id: Any = 2, **result: Any) -> Message:
    return {"id": request_id, "result": result}


def error(**more: Any) -> Message:
    return {"id": 2, "error": {"code": -7, "message": "boom"}} | more


def told(status: Any, **more: Any) -> Message:
    return {"method": "notifications/tasks/status", "params": {"taskId": "t", "status": status} | more}


def text(said: str) -> list[Message]:
    return [{"type": "text", "text": said}]


def begun(how: Message | None = None) -> Watch:
    """A call that has become a task."""
    watch = Watch()
    watch.client(CALL)
    watch.server(answer(1, **(how or {"task": {"taskId": "t", "status": "working"}})))
    assert watch.recorded == []
    return watch


def ended(*steps: Message, how: Message | None = None) -> list[Operation]:
    """What is recorded of a task after these steps, a second later."""
    watch = begun(how)
    watch.seconds = 1.0
    for step in steps:
        (watch.client if "id" in step and "method" in step else watch.server)(step)
    return list(watch.recorded)


def record(outcome: Outcome | None = None, summary: str | None = None, *, is_error: bool | None = None, **meta: Any) -> Operation:
    return operation(
        tool="x",
        request_id="1",
        seconds=1.0,
        is_error=outcome is not None if is_error is None else is_error,
        result_summary=summary,
        result_meta=ResultMeta(outcome=outcome, task_id="t", **meta),
    )


# How it begins


@pytest.mark.parametrize(
    "how",
    [
        {"task": {"taskId": "t", "status": "working", "ttl": 60_000}},
        {"task": {"taskId": "t"}, "content": text("accepted")},
        {"resultType": "task", "taskId": "t", "status": "working", "ttlMs": 60_000},
        {"resultType": "task", "taskId": "t"},
    ],
)
def test_an_answer_that_hands_out_a_task_does_not_end_the_call(how: Message) -> None:
    assert ended(how=how) == []
    assert ended(RESULT, answer(content=text("done")), how=how) == [record(summary="done")]


@pytest.mark.parametrize(
    "result",
    [
        {"task": {"status": "working"}},
        {"task": {"taskId": ""}},
        {"task": {"taskId": 5}},
        {"task": "t"},
        {"taskId": "t", "status": "working"},
        {"resultType": "task"},
        {"resultType": "complete", "taskId": "t"},
    ],
)
def test_an_answer_without_a_task_ends_the_call(result: Message) -> None:
    watch = Watch()
    watch.client(CALL)
    watch.server(answer(1, **result))
    assert [op.result_meta for op in watch.recorded] == [None]


def test_an_error_beside_a_task_ends_the_call() -> None:
    watch = Watch()
    watch.client(CALL)
    watch.server(error(id=1, result={"task": {"taskId": "t"}}))
    assert [op.result_meta for op in watch.recorded] == [ResultMeta(outcome=Outcome.RPC_ERROR, error_code=-7)]


def test_a_task_may_be_over_when_it_is_handed_out() -> None:
    for status, outcome, summary in [("cancelled", Outcome.CANCELLED, "no"), ("failed", Outcome.FAILED, "no")]:
        watch = Watch()
        watch.client(CALL)
        watch.seconds = 1.0
        watch.server(answer(1, task={"taskId": "t", "status": status, "statusMessage": "no"}))
        watch.seconds = 2.0
        assert watch.close() == [record(outcome, summary)]
    watch = begun({"resultType": "task", "taskId": "t", "status": "completed"})
    watch.seconds = 1.0
    assert [op.duration_ms for op in watch.close()] == [0]


def test_a_long_id_of_a_task_is_cut_wherever_it_stands() -> None:
    long = "t" * 2_000
    watch = Watch()
    watch.client(CALL)
    watch.server(answer(1, task={"taskId": long}))
    watch.client(GET | {"params": {"taskId": long}})
    watch.server(answer(2, status="cancelled"))
    assert [op.result_meta for op in watch.recorded] == [ResultMeta(outcome=Outcome.CANCELLED, task_id="t" * 1_024)]


# The result


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"content": text("done"), **RELATED}, record(summary="done")),
        ({"content": text("disk full"), "isError": True}, record(Outcome.TOOL_ERROR, "disk full")),
        ({"content": []}, record()),
        ({"content": "text"}, record(summary="text")),
        ({"structuredContent": {"a": 1}}, record(summary='{"a": 1}')),
        ({"toolResult": 5}, record(summary="5")),
        ({"isError": True}, record(Outcome.TOOL_ERROR)),
        ({"structuredContent": None}, record()),
        ({"content": [{"type": "image"}]}, record(content_types=("image",))),
        ({}, record()),
    ],
)
def test_the_result_of_a_task_is_the_result_of_its_call(result: Message, expected: Operation) -> None:
    assert ended(RESULT, answer(**result)) == [expected]


@pytest.mark.parametrize(
    ("status", "more", "expected"),
    [
        ("failed", {"statusMessage": "disk full"}, record(Outcome.FAILED, "disk full")),
        ("failed", {}, record(Outcome.FAILED)),
        ("completed", {"statusMessage": "fine"}, record()),
        ("working", {"statusMessage": "busy"}, record()),
    ],
)
@pytest.mark.parametrize("result", [{}, {"_meta": {}}, {"content": None}])
def test_a_result_without_content_leaves_it_to_the_status(
    status: str, more: Message, expected: Operation, result: Message
) -> None:
    assert ended(told(status, **more), RESULT, answer(**result)) == [expected]


@pytest.mark.parametrize("nothing", [None, [], 5, True])
def test_a_result_that_is_no_object_leaves_it_to_the_status(nothing: Any) -> None:
    assert ended(told("failed", statusMessage="no"), RESULT, {"id": 2, "result": nothing}) == [record(Outcome.FAILED, "no")]
    assert ended(RESULT, {"id": 2, "result": nothing}) == [record()]


def test_a_result_that_is_text_is_the_text() -> None:
    assert ended(RESULT, {"id": 2, "result": "done"}) == [record(summary="done")]


def test_a_result_counts_more_than_the_status() -> None:
    assert ended(told("failed", statusMessage="no"), RESULT, answer(content=text("why"), isError=True)) == [
        record(Outcome.TOOL_ERROR, "why")
    ]
    assert ended(told("completed"), RESULT, answer(content=text("done"))) == [record(summary="done")]


def test_an_error_instead_of_the_result_is_the_calls() -> None:
    assert ended(RESULT, error()) == [record(Outcome.RPC_ERROR, "boom", error_code=-7)]


@pytest.mark.parametrize("nothing", [{"id": 2}, {"id": 2, "error": None}, {"id": 9, "result": {}}])
def test_what_is_no_answer_brings_no_result(nothing: Message) -> None:
    for request in (RESULT, GET, CANCEL):
        assert ended(request, nothing) == []
    assert ended(RESULT, nothing, answer(content=text("done"))) == [record(summary="done")]


def test_a_result_that_comes_twice_is_recorded_once() -> None:
    assert len(ended(RESULT, RESULT | {"id": 3}, answer(2, content=[]), answer(3, content=[]), told("cancelled"))) == 1


def test_the_result_of_another_task_is_not_the_calls() -> None:
    for other in ({"taskId": "t2"}, {"taskId": ""}, {"taskId": 5}, {}, None, []):
        for request in (RESULT, GET, CANCEL):
            assert ended(request | {"params": other}, answer(content=text("done"), status="cancelled")) == []
            assert ended({"method": request["method"], "params": {"taskId": "t"}}, answer(content=text("done"))) == []


def test_an_answer_on_the_way_to_the_end_may_have_the_id_in_the_other_type() -> None:
    assert ended(RESULT, answer("2", content=text("done"))) == [record(summary="done", id_respelled=True)]
    assert ended(CANCEL, answer("2")) == [record(Outcome.CANCELLED, id_respelled=True)]
    assert ended(GET, answer("2", status="working"), told("cancelled")) == [record(Outcome.CANCELLED, id_respelled=True)]
    watch = Watch()
    watch.client(CALL)
    watch.server(answer("1", task={"taskId": "t"}))
    watch.seconds = 1.0
    watch.server(told("cancelled"))
    assert watch.recorded == [record(Outcome.CANCELLED, id_respelled=True)]
    assert ended(GET | {"params": {"taskId": "t2"}}, answer("2", status="working"), told("cancelled")) == [
        record(Outcome.CANCELLED)
    ]


# The status


def asked(**state: Any) -> list[Message]:
    return [GET, answer(taskId="t", **state)]


def notified(**state: Any) -> list[Message]:
    return [{"method": "notifications/tasks", "params": {"taskId": "t", **state}}]


@pytest.mark.parametrize("heard", [asked, notified])
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"status": "cancelled"}, record(Outcome.CANCELLED)),
        ({"status": "cancelled", "statusMessage": "bored"}, record(Outcome.CANCELLED, "bored")),
        ({"status": "completed", "result": {"content": text("done")}}, record(summary="done")),
        ({"status": "completed", "result": {}}, record()),
        ({"status": "completed", "result": {"isError": True, "content": text("no")}}, record(Outcome.TOOL_ERROR, "no")),
        ({"status": "failed", "error": {"code": -1, "message": "boom"}}, record(Outcome.RPC_ERROR, "boom", error_code=-1)),
        ({"status": "failed", "error": "boom", "statusMessage": "no"}, record(Outcome.RPC_ERROR, "boom")),
        ({"status": "failed", "error": None}, None),
        ({"status": "working", "error": {"message": "boom"}}, None),
        ({"status": "failed", "statusMessage": "no"}, None),
        ({"status": "completed"}, None),
        ({"status": "completed", "result": None}, None),
        ({"status": "working"}, None),
        ({"status": "exploded"}, None),
        ({"status": 5}, None),
        ({}, None),
    ],
)
def test_a_status_ends_the_call_where_it_brings_the_result_or_says_that_there_is_none(
    heard: Any, state: Message, expected: Operation | None
) -> None:
    assert ended(*heard(**state)) == ([] if expected is None else [expected])


def test_an_error_of_asking_says_nothing_of_the_task() -> None:
    assert ended(GET, error()) == []
    assert ended(GET, {"id": 2, "result": None}) == []
    assert ended(GET, error(result={"taskId": "t", "status": "working"})) == []


@pytest.mark.parametrize("params", [None, [], {}, {"status": "cancelled"}, {"taskId": "", "status": "cancelled"}])
def test_a_notification_that_names_no_task_says_nothing(params: Any) -> None:
    assert ended({"method": "notifications/tasks", "params": params}) == []


# Cancelled by the client


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({}, record(Outcome.CANCELLED)),
        ({"status": "cancelled", "statusMessage": "bored"}, record(Outcome.CANCELLED, "bored")),
        ({"status": ""}, record(Outcome.CANCELLED)),
        ({"status": "working"}, None),
        ({"status": "completed"}, None),
    ],
)
def test_a_task_that_the_client_cancels_is_cancelled_unless_the_answer_says_otherwise(
    result: Message, expected: Operation | None
) -> None:
    assert ended(CANCEL, answer(**result)) == ([] if expected is None else [expected])


def test_a_cancellation_that_is_refused_changes_nothing() -> None:
    assert ended(CANCEL, error()) == []
    assert ended(CANCEL, error(result={})) == []
    assert ended(CANCEL, {"id": 2, "result": None}) == []


def test_a_task_that_had_completed_when_it_was_cancelled_is_unfetched() -> None:
    watch = begun()
    watch.client(CANCEL)
    watch.seconds = 1.0
    watch.server(answer(status="completed"))
    watch.seconds = 2.0
    assert watch.close() == [record(Outcome.UNFETCHED, is_error=False)]


def test_to_cancel_the_request_that_became_a_task_cancels_nothing() -> None:
    watch = begun()
    watch.client({"method": "notifications/cancelled", "params": {"requestId": 1}})
    assert (watch.recorded, watch.statistics.suspended_calls) == ([], 1)


# Asking for input


def update(task_id: str, **responses: Any) -> Message:
    return {"id": 3, "method": "tasks/update", "params": {"taskId": task_id, "inputResponses": responses}}


def test_a_task_waits_for_a_person_from_the_first_status_that_asks_to_the_answer() -> None:
    watch = begun()
    for seconds, who, message in [
        (1.0, "c", GET),
        (2.0, "s", answer(taskId="t", status="input_required", inputRequests=ASKS)),
        (3.0, "s", told("input_required", inputRequests=ASKS)),
        (
            5.5,
            "c",
            {"id": 3, "method": "tasks/update", "params": {"taskId": "t", "inputResponses": {"who": {"action": "decline"}}}},
        ),
        (6.0, "s", told("input_required", inputRequests=ASKS)),
        (7.0, "s", told("completed", result={"content": text("done")})),
    ]:
        watch.seconds = seconds
        (watch.client if who == "c" else watch.server)(message)
    approval = Approval(decision="decline", by=DecidedBy.CLIENT, waited_ms=3_500)
    meta = ResultMeta(task_id="t", waited_ms=3_500)
    done = operation(tool="x", request_id="1", seconds=7.0, result_summary="done", result_meta=meta, approval=approval)
    assert watch.recorded == [done]


@pytest.mark.parametrize(
    "params",
    [
        {"taskId": "t"},
        {"taskId": "t2", "inputResponses": {"who": {"action": "accept"}}},
        {"taskId": "t", "inputResponses": {"where": {"action": "accept"}}},
        {"taskId": "t", "inputResponses": []},
        {"taskId": ""},
        None,
    ],
)
def test_an_update_of_something_else_answers_nothing(params: Any) -> None:
    watch = begun()
    watch.server(told("input_required", inputRequests=ASKS))
    watch.seconds = 1.0
    watch.client({"id": 3, "method": "tasks/update", "params": params})
    (op,) = watch.close()
    assert op.approval == Approval(by=DecidedBy.NONE, waited_ms=1_000)


def test_an_update_before_anything_was_asked_answers_nothing() -> None:
    watch = begun()
    watch.client(update("t", who={"action": "accept"}))
    assert [op.approval for op in watch.close()] == [None]


@pytest.mark.parametrize(
    ("response", "decision"), [({"action": "accept"}, "accept"), ({"action": 5}, None), ({}, None), (None, None), ("yes", None)]
)
def test_input_is_what_its_action_says(response: Any, decision: str | None) -> None:
    watch = begun()
    watch.server(told("input_required", inputRequests=ASKS))
    watch.client(update("t", who=response))
    assert watch.close()[0].approval == Approval(decision=decision, by=DecidedBy.CLIENT, waited_ms=0)


@pytest.mark.parametrize(
    "requests",
    [{"where": {"method": "roots/list"}}, {"who": {}}, {"who": None}, {"who": "elicitation/create"}, {}, [], None, "who"],
)
def test_a_task_that_asks_for_no_person_waits_for_none(requests: Any) -> None:
    watch = begun()
    watch.server(told("input_required", inputRequests=requests))
    (op,) = watch.close()
    assert (op.approval, op.result_meta) == (None, ResultMeta(outcome=Outcome.UNANSWERED, task_id="t"))


def test_what_the_answer_to_a_cancellation_asks_for_is_no_question() -> None:
    watch = begun()
    watch.client(CANCEL)
    watch.server(answer(status="working", inputRequests=ASKS))
    assert [op.approval for op in watch.close()] == [None]


def test_a_task_asks_for_no_more_than_is_looked_at() -> None:
    watch = begun()
    for first in range(0, 300, 100):
        many = {f"k{number}": {"method": "elicitation/create"} for number in range(first, first + 100)}
        watch.server(told("input_required", inputRequests=many))
    (op,) = watch.close()
    assert op.approval is not None
    assert op.approval.count == 64


# The server asks about it


@pytest.mark.parametrize(("method", "waited_ms"), [("elicitation/create", 1_000), ("sampling/createMessage", None)])
def test_a_request_of_the_server_may_be_about_a_task(method: str, waited_ms: int | None) -> None:
    watch = begun()
    watch.client({"id": 5, "method": "tools/call", "params": {"name": "other"}})
    watch.server({"id": 0, "method": method, "params": RELATED})
    watch.seconds = 1.0
    watch.client({"id": 0, "result": {"action": "cancel"}})
    watch.server(answer(5), told("completed", result={}))
    approval = Approval(decision="cancel", by=DecidedBy.CLIENT, waited_ms=1_000) if waited_ms else None
    other, task = watch.recorded
    assert (other.approval, other.result_meta) == (None, None)
    assert (task.approval, task.is_error, task.result_meta) == (approval, False, ResultMeta(task_id="t", waited_ms=waited_ms))


@pytest.mark.parametrize("related", [{"taskId": "t2"}, {"taskId": 5}, {}, None])
def test_a_request_about_no_known_task_is_about_the_oldest_open_call(related: Any) -> None:
    watch = begun()
    watch.client({"id": 5, "method": "tools/call"}, {"id": 6, "method": "tools/call"})
    watch.server(
        {"id": 0, "method": "elicitation/create", "params": {"_meta": {"io.modelcontextprotocol/related-task": related}}},
        {"id": 1, "method": "elicitation/create"},
    )
    assert [(op.request_id, op.approval is not None) for op in watch.close()] == [("5", True), ("6", True), ("1", False)]


# A task that is over


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_task_that_is_over_waits_for_nobody(status: str) -> None:
    watch = begun()
    watch.server(told("input_required", inputRequests=ASKS), {"id": 0, "method": "elicitation/create", "params": RELATED})
    watch.seconds = 1.0
    watch.server(told(status))
    watch.seconds = 2.0
    watch.server(
        told("working", inputRequests={"late": ASKS["who"]}), {"id": 1, "method": "elicitation/create", "params": RELATED}
    )
    watch.client({"id": 0, "result": {"action": "accept"}}, update("t", who={"action": "accept"}))
    watch.seconds = 3.0
    (op,) = watch.close()
    assert (op.duration_ms, op.result_meta and op.result_meta.waited_ms) == (1_000, 1_000)
    assert op.approval == Approval(by=DecidedBy.NONE, waited_ms=1_000, count=2)


def test_what_was_answered_once_is_not_answered_again() -> None:
    watch = begun()
    watch.server(told("input_required", inputRequests=ASKS))
    watch.client(update("t", who={"action": "accept"}), update("t", who={"action": "decline"}))
    assert watch.close()[0].approval == Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=0)
