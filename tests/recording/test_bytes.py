"""Frames that are no UTF-8 are read all the same: the call is paired, its arguments are a digest, and its summary says so."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from tests.watching import Watch, operation
from trio_oplog import Approval, DecidedBy, Outcome
from trio_oplog._operation import ArgumentsMeta, ResultMeta

CALL = b'{"id":1,"method":"tools/call","params":{"name":"read"}}'
BAD = b"caf\xe9"
SHOWN = "caf\ufffd"


def answered(answer: Any, call: Any = CALL) -> list[Any]:
    watch = Watch()
    watch.client(call)
    watch.server(answer)
    return list(watch.recorded)


def read(summary: str | None = SHOWN, outcome: Outcome | None = None, **meta: Any) -> Any:
    notes = ResultMeta(**{"outcome": outcome, "replaced": True} | meta)
    return operation(tool="read", request_id="1", is_error=outcome is not None, result_summary=summary, result_meta=notes)


# Answers


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"id":1,"result":{"content":[{"type":"text","text":"caf\xe9"}]}}', read()),
        (b'{"id":1,"result":{"content":[{"type":"text","text":"caf\xe9"}],"isError":true}}\n', read(outcome=Outcome.TOOL_ERROR)),
        (b'{"id":1,"result":{"content":"caf\xe9"}}', read()),
        (b'{"id":1,"result":"caf\xe9"}', read()),
        (b'{"id":1,"result":{"structuredContent":{"a":"caf\xe9"}}}', read('{"a":"caf\ufffd"}')),
        (b'{"id":1,"error":{"code":-3,"message":"caf\xe9"}}', read(outcome=Outcome.RPC_ERROR, error_code=-3)),
        (b'{"id":1,"error":{"message":{"a":"caf\xe9"}}}', read('{"a":"caf\ufffd"}', Outcome.RPC_ERROR)),
        (b'{"id":1,"error":"caf\xe9"}', read(outcome=Outcome.RPC_ERROR)),
        (b'{"id":1,"error":["caf\xe9"]}', read('["caf\ufffd"]', Outcome.RPC_ERROR)),
        (b'[{"id":1,"result":"caf\xe9"},5]', read()),
        (b'{"id":1,"result":"caf\xe9\xe9\xff\xe2\x82"}', read("caf" + "\ufffd" * 5)),
        (b'{"id":1,"result":"fine","x":"caf\xe9"}', read("fine", replaced=None)),
        (b'{"id":1,"result":{},"x":"caf\xe9"}', read(None, replaced=None)),
    ],
)
def test_an_answer_ends_its_call_and_its_summary_says_that_bytes_were_replaced(answer: bytes, expected: Any) -> None:
    if expected.result_meta == ResultMeta():
        expected = operation(tool="read", request_id="1", result_summary=expected.result_summary)
    for form in (bytes, bytearray, memoryview):
        assert answered(form(answer)) == [expected]


def test_u_fffd_that_crossed_is_no_replacement() -> None:
    assert answered('{"id":1,"result":"caf\ufffd"}'.encode()) == [
        operation(tool="read", request_id="1", result_summary="caf\ufffd")
    ]
    assert answered('{"id":1,"result":"caf\xe9"}'.encode("utf-16")) == [
        operation(tool="read", request_id="1", result_summary="caf\xe9")
    ]


def test_a_long_answer_is_read_alike() -> None:
    for more in (b"x" * 20_000, b'","'.join([b"x"] * 10_000)):
        (op,) = answered(b'{"id":1,"result":"caf\xe9","x":["' + more + b'"]}')
        assert op == read()


def test_a_summary_that_was_cut_before_the_bytes_says_nothing_of_them() -> None:
    watch = Watch(result_max_bytes=3)
    watch.client(CALL)
    watch.server(b'{"id":1,"result":"caf\xe9"}')
    digest = sha256(SHOWN.encode()).hexdigest()
    assert [op.result_meta for op in watch.recorded] == [ResultMeta(truncated=True, total_bytes=6, sha256=digest)]


def test_what_is_no_json_even_so_is_no_message() -> None:
    for nothing in (b"\xff", b'{"id":1,"result":\xff}', b'{"id":1,"result":"\xff', b"\xff{}"):
        watch = Watch()
        watch.client(CALL)
        watch.server(nothing)
        watch.client(nothing)
        assert (watch.recorded, watch.statistics.unreadable_frames) == ([], 2)


# Calls


@pytest.mark.parametrize("arguments", [b'{"t":"\xb2\xe2\xca\xd4"}', b'"\xff"', b'{"t":"a"}', b"5"])
@pytest.mark.parametrize("method", [b"tools/call", b"mcpServer/tool/call"])
def test_the_arguments_of_a_frame_that_is_no_utf_8_are_size_and_digest_of_what_crossed(arguments: bytes, method: bytes) -> None:
    watch = Watch()
    watch.client(b'{"id":1,"method":"' + method + b'","params":{"x":"\xff","arguments":' + arguments + b"}}")
    (op,) = watch.close()
    digest = sha256(arguments).hexdigest()
    assert (op.arguments, op.arguments_meta) == (None, ArgumentsMeta(size_bytes=len(arguments), sha256=digest))


def test_the_arguments_that_stand_in_are_digests_alike() -> None:
    watch = Watch()
    watch.client(b'{"id":1,"method":"command/exec","params":{"command":["caf\xe9"]}}')
    watch.server(b'{"method":"item/started","params":{"item":{"type":"webSearch","id":"i","query":"caf\xe9"}}}')
    texts = (b'{"command":["caf\xe9"]}', b'{"query":"caf\xe9"}')
    metas = [ArgumentsMeta(size_bytes=len(text), sha256=sha256(text).hexdigest()) for text in texts]
    assert [op.arguments_meta for op in watch.close()] == metas


def test_a_frame_without_arguments_has_none_whatever_its_bytes() -> None:
    for arguments in (b'"arguments":null,', b""):
        (op,) = answered(b'{"id":1,"result":{}}', b'{"id":1,"method":"tools/call","params":{' + arguments + b'"name":"caf\xe9"}}')
        assert op == operation(tool=SHOWN, request_id="1")


def test_names_in_such_a_frame_show_u_fffd() -> None:
    frame = (
        b'{"id":"\xff","method":"tools/call","trace":"\xff","params":{"name":"\xe9","threadId":"\xe9t",'
        b'"arguments":{"environment_id":"\xe9e"},"_meta":{"agentserver_user_id":"\xe9u"}}}'
    )
    (op,) = answered(b'{"id":"\xff","result":{}}', frame)
    shown = (op.request_id, op.tool, op.thread_id, op.env_id, op.user_id)
    assert shown == ("\ufffd", "\ufffd", "\ufffdt", "\ufffde", "\ufffdu")


def test_an_environment_is_found_in_long_arguments_of_any_bytes() -> None:
    for more in (b"\xff" * 20_000, b'","'.join([b"\xff"] * 10_000)):
        frame = b'{"id":1,"method":"tools/call","params":{"arguments":{"environment_id":"e","x":["' + more + b'"]}}}'
        assert answered(b'{"id":1,"result":{}}', frame)[0].env_id == "e"


def test_ids_that_differ_in_such_bytes_are_two() -> None:
    watch = Watch()
    for end in (b"\xe9", b"\xe8"):
        watch.client(b'{"id":"caf' + end + b'","method":"tools/call"}')
    watch.server(b'{"id":"caf\xe8","result":{}}')
    assert watch.statistics.open_calls == 1
    assert watch.close()[0].result_meta is None


# Everything else that brings a text


def test_the_reason_of_a_cancellation_says_so() -> None:
    watch = Watch()
    watch.client(CALL, b'{"method":"notifications/cancelled","params":{"requestId":1,"reason":"caf\xe9"}}')
    assert watch.recorded == [read(outcome=Outcome.CANCELLED)]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (b'{"method":"notifications/tasks","params":{"taskId":"t","status":"cancelled","statusMessage":"caf\xe9"}}', "cancelled"),
        (b'{"method":"notifications/tasks","params":{"taskId":"t","status":"failed","statusMessage":"caf\xe9"}}', "failed"),
        (b'{"method":"notifications/tasks","params":{"taskId":"t","status":"failed","error":"caf\xe9"}}', "rpc_error"),
        (b'{"method":"notifications/tasks","params":{"taskId":"t","result":{"content":"caf\xe9"}}}', None),
        (b'{"id":2,"result":{"taskId":"t","status":"cancelled","statusMessage":"caf\xe9"}}', "cancelled"),
    ],
)
def test_the_end_of_a_task_says_so(end: bytes, outcome: str | None) -> None:
    watch = Watch()
    watch.client(CALL)
    watch.server('{"id":1,"result":{"task":{"taskId":"t"}}}')
    watch.client('{"id":2,"method":"tasks/get","params":{"taskId":"t"}}')
    watch.server(end)
    assert watch.close() == [read(outcome=Outcome(outcome) if outcome else None, task_id="t")]


def test_a_task_that_is_handed_out_over_says_so() -> None:
    watch = Watch()
    watch.client(CALL)
    watch.server(b'{"id":1,"result":{"task":{"taskId":"t","status":"cancelled","statusMessage":"caf\xe9"}}}')
    assert watch.recorded == [read(outcome=Outcome.CANCELLED, task_id="t")]


def test_a_round_that_is_never_retried_says_so() -> None:
    watch = Watch()
    watch.client(CALL)
    watch.server(b'{"id":1,"result":{"resultType":"input_required","requestState":"s","content":"caf\xe9"}}')
    meta = ResultMeta(outcome=Outcome.INPUT_REQUIRED, replaced=True)
    assert watch.close() == [operation(tool="read", request_id="1", result_summary=SHOWN, result_meta=meta)]


def test_what_a_round_asks_for_is_found_among_any_bytes() -> None:
    watch = Watch()
    watch.client(CALL)
    watch.server(
        b'{"id":1,"result":{"resultType":"input_required","inputRequests":{"a\xe9":{"method":"elicitation/create","m":"\xe9"}}}}'
    )
    watch.client(b'{"id":2,"method":"tools/call","params":{"name":"read","inputResponses":{"a\xe9":{"action":"caf\xe9"}}}}')
    watch.server('{"id":2,"result":{}}')
    approval = Approval(decision=SHOWN, by=DecidedBy.CLIENT, waited_ms=0)
    meta = ResultMeta(rounds=2, waited_ms=0)
    assert watch.recorded == [operation(tool="read", request_id="1", approval=approval, result_meta=meta)]


def test_an_item_says_so() -> None:
    watch = Watch()
    watch.server(b'{"method":"item/completed","params":{"item":{"type":"fileChange","aggregatedOutput":"caf\xe9"}}}')
    meta = ResultMeta(replaced=True)
    assert watch.recorded == [operation(source="llm", tool="fileChange", result_summary=SHOWN, result_meta=meta)]


def test_a_process_says_so() -> None:
    watch = Watch()
    watch.client('{"id":1,"method":"process/spawn","params":{"processHandle":"p"}}')
    watch.server(b'{"method":"process/exited","params":{"processHandle":"p","exitCode":0,"stderr":"caf\xe9"}}')
    assert [(op.result_summary, op.result_meta) for op in watch.recorded] == [(SHOWN, ResultMeta(exit_code=0, replaced=True))]


@pytest.mark.parametrize(
    ("news", "end"),
    [
        (b"", b'"content":[{"type":"content","content":{"type":"text","text":"caf\xe9"}}],'),
        (b"", b'"rawOutput":"caf\xe9",'),
        (b'"content":[{"type":"content","content":{"type":"text","text":"caf\xe9"}}],', b""),
        (b'"rawOutput":"caf\xe9",', b""),
    ],
)
def test_an_agents_call_says_so(news: bytes, end: bytes) -> None:
    watch = Watch()
    for more in (b'"sessionUpdate":"tool_call",' + news, b'"sessionUpdate":"tool_call_update","status":"completed",' + end):
        watch.server(b'{"method":"session/update","params":{"sessionId":"s","update":{' + more + b'"toolCallId":"c"}}}')
    assert [(op.result_summary, op.result_meta) for op in watch.recorded] == [(SHOWN, ResultMeta(replaced=True))]


def test_a_reply_to_a_question_is_read() -> None:
    watch = Watch()
    watch.client(CALL)
    watch.server('{"id":0,"method":"elicitation/create"}')
    watch.client(b'{"id":0,"result":{"action":"accept","content":{"name":"caf\xe9"}}}')
    assert watch.close()[0].approval == Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=0)


def test_the_case_of_a_server_on_a_code_page() -> None:
    watch = Watch()
    watch.client('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"t":"a"}}}')
    watch.server(b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"caf\xe9"}],"isError":true}}\n')
    watch.client(
        b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read","arguments":{"t":"\xb2\xe2\xca\xd4"}}}\n'
    )
    watch.server(b'{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"fine"}]}}\n')
    digest = sha256(b'{"t":"\xb2\xe2\xca\xd4"}').hexdigest()
    assert watch.recorded == [
        operation(
            tool="read",
            request_id="1",
            arguments=b'{"t":"a"}',
            is_error=True,
            result_summary=SHOWN,
            result_meta=ResultMeta(outcome=Outcome.TOOL_ERROR, replaced=True),
        ),
        operation(
            id="id-2",
            tool="read",
            request_id="2",
            arguments_meta=ArgumentsMeta(size_bytes=12, sha256=digest),
            result_summary="fine",
        ),
    ]
