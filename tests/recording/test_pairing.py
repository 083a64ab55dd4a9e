"""Answers find their requests: by the exact id, else by the same id in the other type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.watching import Recorded, Watch, frame, operation
from trio_oplog import Config, Interceptor, Operation, Outcome
from trio_oplog._operation import ResultMeta
from trio_oplog._recording.calls import OpenCalls
from trio_oplog._recording.dialects.events import Call

Message = dict[str, Any]
RESPELLED = ResultMeta(id_respelled=True)


def call(request_id: Any = 1, **params: Any) -> Message:
    return {"id": request_id, "method": "tools/call", "params": params}


def answer(request_id: Any = 1, **result: Any) -> Message:
    return {"id": request_id, "result": result}


# Ids in the other type


@pytest.mark.parametrize(("asked", "answered"), [(7, "7"), ("7", 7), (0, "0"), (-3, "-3"), ("-3", -3), (2**63, str(2**63))])
def test_an_answer_whose_id_is_the_requests_in_the_other_type_is_its_answer(asked: Any, answered: Any) -> None:
    watch = Watch()
    watch.client(call(asked))
    watch.server(answer(answered, content="hi"))
    assert watch.recorded == [operation(request_id=str(asked), result_summary="hi", result_meta=RESPELLED)]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("07", 7), ("7.0", 7), (7, "7.0"), (7, "07"), (7, " 7"), ("a", 0), (1.5, "1.5"), ("1.5", 1.5), ("\u0667", 7), ("+7", 7)],
)
def test_an_answer_whose_id_is_only_alike_is_not(asked: Any, answered: Any) -> None:
    watch = Watch()
    watch.client(call(asked))
    watch.server(answer(answered))
    assert watch.recorded == []


def test_the_exact_id_goes_before_the_respelled_one() -> None:
    for ids in ((7, "7"), ("7", 7)):
        watch = Watch()
        watch.client(*map(call, ids))
        watch.server('{"id":"7","result":{}}', '{"id":"7","result":{}}')
        assert [op.result_meta for op in watch.recorded] == [None, RESPELLED]


def test_an_answer_that_may_be_for_several_requests_of_the_other_type_is_for_none() -> None:
    watch = Watch()
    watch.client(call(7), call(7))
    watch.server(answer("7"))
    assert watch.recorded == []
    watch.server(answer(7), answer("7"))
    both = ResultMeta(duplicate_id=True)
    assert [op.result_meta for op in watch.recorded] == [both, ResultMeta(duplicate_id=True, id_respelled=True)]
    watch = Watch()
    watch.client(call(7), {"id": 7, "method": "initialize"})
    watch.server(answer("7"))
    assert watch.recorded == []


def test_an_error_may_have_the_id_in_the_other_type() -> None:
    watch = Watch()
    watch.client(call(8, name="add"))
    watch.server({"id": "8", "error": {"code": -32602, "message": "bad"}})
    meta = ResultMeta(outcome=Outcome.RPC_ERROR, error_code=-32602, id_respelled=True)
    assert watch.recorded == [
        operation(tool="add", request_id="8", is_error=True, result_summary="bad", result_meta=meta),
    ]


def test_every_way_of_reading_an_answer_respells_its_id() -> None:
    long = "x" * 20_000
    for more in ({}, {"x": long}, {"x": [long[:20]] * 1_000}):
        for wrapped in (lambda message: message, lambda message: [message], lambda message: frame(message).encode("utf-16")):
            watch = Watch()
            watch.client(call(7))
            watch.server(wrapped(answer("7") | more))
            assert [op.result_meta for op in watch.recorded] == [RESPELLED]


def test_a_handshake_may_be_answered_in_the_other_type() -> None:
    watch = Watch()
    watch.client({"id": 0, "method": "initialize"}, call(1))
    watch.server(answer("0", serverInfo={"name": "s"}), answer(1))
    assert [(op.env_id, op.result_meta) for op in watch.recorded] == [("s", None)]


def test_a_cancellation_is_for_the_exact_id_only() -> None:
    watch = Watch()
    watch.client(call(7), {"method": "notifications/cancelled", "params": {"requestId": "7"}})
    assert watch.statistics.open_calls == 1


def test_a_server_that_echoes_numbers_as_text_is_understood() -> None:
    watch = Watch()
    watch.client(call(7, name="add", arguments={"a": 1}))
    watch.server({"jsonrpc": "2.0", "id": "7", "result": {"content": [{"type": "text", "text": "3"}]}})
    assert watch.recorded == [
        operation(tool="add", request_id="7", arguments=b'{"a": 1}', result_summary="3", result_meta=RESPELLED)
    ]


@given(st.lists(st.integers(-3, 3).flatmap(lambda n: st.sampled_from([n, str(n)])), max_size=8), st.data())
def test_an_answer_ends_the_oldest_call_with_its_id_or_else_the_only_one_of_the_other_type(ids: list[Any], data: Any) -> None:
    watch = Watch()
    watch.client(*[call(request_id, name=str(number)) for number, request_id in enumerate(ids)])
    model = list(enumerate(ids))
    expected = []
    for answered in data.draw(st.lists(st.sampled_from(ids), max_size=8)) if ids else []:
        other = str(answered) if isinstance(answered, int) else int(answered)
        exact = [(number, known) for number, known in model if known == answered]
        loose = [(number, known) for number, known in model if known == other]
        watch.server(answer(answered))
        if exact or len(loose) == 1:
            ended = (exact or loose)[0]
            model.remove(ended)
            expected.append((str(ended[0]), None if exact else True))
    assert [(op.tool, op.result_meta.id_respelled if op.result_meta else None) for op in watch.recorded] == expected


# Requests that are no calls


def test_no_more_requests_are_followed_than_may_be_open() -> None:
    watch = Watch(max_pending=2)
    watch.client(*[{"id": number, "method": "initialize"} for number in range(3)])
    watch.server(answer(0, serverInfo={"name": "first"}))
    assert list(watch.interceptor._pairing.requests) == [1, 2]
    watch.server(answer(2, serverInfo={"name": "last"}))
    watch.client(call())
    assert watch.close()[0].env_id == "last"


def test_a_request_whose_id_is_used_again_is_not_the_oldest_any_more() -> None:
    watch = Watch(max_pending=2, room=2)
    watch.client(*[{"id": number, "method": "initialize"} for number in (0, 1, 0, 2)])
    assert list(watch.interceptor._pairing.requests) == [0, 2]


def test_a_request_that_was_taken_back_is_not_followed() -> None:
    watch = Watch()
    watch.client({"id": 0, "method": "initialize"}, {"method": "notifications/cancelled", "params": {"requestId": 0}})
    assert watch.interceptor._pairing.requests == {}


# Open calls


def keys(calls: OpenCalls) -> list[tuple[Any, str]]:
    return [(call.key, call.tool) for call in calls]


def test_open_calls_are_found_by_their_key_in_the_order_in_which_they_began() -> None:
    calls = OpenCalls()
    made = [Call(key, tool) for key, tool in [(1, "a"), (2, "b"), (1, "c"), (1, "d")]]
    for one in made:
        calls.add(one)
    assert (len(calls), calls.oldest(), calls.by_key[1], calls.by_key[2]) == (4, made[0], made[0], made[1])
    assert [one.notes for one in made] == [{"duplicate_id": True}, None, {"duplicate_id": True}, {"duplicate_id": True}]
    calls.remove(made[2])
    calls.remove(made[0])
    assert calls.by_key[1] is made[3]
    calls.release(made[3])
    assert (made[3].key, 1 in calls.by_key, len(calls)) == (None, False, 2)
    calls.remove(made[3])
    calls.remove(made[1])
    assert (len(calls), calls.by_key) == (0, {})


class Closing(Recorded):
    """A submitter that ends the connection over the first operation."""

    interceptor: Interceptor

    def submit(self, operation: Operation) -> None:
        super().submit(operation)
        self.interceptor.close()


def test_a_submitter_that_closes_the_interceptor_over_a_task_finds_nothing_left() -> None:
    closing = Closing()
    closing.interceptor = Interceptor(closing, Config(source="sdk", workspace_id="ws-1"))
    for number in range(3):
        closing.interceptor.on_client_frame(frame(call(number)))
        closing.interceptor.on_server_frame(frame(answer(number, task={"taskId": str(number)})))
    closing.interceptor.close()
    assert sorted(op.request_id or "" for op in closing) == ["0", "1", "2"]


def test_a_clock_that_breaks_costs_the_tasks_that_end_then() -> None:
    watch = Watch()
    watch.client(call(1), call(2))
    watch.server(answer(1, task={"taskId": "t"}), answer(2, task={"taskId": "u"}))

    def broken() -> float:
        raise OSError("no clock")

    watch.interceptor._recorder.monotonic = broken
    watch.close()
    statistics = watch.statistics
    assert (statistics.internal_errors, statistics.suspended_calls, statistics.recorded) == (2, 0, 0)


def test_what_comes_after_the_close_changes_nothing() -> None:
    watch = Watch()
    watch.client({"id": 0, "method": "initialize"}, call())
    watch.close()
    watch.server({"id": 0, "result": {"serverInfo": {"name": "late"}}}, answer(1))
    watch.client(call(2), [{"id": 7, "result": {}}])
    assert [(op.request_id, op.env_id) for op in watch.recorded] == [("1", "local")]
    assert watch.statistics.internal_errors == 0
