"""Exchanges that belong together: sessions, requests of the server, tasks, cancellations, HTTP+SSE."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.tapping import (
    IN_SESSION,
    INITIALIZE,
    MODERN,
    SESSION,
    TapWatch,
    accepted,
    answer,
    ask,
    broken_off,
    call,
    cancelled,
    ends,
    event,
    given,
    greet,
    listen,
    result,
    stream,
)
from trio_oplog import HttpExchange, Operation, SuspendedCalls

# Sessions


def test_a_session_begins_with_the_answer_to_initialize(watch: TapWatch) -> None:
    greet(watch)
    assert watch.statistics.sessions == 1
    answer(watch.ask(call(), mcp_protocol_version="2025-06-18", **IN_SESSION), result())
    context = watch.recorded[0].context
    assert context is not None
    told = (context.client, context.server, context.protocol, context.session, context.transport)
    assert told == ("c/1", "s/2", "2025-11-25", SESSION, "http")
    assert watch.recorded[0].env_id == "s"


@pytest.mark.parametrize(("first", "status"), [(call(), 200), (INITIALIZE, 500)])
def test_nothing_else_begins_a_session(watch: TapWatch, first: Any, status: int) -> None:
    answer(watch.ask(first), result(first["id"]), status=status, mcp_session_id=SESSION)
    assert watch.statistics.sessions == 0


def test_a_session_may_have_begun_before_the_tap_did(watch: TapWatch) -> None:
    answer(watch.ask(call(1), **IN_SESSION), result(1))
    answer(watch.ask(call(2), mcp_protocol_version="2025-06-18", **IN_SESSION), result(2))
    answer(watch.ask(call(3), mcp_protocol_version="x", mcp_session_id="other"), result(3))
    contexts = [one.context for one in watch.recorded]
    assert [(context.session, context.protocol) for context in contexts if context] == [
        (SESSION, None),
        (SESSION, "2025-06-18"),
        ("other", "x"),
    ]


def test_a_server_that_uses_the_id_of_a_session_again_begins_another(watch: TapWatch) -> None:
    accepted(watch, call(1))
    greet(watch)
    assert ends(watch.recorded) == [("1", "unanswered", None)]
    answer(watch.ask(call(2), **IN_SESSION), result(2))
    assert watch.recorded[1].env_id == "s"


def test_what_was_accepted_is_answered_on_another_stream_of_the_session(watch: TapWatch) -> None:
    accepted(watch, call(1))
    accepted(watch, call(2))
    assert watch.statistics.open_calls == 2
    listening = listen(watch, **IN_SESSION)
    listening.response_data(event([result(2), {"id": 1}]) + event(result(3)) + event(result(None)) + event(result("1")))
    assert ends(watch.recorded) == [("2", None, "done"), ("1", None, "done")]
    assert watch.recorded[1].result_meta is not None
    assert watch.recorded[1].result_meta.id_respelled


def test_an_exact_id_goes_before_an_older_one_of_the_other_type(watch: TapWatch) -> None:
    accepted(watch, call("1"))
    accepted(watch, call(1))
    listen(watch, **IN_SESSION).response_data(event(result(1, "number")))
    assert ends(watch.recorded) == [("1", None, "number")]
    assert watch.recorded[0].result_meta is None


def test_a_stream_that_broke_off_is_resumed(watch: TapWatch) -> None:
    broken_off(watch, call(1))
    live = watch.ask(call(1, "other"), **IN_SESSION)
    watch.seconds = 3
    listen(watch, last_event_id="e1", **IN_SESSION).response_data(event(result(1, "resumed")))
    answer(live, result(1, "its own"))
    assert [(one.tool, one.result_summary, one.duration_ms, one.result_meta) for one in watch.recorded] == [
        ("echo", "resumed", 3000, None),
        ("other", "its own", 3000, None),
    ]


def test_a_stream_without_event_ids_cannot_be_resumed(watch: TapWatch) -> None:
    exchange = watch.ask(call(), **IN_SESSION)
    stream(exchange)
    exchange.response_data(event("", id="e1") + event("", id=""))
    exchange.client_closed()
    assert ends(watch.recorded) == [("1", "unanswered", None)]


@pytest.mark.parametrize(
    ("method", "status", "target"),
    [("DELETE", 200, "/mcp"), ("DELETE", 204, "/mcp"), ("POST", 404, "/mcp"), ("GET", 404, "/mcp")],
)
def test_a_session_ends_with_delete_or_404(watch: TapWatch, method: str, status: int, target: str) -> None:
    broken_off(watch, call(1))
    live = watch.ask(call(2), **IN_SESSION)
    stream(live)
    live.response_data(event("", id="e2"))
    answer(watch.ask(method=method, **IN_SESSION), status=status)
    assert ends(watch.recorded) == [("1", "unanswered", None)]
    assert watch.statistics.sessions == 0
    live.response_data(event(result(2)))
    live.response_end()
    late = watch.ask(call(3), **IN_SESSION)
    late.client_closed()
    assert ends(watch.recorded)[1:] == [("2", None, "done"), ("3", "unanswered", None)]


def test_what_is_open_when_the_session_has_ended_ends_with_its_stream(watch: TapWatch) -> None:
    live = watch.ask(call(2), **IN_SESSION)
    stream(live)
    live.response_data(event("", id="e2"))
    answer(watch.ask(method="DELETE", **IN_SESSION))
    live.response_end()
    assert ends(watch.recorded) == [("2", "unanswered", None)]


@pytest.mark.parametrize(("method", "status"), [("DELETE", 405), ("GET", 405), ("POST", 400)])
def test_other_errors_end_no_session(watch: TapWatch, method: str, status: int) -> None:
    accepted(watch, call(1))
    answer(watch.ask(method=method, **IN_SESSION), status=status)
    assert (watch.recorded, watch.statistics.sessions) == ([], 1)


def test_a_session_id_of_somebody_else_is_another_session(watch: TapWatch) -> None:
    accepted(watch, call(1))
    for identity in ({"user_id": "mallory"}, {"workspace_id": "ws-2"}):
        headers = [(b"mcp-session-id", SESSION.encode())]
        listening = watch.tap.exchange("GET", "/mcp", headers, **identity)
        stream(listening)
        listening.response_data(event(result(1, "stolen")))
        takes_back = watch.tap.exchange("POST", "/mcp", headers, **identity)
        takes_back.request_data(json.dumps(cancelled(1)).encode())
        takes_back.request_end()
        deletes = watch.tap.exchange("DELETE", "/mcp", headers, **identity)
        answer(deletes)
    assert watch.recorded == []
    listen(watch, **IN_SESSION).response_data(event(result(1)))
    assert ends(watch.recorded) == [("1", None, "done")]


def test_two_requests_with_one_id_at_once_get_each_its_own_answer(watch: TapWatch) -> None:
    first, second = watch.ask(call(1, "a"), **IN_SESSION), watch.ask(call(1, "b"), **IN_SESSION)
    answer(second, result(1, "of b"))
    answer(first, result(1, "of a"))
    assert [(one.tool, one.result_summary, one.result_meta) for one in watch.recorded] == [
        ("b", "of b", None),
        ("a", "of a", None),
    ]


def test_a_late_answer_is_not_for_the_next_request_with_its_id(watch: TapWatch) -> None:
    first = watch.ask(call(1, "a"), **IN_SESSION)
    stream(first)
    watch.ask(cancelled(1), **IN_SESSION)
    second = watch.ask(call(1, "b"), **IN_SESSION)
    first.response_data(event(result(1, "too late")))
    answer(second, result(1, "in time"))
    assert ends(watch.recorded) == [("1", "cancelled", "stop"), ("1", None, "in time")]


def test_cancellations_and_answers_about_nothing_are_passed_over(watch: TapWatch) -> None:
    exchange = watch.ask(call(1), **IN_SESSION)
    for message in (cancelled(2), cancelled(None), {"method": "notifications/cancelled"}, given(7), given(None), given("7")):  # type: ignore[arg-type]
        watch.ask(message, **IN_SESSION)
    assert watch.recorded == []
    answer(exchange, result(1))


# Requests of the server


def test_what_is_asked_on_the_stream_of_a_call_is_about_that_call(watch: TapWatch) -> None:
    first, second = watch.ask(call(1), **IN_SESSION), watch.ask(call(2), **IN_SESSION)
    stream(first)
    stream(second)
    second.response_data(event(ask(0)))
    watch.seconds = 1
    watch.ask(given("0", "decline"), **IN_SESSION)  # type: ignore[arg-type]
    second.response_data(event(result(2)))
    first.response_data(event(result(1)))
    approvals = [(one.request_id, one.approval.decision if one.approval else None) for one in watch.recorded]
    assert approvals == [("2", "decline"), ("1", None)]
    assert watch.recorded[0].result_meta is not None
    assert watch.recorded[0].result_meta.waited_ms == 1000


def test_what_is_asked_on_another_stream_is_about_the_oldest_call_that_nobody_is_asked_about(watch: TapWatch) -> None:
    accepted(watch, call(1))
    other = watch.ask({"id": 9, "method": "tools/list"}, **IN_SESSION)
    stream(other)
    other.response_data(event(ask(0)) + event(ask(1)))
    watch.ask([given(0), given(1)], **IN_SESSION)
    other.response_data(event(result(1)))
    assert [one.approval.count if one.approval else 0 for one in watch.recorded] == [None]


def test_what_is_asked_on_a_resumed_stream_is_about_a_call_whose_stream_broke_off(watch: TapWatch) -> None:
    live = watch.ask(call(1), **IN_SESSION)
    broken_off(watch, call(2))
    resumed = listen(watch, last_event_id="e1", **IN_SESSION)
    resumed.response_data(event(ask(0)))
    watch.ask(given(0), **IN_SESSION)
    resumed.response_data(event(result(2)))
    answer(live, result(1))
    assert [(one.request_id, one.approval is not None) for one in watch.recorded] == [("2", True), ("1", False)]


def test_a_request_that_the_server_takes_back_is_decided_by_nobody(watch: TapWatch) -> None:
    accepted(watch, call(1))
    listening = listen(watch, **IN_SESSION)
    listening.response_data(event(ask(0)))
    watch.seconds = 1
    listening.response_data(event(cancelled(0)) + event(cancelled(5)))
    watch.seconds = 2
    listening.response_data(event(result(1)) + event({"method": "notifications/message"}) + event({"method": ask(0)["method"]}))
    assert [(one.approval.by, one.approval.waited_ms) for one in watch.recorded if one.approval] == [("none", 1000)]


def test_a_task_is_asked_about_and_ends_on_other_exchanges(watch: TapWatch) -> None:
    exchange = watch.ask(call(1, task={}), **IN_SESSION)
    answer(exchange, {"id": 1, "result": {"task": {"taskId": "t1", "status": "working"}}})
    fetching = watch.ask({"id": 2, "method": "tasks/result", "params": {"taskId": "t1"}}, **IN_SESSION)
    stream(fetching)
    related = {"_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t1"}}}
    fetching.response_data(event(ask(0) | {"params": related}))
    fetching.client_closed()
    watch.seconds = 1
    listening = listen(watch, **IN_SESSION)
    watch.ask(given(0), **IN_SESSION)
    listening.response_data(event(ask(1) | {"params": related}))
    watch.seconds = 3
    watch.ask(given(1, "decline"), **IN_SESSION)
    status = {"method": "notifications/tasks/status", "params": {"taskId": "t1", "status": "completed"}}
    listening.response_data(event(status))
    answer(watch.ask({"id": 3, "method": "tasks/result", "params": {"taskId": "t1"}}, **IN_SESSION), result(3))
    [operation] = watch.recorded
    assert (operation.result_summary, operation.duration_ms) == ("done", 3000)
    assert operation.approval is not None
    assert (operation.approval.decision, operation.approval.count) == ("decline", 2)
    assert operation.result_meta is not None
    assert (operation.result_meta.task_id, operation.result_meta.waited_ms) == ("t1", 3000)


def test_tasks_and_rounds_go_on_in_other_exchanges_without_a_session(watch: TapWatch) -> None:
    asks = {"q": {"method": "elicitation/create"}}
    answer(watch.ask(call(1), **MODERN), {"id": 1, "result": {"resultType": "input_required", "inputRequests": asks}})
    watch.seconds = 2
    retry = watch.ask(call(2, inputResponses={"q": {"action": "accept"}}), **MODERN)
    answer(retry, {"id": 2, "result": {"resultType": "task", "taskId": "t", "status": "working"}})
    answer(
        watch.ask({"id": 3, "method": "tasks/get", "params": {"taskId": "t"}}, **MODERN),
        {"id": 3, "result": {"taskId": "t", "status": "completed", "result": result()["result"]}},
    )
    [operation] = watch.recorded
    assert (operation.request_id, operation.result_summary, operation.duration_ms) == ("1", "done", 2000)
    assert operation.result_meta is not None
    assert (operation.result_meta.rounds, operation.result_meta.task_id, operation.result_meta.waited_ms) == (2, "t", 2000)


@pytest.mark.parametrize("max_pending", [2, 3])
def test_a_submitter_may_close_the_tap_over_an_operation(max_pending: int) -> None:
    watch = TapWatch(config={"max_pending": max_pending})
    accepted(watch, call(1))
    accepted(watch, call(2))
    live = watch.ask(call(4), **IN_SESSION)
    third = watch.ask(call(3), **IN_SESSION)
    submit = watch.recorded.submit

    def close_and_submit(operation: Operation) -> None:
        watch.tap.close()
        submit(operation)

    watch.recorded.submit = close_and_submit  # type: ignore[method-assign]
    third.response_head(202, [])
    third.response_end()  # which may be one too many
    answer(watch.ask(method="DELETE", **IN_SESSION))
    live.client_closed()
    assert sorted(one.request_id or "" for one in watch.recorded) == ["1", "2", "3", "4"]
    assert watch.statistics.internal_errors == 0


def test_a_suspended_table_may_be_shared() -> None:
    suspended = SuspendedCalls(monotonic=lambda: 0.0)
    watches = [TapWatch(suspended=suspended), TapWatch(suspended=suspended)]
    answer(watches[0].ask(call(1), **MODERN), {"id": 1, "result": {"resultType": "task", "taskId": "t"}})
    assert [watch.statistics.suspended_calls for watch in watches] == [1, 1]
    watches[0].close()
    answer(watches[1].ask({"id": 3, "method": "tasks/cancel", "params": {"taskId": "t"}}, **MODERN), {"id": 3, "result": {}})
    assert [len(watch.recorded) for watch in watches] == [1, 0]
    watches[1].close()


# Cancellation without a session


def test_a_cancellation_without_a_session_ends_the_only_call_with_its_id(watch: TapWatch) -> None:
    exchange = watch.ask(call(10))
    modern = watch.ask(call(10), **MODERN)
    other = watch.ask(call(11))
    watch.seconds = 1
    answer(watch.ask(cancelled(10)), status=202)
    watch.ask({"method": "notifications/cancelled"})
    watch.seconds = 2
    exchange.client_closed()
    assert ends(watch.recorded) == [("10", "cancelled", "stop")]
    assert watch.recorded[0].duration_ms == 1000
    for one, number in ((modern, 10), (other, 11)):
        answer(one, result(number))


def test_of_several_the_one_is_cancelled_whose_client_then_leaves(watch: TapWatch) -> None:
    first, second, third = (watch.ask(call(10, tool)) for tool in "abc")
    watch.seconds = 1
    watch.ask(cancelled(10))
    watch.seconds = 2
    answer(first, result(10))
    second.client_closed()
    watch.seconds = 3
    third.client_closed()
    late = watch.ask(call(10, "d"))
    late.client_closed()
    assert [(one.tool, one.duration_ms, *ends([one])[0][1:]) for one in watch.recorded] == [
        ("a", 2000, None, "done"),
        ("b", 1000, "cancelled", "stop"),
        ("c", 3000, "unanswered", None),
        ("d", 0, "unanswered", None),
    ]


def test_a_cancellation_that_several_could_have_meant_is_not_for_others(watch: TapWatch) -> None:
    calls = [watch.ask(call(10)) for _ in range(2)]
    watch.seconds = 1
    watch.ask(cancelled(10))
    watch.seconds = 1.5
    began_later, has_other_id = watch.ask(call(10)), watch.ask(call(11))
    watch.seconds = 2
    for exchange in (began_later, has_other_id, *calls):
        exchange.client_closed()
    assert [outcome for _, outcome, _ in ends(watch.recorded)] == ["unanswered", "unanswered", "cancelled", "unanswered"]


# HTTP+SSE


def stream_with_endpoint(watch: TapWatch, endpoint: str = "/message?sessionId=abc") -> HttpExchange:
    listening = listen(watch, target="/sse", accept="text/event-stream")
    listening.response_data(event(endpoint, event="endpoint"))
    return listening


@pytest.mark.parametrize(
    ("endpoint", "target", "session"),
    [
        ("/message?sessionId=abc", "/message?sessionId=abc", "abc"),
        ("http://127.0.0.1:1/messages/?session_id=abc", "/messages/?session_id=abc", "abc"),
        ("message?x=1&session=abc", "/message?x=1&session=abc", "abc"),
        ("/message/abc", "/message/abc", None),
    ],
)
def test_what_is_sent_to_the_endpoint_of_a_stream_is_answered_on_it(
    watch: TapWatch, endpoint: str, target: str, session: str | None
) -> None:
    listening = stream_with_endpoint(watch, endpoint)
    for number in (1, 2):
        exchange = watch.ask(call(number), target=target)
        exchange.response_head(202, [])
        exchange.response_data(b"Accepted")
        listening.response_data(event(result(number)))
        exchange.response_end()
    assert ends(watch.recorded) == [("1", None, "done"), ("2", None, "done")]
    context = watch.recorded[0].context
    assert context is not None
    assert (context.session, context.transport) == (session, "sse")


def test_a_session_of_http_and_sse_ends_with_its_stream(watch: TapWatch) -> None:
    listening = stream_with_endpoint(watch)
    answer(watch.ask(call(1), target="/message?sessionId=abc"), status=202)
    watch.ask(call(2), target="/message?sessionId=abc").client_closed()
    answer(watch.ask(call(3), target="/message?sessionId=abc"), "gone", status=404, content_type="text/plain")
    live = watch.ask(call(4), target="/message?sessionId=abc")
    assert ends(watch.recorded) == [("3", "rpc_error", "HTTP 404: gone")]
    listening.client_closed()
    live.response_head(202, [])
    live.response_end()
    assert ends(watch.recorded)[1:] == [(number, "unanswered", None) for number in "124"]


def test_streams_with_other_endpoints_or_other_people_are_other_sessions(watch: TapWatch) -> None:
    first, second = stream_with_endpoint(watch, "/message?sessionId=a"), stream_with_endpoint(watch, "/message?sessionId=b")
    mallory = watch.tap.exchange("POST", "/message?sessionId=a", [], user_id="mallory")
    mallory.request_data(json.dumps(call(1, "of mallory")).encode())
    mallory.request_end()
    watch.ask(call(1, "of a"), target="/message?sessionId=a")
    watch.ask(call(1, "of b"), target="/message?sessionId=b")
    second.response_data(event(result(1)))
    first.response_data(event(result(1)))
    assert [one.tool for one in watch.recorded] == ["of b", "of a"]
    mallory.client_closed()


def test_a_stream_may_name_another_endpoint_or_none_that_is_a_url(watch: TapWatch) -> None:
    listening = stream_with_endpoint(watch)
    listening.response_data(event("http://[", event="endpoint"))
    answer(watch.ask(call(1), target="/message?sessionId=abc"), status=202)
    listening.response_data(event("/m?sessionId=new", event="endpoint"))
    answer(watch.ask(call(2), target="/m?sessionId=new"), status=202)
    listening.response_data(event(result(2)))
    assert ends(watch.recorded) == [("1", "unanswered", None), ("2", None, "done")]


def test_an_endpoint_may_come_late(watch: TapWatch) -> None:
    listening = listen(watch, target="/sse")
    listening.response_data(event({"method": "notifications/tasks/status", "params": {"taskId": "t", "status": "working"}}))
    listening.response_data(event("/message?sessionId=abc", event="endpoint"))
    answer(watch.ask(call(1), target="/message?sessionId=abc"), status=202)
    listening.response_data(event(result(1)))
    assert ends(watch.recorded) == [("1", None, "done")]


def test_an_endpoint_means_nothing_in_a_session_or_in_an_answer(watch: TapWatch) -> None:
    listen(watch, **IN_SESSION).response_data(event("/message?sessionId=a", event="endpoint"))
    posted = watch.ask({"id": 1, "method": "ping"})
    stream(posted)
    posted.response_data(event("/message?sessionId=a", event="endpoint"))
    assert watch.statistics.sessions == 1


@pytest.mark.parametrize("target", ["/m?sessionId=", "/m?x=1", "/m", "//[x?sessionId=a"])
def test_an_endpoint_may_name_no_session(watch: TapWatch, target: str) -> None:
    listening = stream_with_endpoint(watch, f"http://host{target}")
    answer(watch.ask(call(1), target=target), status=202)
    listening.response_data(event(result(1)))
    watch.close()
    assert [one.context.session for one in watch.recorded if one.context] == [None]
