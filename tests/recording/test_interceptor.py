"""The Interceptor pairs the beginnings of calls with their ends, whatever the peers send."""

from __future__ import annotations

import gc
import json
import logging
import sys
import threading
import tracemalloc
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from math import isnan
from typing import Any
from unittest.mock import ANY

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.frames import (
    AnyFrame,
    batched,
    client_frames,
    client_frames_of_any_method,
    frames_of,
    hostile_frames,
    plain,
    server_frames,
    server_frames_of_any_method,
    shown,
)
from tests.frames import (
    answer as any_answer,
)
from tests.frames import (
    call as any_call,
)
from tests.watching import BEGAN, Recorded, Watch, operation, raising, sizes_of_tables
from trio_oplog import Config, ConfigError, Interceptor, Operation, Outcome
from trio_oplog._json import is_json
from trio_oplog._operation import ArgumentsMeta, Context, ResultMeta
from trio_oplog._recording.interceptor import random_ids
from trio_oplog._recording.limits import cut
from trio_oplog._wire import decode, encode


def call(request_id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"id": request_id, "method": "tools/call", "params": params}


def answer(request_id: Any = 1, text: str = "") -> dict[str, Any]:
    return {"id": request_id, "result": {"content": [{"type": "text", "text": text}]}}


def unanswered(**fields: Any) -> Operation:
    return operation(is_error=True, result_meta=ResultMeta(outcome=Outcome.UNANSWERED), **fields)


SHOWN = st.one_of(
    st.tuples(st.booleans(), st.one_of(hostile_frames, client_frames, server_frames)),
    st.tuples(st.just(True), st.one_of(client_frames, client_frames_of_any_method)),
    st.tuples(st.just(False), st.one_of(server_frames, server_frames_of_any_method)),
)
"""Frames, and whether the client sends them."""
NO_ERRORS = (None, Outcome.INPUT_REQUIRED, Outcome.UNFETCHED)


# Laws


@settings(deadline=None, max_examples=60)
@given(st.lists(SHOWN, max_size=8), st.booleans())
def test_nothing_that_a_peer_sends_is_raised_or_kept_beyond_the_limits(frames: list[tuple[bool, AnyFrame]], items: bool) -> None:
    watch = Watch(room=2, max_pending=2, max_suspended=2, args_max_bytes=20, result_max_bytes=5, record_items=items)
    for number, (from_client, frame) in enumerate(frames):
        references = sys.getrefcount(frame)
        (watch.interceptor.on_client_frame if from_client else watch.interceptor.on_server_frame)(frame)
        statistics = watch.statistics
        assert max(sizes_of_tables(watch.interceptor)) <= 2
        assert statistics.client_frames + statistics.server_frames == number + 1
        assert sys.getrefcount(frame) <= references
        if isinstance(frame, bytearray):
            frame.clear()  # raises when somebody holds on to its memory
    ended = len(watch.recorded)
    pending, waiting = watch.statistics.open_calls, watch.statistics.suspended_calls
    assert len(watch.close()) == ended + pending + waiting
    statistics = watch.statistics
    assert (statistics.open_calls, statistics.suspended_calls) == (0, 0)
    assert (statistics.internal_errors, statistics.submit_errors) == (0, 0)
    assert (statistics.recorded, statistics.unanswered) == (ended + pending + waiting, pending)
    for op in watch.recorded:
        assert decode(encode(op)) == op
        json.loads(encode(op), parse_int=str)
        assert len(op.arguments or b"") <= 20
        assert len((op.result_summary or "").encode()) <= 5
        assert max(len(text.encode()) for text in (op.tool, op.env_id, op.request_id or "", op.thread_id or "")) <= 1_024
        assert op.env_id
        assert op.tool
        assert op.is_error is (op.result_meta is not None and op.result_meta.outcome not in NO_ERRORS)


def exact(spelled: str) -> Decimal | float:
    try:
        return Decimal(spelled)
    except InvalidOperation:
        return float(spelled)


def whole(spelled: str) -> int | Decimal:
    return int(spelled) if len(spelled) <= 4_300 else Decimal(spelled)


def is_id(value: Any) -> bool:
    return isinstance(value, str | int | float | Decimal) and not isinstance(value, bool)


def is_call(message: dict[str, Any]) -> bool:
    return message.get("method") in ("tools/call", "mcpServer/tool/call") and is_id(message.get("id"))


@settings(deadline=None, max_examples=80)
@given(st.lists(st.one_of(client_frames, server_frames), max_size=10), st.integers(1, 4))
def test_each_call_yields_exactly_one_operation(frames: list[AnyFrame], max_pending: int) -> None:
    watch = Watch(max_pending=max_pending, record_items=False)
    begun = 0
    for frame in frames:
        watch.client(frame)
        begun += sum(map(is_call, plain(frame, parse_int=float) or []))
        watch.server(frame)
        assert len(watch.recorded) + watch.statistics.open_calls == begun
    assert len(watch.close()) == begun
    assert [op.id for op in watch.recorded] == [f"id-{number + 1}" for number in range(begun)]


def name_of(value: Any) -> str | None:
    return cut(shown(value), 1_024)[0] if isinstance(value, str) and value else None


def member(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


@settings(deadline=None, max_examples=200)
@given(frames_of(batched(any_call)))
@example('{"method":"tools/call","id":-Infinity}')
@example('{"method":"tools/call","id":NaN,"params":{"name":"\\ud800"}}')
@example(b'{"method":"tools/call","id":"\xed\xa0\x80"}')
@example('{"method":"tools/call","id":1,"params":{"name":5,"arguments":{"x":1e400}}}')
def test_whatever_json_reads_as_a_call_is_recorded(frame: AnyFrame) -> None:
    watch = Watch()
    watch.client(frame)
    recorded = watch.close()
    calls = list(filter(is_call, plain(frame, parse_int=float) or []))
    assert len(recorded) == len(calls)
    for op, message in zip(recorded, calls, strict=True):
        params = message.get("params")
        mcp = message["method"] == "tools/call"
        meta = member(params, "_meta")
        arguments = member(params, "arguments")
        threads = [member(params, "threadId"), member(params, "thread_id"), member(meta, "threadId") if mcp else None]
        assert op.tool == (name_of(member(params, "name" if mcp else "tool")) or "unknown")
        assert op.thread_id == next(filter(None, map(name_of, threads)), None)
        assert op.user_id == name_of(member(meta, "agentserver_user_id"))
        servers = [member(arguments, "environment_id"), None if mcp else member(params, "server"), "local"]
        assert op.env_id == next(filter(None, map(name_of, servers)))
        if isinstance(message["id"], str):
            assert op.request_id == (name_of(message["id"]) or "")
        elif not isnan(message["id"]):
            assert float(op.request_id or "") == message["id"]
        assert (op.arguments is None and op.arguments_meta is None) is (arguments is None)
        if op.arguments is not None:
            assert op.arguments_meta is None
            assert is_json(op.arguments)
            assert repr(json.loads(op.arguments, parse_int=float)) == repr(json.loads(json.dumps(arguments)))


OPEN = [1, "1", 0, "a"]


def key_of(request_id: Any) -> Any:
    return (isinstance(request_id, str), request_id) if is_id(request_id) else None


@settings(deadline=None, max_examples=200)
@given(frames_of(batched(any_answer)))
@example('{"id":1,"error":null,"result":{}}')
@example('{"id":1,"error":null}')
@example('{"id":1.0,"error":{"code":1.0,"message":"\\ud800"},"method":null}')
@example('{"id":"\\u0061","result":{"content":[{"type":"text","text":"\ud83d\ude00"}]}}')
def test_whatever_json_reads_as_an_answer_ends_its_call(frame: AnyFrame) -> None:
    watch = Watch(result_max_bytes=100_000)
    watch.client(*map(call, OPEN))
    watch.server(frame)
    messages = plain(frame, parse_float=exact, parse_int=whole) or []
    pending = list(OPEN)
    expected = []
    for message in messages:
        found = [request_id for request_id in pending if key_of(request_id) == key_of(message.get("id"))]
        exact_match = bool(found)
        found = found or [request_id for request_id in pending if are_respelled(request_id, message.get("id"))]
        ended = fields_of(message) if found and message.get("method") is None else None
        if ended is not None:
            pending.remove(found[0])
            if not exact_match:
                meta = ended.get("result_meta") or ResultMeta()
                ended |= {"result_meta": attrs.evolve(meta, id_respelled=True)}
            expected.append(operation(**{"id": f"id-{len(expected) + 1}", "request_id": str(found[0])} | ended))
    assert watch.recorded == expected


def are_respelled(one: Any, other: Any) -> bool:
    """Whether two ids are the same integer or text in the other type."""
    return type(one) is not type(other) and {type(one), type(other)} == {int, str} and str(one) == str(other)


def fields_of(message: dict[str, Any]) -> dict[str, Any] | None:
    """What a response says of the call that it ends; ``None`` when it ends none."""
    error = message.get("error")
    if error is not None:
        code = member(error, "code")
        fits = type(code) is int and -(2**63) <= code < 2**63
        meta = ResultMeta(outcome=Outcome.RPC_ERROR, error_code=code if fits else None)
        text = member(error, "message") if isinstance(error, dict) else error
        if text is not None and not isinstance(text, str):
            text = ANY  # its exact spelling, which a plain reader does not see
        text = shown(text) or None if isinstance(text, str) else text
        return {"is_error": True, "result_meta": meta, "result_summary": text}
    if "result" not in message:
        return None
    result = message["result"]
    blocks = member(result, "content")
    if isinstance(result, str) or isinstance(blocks, str):
        blocks = [{"type": "text", "text": result if isinstance(result, str) else blocks}]
    blocks = [blocks] if isinstance(blocks, dict) else blocks if isinstance(blocks, list) else []
    types = [member(block, "type") for block in blocks]
    parts = [member(block, "text") for block in blocks if member(block, "type") in ("text", "inputText")]
    text = shown("".join(part for part in parts if isinstance(part, str)))
    failed = member(result, "isError") is True or str(member(result, "isError")).lower() == "true"
    asks = member(result, "resultType") == "input_required"
    outcome = Outcome.TOOL_ERROR if failed else Outcome.INPUT_REQUIRED if asks else None
    kinds = None if all(kind in ("text", "inputText") for kind in types) else tuple(name_of(kind) or "unknown" for kind in types)
    meta = ResultMeta(outcome=outcome, content_types=kinds)
    return {
        "is_error": failed,
        "result_summary": text or None,
        "result_meta": None if meta == ResultMeta() else meta,
        "env_id": name_of(member(result, "_meta", "io.modelcontextprotocol/serverInfo", "name")) or "local",
        "context": context_of(member(result, "_meta", "io.modelcontextprotocol/serverInfo")),
    }


def context_of(info: Any) -> Context | None:
    who, version = member(info, "name"), member(info, "version")
    if not isinstance(who, str) or not who:
        return None
    return Context(server=name_of(f"{who}/{version}" if isinstance(version, str) and version else who))


INTEGERS = st.one_of(st.integers(), st.integers(2**53 - 2, 2**53 + 2))
IDS = st.one_of(INTEGERS, st.integers(0, 3).map(str), st.text(max_size=3), st.just("x" * 2_000))
STEPS = st.tuples(st.integers(0, 2), st.sampled_from(["begin", "begin", "end", "cancel"]))


@settings(deadline=None, max_examples=60)
@given(st.lists(IDS, unique_by=lambda request_id: (type(request_id), request_id), max_size=12), st.randoms(use_true_random=False))
def test_answers_in_any_order_pair_with_their_calls(ids: list[Any], random: Any) -> None:
    watch = Watch()
    watch.client(*[call(request_id, name=f"tool {number}") for number, request_id in enumerate(ids)])
    order = random.sample(range(len(ids)), len(ids))
    watch.server(*[answer(ids[number], f"tool {number}") for number in order])
    assert [op.result_summary for op in watch.recorded] == [f"tool {number}" for number in order]
    assert all(op.tool == op.result_summary and op.result_meta is None for op in watch.recorded)


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, max_size=30), st.integers(1, 6))
def test_calls_with_one_id_end_in_the_order_in_which_they_began(steps: list[tuple[int, str]], max_pending: int) -> None:
    watch = Watch(max_pending=max_pending)
    model: deque[tuple[int, int]] = deque()  # id and number of each open call
    expected: list[int] = []
    shared: set[int] = set()
    for number, (request_id, step) in enumerate(steps):
        alike = [other for other in model if other[0] == request_id]
        if step == "begin":
            watch.client(call(request_id, name=str(number)))
            if alike:
                shared |= {number} | {other for _, other in alike}
            model.append((request_id, number))
            if len(model) > max_pending:
                expected.append(model.popleft()[1])
        else:
            if step == "end":
                watch.server(answer(request_id))
            else:
                watch.client({"method": "notifications/cancelled", "params": {"requestId": request_id}})
            if alike:
                model.remove(alike[0])
                expected.append(alike[0][1])
    expected += [number for _, number in model]
    recorded = watch.close()
    assert [int(op.tool) for op in recorded] == expected
    assert {int(op.tool) for op in recorded if op.result_meta and op.result_meta.duplicate_id} == shared


def test_a_pending_call_with_arguments_of_a_mebibyte_holds_less_than_8_kib() -> None:
    watch = Watch()
    arguments = "x" * 2**20
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(200):
            watch.interceptor.on_client_frame(
                f'{{"id":{number},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"{arguments}"}}}}}}'
            )
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert watch.statistics.open_calls == 200
    assert held < 200 * 8 * 2**10


DIGITS = "9" * 500_000


@pytest.mark.parametrize("spelled", [DIGITS, f'"{DIGITS}"', f"{DIGITS}e99999999999999999999", f"0.{DIGITS}"])
def test_an_id_of_any_length_costs_a_pending_call_next_to_nothing(spelled: str) -> None:
    watch = Watch()
    tracemalloc.start()
    try:
        watch.client(*[f'{{"id":{spelled[:-1]}{number}{spelled[-1]},"method":"tools/call"}}' for number in range(10)])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert watch.statistics.open_calls == 10
    assert held < 100_000


def test_any_number_of_calls_with_one_id_is_let_go_without_a_crash() -> None:
    def begin_and_forget() -> None:
        watch = Watch(max_pending=100_000)
        watch.client("[" + ",".join(['{"id":1,"method":"tools/call"}'] * 20_000) + "]")
        open_calls.append(watch.statistics.open_calls)
        del watch
        gc.collect()

    open_calls: list[int] = []
    usual = threading.stack_size(256 * 1024)  # where a chain of objects, each freeing the next, runs out of stack
    try:
        thread = threading.Thread(target=begin_and_forget)
        thread.start()
    finally:
        threading.stack_size(usual)
    thread.join()
    assert open_calls == [20_000]


ODD_BLOCKS = json.dumps({"id": 1, "result": {"isError": 5, "content": [{}] * 50_000}})
ODD_BATCH = json.dumps([{"id": 1, "result": 5}] * 10_000)
ODD_BYSTANDER = json.dumps({"method": "delta", "params": {"item": "\ud800", "x": [1] * 50_000}})


@pytest.mark.parametrize(
    ("frame", "parts", "most"), [(ODD_BLOCKS, 50_000, 10), (ODD_BATCH, 10_000, 250), (ODD_BYSTANDER, 50_000, 1)]
)
def test_a_frame_of_many_odd_parts_stalls_nobody(frame: str, parts: int, most: int) -> None:
    # Steps are counted and not seconds, so that a busy machine changes nothing.
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    watch = Watch()
    watch.client(call())
    usual = sys.getprofile()
    sys.setprofile(count)
    try:
        watch.server(frame)
    finally:
        sys.setprofile(usual)
    assert steps < most * parts


# Pairing


def test_only_a_response_ends_a_call() -> None:
    watch = Watch()
    watch.client(call(0, name="echo"))
    watch.server(
        {"id": 0, "method": "roots/list", "params": {}},
        {"id": 0, "method": 5, "result": {}},
        {"id": 0, "method": "", "result": {}},
        {"id": 0},
        {"id": 0, "error": None},
        {"result": {}},
        {"id": None, "result": {}},
        {"id": False, "result": {}},
        {"id": [0], "result": {}},
        {"id": "00", "result": {}},
        {"id": 1, "result": {}},
    )
    assert watch.recorded == []
    watch.server(answer(0, "hi"))
    assert watch.recorded == [operation(request_id="0", tool="echo", result_summary="hi")]


def test_an_answer_from_the_client_ends_no_call() -> None:
    watch = Watch()
    watch.client(call(0), answer(0), [answer(0), {"method": "tools/call", "id": 1}])
    assert watch.recorded == []


def test_a_call_from_the_server_begins_nothing() -> None:
    watch = Watch()
    watch.server(call(0), [call(1)])
    assert watch.close() == []


def test_a_second_answer_is_ignored() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(answer(1, "first"), answer(1, "second"))
    assert watch.close() == [operation(request_id="1", result_summary="first")]


def test_ids_that_only_look_alike_are_different() -> None:
    watch = Watch()
    ids = [1, "1", 2**53, 2**53 + 1, 2**64, "1.0", 1.5]
    watch.client(*map(call, ids))
    watch.server(*[answer(request_id, str(number)) for number, request_id in enumerate(ids)])
    assert [op.request_id for op in watch.recorded] == list(map(str, ids))
    assert [op.result_summary for op in watch.recorded] == list("0123456")
    assert all(op.result_meta is None for op in watch.recorded)


def test_a_number_answered_in_another_spelling_is_the_same_id() -> None:
    watch = Watch()
    watch.client('{"id":1.0,"method":"tools/call"}')
    watch.server('{"id":10e-1,"result":{}}')
    assert watch.recorded == [operation(request_id="1.0")]


def test_a_batch_is_read_in_its_order() -> None:
    watch = Watch()
    watch.client([call(1), 5, call("a", name="echo"), {"method": "notifications/cancelled", "params": {"requestId": 1}}])
    watch.server([answer("a", "hi"), {"method": "ping", "id": "a"}])
    assert watch.recorded == [
        operation(request_id="1", is_error=True, result_meta=ResultMeta(outcome=Outcome.CANCELLED)),
        operation(id="id-2", tool="echo", request_id="a", result_summary="hi"),
    ]


def test_a_reused_id_records_both_calls() -> None:
    watch = Watch()
    watch.client(call(1, name="a"), call(1, name="b"))
    watch.server(answer(1, "first"), answer(1, "second"))
    watch.client(call(1, name="c"))
    watch.server(answer(1))
    twice = ResultMeta(duplicate_id=True)
    assert watch.recorded == [
        operation(tool="a", request_id="1", result_summary="first", result_meta=twice),
        operation(id="id-2", tool="b", request_id="1", result_summary="second", result_meta=twice),
        operation(id="id-3", tool="c", request_id="1"),
    ]


def test_beyond_the_limit_the_oldest_open_call_is_evicted() -> None:
    watch = Watch(max_pending=2)
    watch.client(call(1), call(2))
    watch.seconds = 0.25
    watch.server(answer(1))
    watch.client(call(3), call(4))
    watch.server(answer(2))
    assert watch.recorded == [
        operation(request_id="1", completed_at=BEGAN + timedelta(seconds=0.25), duration_ms=250),
        operation(
            id="id-2",
            request_id="2",
            completed_at=BEGAN + timedelta(seconds=0.25),
            duration_ms=250,
            is_error=True,
            result_meta=ResultMeta(outcome=Outcome.EVICTED),
        ),
    ]
    assert (watch.statistics.open_calls, watch.statistics.evicted) == (2, 1)
    watch.client(call(5))
    assert (watch.statistics.open_calls, watch.statistics.evicted) == (2, 2)


# The end of the connection


def test_what_is_open_when_the_connection_ends_is_recorded_as_unanswered() -> None:
    watch = Watch(source="tui", workspace_id="ws-2", default_env_id="somewhere", user_id="u")
    watch.client(call(1, name="a"))
    watch.server({"method": "item/started", "params": {"item": {"type": "webSearch", "id": "i"}}})
    watch.seconds = 3.0
    now = BEGAN + timedelta(seconds=3)
    rest = {"workspace_id": "ws-2", "env_id": "somewhere", "user_id": "u", "completed_at": now, "duration_ms": 3_000}
    assert watch.close() == [
        unanswered(tool="a", source="tui", request_id="1", **rest),
        unanswered(id="id-2", tool="webSearch", source="llm", request_id="i", **rest),
    ]
    assert (watch.statistics.unanswered, watch.statistics.recorded, watch.statistics.open_calls) == (2, 2, 0)


def test_close_may_be_repeated_and_later_frames_are_ignored() -> None:
    watch = Watch()
    watch.client({"id": 0, "method": "initialize"}, call(1))
    watch.close()
    watch.server(answer(1), {"method": "item/completed", "params": {"item": {"type": "webSearch"}}})
    watch.client(call(2), call(1))
    watch.close()
    assert watch.recorded == [unanswered(request_id="1")]
    assert (watch.statistics.client_frames, watch.statistics.server_frames, watch.statistics.unanswered) == (4, 2, 1)


def test_leaving_the_block_is_close() -> None:
    watch = Watch()
    with pytest.raises(KeyError, match="bug"), watch.interceptor as entered:
        assert entered is watch.interceptor
        watch.client(call())
        raise KeyError("bug")
    assert watch.recorded == [unanswered(request_id="1")]


class Closing(Recorded):
    """A submitter that ends the connection over the first operation."""

    interceptor: Interceptor

    def submit(self, operation: Operation) -> None:
        super().submit(operation)
        self.interceptor.close()


def test_a_submitter_may_close_the_interceptor() -> None:
    closing = Closing()
    closing.interceptor = Interceptor(closing, Config(source="sdk", workspace_id="ws-1"))
    for number in range(3):
        item = {"type": "webSearch", "id": str(number)}
        closing.interceptor.on_server_frame(json.dumps({"method": "item/started", "params": {"item": item, "turn": {"id": "u"}}}))
    turn = {"method": "turn/completed", "params": {"turn": {}}}
    closing.interceptor.on_server_frame(json.dumps([turn, {"method": "item/started", "params": {"item": {"type": "webSearch"}}}]))
    assert [op.request_id for op in closing] == ["0", "1", "2"]
    assert closing.interceptor.statistics().open_calls == 0


# Mistakes of others


class Failing(Recorded):
    """A submitter that takes every second operation and raises on the others."""

    def submit(self, operation: Operation) -> None:
        super().submit(operation)
        if len(self) % 2:
            raise RuntimeError(f"cannot take {operation.arguments!r}")


def test_a_submitter_that_raises_costs_that_operation_only(caplog: pytest.LogCaptureFixture) -> None:
    submitter = Failing()
    ids = iter(["id-1", "id-2", "id-3"])
    interceptor = Interceptor(submitter, Config(source="sdk", workspace_id="ws-1"), new_id=ids.__next__)
    for number in range(3):
        interceptor.on_client_frame(json.dumps(call(number, arguments="hunter2")))
    interceptor.on_server_frame(json.dumps(answer(1)))
    interceptor.close()
    assert [op.request_id for op in submitter] == ["1", "0", "2"]
    statistics = interceptor.statistics()
    assert (statistics.recorded, statistics.submit_errors, statistics.internal_errors, statistics.unanswered) == (3, 2, 0, 2)
    assert caplog.messages == [f"the submitter raised RuntimeError; operation id-{number} is lost" for number in (1, 3)]
    assert {(record.name, record.levelno, record.exc_info) for record in caplog.records} == {("trio_oplog", logging.ERROR, None)}


@pytest.mark.parametrize("clock", ["clock", "monotonic"])
def test_a_clock_that_raises_is_counted_and_never_raised(clock: str, caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded()
    broken: Any = {clock: raising(OSError("no clock"))}
    with Interceptor(recorded, Config(source="sdk", workspace_id="ws-1"), **broken) as interceptor:
        interceptor.on_client_frame(json.dumps([call(1), call(2)]))
        interceptor.on_server_frame('{"method":"item/completed","params":{"item":{"type":"webSearch"}}}')
    assert recorded == []
    assert (interceptor.statistics().internal_errors, interceptor.statistics().open_calls) == (3, 0)
    assert caplog.messages == ["a message was lost to a mistake: OSError"] * 3
    assert all(record.exc_info is None for record in caplog.records)


def test_a_clock_that_breaks_later_costs_the_calls_that_end_then() -> None:
    watch = Watch()
    watch.client(call(1), call(2), call(3))
    watch.server(answer(1))
    watch.interceptor._recorder.clock = raising(OSError("no clock"))
    watch.server(answer(2))
    watch.close()
    assert watch.recorded == [operation(request_id="1")]
    statistics = watch.statistics
    assert (statistics.internal_errors, statistics.open_calls, statistics.unanswered, statistics.recorded) == (2, 0, 0, 1)


@pytest.mark.parametrize("nothing", [None, 5, object(), ["{}"], {}, memoryview(b"{ } ")[::2]])
def test_something_that_is_no_frame_is_counted_and_never_raised(nothing: Any) -> None:
    watch = Watch()
    watch.interceptor.on_client_frame(nothing)
    watch.interceptor.on_server_frame(nothing)
    assert (watch.statistics.internal_errors, watch.statistics.unreadable_frames) == (2, 0)
    assert (watch.statistics.client_frames, watch.statistics.server_frames) == (1, 1)


def test_interrupts_are_not_held_back() -> None:
    interrupted = Interceptor(Recorded(), Config(source="sdk", workspace_id="ws-1"), clock=raising(KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        interrupted.on_client_frame(json.dumps(call()))


# Redaction


def redacting(redact: Any, **params: Any) -> Watch:
    watch = Watch(redact=redact)
    watch.client(call(**params))
    watch.server(answer(1, "hunter2"))
    return watch


def test_the_submitter_gets_what_the_redactor_returns() -> None:
    watch = redacting(lambda op: attrs.evolve(op, arguments=b'"***"', result_summary=None), arguments="hunter2")
    assert watch.recorded == [operation(request_id="1", arguments=b'"***"')]
    assert watch.statistics.redact_errors == 0


def without_tool(op: Operation) -> Operation:
    return attrs.evolve(op, tool="")


def with_broken_arguments(op: Operation) -> Operation:
    return attrs.evolve(op, arguments=b"{")


@pytest.mark.parametrize("redact", [raising(ValueError("hunter2")), lambda op: None, without_tool, with_broken_arguments])
def test_a_redactor_that_fails_costs_the_payload_and_leaks_none(redact: Any, caplog: pytest.LogCaptureFixture) -> None:
    watch = redacting(redact, arguments="hunter2")
    digest = sha256(b"hunter2").hexdigest()
    assert watch.recorded == [
        operation(
            request_id="1",
            arguments_meta=ArgumentsMeta(size_bytes=9, sha256=sha256(b'"hunter2"').hexdigest()),
            result_meta=ResultMeta(truncated=True, total_bytes=7, sha256=digest),
        )
    ]
    assert (watch.statistics.redact_errors, watch.statistics.submit_errors, watch.statistics.recorded) == (1, 0, 1)
    assert len(caplog.messages) == 1
    assert "operation id-1 goes without its payload" in caplog.text
    assert "hunter2" not in caplog.text


# Times, ids, statistics


DURATIONS = [(0.0009, 0), (0.0015, 1), (1.9999, 1_999), (-5.0, 0), (2_147_483.647, 2**31 - 1), (1e9, 2**31 - 1)]


@pytest.mark.parametrize(("seconds", "duration_ms"), DURATIONS)
def test_a_duration_is_whole_milliseconds_within_31_bits(seconds: float, duration_ms: int) -> None:
    times = iter([0.0, seconds])
    recorded = Recorded()
    interceptor = Interceptor(recorded, Config(source="sdk", workspace_id="ws-1"), monotonic=times.__next__)
    interceptor.on_client_frame(json.dumps(call()))
    interceptor.close()
    assert [op.duration_ms for op in recorded] == [duration_ms]


def test_times_and_ids_are_real_unless_injected() -> None:
    recorded = Recorded()
    before = datetime.now(UTC)
    with Interceptor(recorded, Config(source="sdk", workspace_id="ws-1")) as interceptor:
        for number in range(200):
            interceptor.on_client_frame(json.dumps(call(number)))
    assert len({op.id for op in recorded}) == 200
    for op in recorded:
        assert (uuid.UUID(op.id).version, uuid.UUID(op.id).variant, str(uuid.UUID(op.id))) == (4, uuid.RFC_4122, op.id)
        assert before <= op.started_at <= op.completed_at <= datetime.now(UTC)
        assert op.started_at.utcoffset() == timedelta()
        assert 0 <= op.duration_ms <= 60_000


def test_what_the_submitter_gets_is_frozen() -> None:
    watch = Watch()
    watch.client(call(arguments={}))
    watch.server(answer())
    (made,) = watch.recorded
    assert type(made) is Operation
    assert made == Operation(**attrs.asdict(made, recurse=False))
    assert "arguments" not in repr(made)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.tool = "other"  # type: ignore[misc]


def test_random_ids_are_random_in_every_digit_that_may_be() -> None:
    ids = random_ids()
    page = [next(ids) for _ in range(1_000)]
    assert len(set(page)) == 1_000
    alphabets = ["".join(sorted({text[place] for text in page})) for place in range(36)]
    expected = ["0123456789abcdef"] * 36
    for dash in (8, 13, 18, 23):
        expected[dash] = "-"
    expected[14] = "4"
    expected[19] = "89ab"
    assert alphabets == expected


def test_the_statistics_count_what_was_seen() -> None:
    watch = Watch()
    watch.client(call(1), call(2), "not json", "[]", {"method": "ping", "id": 5}, call(None))
    watch.server(answer(1), "{", answer(9))
    assert attrs.asdict(watch.statistics) == {
        "client_frames": 6,
        "server_frames": 3,
        "unreadable_frames": 3,
        "open_calls": 1,
        "suspended_calls": 0,
        "forgotten_approvals": 0,
        "recorded": 1,
        "evicted": 0,
        "unanswered": 0,
        "submit_errors": 0,
        "redact_errors": 0,
        "internal_errors": 0,
    }
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        watch.statistics.recorded = 0  # type: ignore[misc]


def test_a_frame_that_ends_nothing_is_not_read_while_nothing_is_open() -> None:
    watch = Watch()
    watch.server(answer(1), {"id": 2, "result": {"serverInfo": {"name": "demo"}}})
    watch.client(call(1))
    assert [op.env_id for op in watch.close()] == ["local"]


def test_the_repr_says_how_many_calls_and_shows_no_payload() -> None:
    watch = Watch()
    watch.client(call(1, name="hunter2"), call(2))
    watch.server(answer(1, "hunter2"))
    assert repr(watch.interceptor) == "<Interceptor open_calls=1 recorded=1>"


# Found by changing the code in small ways and seeing what no test noticed


@pytest.mark.parametrize(
    ("code", "kept"), [(2**63 - 1, 2**63 - 1), (2**63, None), (-(2**63), -(2**63)), (-(2**63) - 1, None), (0, 0)]
)
def test_an_error_code_is_kept_when_it_fits_64_bits(code: int, kept: int | None) -> None:
    watch = Watch()
    watch.client(call())
    watch.server({"id": 1, "error": {"code": code, "message": "no"}})
    (recorded,) = watch.close()
    assert recorded.result_meta == ResultMeta(outcome=Outcome.RPC_ERROR, error_code=kept)


def test_the_error_code_of_an_item_is_kept() -> None:
    watch = Watch()
    item = {"type": "mcpToolCall", "id": "i", "status": "failed", "error": {"code": -7, "message": "broken"}}
    watch.server({"method": "item/completed", "params": {"threadId": "t", "turnId": "u", "item": item}})
    (recorded,) = watch.close()
    assert recorded.result_meta == ResultMeta(outcome=Outcome.FAILED, error_code=-7)
    assert recorded.result_summary == "broken"


def test_a_block_without_a_type_is_of_an_unknown_one() -> None:
    watch = Watch()
    watch.client(call())
    watch.server({"id": 1, "result": {"content": [{"text": "a"}, {"type": "text", "text": "b"}]}})
    (recorded,) = watch.close()
    assert recorded.result_meta == ResultMeta(content_types=("unknown", "text"))
    assert recorded.result_summary == "b"


def test_every_failure_of_the_redactor_is_counted_once_and_named_by_its_kind(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(redact=raising(ValueError("hunter2")))
    for number in range(3):
        watch.client(call(number))
        watch.server({"id": number, "result": {}})
    assert watch.statistics.redact_errors == 3
    assert caplog.messages == [
        f"the redactor failed with ValueError; operation id-{number} goes without its payload" for number in (1, 2, 3)
    ]


def test_a_mistake_is_named_by_its_kind_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    watch.interceptor.on_client_frame(object())
    assert watch.statistics.internal_errors == 1
    assert caplog.messages == ["a message was lost to a mistake: TypeError"]
    watch.interceptor.on_server_frame(object())
    assert caplog.messages[1:] == ["a message was lost to a mistake: TypeError"]
    closed = Interceptor(Recorded(), Config(source="sdk", workspace_id="ws-1"), new_id=raising(KeyError("secret")))
    closed.on_client_frame(json.dumps(call()))
    closed.close()
    assert caplog.messages[2:] == ["a message was lost to a mistake: KeyError"]


# Long frames, of which only a peek is taken where it tells enough

LONG_TEXT = "x" * 20_000


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("request_id", [1, -1, 0, "a", "i" * 2_000, "i" * 300, 1.5])
def test_a_long_call_and_its_long_answer_are_paired_among_long_strangers(request_id: Any, as_bytes: bool) -> None:
    watch = Watch()

    def as_sent(message: Any) -> Any:
        text = json.dumps(message)
        return text.encode() if as_bytes else text

    watch.client(as_sent({"id": 77, "method": "resources/read", "params": {"text": LONG_TEXT}}))
    watch.client(as_sent(call(request_id, name="t", arguments={"text": LONG_TEXT})))
    watch.server(as_sent(answer(77, LONG_TEXT)), as_sent({"id": request_id, "method": "ping", "params": {"text": LONG_TEXT}}))
    assert watch.recorded == []
    watch.server(as_sent(answer(request_id, LONG_TEXT)))
    (recorded,) = watch.recorded
    assert recorded.arguments == json.dumps({"text": LONG_TEXT}).encode()
    assert recorded.result_summary == LONG_TEXT[:4_096]
    assert watch.statistics.unreadable_frames == 0


@pytest.mark.parametrize(
    ("environment_id", "shown"), [("box-7", "box-7"), ("e" * 2_000, "e" * 1_024), ("", "local"), (None, "local"), (7, "local")]
)
def test_the_environment_is_found_beside_long_strings(environment_id: Any, shown: str) -> None:
    watch = Watch()
    watch.client(call(1, arguments={"text": LONG_TEXT, "environment_id": environment_id}))
    assert watch.close()[0].env_id == shown


def test_long_arguments_that_only_python_reads_cost_no_call() -> None:
    watch = Watch()
    watch.client(
        '{"id":1,"method":"tools/call","params":{"arguments":{"environment_id":"e","n":NaN,"text":"' + LONG_TEXT + '"}}}'
    )
    assert watch.close()[0].env_id == "e"


def test_the_name_of_a_server_is_read_in_a_long_answer_to_initialize() -> None:
    watch = Watch()
    watch.client({"id": 0, "method": "initialize"})
    watch.server({"id": 0, "result": {"serverInfo": {"name": "demo"}, "instructions": LONG_TEXT}})
    watch.client(call(1))
    assert watch.close()[0].env_id == "demo"


def test_what_takes_no_operations_is_no_submitter() -> None:
    for wrong in (None, 5, [], object()):
        with pytest.raises(ConfigError) as caught:
            Interceptor(wrong, Config(source="sdk", workspace_id="ws-1"))  # type: ignore[arg-type]
        assert caught.value.field == "submitter"


@pytest.mark.parametrize("more", ["x" * 20_000 + "\x01", '","'.join(["x"] * 10_000) + "\x01"])
def test_a_long_frame_that_only_a_peek_takes_for_json_says_nothing(more: str) -> None:
    watch = Watch()
    watch.client(call())
    watch.server(
        f'{{"id":1,"result":{{"content":["{more}"]}}}}',
        f'{{"method":"item/completed","params":{{"item":{{"type":"webSearch","aggregatedOutput":"{more}"}}}}}}',
    )
    watch.client(f'{{"id":2,"method":"tools/call","params":{{"name":"{more}"}}}}')
    assert (watch.recorded, watch.statistics.open_calls, watch.statistics.internal_errors) == ([], 1, 0)


def test_a_long_answer_of_many_strings_is_read_whatever_bytes_it_skips() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(b'{"id":1,"result":{"content":"fine"},"x":["\xe9' + b'","'.join([b"x"] * 10_000) + b'"]}')
    assert watch.recorded == [operation(request_id="1", result_summary="fine")]
