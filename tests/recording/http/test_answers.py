"""What ends a call in its own exchange, and what is no answer."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.tapping import (
    HTML,
    IN_SESSION,
    MODERN,
    NO_CONTENT,
    TapWatch,
    answer,
    ask,
    call,
    cancelled,
    ends,
    event,
    problem,
    redirected,
    result,
    stream,
)

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


def test_a_response_may_begin_before_the_request_has_ended(watch: TapWatch) -> None:
    exchange = watch.tap.exchange("POST", "/mcp", [])
    exchange.request_data(json.dumps(call()).encode())
    exchange.response_head(200, [])
    exchange.request_end()
    exchange.response_data(json.dumps(result()).encode())
    exchange.response_end()
    assert ends(watch.recorded) == [("1", None, "done")]
    early = watch.tap.exchange("POST", "/mcp", [])
    answer(early, problem(None, "too large"), status=413)
    assert len(watch.recorded) == 1


def test_what_comes_beyond_the_length_of_a_response_is_not_held(watch: TapWatch) -> None:
    exchange = watch.ask(call())
    exchange.response_head(200, [(b"content-length", b"0")])
    exchange.response_data(json.dumps(result()).encode())
    assert watch.tap.budget.held == 0
    exchange.response_end()
    assert ends(watch.recorded) == [("1", "unanswered", None)]


def test_a_second_head_is_ignored(watch: TapWatch) -> None:
    exchange = watch.ask(call())
    exchange.response_head(200, [])
    exchange.response_data(b'{"id": 1,')
    exchange.response_head(500, [(b"content-length", b"0")])
    exchange.response_data(b'"result": {}}')
    exchange.response_end()
    assert ends(watch.recorded) == [("1", None, None)]


def test_informational_responses_say_nothing(watch: TapWatch) -> None:
    exchange = watch.ask(call())
    exchange.response_head(103, [])
    assert exchange.pending_ids == ("1",)
    answer(exchange, result())
    assert ends(watch.recorded) == [("1", None, "done")]


# Redirects


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
