"""One test for each row of the table in docs/predecessor.md: what the predecessor does wrong, and what must happen instead.

The rows are in the order of the table.  Each test fails on the behaviour in its row's left column.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from tests.naive import CAPTURES, SESSIONS, session
from trio_oplog import Client, Config, DropReason, Interceptor, ListClient, Operation, Retry, try_handle_operations_list
from trio_oplog._wire import encode
from trio_oplog.collector import create_app, open_store
from trio_oplog.gateway import LineFrames, OperationsList, bridge

CONFIG = Config(source="sdk", workspace_id="ws-1")


class Recorded(list[Operation]):
    def submit(self, operation: Operation) -> None:
        self.append(operation)


def text(**message: Any) -> str:
    return json.dumps(message)


def call(request_id: Any, **params: Any) -> str:
    return text(id=request_id, method="mcpServer/tool/call", params={"server": "demo", "tool": "echo"} | params)


def answer(request_id: Any, said: str = "ok") -> str:
    return text(id=request_id, result={"content": [{"type": "text", "text": said}]})


def record(*frames: tuple[str, str], config: Config = CONFIG) -> Recorded:
    recorded = Recorded()
    with Interceptor(recorded, config) as interceptor:
        for direction, frame in frames:
            (interceptor.on_client_frame if direction == "c2s" else interceptor.on_server_frame)(frame)
    return recorded


async def test_row_01_every_execution_of_the_recorded_sessions_is_recorded_and_accepted(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/operations.sqlite3") as store:
        app = httpx.ASGITransport(create_app(store, "secret"))
        async with (
            httpx.AsyncClient(transport=app) as http,
            Client("http://log/internal/operations", "secret", http=http) as client,
        ):
            for path in SESSIONS:
                with Interceptor(client, CONFIG) as interceptor:
                    for direction, frame, _ in session(path):
                        (interceptor.on_client_frame if direction == "c2s" else interceptor.on_server_frame)(frame)
                assert await client.flush(30)
        statistics = client.statistics()
        assert (statistics.submitted, statistics.delivered, client.dropped) == (431, 431, 0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(store, "secret"))) as http:
            reply = await http.get(
                "http://log/internal/operations",
                params={"workspace_id": "ws-1", "limit": "1000"},
                headers={"X-Internal-Secret": "secret"},
            )
        stored = reply.json()["operations"]
        assert len(stored) == len({operation["id"] for operation in stored}) == 431
        assert all(operation["env_id"] for operation in stored)


@pytest.mark.parametrize("name", ["threadId", "thread_id"])
def test_row_02_the_thread_is_read_in_either_spelling(name: str) -> None:
    (operation,) = record(("c2s", call(1, **{name: "thread-7"})), ("s2c", answer(1)))
    assert operation.thread_id == "thread-7"


def test_row_03_what_the_model_calls_is_recorded() -> None:
    operations = record(*(line[:2] for line in session(CAPTURES / "turn_mcp_ok.jsonl")))
    assert [operation.source for operation in operations] == ["llm"] * 5


@pytest.mark.parametrize(("request_id", "shown"), [(7, "7"), ("seven", "seven"), (-1, "-1"), (1.5, "1.5"), ("", "")])
def test_row_04_the_request_id_is_filled(request_id: Any, shown: str) -> None:
    (operation,) = record(("c2s", call(request_id)), ("s2c", answer(request_id)))
    assert operation.request_id == shown


@pytest.mark.parametrize("request_id", [{}, [], None, True, {"a": [1]}])
def test_row_05_an_id_that_is_none_panics_nobody(request_id: Any) -> None:
    recorded = record(("c2s", call(request_id)), ("s2c", answer(request_id)), ("c2s", call(1)), ("s2c", answer(1)))
    assert [operation.request_id for operation in recorded] == ["1"]


def test_row_06_a_request_of_the_server_with_the_same_id_does_not_end_a_call() -> None:
    asks = text(id=0, method="mcpServer/elicitation/request", params={"message": "go on?"})
    (operation,) = record(("c2s", call(0)), ("s2c", asks), ("c2s", text(id=0, result={})), ("s2c", answer(0, "done")))
    assert (operation.result_summary, operation.is_error) == ("done", False)


def test_row_07_a_null_error_is_no_error() -> None:
    both = text(id=1, error=None, result={"content": [{"type": "text", "text": "fine"}]})
    (operation,) = record(("c2s", call(1)), ("s2c", both))
    assert (operation.is_error, operation.result_summary, operation.result_meta) == (False, "fine", None)


def test_row_08_ids_are_exact() -> None:
    ids = [2**53, 2**53 + 1, 1, "1"]
    recorded = record(*(("c2s", call(i)) for i in ids), *(("s2c", answer(i, repr(i))) for i in reversed(ids)))
    assert [operation.result_summary for operation in recorded] == [repr(i) for i in reversed(ids)]
    assert [operation.request_id for operation in recorded] == ["1", "1", "9007199254740993", "9007199254740992"]
    assert all(operation.result_meta is None for operation in recorded)


def test_row_09_unanswered_calls_are_bounded_and_recorded() -> None:
    recorded = Recorded()
    config = Config(source="sdk", workspace_id="ws-1", max_pending=3)
    interceptor = Interceptor(recorded, config)
    for number in range(5):
        interceptor.on_client_frame(call(number))
        assert interceptor.statistics().open_calls <= 3
    interceptor.close()
    outcomes = [(operation.request_id, str(operation.result_meta and operation.result_meta.outcome)) for operation in recorded]
    assert outcomes == [("0", "evicted"), ("1", "evicted"), ("2", "unanswered"), ("3", "unanswered"), ("4", "unanswered")]


def test_row_10_a_reused_id_loses_no_call() -> None:
    recorded = record(
        ("c2s", call(5, tool="first")), ("c2s", call(5, tool="second")), ("s2c", answer(5, "a")), ("s2c", answer(5, "b"))
    )
    assert [(operation.tool, operation.result_summary) for operation in recorded] == [("first", "a"), ("second", "b")]
    assert all(operation.result_meta and operation.result_meta.duplicate_id for operation in recorded)


@pytest.mark.parametrize("limit", range(1, 12))
def test_row_11_a_result_is_cut_between_characters(limit: int) -> None:
    said = "aé✓😀b"
    config = Config(source="sdk", workspace_id="ws-1", result_max_bytes=limit)
    (operation,) = record(("c2s", call(1)), ("s2c", answer(1, said)), config=config)
    summary = operation.result_summary
    assert summary is not None
    assert said.startswith(summary)
    assert len(summary.encode()) <= limit
    assert summary == said or len(said[: len(summary) + 1].encode()) > limit


def test_row_12_batches_are_understood_in_both_directions() -> None:
    calls = "[" + ",".join([call(1), text(method="initialized"), call(2)]) + "]"
    answers = "[" + ",".join([answer(2, "two"), answer(1, "one")]) + "]"
    recorded = record(("c2s", calls), ("s2c", answers))
    assert [(operation.request_id, operation.result_summary) for operation in recorded] == [("2", "two"), ("1", "one")]


def operation(number: int) -> Operation:
    (made,) = record(("c2s", call(number)), ("s2c", answer(number)))
    return made


async def serve(handle: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(handle))


async def test_row_13_a_slow_post_holds_nobody_up_and_a_failed_one_is_made_again() -> None:
    stuck = json.loads(encode(slow := operation(0)))["id"]
    stored: list[str] = []
    failures = [httpx.Response(503), httpx.Response(500)]
    everybody_else = trio.Event()

    async def handle(request: httpx.Request) -> httpx.Response:
        name = json.loads(request.content)["id"]
        if name == stuck:
            await everybody_else.wait()
        elif failures:
            return failures.pop()
        stored.append(name)
        if len(stored) == 20:
            everybody_else.set()
        return httpx.Response(201)

    retry = Retry(base_delay=0.001, max_delay=0.01)
    async with await serve(handle) as http, Client("http://log/", "secret", http=http, retry=retry, request_timeout=60) as client:
        client.submit(slow)
        for number in range(1, 21):
            client.submit(operation(number))
        with trio.fail_after(60):
            assert await client.flush(30)
    assert len(stored) == 21
    assert stored[-1] == stuck
    assert client.dropped == 0


async def test_row_14_leaving_delivers_what_is_queued_or_says_what_it_could_not(autojump_clock: trio.testing.MockClock) -> None:
    async def handle(_: httpx.Request) -> httpx.Response:
        await trio.sleep(0.2)
        return httpx.Response(201)

    async with await serve(handle) as http:
        async with Client("http://log/", "secret", http=http, drain_timeout=60) as client:
            for number in range(100):
                client.submit(operation(number))
        assert client.statistics().delivered == 100

        async with Client("http://log/", "secret", http=http, drain_timeout=1, concurrency=1) as client:
            for number in range(100):
                client.submit(operation(number))
        statistics = client.statistics()
        assert 0 < statistics.delivered < 100
        assert statistics.delivered + statistics.dropped[DropReason.DRAIN_TIMEOUT] == 100


@pytest.mark.parametrize(
    "upstream",
    [
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(500, text="password=hunter2"),
        httpx.Response(200, text="[]"),
    ],
)
async def test_row_15_a_list_request_always_gets_a_valid_answer_that_shows_nothing_of_the_upstream(
    upstream: httpx.Response,
) -> None:
    async def handle(_: httpx.Request) -> httpx.Response:
        return upstream

    async with await serve(handle) as http:
        list_client = ListClient("http://log/internal/operations", "secret", http=http)
        reply = await try_handle_operations_list(list_client, "ws-1", '{"id": "q", "method": "operations/list"}')
    assert reply is not None
    message = json.loads(reply)
    assert (message["id"], message["error"]["code"]) == ("q", -32603)
    assert b"hunter2" not in reply
    assert b"html" not in reply


async def test_row_16_the_traffic_goes_on_while_a_list_request_waits() -> None:
    asked, answered = trio.Event(), trio.Event()

    async def handle(_: httpx.Request) -> httpx.Response:
        asked.set()
        await answered.wait()
        return httpx.Response(200, json={"operations": []})

    client, client_end = trio.testing.memory_stream_pair()
    server, server_end = trio.testing.memory_stream_pair()
    async with await serve(handle) as http, trio.open_nursery() as nursery:
        operations = OperationsList(
            list_client=ListClient("http://log/internal/operations", "secret", http=http), workspace_id="ws-1"
        )

        async def run() -> None:
            await bridge(LineFrames(client_end, client_end), LineFrames(server_end, server_end), None, operations=operations)

        nursery.start_soon(run)
        with trio.fail_after(60):
            await client.send_all(b'{"id": 1, "method": "operations/list"}\n')
            await asked.wait()
            await client.send_all(b'{"id": 2, "method": "ping"}\n')
            assert await server.receive_some() == b'{"id": 2, "method": "ping"}\n'
            await server.send_all(b'{"id": 2, "result": {}}\n')
            assert await client.receive_some() == b'{"id": 2, "result": {}}\n'
            answered.set()
            assert json.loads(await client.receive_some()) == {"jsonrpc": "2.0", "id": 1, "result": {"operations": []}}
        nursery.cancel_scope.cancel()


def test_row_17_a_pinned_user_wins_over_the_claim() -> None:
    claim = {"_meta": {"agentserver_user_id": "mallory"}}
    (claimed,) = record(("c2s", call(1, **claim)), ("s2c", answer(1)))
    pinned = Config(source="sdk", workspace_id="ws-1", user_id="alice")
    (known,) = record(("c2s", call(1, **claim)), ("s2c", answer(1)), config=pinned)
    assert (claimed.user_id, known.user_id) == ("mallory", "alice")
