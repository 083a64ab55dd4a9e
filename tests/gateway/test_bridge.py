"""The bridge, between two ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trio_oplog import Config, ConfigError, FrameObserver, Interceptor, ListClient
from trio_oplog.gateway import BridgeReport, Closed, LineFrames, OperationsList, WebSocketFrames, bridge
from trio_oplog.testing import capture, load_capture

from .conftest import Recorder, answer, tool_call, websocket_pair

CONFIG = Config(source="test", workspace_id="ws-1")


class Lines:
    """A bridge between two byte streams, and the far ends of both."""

    def __init__(self, **options: Any) -> None:
        self.client, client_end = memory_stream_pair()
        self.server, server_end = memory_stream_pair()
        self.client_end = LineFrames(client_end, client_end, **options)
        self.server_end = LineFrames(server_end, server_end, **options)
        self.report: BridgeReport | None = None

    async def run(self, interceptor: FrameObserver | None, **options: Any) -> None:
        self.report = await bridge(self.client_end, self.server_end, interceptor, **options)

    @asynccontextmanager
    async def running(self, interceptor: FrameObserver | None = None, **options: Any) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: self.run(interceptor, **options))
            yield


async def test_frames_pass_both_ways_and_a_call_is_recorded(recorder: Recorder) -> None:
    lines = Lines()
    call, reply = tool_call(7).encode() + b"\r\n", answer(7).encode() + b"\n"
    async with lines.running(Interceptor(recorder, CONFIG)):
        await lines.client.send_all(call)
        assert await lines.server.receive_some() == call
        await lines.server.send_all(reply)
        assert await lines.client.receive_some() == reply
        assert recorder.outcomes == [("7", "echo", None)]
        await lines.client.send_eof()
        assert await lines.server.receive_some() == b""
        await lines.server.send_eof()
        assert await lines.client.receive_some() == b""
    assert lines.report == BridgeReport(
        client_closed=Closed(half=True),
        server_closed=Closed(half=True),
        client_frames=1,
        server_frames=1,
        undelivered_frames=0,
        observer_errors=0,
        lists_answered=0,
        lists_refused=0,
    )


async def test_without_an_interceptor_frames_pass_all_the_same() -> None:
    lines = Lines()
    async with lines.running():
        await lines.client.send_all(b"one\ntwo\n")
        await lines.client.send_eof()
        assert await lines.server.receive_some() == b"one\n"
        assert await lines.server.receive_some() == b"two\n"
        await lines.server.aclose()


async def test_whatever_has_the_methods_of_an_interceptor_may_watch(recorder: Recorder, tmp_path: Path) -> None:
    lines = Lines()
    with capture(tmp_path / "session.jsonl", Interceptor(recorder, CONFIG)) as watching:
        async with lines.running(watching):
            await lines.client.send_all(tool_call(1).encode())
            await lines.client.send_eof()
            await lines.server.aclose()
    assert recorder.outcomes == [("1", "echo", "unanswered")]
    assert [frame.text for frame in load_capture(tmp_path / "session.jsonl")] == [tool_call(1)]


async def test_what_is_in_flight_when_the_client_has_ended_still_arrives(recorder: Recorder) -> None:
    lines = Lines()
    async with lines.running(Interceptor(recorder, CONFIG)):
        await lines.client.send_all(tool_call(1).encode())
        await lines.client.send_eof()
        assert await lines.server.receive_some() == tool_call(1).encode()
        assert await lines.server.receive_some() == b""
        await lines.server.send_all(answer(1).encode())
        await lines.server.send_eof()
        assert await lines.client.receive_some() == answer(1).encode()
    assert recorder.outcomes == [("1", "echo", None)]


async def test_a_server_that_does_not_end_is_given_the_grace_period(
    recorder: Recorder, autojump_clock: trio.testing.MockClock
) -> None:
    lines = Lines()
    async with lines.running(Interceptor(recorder, CONFIG), grace=3):
        await lines.client.send_all(tool_call(1).encode() + b"\n")
        await trio.sleep(60)
        await lines.client.send_eof()
        started = trio.current_time()
    assert trio.current_time() - started == pytest.approx(3)
    assert recorder.outcomes == [("1", "echo", "unanswered")]
    assert lines.report is not None
    assert lines.report.server_closed is None
    assert await lines.server.receive_some() == tool_call(1).encode() + b"\n"
    assert await lines.server.receive_some() == b""


async def test_a_client_that_reads_no_more_is_not_waited_for(recorder: Recorder, autojump_clock: trio.testing.MockClock) -> None:
    lines = Lines()
    async with lines.running(Interceptor(recorder, CONFIG), grace=3):
        await lines.client.send_all(tool_call(1).encode() + b"\n")
        await lines.server.receive_some()
        lines.client.receive_stream.close()
        await lines.server.send_all(answer(1).encode() + b"\nmore\n")
    assert recorder.outcomes == [("1", "echo", None)]
    assert lines.report is not None
    assert lines.report.undelivered_frames == 2


async def test_a_server_that_takes_no_more_is_not_waited_for(recorder: Recorder, autojump_clock: trio.testing.MockClock) -> None:
    lines = Lines()
    async with lines.running(Interceptor(recorder, CONFIG), grace=3):
        lines.server.receive_stream.close()
        await lines.client.send_all(tool_call(1).encode() + b"\nmore\n")
    assert recorder.outcomes == [("1", "echo", "unanswered")]
    assert lines.report is not None
    assert lines.report.undelivered_frames == 2
    assert lines.report.client_frames == 0


async def test_a_slow_reader_stops_the_reading_on_the_other_side() -> None:
    async with websocket_pair() as (ours, client), websocket_pair() as (server, upstream):
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await client.send(b"x" * 65_536)
                sent += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge, WebSocketFrames(ours), WebSocketFrames(upstream), None)
            nursery.start_soon(flood)
            before = -1
            while sent > before:
                before = sent
                with trio.move_on_after(0.2):
                    await trio.sleep_forever()
            assert sent < 128
            expected = sent
            for _ in range(expected):
                assert len(await server.recv()) == 65_536
            nursery.cancel_scope.cancel()


async def test_a_bridge_holds_one_frame_in_each_direction() -> None:
    client, client_end = trio.testing.lockstep_stream_pair()
    server, server_end = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge, LineFrames(client_end, client_end), LineFrames(server_end, server_end), None)
        await client.send_all(b"one\n")
        with trio.move_on_after(0.05) as scope:
            await client.send_all(b"two\n")
        assert scope.cancelled_caught
        assert await server.receive_some() == b"one\n"
        nursery.cancel_scope.cancel()


async def test_a_failing_log_never_touches_the_traffic(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Interceptor):
        def on_client_frame(self, frame: object) -> None:
            raise RuntimeError("secret payload")

        on_server_frame = on_client_frame

        def close(self) -> None:
            raise RuntimeError("secret payload")

    lines = Lines()
    async with lines.running(Broken(Recorder(), CONFIG)):
        await lines.client.send_all(b"one\n")
        assert await lines.server.receive_some() == b"one\n"
        await lines.server.send_all(b"two\n")
        assert await lines.client.receive_some() == b"two\n"
        await lines.client.send_eof()
        await lines.server.send_eof()
    assert lines.report is not None
    assert lines.report.observer_errors == 3
    assert [record.getMessage() for record in caplog.records] == [
        "the log of a connection failed with RuntimeError; the traffic goes on"
    ]


async def test_cancelling_records_what_is_open_and_closes_both_ends(recorder: Recorder) -> None:
    lines = Lines()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.run, Interceptor(recorder, CONFIG))
        await lines.client.send_all(tool_call(1).encode() + b"\n")
        await lines.server.receive_some()
        nursery.cancel_scope.cancel()
    assert recorder.outcomes == [("1", "echo", "unanswered")]
    assert await lines.client.receive_some() == b""
    assert await lines.server.receive_some() == b""


async def test_a_negative_grace_period_is_refused() -> None:
    lines = Lines()
    with pytest.raises(ConfigError, match="grace"):
        await bridge(lines.client_end, lines.server_end, None, grace=-1)


@pytest.mark.parametrize(("sent", "arrives"), [(1000, 1000), (1001, 1001), (4004, 4004), (1011, 1011)])
@pytest.mark.parametrize("who", ["client", "server"])
async def test_a_close_code_is_carried_across(sent: int, arrives: int, who: str) -> None:
    async with websocket_pair() as (ours, client), websocket_pair() as (server, upstream):
        ends = {"client": client, "server": server}
        other = ends["server" if who == "client" else "client"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge, WebSocketFrames(ours), WebSocketFrames(upstream), None)
            await ends[who].aclose(sent, "why")
            await other.wait_closed()
        assert (other.close_code, other.close_reason) == (arrives, "why")


@pytest.mark.parametrize(("who", "arrives"), [("client", 1001), ("server", 1011)])
async def test_a_connection_that_breaks_is_told_with_a_legal_code(who: str, arrives: int, recorder: Recorder) -> None:
    async with websocket_pair() as (ours, client), websocket_pair() as (server, upstream):
        ends = {"client": client, "server": server}
        other = ends["server" if who == "client" else "client"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge, WebSocketFrames(ours), WebSocketFrames(upstream), Interceptor(recorder, CONFIG))
            await client.send(tool_call("mid"))
            assert await server.recv() == tool_call("mid")
            await trio.aclose_forcefully(ends[who].stream)
            await other.wait_closed()
        assert other.close_code == arrives
    assert recorder.outcomes == [("mid", "echo", "unanswered")]


async def test_an_answer_to_a_client_that_has_gone_is_still_on_record(recorder: Recorder) -> None:
    async with websocket_pair() as (ours, client), websocket_pair() as (server, upstream):
        frames = WebSocketFrames(upstream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge, WebSocketFrames(ours), frames, Interceptor(recorder, CONFIG))
            await client.send(tool_call(1))
            await server.recv()
            await client.aclose()
            # The server has not been told yet when it answers.
            await server.send(answer(1))
    assert recorder.outcomes == [("1", "echo", None)]


async def test_a_websocket_and_a_line_stream_understand_each_other(recorder: Recorder) -> None:
    near, far = memory_stream_pair()
    async with websocket_pair() as (ours, client), trio.open_nursery() as nursery:
        nursery.start_soon(bridge, WebSocketFrames(ours), LineFrames(near, near), Interceptor(recorder, CONFIG))
        await client.send(tool_call(1, note="\u2028"))
        assert await far.receive_some() == tool_call(1, note="\u2028").encode() + b"\n"
        await far.send_all(answer(1).encode() + b"\n")
        assert await client.recv() == answer(1)
        await client.aclose()
        assert await far.receive_some() == b""
        await far.aclose()
    assert recorder.outcomes == [("1", "echo", None)]


# operations/list


def listing(respond: Callable[[httpx.Request], Any]) -> OperationsList:
    http = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    return OperationsList(list_client=ListClient("http://log.test/operations", "secret", http=http), workspace_id="ws-1")


def list_request(request_id: object, **params: object) -> str:
    return json.dumps({"id": request_id, "method": "operations/list", "params": params})


def no_operations(request: httpx.Request) -> httpx.Response:
    assert request.url.params["workspace_id"] == "ws-1"
    return httpx.Response(200, text='{"operations":\n[]}')


async def test_a_list_is_answered_for_the_gateways_workspace_and_not_forwarded() -> None:
    lines = Lines()
    async with lines.running(operations=listing(no_operations)):
        await lines.client.send_all(list_request("a", workspace_id="ws-2").encode() + b"\nnext\n")
        assert await lines.server.receive_some() == b"next\n"
        reply = await lines.client.receive_some()
        await lines.client.send_eof()
        await lines.server.send_eof()
    assert json.loads(reply) == {"jsonrpc": "2.0", "id": "a", "result": {"operations": []}}
    assert reply.endswith(b"}\n")
    assert lines.report is not None
    assert lines.report.lists_answered == 1


async def test_each_text_of_a_message_is_recorded_and_the_message_passes_as_it_came(recorder: Recorder) -> None:
    several = f"{tool_call(1)}\n{tool_call(2)}{tool_call(3)}\n"
    async with websocket_pair() as (ours, client), websocket_pair() as (server, upstream), trio.open_nursery() as nursery:
        nursery.start_soon(bridge, WebSocketFrames(ours), WebSocketFrames(upstream), Interceptor(recorder, CONFIG))
        await client.send(several)
        assert await server.recv() == several
        await server.send(f"{answer(3)}\n{answer(1)}".encode())
        assert await client.recv() == f"{answer(3)}\n{answer(1)}".encode()
        await client.aclose()
    assert recorder.outcomes == [("3", "echo", None), ("1", "echo", None), ("2", "echo", "unanswered")]


async def test_a_list_request_in_a_message_of_several_texts_is_answered_and_the_others_go_on() -> None:
    async with websocket_pair() as (ours, client), websocket_pair() as (server, upstream), trio.open_nursery() as nursery:
        run = partial(bridge, operations=listing(no_operations))
        nursery.start_soon(run, WebSocketFrames(ours), WebSocketFrames(upstream), None)
        await client.send(f"{tool_call(1)}\n{list_request(2)}\n{tool_call(3)}\n")
        assert [await server.recv(), await server.recv()] == [tool_call(1), tool_call(3)]
        assert json.loads(await client.recv()) == {"jsonrpc": "2.0", "id": 2, "result": {"operations": []}}
        await client.aclose()


async def test_a_list_request_among_other_lines_changes_nothing_for_them() -> None:
    lines = Lines()
    async with lines.running(operations=listing(no_operations)):
        one, two = tool_call(1).encode() + b"\n", tool_call(2).encode() + b"\n"
        await lines.client.send_all(one + list_request(7).encode() + b"\n" + two)
        arrived = b""
        while arrived != one + two:
            arrived += await lines.server.receive_some()
        assert json.loads(await lines.client.receive_some()) == {"jsonrpc": "2.0", "id": 7, "result": {"operations": []}}
        await lines.client.send_eof()
        await lines.server.aclose()
    assert lines.report is not None
    assert (lines.report.client_frames, lines.report.lists_answered) == (2, 1)


@pytest.mark.parametrize("spelled", ["operations/list", "operations\\/list", "\\u006fperations/list", "operations\\u002flist"])
async def test_a_list_request_is_known_however_it_is_spelled(spelled: str) -> None:
    async with websocket_pair() as (ours, client), websocket_pair() as (_, upstream), trio.open_nursery() as nursery:
        run = partial(bridge, operations=listing(no_operations))
        nursery.start_soon(run, WebSocketFrames(ours), WebSocketFrames(upstream), None)
        await client.send(f'{{"id": 2, "method": "{spelled}"}}')
        assert json.loads(await client.recv())["result"] == {"operations": []}
        await client.send(f'{{"id": 3, "method": "{spelled}"}}'.encode())
        assert json.loads(await client.recv(decode=False))["id"] == 3
        await client.aclose()


@pytest.mark.parametrize(
    "frame",
    [
        b'{"method":"operations/list"}\n',
        b'{"id":null,"method":"operations/list"}\n',
        b'{"id":1,"method":"tools/call","params":{"name":"operations/list"}}\n',
        b'[{"id":1,"method":"operations/list"},{"id":2,"method":"operations/list"}]\n',
        b'[{"id":1,"method":"operations/list"}]\n',
        b"operations/list\n",
    ],
)
async def test_what_is_no_list_request_is_forwarded(frame: bytes) -> None:
    lines = Lines()
    async with lines.running(operations=listing(no_operations)):
        await lines.client.send_all(frame)
        assert await lines.server.receive_some() == frame
        await lines.client.aclose()
        await lines.server.aclose()


async def test_a_batch_of_one_that_the_server_does_not_take_any_more_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    lines = Lines()
    async with lines.running(operations=listing(no_operations)):
        lines.server.receive_stream.close()
        await lines.client.send_all(b'[{"id":1,"method":"operations/list"}]\n')
        await wait_all_tasks_blocked()
        await lines.client.aclose()
        await lines.server.aclose()
    assert lines.report is not None
    assert lines.report.undelivered_frames == 1


@pytest.mark.usefixtures("nothing_leaks")
async def test_traffic_goes_on_while_a_list_endpoint_hangs_and_the_ninth_list_is_refused(
    no_task_stays: None,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    lines = Lines()
    async with lines.running(operations=listing(hang)):
        for number in range(9):
            await lines.client.send_all(list_request(number).encode() + b"\n")
        await lines.client.send_all(tool_call(99).encode() + b"\n")
        assert await lines.server.receive_some() == tool_call(99).encode() + b"\n"
        await lines.server.send_all(answer(99).encode() + b"\n")
        await wait_all_tasks_blocked()
        overloaded, reply = (await lines.client.receive_some()).splitlines()
        assert json.loads(overloaded) == {"jsonrpc": "2.0", "id": 8, "error": {"code": -32001, "message": "overloaded"}}
        assert reply == answer(99).encode()
        await trio.sleep(11)
        failures = [json.loads(line) for line in (await lines.client.receive_some()).splitlines()]
        assert sorted(failure["id"] for failure in failures) == list(range(8))
        assert {failure["error"]["code"] for failure in failures} == {-32603}
        await lines.client.send_eof()
        await lines.server.send_eof()
    assert lines.report is not None
    assert (lines.report.lists_answered, lines.report.lists_refused) == (9, 1)


@pytest.mark.usefixtures("nothing_leaks")
async def test_a_list_that_hangs_does_not_outlive_the_grace_period(
    no_task_stays: None, autojump_clock: trio.testing.MockClock
) -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    lines = Lines()
    async with lines.running(operations=listing(hang), grace=2):
        await lines.client.send_all(list_request(1).encode() + b"\n")
        await wait_all_tasks_blocked()
        await lines.server.aclose()
        started = trio.current_time()
    assert trio.current_time() - started == pytest.approx(2)


async def test_a_list_in_flight_when_the_server_ends_is_still_answered() -> None:
    asked, may_answer = trio.Event(), trio.Event()

    async def slowly(request: httpx.Request) -> httpx.Response:
        asked.set()
        await may_answer.wait()
        return httpx.Response(200, json={"operations": []})

    lines = Lines()
    async with lines.running(operations=listing(slowly)):
        await lines.client.send_all(list_request(1).encode() + b"\n")
        await lines.client.send_eof()
        await asked.wait()
        await lines.server.aclose()
        await wait_all_tasks_blocked()
        may_answer.set()
        assert json.loads(await lines.client.receive_some())["id"] == 1


async def test_a_list_answer_that_nobody_reads_any_more_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    lines = Lines()
    async with lines.running(operations=listing(no_operations)):
        lines.client.receive_stream.close()
        await lines.client.send_all(list_request(1).encode() + b"\n")
        await wait_all_tasks_blocked()
        await lines.client.aclose()
        await lines.server.aclose()
    assert lines.report is not None
    assert lines.report.undelivered_frames == 1


async def test_a_list_that_fails_beyond_its_promise_is_answered_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Promising:
        """No ListClient at all: whatever is asked of it raises what nobody expects."""

        async def fetch(self, query: object) -> bytes:
            raise ExceptionGroup("secret payload", [RuntimeError("secret payload")])

    lines = Lines()
    operations = OperationsList(list_client=Promising(), workspace_id="ws-1")  # type: ignore[arg-type]
    async with lines.running(operations=operations):
        await lines.client.send_all(list_request(1).encode() + b"\n")
        assert json.loads(await lines.client.receive_some())["error"]["code"] == -32603
        await lines.client.aclose()
        await lines.server.aclose()
    assert "secret" not in caplog.text
