"""Codex: what the client itself runs, writes, copies, removes and reads."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from tests.watching import Watch, operation
from trio_oplog import Outcome
from trio_oplog._operation import ArgumentsMeta, ResultMeta

Message = dict[str, Any]


def request(method: str, request_id: Any = 1, **params: Any) -> Message:
    return {"id": request_id, "method": method, "params": params}


def answer(request_id: Any = 1, **result: Any) -> Message:
    return {"id": request_id, "result": result}


def exited(handle: Any = "p", **more: Any) -> Message:
    return {"method": "process/exited", "params": {"processHandle": handle} | more}


RPC_ERROR = ResultMeta(outcome=Outcome.RPC_ERROR, error_code=-3)
TOOL_ERROR = Outcome.TOOL_ERROR
REFUSED = {"id": 1, "error": {"code": -3, "message": "no"}}
METHODS = [
    "command/exec",
    "process/spawn",
    "fs/writeFile",
    "fs/remove",
    "fs/copy",
    "fs/createDirectory",
    "mcpServer/resource/read",
]


@pytest.mark.parametrize(
    ("method", "params", "arguments"),
    [
        (
            "command/exec",
            '"processId":"x","timeoutMs":1e3,"env":{"A":null},"cwd":"/w","command":["rm", "-rf"],"sandboxPolicy":{}',
            b'{"command":["rm", "-rf"],"cwd":"/w","env":{"A":null},"timeoutMs":1e3,"processId":"x"}',
        ),
        ("process/spawn", '"processHandle":"p","command":["sh"]', b'{"command":["sh"],"processHandle":"p"}'),
        ("fs/writeFile", '"dataBase64":"eA==","path":"/w/x"', b'{"path":"/w/x","dataBase64":"eA=="}'),
        ("fs/remove", '"force":true,"recursive":null,"path":"/w"', b'{"path":"/w","recursive":null,"force":true}'),
        (
            "fs/copy",
            '"recursive":false,"destinationPath":"b","sourcePath":"a"',
            b'{"sourcePath":"a","destinationPath":"b","recursive":false}',
        ),
        ("fs/createDirectory", '"path":"/d","recursive":true', b'{"path":"/d","recursive":true}'),
        ("mcpServer/resource/read", '"uri":"a:b","server":"demo"', b'{"server":"demo","uri":"a:b"}'),
    ],
)
def test_a_request_that_is_a_call_has_its_method_as_tool_and_its_params_as_arguments(
    method: str, params: str, arguments: bytes
) -> None:
    watch = Watch(source="tui")
    watch.client(f'{{"method":"{method}","id":7,"params":{{"threadId":"t",{params},"_meta":{{"agentserver_user_id":"u"}}}}}}')
    assert watch.close() == [
        operation(
            source="tui",
            tool=method,
            env_id="demo" if "resource" in method else "local",
            thread_id="t",
            user_id="u",
            request_id="7",
            arguments=arguments,
            is_error=True,
            result_meta=ResultMeta(outcome=Outcome.UNANSWERED),
        )
    ]


@pytest.mark.parametrize("method", METHODS)
def test_a_request_needs_an_id_and_nothing_else(method: str) -> None:
    watch = Watch()
    watch.client(*[{"id": request_id, "method": method} for request_id in (None, True, [])], {"method": method})
    assert watch.close() == []
    for params in (None, [], {}, {"threadId": 5, "_meta": []}):
        watch = Watch()
        watch.client({"id": 1, "method": method, "params": params})
        watch.server(REFUSED)
        refused = operation(tool=method, request_id="1", is_error=True, result_summary="no", result_meta=RPC_ERROR)
        assert watch.recorded == [refused]


@pytest.mark.parametrize("method", METHODS)
def test_neither_a_result_nor_an_error_ends_nothing(method: str) -> None:
    watch = Watch()
    watch.client(request(method))
    watch.server({"id": 1}, {"id": 1, "error": None})
    assert watch.recorded == []
    watch.server({"id": 1, "error": None, "result": None}, exited(), exited(None))
    if method != "process/spawn":
        assert watch.recorded == [operation(tool=method, request_id="1")]


def test_arguments_over_the_limit_leave_their_size_and_digest() -> None:
    watch = Watch(args_max_bytes=20)
    watch.client(request("fs/createDirectory", path="1234567890"), request("fs/createDirectory", 2, path="/d"))
    one, other = watch.close()
    digest = sha256(b'{"path":"1234567890"}').hexdigest()
    assert (one.arguments, one.arguments_meta) == (None, ArgumentsMeta(size_bytes=21, sha256=digest))
    assert (other.arguments, other.arguments_meta) == (b'{"path":"/d"}', None)


# How they end


@pytest.mark.parametrize(
    ("result", "fields"),
    [
        ({"exitCode": 0, "stdout": "o", "stderr": "e"}, {"result_summary": "oe", "result_meta": ResultMeta(exit_code=0)}),
        (
            {"exitCode": 1, "stdout": "", "stderr": "denied"},
            {"is_error": True, "result_summary": "denied", "result_meta": ResultMeta(outcome=TOOL_ERROR, exit_code=1)},
        ),
        ({"exitCode": -9}, {"is_error": True, "result_meta": ResultMeta(outcome=TOOL_ERROR, exit_code=-9)}),
        ({"exitCode": 2**63}, {"is_error": True, "result_meta": ResultMeta(outcome=TOOL_ERROR)}),
        ({"exitCode": None, "stdout": None}, {"result_meta": None}),
        ({"exitCode": "1", "stdout": 5, "stderr": "e"}, {"result_summary": "e"}),
        ({}, {}),
    ],
)
def test_a_command_ends_with_its_exit_code_and_what_it_wrote(result: Message, fields: dict[str, Any]) -> None:
    watch = Watch()
    watch.client(request("command/exec"))
    watch.server(answer(**result))
    assert watch.recorded == [operation(tool="command/exec", request_id="1", **fields)]
    # A process that was spawned ends likewise, but not with the answer to its request.
    watch = Watch()
    watch.client(request("process/spawn", processHandle="p"))
    watch.server(answer(), exited(**result))
    spawned = {"tool": "process/spawn", "request_id": "1", "arguments": b'{"processHandle":"p"}'}
    assert watch.recorded == [operation(**spawned, **fields)]


def test_a_result_that_is_no_object_is_a_plain_success() -> None:
    for result in (None, [], 5, "x"):
        watch = Watch()
        watch.client(request("command/exec"), request("mcpServer/resource/read", 2))
        watch.server({"id": 1, "result": result}, {"id": 2, "result": result})
        assert [(op.is_error, op.result_summary, op.result_meta) for op in watch.recorded] == [(False, None, None)] * 2


@pytest.mark.parametrize(
    ("result", "summary"),
    [
        ({"contents": [{"text": "a", "uri": "x:"}, {"blob": "eA=="}, {"text": 5}, 5, {"text": "b"}]}, "ab"),
        ({"contents": []}, None),
        ({"contents": "text"}, None),
        ({}, None),
    ],
)
def test_a_resource_that_was_read_is_its_texts(result: Message, summary: str | None) -> None:
    watch = Watch()
    watch.client(request("mcpServer/resource/read", server="s"))
    watch.server(answer(**result))
    read = {"tool": "mcpServer/resource/read", "env_id": "s", "request_id": "1", "arguments": b'{"server":"s"}'}
    assert watch.recorded == [operation(**read, result_summary=summary)]


@pytest.mark.parametrize("server", [None, "", 5, ["s"]])
def test_a_resource_of_no_named_server_is_in_the_usual_environment(server: Any) -> None:
    watch = Watch()
    watch.client(request("mcpServer/resource/read", server=server))
    assert watch.close()[0].env_id == "local"


def test_a_file_is_written_when_that_was_answered() -> None:
    watch = Watch()
    watch.client(request("fs/writeFile", path="/w/x"))
    watch.seconds = 0.25
    watch.server(answer())
    assert watch.recorded == [operation(tool="fs/writeFile", request_id="1", arguments=b'{"path":"/w/x"}', seconds=0.25)]


@pytest.mark.parametrize("method", ["mcpServer/tool/call", "fs/remove"])
@pytest.mark.parametrize(
    ("result", "meta"),
    [
        ({"task": {"taskId": "t"}}, None),
        ({"resultType": "task", "taskId": "t"}, None),
        ({"resultType": "input_required", "requestState": "s"}, ResultMeta(outcome=Outcome.INPUT_REQUIRED)),
        ({"resultType": "input_required", "isError": True}, ResultMeta(outcome=TOOL_ERROR)),
    ],
)
def test_a_call_of_codex_ends_with_its_answer_whatever_that_says(method: str, result: Message, meta: ResultMeta | None) -> None:
    watch = Watch()
    watch.client(request(method))
    watch.server(answer(**result))
    assert [(op.result_meta, op.is_error) for op in watch.recorded] == [(meta, bool(meta) and meta.outcome is TOOL_ERROR)]


# Processes


def test_a_process_ends_when_it_exits() -> None:
    watch = Watch()
    watch.client(request("process/spawn", processHandle="p", command=["sh"]))
    watch.server(answer())
    watch.seconds = 2.0
    watch.server(exited("q", exitCode=0), exited(None), {"method": "process/exited"}, exited(exitCode=3, stdout="o"))
    assert watch.recorded == [
        operation(
            tool="process/spawn",
            request_id="1",
            arguments=b'{"command":["sh"],"processHandle":"p"}',
            is_error=True,
            result_summary="o",
            result_meta=ResultMeta(outcome=TOOL_ERROR, exit_code=3),
            seconds=2.0,
        )
    ]
    watch.server(exited(exitCode=4))
    assert len(watch.recorded) == 1


def test_of_two_processes_with_one_handle_the_oldest_ends_first() -> None:
    watch = Watch()
    watch.client(request("process/spawn", 1, processHandle="p"), request("process/spawn", 2, processHandle="p"))
    watch.server(exited(), exited())
    assert [op.request_id for op in watch.recorded] == ["1", "2"]


def test_a_process_may_exit_before_its_request_is_answered() -> None:
    watch = Watch()
    watch.client(request("process/spawn", processHandle="p"))
    watch.server(exited(exitCode=0), answer())
    assert [op.result_meta for op in watch.close()] == [ResultMeta(exit_code=0)]


def test_a_process_that_cannot_be_spawned_ends_with_the_error() -> None:
    watch = Watch()
    watch.client(request("process/spawn", processHandle="p"))
    watch.server(REFUSED)
    assert [(op.result_summary, op.result_meta) for op in watch.recorded] == [("no", RPC_ERROR)]


def test_the_id_of_a_spawned_process_is_free_again_once_it_was_answered() -> None:
    watch = Watch()
    watch.client(request("process/spawn", processHandle="p"))
    watch.server(answer())
    watch.client(request("fs/remove", path="a"))
    watch.server(answer(), REFUSED)
    watch.client({"method": "notifications/cancelled", "params": {"requestId": 1}})
    assert [(op.tool, op.result_meta) for op in watch.recorded] == [("fs/remove", None)]
    watch.server(exited())
    assert [(op.tool, op.result_meta) for op in watch.recorded[1:]] == [("process/spawn", None)]
    assert watch.statistics.open_calls == 0


def test_of_two_requests_with_one_id_the_answer_frees_the_oldest() -> None:
    watch = Watch()
    watch.client(request("process/spawn", processHandle="p"), request("fs/remove", path="a"))
    watch.server(answer(), answer(), exited())
    assert [(op.tool, op.result_meta) for op in watch.recorded] == [
        ("fs/remove", ResultMeta(duplicate_id=True)),
        ("process/spawn", ResultMeta(duplicate_id=True)),
    ]


def test_an_answer_to_a_spawn_in_the_other_type_is_noted() -> None:
    watch = Watch()
    watch.client(request("process/spawn", processHandle="p"))
    watch.server(answer("1"), exited())
    assert [op.result_meta for op in watch.recorded] == [ResultMeta(id_respelled=True)]


def test_what_the_user_types_into_a_thread_is_recorded_once_as_its_item() -> None:
    watch = Watch()
    watch.client(request("thread/shellCommand", threadId="t", command="ls"))
    item = {"type": "commandExecution", "id": "u1", "command": "ls", "cwd": "/w", "source": "userShell"}
    for event in ("started", "completed"):
        end = {"status": "completed", "aggregatedOutput": "a", "exitCode": 0} if event == "completed" else {}
        watch.server({"method": f"item/{event}", "params": {"threadId": "t", "turnId": "u", "item": item | end}})
    watch.server(answer())
    assert watch.close() == [
        operation(
            source="sdk",
            tool="commandExecution",
            thread_id="t",
            request_id="u1",
            arguments=b'{"command":"ls","cwd":"/w"}',
            result_summary="a",
            result_meta=ResultMeta(exit_code=0),
        )
    ]


def test_where_items_are_left_out_the_clients_own_calls_are_not() -> None:
    watch = Watch(record_items=False)
    watch.client(request("process/spawn", processHandle="p"))
    watch.server(exited())
    assert [op.tool for op in watch.recorded] == ["process/spawn"]
