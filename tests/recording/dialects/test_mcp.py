"""Model Context Protocol: which messages begin and end a call, and what is recorded of it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from tests.watching import Watch, operation
from trio_oplog import Outcome
from trio_oplog._operation import ArgumentsMeta, ResultMeta


def call(request_id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def answer(request_id: Any = 1, **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def text(*parts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": part} for part in parts]


def test_a_call_with_its_answer_is_one_operation() -> None:
    watch = Watch()
    params = '{"name":"echo","arguments":{ "a" : 1.0 },"_meta":{"threadId":"t-1","agentserver_user_id":"u-1"}}'
    watch.client(f'{{"id":"r-1","method":"tools/call","params":{params}}}')
    watch.seconds = 1.5
    watch.server(answer("r-1", content=text("hello"), isError=False))
    assert watch.recorded == [
        operation(
            tool="echo",
            request_id="r-1",
            arguments=b'{ "a" : 1.0 }',
            thread_id="t-1",
            user_id="u-1",
            result_summary="hello",
            completed_at=operation().started_at.replace(microsecond=500_000, second=21),
            duration_ms=1_500,
        )
    ]


@pytest.mark.parametrize("request_id", [None, True, False, [], {}, [1]])
def test_a_request_whose_id_is_neither_string_nor_number_begins_no_call(request_id: Any) -> None:
    watch = Watch()
    watch.client(call(request_id, name="echo"), {"method": "tools/call", "params": {"name": "echo"}})
    assert watch.close() == []


@pytest.mark.parametrize(
    "frame",
    [
        '{"id":1,"method":"tools/call"}',
        call(),
        call(name=""),
        call(name=5),
        call(name=None),
        '{"id":1,"method":"tools/call","params":["echo"]}',
        call(tool="echo"),
    ],
)
def test_a_call_that_names_no_tool_is_recorded_as_unknown(frame: Any) -> None:
    watch = Watch()
    watch.client(frame)
    watch.server(answer())
    assert watch.recorded == [operation(request_id="1")]


@pytest.mark.parametrize(
    ("params", "thread_id"),
    [
        ({"threadId": "a", "thread_id": "b", "_meta": {"threadId": "c"}}, "a"),
        ({"thread_id": "b", "_meta": {"threadId": "c"}}, "b"),
        ({"_meta": {"threadId": "c"}}, "c"),
        ({"threadId": "", "thread_id": 5, "_meta": {"threadId": "c"}}, "c"),
        ({"_meta": {"threadId": ""}}, None),
        ({"_meta": {}}, None),
        ({"_meta": [], "threadId": None}, None),
    ],
)
def test_the_thread_is_what_params_say_else_their_meta(params: dict[str, Any], thread_id: str | None) -> None:
    watch = Watch()
    watch.client(call(**params))
    watch.server(answer())
    assert watch.recorded == [operation(request_id="1", thread_id=thread_id)]


@pytest.mark.parametrize(("claim", "user_id"), [("u-1", "u-1"), ("", None), (5, None), (None, None), ("\ud800", "\ufffd")])
def test_the_user_is_whoever_the_client_claims_to_be(claim: Any, user_id: str | None) -> None:
    watch = Watch()
    watch.client(call(_meta={"agentserver_user_id": claim}))
    watch.server(answer())
    assert watch.recorded == [operation(request_id="1", user_id=user_id)]


def test_a_pinned_user_counts_more_than_a_claim() -> None:
    watch = Watch(user_id="pinned")
    watch.client(call(_meta={"agentserver_user_id": "claimed"}))
    watch.server(answer())
    assert watch.recorded == [operation(request_id="1", user_id="pinned")]


@pytest.mark.parametrize(
    ("spelled", "kept"),
    [
        ("{}", b"{}"),
        ('{"a":1,"a":2}', b'{"a":1,"a":2}'),
        ("[ 1, 2 ]", b"[ 1, 2 ]"),
        ("0", b"0"),
        ("false", b"false"),
        ('""', b'""'),
        ('"\\ud800"', b'"\\ud800"'),
        ('"\ud800"', b'"\\ud800"'),
        ('{"\xe9":"\u2028"}', b'{"\xc3\xa9":"\xe2\x80\xa8"}'),
        ("null", None),
    ],
)
def test_arguments_are_the_exact_text_from_the_wire(spelled: str, kept: bytes | None) -> None:
    watch = Watch()
    watch.client(f'{{"id":1,"method":"tools/call","params":{{"arguments": {spelled} }}}}')
    watch.server(answer())
    assert watch.recorded == [operation(request_id="1", arguments=kept)]


def test_arguments_over_the_limit_leave_their_size_and_digest() -> None:
    watch = Watch(args_max_bytes=8)
    for arguments in ('{"a":12}', '{"a": 12}'):
        watch.client(f'{{"id":1,"method":"tools/call","params":{{"arguments":{arguments}}}}}')
    watch.server(answer(), answer())
    meta = ArgumentsMeta(truncated=True, size_bytes=9, sha256=sha256(b'{"a": 12}').hexdigest())
    twice = ResultMeta(duplicate_id=True)
    assert watch.recorded == [
        operation(request_id="1", arguments=b'{"a":12}', result_meta=twice),
        operation(id="id-2", request_id="1", arguments_meta=meta, result_meta=twice),
    ]


def test_arguments_that_no_json_can_hold_leave_their_size_and_digest() -> None:
    watch = Watch()
    watch.client('{"id":1,"method":"tools/call","params":{"name":"echo","arguments":{"environment_id":"e","x":NaN}}}')
    watch.server(answer())
    meta = ArgumentsMeta(size_bytes=30, sha256=sha256(b'{"environment_id":"e","x":NaN}').hexdigest())
    assert watch.recorded == [operation(request_id="1", tool="echo", env_id="e", arguments_meta=meta)]


@pytest.mark.parametrize(
    ("arguments", "env_id"),
    [
        ('{"environment_id":"e"}', "e"),
        ('{"environment_id":"\\ud800"}', "\ufffd"),
        ('{"environment_id":""}', "local"),
        ('{"environment_id":5}', "local"),
        ('{"environment_id":null}', "local"),
        ('{"x":{"environment_id":"e"}}', "local"),
        ('["environment_id"]', "local"),
        ('"environment_id"', "local"),
        ('{"environment_id":"e","environment_id":"f"}', "f"),
    ],
)
def test_the_environment_is_the_one_that_the_arguments_name(arguments: str, env_id: str) -> None:
    watch = Watch()
    watch.client(f'{{"id":1,"method":"tools/call","params":{{"arguments":{arguments}}}}}')
    assert [op.env_id for op in watch.close()] == [env_id]


def test_arguments_over_the_limit_still_name_their_environment() -> None:
    watch = Watch(args_max_bytes=1)
    watch.client(call(arguments={"environment_id": "e"}))
    assert [op.env_id for op in watch.close()] == ["e"]


INFO = {"io.modelcontextprotocol/serverInfo": {"name": "demo"}}


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("initialize", {"serverInfo": {"name": "demo", "version": "1"}}),
        ("server/discover", {"_meta": INFO}),
        ("initialize", {"serverInfo": {"name": ""}, "_meta": INFO}),
        ("initialize", {"serverInfo": {"name": "demo"}, "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "other"}}}),
        ("initialize", {"serverInfo": 5, "_meta": INFO}),
    ],
)
def test_the_environment_is_else_the_server_that_greeted_the_client(method: str, result: dict[str, Any]) -> None:
    watch = Watch(default_env_id="default")
    watch.client({"id": "0", "method": method})
    watch.server({"id": 1, "result": {"serverInfo": {"name": "not for us"}}}, {"id": "0", "method": "ping"}, {"id": "0"})
    watch.server({"id": "0", "result": result}, {"id": "0", "result": {"serverInfo": {"name": "too late"}}})
    watch.client(call(name="echo"), call(2, arguments={"environment_id": "e"}))
    watch.server(answer(), answer(2))
    assert [op.env_id for op in watch.close()] == ["demo", "e"]


@pytest.mark.parametrize(
    "reply",
    [
        {"id": 0, "error": {"code": 1, "message": "no"}},
        {"id": 0, "result": None},
        {"id": 0, "result": {}},
        {"id": 0, "result": {"serverInfo": {}, "_meta": {"io.modelcontextprotocol/serverInfo": {}}}},
        {"id": 0, "result": {"serverInfo": {"name": 5}, "_meta": {"io.modelcontextprotocol/serverInfo": None}}},
        {"id": 0, "result": [], "serverInfo": {"name": "x"}},
    ],
)
def test_a_server_that_gives_no_name_leaves_the_environment_to_the_config(reply: dict[str, Any]) -> None:
    watch = Watch(default_env_id="default")
    watch.client({"id": 0, "method": "initialize"})
    watch.server(reply)
    watch.client(call())
    assert [op.env_id for op in watch.close()] == ["default"]


def test_a_second_greeting_replaces_the_name_only_by_another() -> None:
    watch = Watch()
    for request_id, result in enumerate([{"serverInfo": {"name": "one"}}, {}, {"serverInfo": {"name": "two"}}]):
        watch.client({"id": request_id, "method": "initialize"})
        watch.server({"id": request_id, "result": result})
        watch.client(call())
        watch.server(answer())
    assert [op.env_id for op in watch.recorded] == ["one", "one", "two"]


@pytest.mark.parametrize("request_id", [None, True, []])
def test_a_greeting_without_an_id_gets_no_answer(request_id: Any) -> None:
    watch = Watch()
    watch.client({"id": request_id, "method": "initialize"}, {"method": "initialize"})
    watch.server({"id": request_id, "result": {"serverInfo": {"name": "demo"}}}, {"result": {"serverInfo": {"name": "demo"}}})
    watch.client(call())
    assert [op.env_id for op in watch.close()] == ["local"]


def test_an_answer_to_both_a_call_and_a_greeting_ends_the_call() -> None:
    watch = Watch()
    watch.client({"id": 1, "method": "initialize"}, call(1, name="echo"))
    watch.server(answer(1, serverInfo={"name": "demo"}), answer(1, serverInfo={"name": "demo"}))
    watch.client(call(2))
    assert [op.env_id for op in watch.close()] == ["local", "demo"]


def test_an_answer_that_names_its_server_says_where_the_call_ran() -> None:
    watch = Watch()
    watch.client(call(), call(2), call(3, arguments={"environment_id": "e"}))
    watch.server(
        answer(_meta=INFO), answer(2, _meta={"io.modelcontextprotocol/serverInfo": {"name": "x" * 2_000}}), answer(3, _meta=INFO)
    )
    assert [op.env_id for op in watch.recorded] == ["demo", "x" * 1_024, "e"]


def test_a_server_name_over_the_limit_is_cut() -> None:
    watch = Watch()
    watch.client({"id": 0, "method": "initialize"})
    watch.server({"id": 0, "result": {"serverInfo": {"name": "x" * 2_000}}})
    watch.client(call())
    assert [op.env_id for op in watch.close()] == ["x" * 1_024]


@pytest.mark.parametrize(
    ("result", "fields"),
    [
        ({}, {}),
        ({"content": []}, {}),
        ({"content": None}, {}),
        ({"content": "text"}, {"result_summary": "text"}),
        ({"content": {"type": "text", "text": "one"}}, {"result_summary": "one"}),
        ({"content": text("")}, {}),
        ({"content": text("a")}, {"result_summary": "a"}),
        ({"content": text("a", "", "b\n")}, {"result_summary": "ab\n"}),
        ({"content": [{"type": "text"}]}, {}),
        ({"content": [{"type": "text", "text": 5}, {"type": "text", "text": "a"}, {"type": "text"}]}, {"result_summary": "a"}),
        ({"content": [{"type": "image", "data": "xx"}]}, {"result_meta": ResultMeta(content_types=("image",))}),
        ({"content": [{"type": "image", "text": "no"}]}, {"result_meta": ResultMeta(content_types=("image",))}),
        (
            {"content": [*text("a"), {"type": "resource", "text": "no"}, 5, {}, {"type": "\ud800"}]},
            {
                "result_summary": "a",
                "result_meta": ResultMeta(content_types=("text", "resource", "unknown", "unknown", "\ufffd")),
            },
        ),
        ({"content": text("\ud800")}, {"result_summary": "\ufffd"}),
        ({"isError": True}, {"is_error": True, "result_meta": ResultMeta(outcome=Outcome.TOOL_ERROR)}),
        (
            {"isError": True, "content": text("boom"), "resultType": "input_required"},
            {"is_error": True, "result_summary": "boom", "result_meta": ResultMeta(outcome=Outcome.TOOL_ERROR)},
        ),
        ({"isError": "true"}, {"is_error": True, "result_meta": ResultMeta(outcome=Outcome.TOOL_ERROR)}),
        ({"isError": "True"}, {"is_error": True, "result_meta": ResultMeta(outcome=Outcome.TOOL_ERROR)}),
        ({"isError": "false"}, {}),
        ({"isError": 1}, {}),
        ({"isError": None, "resultType": "complete"}, {}),
        ({"resultType": "input_required"}, {"result_meta": ResultMeta(outcome=Outcome.INPUT_REQUIRED)}),
        ({"resultType": 5}, {}),
    ],
)
def test_a_result_says_what_came_back(result: dict[str, Any], fields: dict[str, Any]) -> None:
    watch = Watch()
    watch.client(call())
    watch.server(answer(**result))
    assert watch.recorded == [operation(**{"request_id": "1"} | fields)]


def test_of_many_blocks_the_types_of_64_are_kept() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(answer(content=[{"type": "x" * 2_000}] * 100))
    assert watch.recorded == [operation(request_id="1", result_meta=ResultMeta(content_types=("x" * 1_024,) * 64))]


@pytest.mark.parametrize("result", [None, 5, [], True])
def test_a_result_that_is_no_object_is_a_plain_success(result: Any) -> None:
    watch = Watch()
    watch.client(call())
    watch.server({"id": 1, "result": result})
    assert watch.recorded == [operation(request_id="1")]


@pytest.mark.parametrize(
    ("error", "summary", "code"),
    [
        ({"code": -32602, "message": "no such tool", "data": {"x": 1}}, "no such tool", -32602),
        ({"code": 0, "message": ""}, None, 0),
        ({"message": "m", "code": "1"}, "m", None),
        ({"message": "m", "code": 1.5}, "m", None),
        ({"message": "m", "code": True}, "m", None),
        ({"message": 5, "code": 2**63 - 1}, "5", 2**63 - 1),
        ({"message": {"reason": "x"}, "code": 1}, '{"reason": "x"}', 1),
        ({"message": None, "code": 1}, None, 1),
        ({"code": 2**63}, None, None),
        ({"code": -(2**63)}, None, -(2**63)),
        ({"code": -(2**63) - 1}, None, None),
        ({}, None, None),
        ("boom", "boom", None),
        ("\ud800", "\ufffd", None),
        (False, "false", None),
        (0, "0", None),
        ([1], "[1]", None),
    ],
)
@pytest.mark.parametrize("rest", [{}, {"result": {"content": text("not this")}}, {"result": None, "method": None}])
def test_an_error_that_is_not_null_is_a_failure(rest: dict[str, Any], error: Any, summary: str | None, code: int | None) -> None:
    watch = Watch()
    watch.client(call())
    watch.server({"error": error, "id": 1} | rest)
    meta = ResultMeta(outcome=Outcome.RPC_ERROR, error_code=code)
    assert watch.recorded == [operation(request_id="1", is_error=True, result_summary=summary, result_meta=meta)]


def test_a_null_error_is_no_error() -> None:
    watch = Watch()
    watch.client(call())
    watch.server({"error": None, "id": 1}, '{"error" : null , "result":{},"id":1}')
    assert watch.recorded == [operation(request_id="1")]


def test_a_result_over_the_limit_is_cut_between_characters_and_leaves_size_and_digest() -> None:
    watch = Watch(result_max_bytes=4)
    watch.client(call(), call(2), call(3))
    watch.server(
        answer(content=text("caf", "\xe9!")),
        answer(2, content=text("caf\xe9")[:1], isError=True),
        answer(3, content=text("cafe")),
    )
    whole = "caf\xe9!".encode()
    cut = ResultMeta(truncated=True, total_bytes=6, sha256=sha256(whole).hexdigest())
    failed = ResultMeta(truncated=True, total_bytes=5, sha256=sha256(whole[:-1]).hexdigest(), outcome=Outcome.TOOL_ERROR)
    assert watch.recorded == [
        operation(request_id="1", result_summary="caf", result_meta=cut),
        operation(id="id-2", request_id="2", is_error=True, result_summary="caf", result_meta=failed),
        operation(id="id-3", request_id="3", result_summary="cafe"),
    ]


def test_a_text_of_which_not_one_character_fits_is_still_measured() -> None:
    watch = Watch(result_max_bytes=1)
    watch.client(call())
    watch.server(answer(content=text("\xe9")))
    meta = ResultMeta(truncated=True, total_bytes=2, sha256=sha256("\xe9".encode()).hexdigest())
    assert watch.recorded == [operation(request_id="1", result_summary="", result_meta=meta)]


def test_a_cancelled_call_is_recorded_and_its_later_answer_ignored() -> None:
    watch = Watch()
    watch.client(call("a"), call(1), {"method": "notifications/cancelled", "params": {"requestId": "a", "reason": "bored"}})
    watch.server(answer("a", content=text("late")))
    meta = ResultMeta(outcome=Outcome.CANCELLED)
    assert watch.recorded == [operation(request_id="a", is_error=True, result_summary="bored", result_meta=meta)]
    assert watch.statistics.open_calls == 1


@pytest.mark.parametrize("params", [{"requestId": "1"}, {"requestId": None}, {"requestId": 2}, {"requestId": [1]}, {}, None, [1]])
def test_a_cancellation_of_something_else_ends_no_call(params: Any) -> None:
    watch = Watch()
    watch.client(call(), {"method": "notifications/cancelled", "params": params}, {"method": "notifications/cancelled"})
    watch.server(answer())
    assert watch.recorded == [operation(request_id="1")]


def test_a_cancellation_from_the_server_ends_no_call() -> None:
    watch = Watch()
    watch.client(call())
    watch.server({"method": "notifications/cancelled", "params": {"requestId": 1}}, answer())
    assert watch.recorded == [operation(request_id="1")]


def test_names_over_the_limit_are_cut() -> None:
    watch = Watch()
    long = "\xe9" * 600
    cut = "\xe9" * 512
    watch.client(call(long, name=long, threadId=long, arguments={"environment_id": long}, _meta={"agentserver_user_id": long}))
    watch.server(answer(long))
    (op,) = watch.recorded
    assert (op.request_id, op.tool, op.thread_id, op.env_id, op.user_id) == (cut,) * 5
