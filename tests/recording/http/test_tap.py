"""What the tap holds, what a gateway may ask it, and what becomes of mistakes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.tapping import (
    IN_SESSION,
    MODERN,
    TapWatch,
    accepted,
    answer,
    broken_off,
    call,
    cancelled,
    ends,
    event,
    given,
    listen,
    redirected,
    result,
    stream,
)
from tests.watching import raising
from trio_oplog import Config, ConfigError, HttpTap, Operation

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


def test_a_stream_of_http_and_sse_that_is_given_up_takes_its_session_with_it() -> None:
    watch = TapWatch(max_exchanges=2)
    listening = watch.ask(method="GET", target="/sse")
    stream(listening)
    listening.response_data(event("/message?sessionId=abc", event="endpoint"))
    answer(watch.ask(call(1), target="/message?sessionId=abc"), status=202)
    for _ in range(2):
        watch.ask()
    assert ends(watch.recorded) == [("1", "evicted", None)]
    assert watch.statistics.sessions == 0
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


def test_what_passes_over_in_a_stream_is_counted_at_once_and_was_probably_the_answer() -> None:
    watch = TapWatch(max_message=200)
    for number, end in enumerate(("response_end", "client_closed", "upstream_failed"), 1):
        exchange = watch.ask(call(number), **IN_SESSION)
        stream(exchange)
        exchange.response_data(event(result(number, 200 * "x"), id="e1"))
        assert watch.statistics.passed_over == number
        getattr(exchange, end)()
    said = "The answer was passed over: there was no room for it."
    assert ends(watch.recorded) == [("1", "unanswered", said), ("2", "unanswered", said)]
    listen(watch, last_event_id="e1", **IN_SESSION).response_data(event(result(3)))
    assert ends(watch.recorded)[2:] == [("3", None, "done")]
    watch.close()


def test_so_many_answers_and_cancellations_in_one_body_are_looked_at() -> None:
    watch = TapWatch()
    first, last = watch.ask(call(1), **IN_SESSION), watch.ask(call(2), **IN_SESSION)
    watch.ask([cancelled(1), *(1_023 * [given(7)]), cancelled(2)], **IN_SESSION)
    assert (ends(watch.recorded), watch.statistics.passed_over) == ([("1", "cancelled", "stop")], 1)
    answer(last, result(2))
    first.response_end()
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
    assert (watch.statistics.open_exchanges, watch.statistics.sessions) == (0, 0)


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
