"""What ends a call over HTTP, whose session it is, and what the tap does with what it cannot read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.tapping import TapWatch, answer, event, stream
from tests.watching import raising
from trio_oplog import Config, ConfigError, HttpExchange, HttpTap, Operation, SuspendedCalls

SESSION = "5e551014"
HTML = "<html><body>Bad gateway</body></html>"


def call(number: Any = 1, tool: str = "echo", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": tool, **params}}


def result(number: Any = 1, text: str = "done", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": text}], **more}}


def problem(number: Any = None, message: str = "no", code: int = -32600) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


def ask(number: int = 0) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "elicitation/create", "params": {"message": "?"}}


def given(number: int = 0, action: str = "accept") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": {"action": action}}


def cancelled(number: Any = 1, reason: str = "stop") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number, "reason": reason}}


INITIALIZE = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"clientInfo": {"name": "c", "version": "1"}}}
INITIALIZED = {
    "jsonrpc": "2.0",
    "id": 0,
    "result": {"protocolVersion": "2025-11-25", "serverInfo": {"name": "s", "version": "2"}},
}
MODERN = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call"}
IN_SESSION = {"mcp_session_id": SESSION}
NO_CONTENT = {"content_length": "0"}


@pytest.fixture
def watch() -> Iterator[TapWatch]:
    watch = TapWatch()
    yield watch
    watch.close()
    statistics = watch.statistics
    assert (statistics.internal_errors, statistics.open_calls, statistics.open_exchanges, statistics.sessions) == (0, 0, 0, 0)
    assert watch.tap.budget.held == 0


def listen(watch: TapWatch, *, target: str = "/mcp", **headers: str) -> HttpExchange:
    """A stream by GET, with its head."""
    exchange = watch.ask(method="GET", target=target, **headers)
    stream(exchange)
    return exchange


def ends(operations: list[Operation]) -> list[tuple[str | None, str | None, str | None]]:
    """Of each operation: the id of the request, the outcome, the summary."""
    return [(one.request_id, one.result_meta.outcome if one.result_meta else None, one.result_summary) for one in operations]


# Answers


def test_an_answer_in_json_ends_the_call_with_its_last_byte(watch: TapWatch) -> None:
    exchange = watch.ask(call())
    watch.seconds = 0.25
    answer(exchange, result(), end=False)
    assert ends(watch.recorded) == [("1", None, "done")]
    watch.seconds = 0.5
    exchange.response_end()
    exchange.response_end()
    assert [one.duration_ms for one in watch.recorded] == [250]


def test_an_answer_of_unknown_length_ends_the_call_when_the_response_ends(watch: TapWatch) -> None:
    exchange = watch.ask(call())
    answer(exchange, result(), content_length="", end=False)
    assert watch.recorded == []
    exchange.response_end()
    assert ends(watch.recorded) == [("1", None, "done")]


def test_an_answer_that_came_whole_counts_whoever_closed_then(watch: TapWatch) -> None:
    for end in ("client_closed", "upstream_failed"):
        exchange = watch.ask(call(), **MODERN)
        answer(exchange, result(), content_length="x", end=False)
        getattr(exchange, end)()
    assert ends(watch.recorded) == 2 * [("1", None, "done")]


def test_an_answer_in_an_event_ends_the_call_at_once(watch: TapWatch) -> None:
    exchange = watch.ask(call())
    stream(exchange)
    exchange.response_data(b": hello\r\n\r\nretry: 300\r\n\r\n" + event(result(text="first")))
    assert ends(watch.recorded) == [("1", None, "first")]
    exchange.response_data(event(result(text="again")))
    exchange.response_end()
    assert len(watch.recorded) == 1


def test_events_of_other_types_and_without_data_say_nothing(watch: TapWatch) -> None:
    exchange = watch.ask(call())
    stream(exchange)
    exchange.response_data(event(result(text="no"), event="ping") + event("", id="1") + event("not json"))
    exchange.response_data(event(result(), event="message"))
    exchange.response_end()
    assert ends(watch.recorded) == [("1", None, "done")]
    assert watch.statistics.unreadable == 1


def test_a_batch_is_its_messages_in_both_directions(watch: TapWatch) -> None:
    exchange = watch.ask([call(1), call("two"), {"method": "notifications/x"}, 7, cancelled(9)])
    assert exchange.pending_ids == ("1", '"two"')
    answer(exchange, [result("two"), result(1)])
    assert [one.request_id for one in watch.recorded] == ["two", "1"]


@pytest.mark.parametrize("headers", [{}, IN_SESSION])
def test_the_messages_of_a_batch_count_in_their_order(watch: TapWatch, headers: dict[str, str]) -> None:
    other = watch.ask(call(1, "other"))
    exchange = watch.ask([call(1), cancelled(1), cancelled(2), call(2)], **headers)
    answer(exchange, [result(1), result(2)])
    answer(other, result(1))
    assert ends(watch.recorded) == [("1", "cancelled", "stop"), ("2", None, "done"), ("1", None, "done")]


def test_a_body_that_is_no_utf8_is_a_call_all_the_same(watch: TapWatch) -> None:
    body = json.dumps(call(arguments={"text": "X"})).encode().replace(b"X", b"\xff")
    answer(watch.ask(body), result())
    answer(watch.ask(b"[" + body + b"]"), result())
    assert [one.request_id for one in watch.recorded] == ["1", "1"]
    assert all(one.arguments is None and one.arguments_meta is not None for one in watch.recorded)


def test_bodies_that_are_no_messages_are_counted_and_no_more(watch: TapWatch) -> None:
    for body in ("{nope", "[]", '"text"', b"\xff\xfe"):
        answer(watch.ask(body), HTML, status=400)
    answer(watch.ask(""), HTML, status=400)
    answer(watch.ask("grant_type=x", content_type="application/x-www-form-urlencoded"), "{}")
    assert watch.statistics.unreadable == 4
    assert watch.recorded == []


# No answers


@pytest.mark.parametrize("end", ["response_end", "client_closed", "upstream_failed"])
def test_an_exchange_that_ends_before_its_response_leaves_the_call_unanswered(watch: TapWatch, end: str) -> None:
    exchange = watch.ask(call())
    watch.seconds = 2
    getattr(exchange, end)()
    assert ends(watch.recorded) == [("1", "unanswered", None)]
    assert watch.recorded[0].duration_ms == 2000
    assert watch.statistics.unanswered == 1


@pytest.mark.parametrize("headers", [MODERN, {"mcp_protocol_version": "2026-07-28"}, {"mcp_method": "tools/call"}])
def test_without_sessions_the_client_cancels_by_leaving(watch: TapWatch, headers: dict[str, str]) -> None:
    for end in ("client_closed", "upstream_failed", "response_end"):
        exchange = watch.ask(call(), **headers, **IN_SESSION)
        stream(exchange)
        exchange.response_data(event({"method": "notifications/progress"}, id="e1"))
        getattr(exchange, end)()
    assert [outcome for _, outcome, _ in ends(watch.recorded)] == ["cancelled", "unanswered", "unanswered"]
    assert watch.recorded[0].context is not None
    assert watch.recorded[0].context.session is None


def test_a_request_that_did_not_end_is_no_call(watch: TapWatch) -> None:
    exchange = watch.tap.exchange("POST", "/mcp", [])
    exchange.request_data(json.dumps(call()).encode())
    exchange.client_closed()
    exchange.request_end()
    assert watch.recorded == []


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (406, NO_CONTENT, "", "HTTP 406"),
        (502, {"content_type": "text/html"}, HTML, "HTTP 502"),
        (421, {"content_type": "text/plain; charset=utf-8"}, "Invalid Host header", "HTTP 421: Invalid Host header"),
        (500, {"content_type": "text/plain"}, "", "HTTP 500"),
        (404, {}, problem("server-error", "Session not found"), "Session not found"),
        (400, {}, problem(None, "Parse error"), "Parse error"),
        (400, {}, problem(1, "bad"), "bad"),
        (403, {}, {"error": "invalid_token"}, "invalid_token"),
        (401, {}, result(7), "HTTP 401"),
        (500, {"content_type": "text/event-stream"}, HTML, "HTTP 500"),
        (200, {}, problem(None, "Parse error"), "Parse error"),
    ],
)
def test_an_error_of_http_is_an_error_of_the_call(
    watch: TapWatch, status: int, headers: dict[str, str], body: Any, said: str
) -> None:
    answer(watch.ask(call()), body, status=status, **headers)
    assert ends(watch.recorded) == [("1", "rpc_error", said)]


@pytest.mark.parametrize("body", [HTML, "", result(2), problem(2), ask(1)])
def test_a_success_that_answers_something_else_answers_nothing(watch: TapWatch, body: Any) -> None:
    answer(watch.ask(call()), body)
    assert ends(watch.recorded) == [("1", "unanswered", None)]


def test_an_error_of_http_ends_only_what_it_does_not_answer(watch: TapWatch) -> None:
    answer(watch.ask([call(1), call(2)]), [result(1), problem(None)], status=400)
    assert ends(watch.recorded) == [("1", None, "done"), ("2", "rpc_error", "HTTP 400")]


def test_informational_responses_say_nothing(watch: TapWatch) -> None:
    exchange = watch.ask(call())
    exchange.response_head(103, [])
    assert exchange.pending_ids == ("1",)
    answer(exchange, result())
    assert ends(watch.recorded) == [("1", None, "done")]


# Sessions


def greet(watch: TapWatch, session: str = SESSION) -> None:
    answer(watch.ask(INITIALIZE), INITIALIZED, mcp_session_id=session)


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


def accepted(watch: TapWatch, message: Any, **headers: str) -> None:
    """A request whose answer is to come on another exchange."""
    exchange = watch.ask(message, **(IN_SESSION | headers))
    exchange.response_head(202, [])
    exchange.response_data(b"Accepted")
    exchange.response_end()


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


def broken_off(watch: TapWatch, message: Any, **headers: str) -> None:
    """A request whose stream breaks off, and can be resumed."""
    exchange = watch.ask(message, **(IN_SESSION | headers))
    stream(exchange)
    exchange.response_data(event("", id="e1"))
    exchange.upstream_failed()


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


# Redirects


def redirected(exchange: HttpExchange, location: str = "http://127.0.0.1:1/mcp/?x=1", status: int = 307) -> None:
    answer(exchange, status=status, location=location)


@pytest.mark.parametrize("location", ["http://127.0.0.1:1/mcp/?x=1", "/mcp/?x=1", "mcp/?x=1"])
def test_a_request_that_is_redirected_and_sent_again_is_one_call(watch: TapWatch, location: str) -> None:
    redirected(watch.ask(call(arguments={"a": 1})), location)
    assert watch.statistics.open_calls == 1
    watch.seconds = 1
    again = watch.ask(call(arguments={"a": 1}), target="/mcp/?x=1")
    watch.seconds = 2
    answer(again, result())
    assert ends(watch.recorded) == [("1", None, "done")]
    assert watch.recorded[0].duration_ms == 1000
    assert watch.recorded[0].result_meta is None


def test_a_round_that_is_redirected_is_still_one(watch: TapWatch) -> None:
    answer(watch.ask(call(1), **MODERN), {"id": 1, "result": {"resultType": "input_required", "requestState": "s"}})
    watch.seconds = 1
    for target in ("/mcp", "/mcp/?x=1"):
        exchange = watch.ask(call(2, requestState="s"), target=target, **MODERN)
        if target == "/mcp":
            redirected(exchange)
    answer(exchange, result(2))
    [operation] = watch.recorded
    assert (operation.request_id, operation.duration_ms) == ("1", 1000)
    assert operation.result_meta is not None
    assert operation.result_meta.rounds == 2


def test_another_request_is_not_the_redirected_one(watch: TapWatch) -> None:
    redirected(watch.ask(call(1)))
    watch.seconds = 1
    for target, message in (("/elsewhere", call(1)), ("/mcp/?x=1", call(2)), ("/mcp/?x=1", call(1, "other"))):
        answer(watch.ask(message, target=target), result(message["id"]))
    assert len(watch.recorded) == 3
    watch.seconds = 100
    watch.tap.expire()
    assert ends(watch.recorded)[3:] == [("1", "unanswered", "HTTP 307")]
    assert (watch.recorded[3].duration_ms, watch.statistics.unanswered) == (0, 1)


def test_a_redirect_to_nowhere_is_no_answer(watch: TapWatch) -> None:
    redirected(watch.ask(call()), "http://[")
    assert ends(watch.recorded) == [("1", "unanswered", None)]


def test_redirected_calls_that_are_not_sent_again_are_bounded(watch: TapWatch) -> None:
    for number in range(1_030):
        redirected(watch.ask(call(number)))
    assert [one.request_id for one in watch.recorded] == [str(number) for number in range(6)]
    watch.close()
    assert len(watch.recorded) == 1_030


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


# What is held, and for how long


def test_too_many_exchanges_evict_the_oldest() -> None:
    watch = TapWatch(max_exchanges=2)
    exchanges = [watch.ask(call(number), **(IN_SESSION if number else {})) for number in range(4)]
    assert ends(watch.recorded) == [("0", "evicted", None), ("1", "evicted", None)]
    for number, exchange in enumerate(exchanges):
        answer(exchange, result(number))
    assert ends(watch.recorded)[2:] == [("2", None, "done"), ("3", None, "done")]
    statistics = watch.statistics
    assert (statistics.evicted_exchanges, statistics.evicted, statistics.exchanges) == (2, 2, 4)
    watch.close()


def test_too_many_sessions_evict_the_one_that_is_idle_for_longest() -> None:
    watch = TapWatch(max_sessions=2)
    live = watch.ask(call(0), mcp_session_id="busy")
    for number in (1, 2, 3):
        accepted(watch, call(number), mcp_session_id=f"s{number}")
    assert ends(watch.recorded) == [("1", "evicted", None), ("2", "evicted", None)]
    statistics = watch.statistics
    assert (statistics.sessions, statistics.evicted_sessions) == (2, 2)
    listening = [listen(watch, mcp_session_id="s3"), listen(watch, mcp_session_id="s4")]
    assert watch.statistics.sessions == 2  # all of them are busy: the oldest goes, and its call ends with its exchange
    answer(live, result(0))
    for exchange in listening:
        exchange.response_end()
    assert ends(watch.recorded)[2:] == [("0", None, "done")]
    watch.close()
    assert ends(watch.recorded)[3:] == [("3", "unanswered", None)]


def test_a_session_that_is_idle_for_too_long_is_given_up() -> None:
    watch = TapWatch(max_session_age=60.0)
    accepted(watch, call(1), mcp_session_id="a")
    listening = listen(watch, mcp_session_id="b")
    watch.seconds = 50
    accepted(watch, call(2), mcp_session_id="c")
    watch.seconds = 61
    watch.tap.expire()
    assert ends(watch.recorded) == [("1", "unanswered", None)]
    watch.seconds = 200
    watch.ask()
    assert ends(watch.recorded)[1:] == [("2", "unanswered", None)]
    assert watch.statistics.sessions == 1
    listening.response_end()
    watch.close()


def test_calls_whose_streams_are_over_are_bounded_in_a_session() -> None:
    watch = TapWatch(config={"max_pending": 2})
    for number in range(4):
        broken_off(watch, call(number))
    assert ends(watch.recorded) == [("0", "evicted", None), ("1", "evicted", None)]
    watch.close()
    assert ends(watch.recorded)[2:] == [("2", "unanswered", None), ("3", "unanswered", None)]


def test_a_body_that_is_too_long_is_passed_over() -> None:
    watch = TapWatch(max_message=200)
    text = json.dumps(call(arguments={"text": 300 * "x"}))
    watch.ask(text[:150], text[150:300], text[300:]).client_closed()
    assert (watch.recorded, watch.statistics.passed_over) == ([], 1)
    answer(watch.ask(call(1)), result(1, 200 * "x"))
    exchange = watch.ask(call(2))
    stream(exchange)
    exchange.response_data(event(result(2, 200 * "x")))
    exchange.response_end()
    left = watch.ask(call(3), **MODERN)
    stream(left)
    left.response_data(event(result(3, 200 * "x")))
    left.client_closed()  # as soon as it had the answer
    said = "The answer was passed over: there was no room for it."
    assert ends(watch.recorded) == [(number, "unanswered", said) for number in "123"]
    assert watch.statistics.passed_over == 4
    watch.close()


def test_all_bodies_together_are_bounded() -> None:
    watch = TapWatch(max_held=300)
    exchanges = [watch.tap.exchange("POST", "/mcp", []) for _ in range(4)]
    for exchange in exchanges:
        exchange.request_data(json.dumps(call()).encode().ljust(140))
    for exchange in exchanges:
        exchange.request_end()
    assert (watch.statistics.open_calls, watch.statistics.passed_over) == (2, 2)
    watch.close()
    assert watch.tap.budget.held == 0


# Content codings


def test_compressed_bodies_and_streams_are_read(watch: TapWatch) -> None:
    request = watch.tap.exchange("POST", "/mcp", [(b"Content-Encoding", b"gzip")])
    request.request_data(gzip.compress(json.dumps(call(1)).encode()))
    request.request_end()
    answer(request, gzip.compress(json.dumps(result(1)).encode()), content_encoding="gzip")
    exchange = watch.ask(call(2))
    stream(exchange, content_encoding="gzip")
    for byte in gzip.compress(event(result(2))):
        exchange.response_data(bytes([byte]))
    exchange.response_end()
    assert ends(watch.recorded) == [("1", None, "done"), ("2", None, "done")]


@pytest.mark.parametrize(
    ("coding", "said"), [("br", "its Content-Encoding is not known"), ("gzip", "it is not what its Content-Encoding says")]
)
def test_what_cannot_be_decoded_passes_and_is_counted(watch: TapWatch, coding: str, said: str) -> None:
    for content_type in ("application/json", "text/event-stream"):
        exchange = watch.ask(call(), **IN_SESSION)
        exchange.response_head(200, [(b"content-encoding", coding.encode()), (b"content-type", content_type.encode())])
        for _ in range(3):
            exchange.response_data(b"{nothing of the sort}")
        exchange.response_end()
    request = watch.tap.exchange("POST", "/mcp", [(b"content-encoding", coding.encode())])
    for _ in range(3):
        request.request_data(b"{nothing of the sort}")
    request.request_end()
    assert ends(watch.recorded) == 2 * [("1", "unanswered", f"The answer was passed over: {said}.")]
    assert watch.statistics.passed_over == 3


# What a gateway asks

LISTING = {"jsonrpc": "2.0", "id": 5, "method": "operations/list", "params": {}}


def test_a_request_for_operations_is_told_apart(watch: TapWatch) -> None:
    exchange = watch.tap.exchange("POST", "/mcp", [])
    assert exchange.may_list_operations
    exchange.request_data(json.dumps(LISTING).encode())
    assert (exchange.may_list_operations, exchange.lists_operations) == (True, False)
    exchange.request_end()
    assert (exchange.may_list_operations, exchange.lists_operations, exchange.pending_ids) == (False, True, ("5",))


@pytest.mark.parametrize("message", [call(), [LISTING], LISTING | {"id": None}, "{nope", "", LISTING | {"method": 7}])
def test_other_requests_are_none_for_operations(watch: TapWatch, message: Any) -> None:
    assert not watch.ask(message).lists_operations


def test_what_cannot_be_a_request_for_operations_is_known_early(watch: TapWatch) -> None:
    tap = watch.tap
    assert not tap.exchange("GET", "/mcp", []).may_list_operations
    assert not tap.exchange("POST", "/mcp", [(b"Mcp-Method", b"tools/call")]).may_list_operations
    assert tap.exchange("POST", "/mcp", [(b"Mcp-Method", b"operations/list")]).may_list_operations
    assert not tap.exchange("POST", "/x", [(b"content-type", b"multipart/form-data; boundary=x")]).may_list_operations
    long = tap.exchange("POST", "/mcp", [])
    long.request_data(16_384 * b" ")
    assert long.may_list_operations
    long.request_data(b" ")
    assert not long.may_list_operations


def test_the_ids_that_wait_for_an_answer_are_those_of_requests_until_there_is_one(watch: TapWatch) -> None:
    long = 1_100 * "x"
    body = [{"id": 1.5, "method": "a"}, {"id": "ü", "method": "b"}, {"id": None, "method": "c"}, {"method": "d"}, {"id": 9}]
    exchange = watch.tap.exchange("POST", "/mcp", [])
    assert exchange.pending_ids == ()
    exchange.request_data(json.dumps([*body, {"id": long, "method": "e"}], ensure_ascii=False).encode())
    exchange.request_end()
    assert exchange.pending_ids == ("1.5", '"ü"')
    exchange.response_head(200, [])
    assert exchange.pending_ids == ()
    assert len(watch.ask([{"id": number, "method": "x"} for number in range(10_000, 20_000)]).pending_ids) == 16_384 // 5


def test_who_makes_a_request_is_on_its_record(watch: TapWatch) -> None:
    for number in range(1_100):
        exchange = watch.tap.exchange("POST", "/mcp", [], workspace_id="ws-2", user_id=f"user-{number}")
        exchange.request_data(json.dumps(call()).encode())
        exchange.request_end()
        answer(exchange, result())
    answer(watch.ask(call()), result())
    assert {one.user_id for one in watch.recorded} == {None, *(f"user-{number}" for number in range(1_100))}
    assert [one.workspace_id for one in watch.recorded] == [*1_100 * ["ws-2"], "ws-1"]


# Mistakes


def test_a_closed_tap_records_what_is_open_and_nothing_more() -> None:
    watch = TapWatch()
    with watch.tap as tap:
        exchange = watch.ask(call(1))
        accepted(watch, call(2))
        answer(watch.ask(call(3)), {"id": 3, "result": {"task": {"taskId": "t"}}})
        assert repr(tap) == "<HttpTap open_exchanges=1 sessions=1 recorded=0>"
        assert repr(exchange) == "<HttpExchange POST is_over=False>"
    assert [(number, outcome) for number, outcome, _ in ends(watch.recorded)] == [(n, "unanswered") for n in "123"]
    late = watch.ask(call(4), **IN_SESSION)
    answer(late, result(4))
    answer(exchange, result(1))
    tap.close()
    assert len(watch.recorded) == 3
    assert watch.statistics.open_exchanges == 0


def test_what_is_no_head_and_no_bytes_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    watch = TapWatch()
    watch.tap.exchange("POST", "/mcp", None).request_end()  # type: ignore[arg-type]
    exchange = watch.ask(call())
    exchange.response_head(200, [(b"content-type", None)])  # type: ignore[list-item]
    exchange.response_data(None)  # type: ignore[arg-type]
    exchange.response_end()
    assert watch.statistics.internal_errors == 3
    assert [outcome for _, outcome, _ in ends(watch.recorded)] == ["unanswered"]
    assert "TypeError" in caplog.text or "AttributeError" in caplog.text
    watch.close()


def test_a_clock_that_raises_costs_records_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = TapWatch()
    redirected(watch.ask(call(0)))
    exchange = watch.ask(call(1), **IN_SESSION)
    listen(watch, mcp_session_id="x").response_end()
    answer(watch.ask(call(3)), {"id": 3, "result": {"task": {"taskId": "t"}}})
    for owner in (watch.tap, watch.tap._suspended):
        monkeypatch.setattr(owner, "_monotonic", raising(OSError("no clock")))
    watch.tap.expire()
    watch.ask(call(2))
    for operation in (exchange.session.recorder, *(entry.recorder for entry in watch.tap._redirected)):  # type: ignore[union-attr]
        monkeypatch.setattr(operation, "record", raising(OSError("no clock")))
    for entry in watch.tap._suspended._entries:
        monkeypatch.setattr(entry.recorder, "record", raising(OSError("no clock")))
    exchange.client_closed()
    watch.close()
    assert watch.statistics.internal_errors >= 5
    assert watch.statistics.open_calls == 0


def test_a_submitter_that_raises_costs_its_operation() -> None:
    class Full:
        def submit(self, operation: Operation) -> None:
            raise OSError("full")

    with HttpTap(Full(), Config(source="sdk", workspace_id="ws-1")) as tap:
        exchange = tap.exchange("POST", "/mcp", [])
        exchange.request_data(json.dumps(call()).encode())
        exchange.request_end()
    statistics = tap.statistics()
    assert (statistics.submit_errors, statistics.recorded, statistics.internal_errors) == (1, 1, 0)


@pytest.mark.parametrize(
    "wrong", [{"max_message": 0}, {"max_held": 0}, {"max_sessions": 0}, {"max_exchanges": -1}, {"max_session_age": 0.0}]
)
def test_a_wrong_bound_is_named(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(ConfigError) as caught:
        TapWatch(**wrong)
    assert caught.value.field == name


def test_a_submitter_has_a_submit_method() -> None:
    with pytest.raises(ConfigError):
        HttpTap(None, Config(source="sdk", workspace_id="ws-1"))  # type: ignore[arg-type]
