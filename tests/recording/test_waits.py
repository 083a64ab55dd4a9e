"""How long a call waits for people is told apart from how long it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.watching import Recorded, Watch, frame
from trio_oplog import Config, Interceptor, Operation

Message = dict[str, Any]
CALL = {"id": 1, "method": "tools/call", "params": {"name": "deploy"}}
DONE = {"id": 1, "result": {"content": [{"type": "text", "text": "done"}]}}
ELICIT = {"id": 0, "method": "elicitation/create", "params": {"message": "sure?"}}
ACCEPT = {"id": 0, "result": {"action": "accept"}}


def waited(watch: Watch) -> tuple[int, int | None]:
    (op,) = watch.recorded
    return op.duration_ms, op.result_meta.waited_ms if op.result_meta else None


def test_a_call_of_10_ms_that_waits_5_s_for_a_person_and_runs_another_second_is_one_record() -> None:
    watch = Watch()
    watch.client(CALL)
    watch.seconds = 0.010
    watch.server(ELICIT)
    watch.seconds = 5.010
    watch.client(ACCEPT)
    watch.seconds = 6.010
    watch.server(DONE)
    duration_ms, waited_ms = waited(watch)
    assert duration_ms == pytest.approx(6_010, abs=5)
    assert waited_ms == pytest.approx(5_000, abs=5)


def test_the_same_holds_for_rounds_of_input_and_for_tasks() -> None:
    asks = {"who": {"method": "elicitation/create"}}
    given = {"inputResponses": {"who": {"action": "accept"}}}
    rounds: list[tuple[float, str, Message]] = [
        (0.010, "s", {"id": 1, "result": {"resultType": "input_required", "requestState": "s", "inputRequests": asks}}),
        (5.010, "c", {"id": 1, "method": "tools/call", "params": {"name": "deploy", "requestState": "s"} | given}),
    ]
    task: list[tuple[float, str, Message]] = [
        (0.005, "s", {"id": 1, "result": {"resultType": "task", "taskId": "t", "status": "working"}}),
        (0.006, "c", {"id": 2, "method": "tasks/get", "params": {"taskId": "t"}}),
        (0.010, "s", {"id": 2, "result": {"taskId": "t", "status": "input_required", "inputRequests": asks}}),
        (
            1.000,
            "s",
            {"method": "notifications/tasks", "params": {"taskId": "t", "status": "input_required", "inputRequests": asks}},
        ),
        (5.010, "c", {"id": 3, "method": "tasks/update", "params": {"taskId": "t"} | given}),
        (5.020, "c", {"id": 1, "method": "tasks/result", "params": {"taskId": "t"}}),
    ]
    for steps in (rounds, task):
        watch = Watch()
        watch.client(CALL)
        for seconds, who, message in steps:
            watch.seconds = seconds
            (watch.client if who == "c" else watch.server)(message)
        watch.seconds = 6.010
        watch.server(DONE)
        duration_ms, waited_ms = waited(watch)
        assert duration_ms == pytest.approx(6_010, abs=5)
        assert waited_ms == pytest.approx(5_000, abs=5)


def test_a_wait_of_no_time_is_a_wait() -> None:
    watch = Watch()
    watch.client(CALL)
    watch.server(ELICIT)
    watch.client(ACCEPT)
    watch.server(DONE)
    assert waited(watch) == (0, 0)


def test_a_call_that_waits_for_nobody_says_nothing_of_it() -> None:
    watch = Watch()
    watch.client(CALL)
    watch.server(ELICIT | {"method": "sampling/createMessage"})
    watch.seconds = 1.0
    watch.client({"id": 0, "result": {"role": "assistant"}})
    watch.server(DONE)
    assert waited(watch) == (1_000, None)
    assert watch.recorded[0].approval is None


def test_a_wait_ends_with_its_call() -> None:
    watch = Watch()
    watch.client(CALL)
    watch.seconds = 1.0
    watch.server(ELICIT)
    watch.seconds = 3.0
    watch.server(DONE)
    watch.seconds = 9.0
    watch.client(ACCEPT)
    assert waited(watch) == (3_000, 2_000)


def test_waits_one_after_the_other_add_up_and_waits_at_once_count_once() -> None:
    watch = Watch()
    item = {"threadId": "t", "turnId": "u", "item": {"type": "commandExecution", "id": "i"}}
    watch.server({"method": "item/started", "params": item})
    asked = {"method": "item/tool/requestUserInput", "params": {"threadId": "t", "itemId": "i"}}
    for seconds, who, message in [
        (1.0, "s", asked | {"id": 1}),
        (2.0, "s", asked | {"id": 2}),
        (3.0, "c", {"id": 1, "result": {}}),
        (5.0, "c", {"id": 2, "result": {}}),
        (10.0, "s", asked | {"id": 3}),
        (10.5, "c", {"id": 3, "result": {}}),
    ]:
        watch.seconds = seconds
        (watch.client if who == "c" else watch.server)(message)
    watch.seconds = 20.0
    watch.server({"method": "item/completed", "params": item})
    assert waited(watch) == (20_000, 4_500)


def test_a_question_to_the_user_about_an_item_that_is_not_open_is_no_wait_of_anything() -> None:
    watch = Watch()
    item = {"threadId": "t", "turnId": "u", "item": {"type": "commandExecution", "id": "i"}}
    watch.server({"id": 1, "method": "item/tool/requestUserInput", "params": {"threadId": "t", "itemId": "i"}})
    watch.server({"method": "item/started", "params": item}, {"method": "item/completed", "params": item})
    assert waited(watch) == (0, None)


@pytest.mark.parametrize(("seconds", "waited_ms"), [(-5.0, 0), (0.0009, 0), (0.0019, 1), (1e9, 2**31 - 1)])
def test_a_wait_is_whole_milliseconds_within_31_bits(seconds: float, waited_ms: int) -> None:
    def times() -> Iterator[float]:
        yield from (0.0, 0.0)
        while True:
            yield seconds

    recorded: list[Operation] = Recorded()
    monotonic = times().__next__
    interceptor = Interceptor(recorded, Config(source="sdk", workspace_id="ws-1"), monotonic=monotonic)  # type: ignore[arg-type]
    interceptor.on_client_frame(frame(CALL))
    interceptor.on_server_frame(frame(ELICIT))
    interceptor.on_client_frame(frame(ACCEPT))
    interceptor.on_server_frame(frame(DONE))
    (op,) = recorded
    assert op.result_meta is not None
    assert op.approval is not None
    assert (op.result_meta.waited_ms, op.approval.waited_ms) == (waited_ms, waited_ms)


def test_waits_are_measured_on_the_real_clock_unless_one_is_given() -> None:
    recorded = Recorded()
    with Interceptor(recorded, Config(source="sdk", workspace_id="ws-1")) as interceptor:
        interceptor.on_client_frame(frame(CALL))
        interceptor.on_server_frame(frame(ELICIT))
        begun = time.monotonic()
        while time.monotonic() < begun + 0.002:
            pass
        interceptor.on_client_frame(frame(ACCEPT))
        interceptor.on_server_frame(frame(DONE))
    assert recorded[0].result_meta is not None
    assert 2 <= (recorded[0].result_meta.waited_ms or 0) <= recorded[0].duration_ms


def decided_after_a_round() -> Watch:
    """A call whose server asks at 0.125 s, and which is answered with a round at 0.250 s, before the decision at 0.375 s."""
    watch = Watch()
    watch.client(CALL)
    watch.seconds = 0.125
    watch.server(ELICIT)
    watch.seconds = 0.250
    watch.server({"id": 1, "result": {"resultType": "input_required", "requestState": "s", "inputRequests": {}}})
    watch.seconds = 0.375
    watch.client(ACCEPT)
    return watch


def test_what_is_decided_when_the_call_has_ended_is_waited_for_until_its_end() -> None:
    watch = decided_after_a_round()
    watch.close()
    (op,) = watch.recorded
    assert waited(watch) == (250, 125)
    assert op.approval is not None
    assert (op.approval.decision, op.approval.waited_ms) == ("accept", 125)


def test_what_is_decided_between_two_rounds_is_waited_for_until_then() -> None:
    watch = decided_after_a_round()
    watch.seconds = 0.500
    watch.client({"id": 2, "method": "tools/call", "params": {"name": "deploy", "requestState": "s"}})
    watch.seconds = 1.000
    watch.server({**DONE, "id": 2})
    (op,) = watch.recorded
    assert waited(watch) == (1000, 250)
    assert op.approval is not None
    assert op.approval.waited_ms == 250
