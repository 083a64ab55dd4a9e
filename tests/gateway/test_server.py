"""The WebSocket front, with real clients and servers."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio.lowlevel
from httpx import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import ClientConnection, connect
from websockets.trio.server import ServerConnection

from tests.http import PATIENCE
from trio_oplog import Config, ConfigError, ListClient
from trio_oplog.gateway import (
    Anyone,
    Authenticator,
    ChildUpstream,
    Gateway,
    GatewayClientConnection,
    Identity,
    TokenFile,
    Upstream,
    WebSocketUpstream,
)

from .conftest import LOOPBACK, Handler, Recorder, answer, tool_call, websocket_server

pytestmark = pytest.mark.usefixtures("nothing_leaks")

CONFIG = Config(source="test", workspace_id="replaced")
EVERYONE = Anyone(Identity(workspace_id="ws-0"))
TOKENS = TokenFile.parse(
    {
        "token": [
            {"sha256": hashlib.sha256(token).hexdigest(), "workspace_id": f"ws-{number}", "user_id": f"user-{number}"}
            for number, token in enumerate((b"token-0", b"token-1"))
        ]
    }
)


async def answer_calls(connection: ServerConnection) -> None:
    """A server that answers every call at once."""
    async for frame in connection:
        await connection.send(answer(json.loads(frame)["id"]))


async def never_answer(connection: ServerConnection) -> None:
    """A server that has heard every call and answers none."""
    async for _ in connection:
        await connection.send("heard")


class Running:
    def __init__(self, gateway: Gateway, url: str) -> None:
        self.gateway = gateway
        self.url = url

    def connect(self, **options: Any) -> AbstractAsyncContextManager[ClientConnection]:
        return connect(self.url, **{"max_size": None, "compression": None, "proxy": None, **options})

    def as_user(self, number: int) -> AbstractAsyncContextManager[ClientConnection]:
        return self.connect(additional_headers={"Authorization": f"Bearer token-{number}"})


@asynccontextmanager
async def running(
    recorder: Recorder, upstream: Upstream, authenticator: Authenticator = EVERYONE, **options: Any
) -> AsyncIterator[Running]:
    """A gateway on loopback, stopped at the end."""
    gateway = Gateway(upstream, authenticator, recorder, CONFIG, **options)
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    url = f"ws://{LOOPBACK}:{listeners[0].socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        await nursery.start(gateway.serve, listeners)
        with trio.fail_after(60):
            yield Running(gateway, url)
        gateway.stop()


@asynccontextmanager
async def in_front_of(handler: Handler, recorder: Recorder, *arguments: Any, **options: Any) -> AsyncIterator[Running]:
    async with websocket_server(handler) as url, running(recorder, WebSocketUpstream(url), *arguments, **options) as gateway:
        yield gateway


async def refused(connecting: AbstractAsyncContextManager[ClientConnection]) -> httpx.Response:
    with pytest.raises(InvalidStatus) as caught:
        async with connecting:
            raise AssertionError
    response = caught.value.response
    return httpx.Response(response.status_code, headers=dict(response.headers), content=bytes(response.body or b""))


async def test_a_call_goes_through_and_is_recorded_under_the_identity_of_its_token(recorder: Recorder) -> None:
    claim = json.loads(tool_call(1))
    claim["params"]["_meta"] = {"agentserver_user_id": "somebody else"}
    async with in_front_of(answer_calls, recorder, TOKENS) as gateway:
        for user in (0, 1):
            async with gateway.as_user(user) as client:
                await client.send(json.dumps(claim))
                assert await client.recv() == answer(1)
    assert [(operation.workspace_id, operation.user_id) for operation in recorder.operations] == [
        ("ws-0", "user-0"),
        ("ws-1", "user-1"),
    ]
    statistics = gateway.gateway.statistics()
    assert (statistics.accepted, statistics.recorded, statistics.open_connections) == (2, 2, 0)
    assert repr(gateway.gateway) == "<Gateway open_connections=0 accepted=2>"


async def tasks_of_everybody(connection: ServerConnection) -> None:
    """A server whose tasks any client may ask for: a call becomes the task that it names, and a fetched task has failed."""
    async for frame in connection:
        request = json.loads(frame)
        if request["method"] == "tools/call":
            result: dict[str, Any] = {"task": {"taskId": request["params"]["name"], "status": "working"}}
        else:
            result = {"content": [{"type": "text", "text": "disk full"}], "isError": True}
        await connection.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}))


def fetch(task: str) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tasks/result", "params": {"taskId": task}})


async def test_a_task_that_is_fetched_on_another_connection_is_one_call_of_the_first(recorder: Recorder) -> None:
    async with in_front_of(tasks_of_everybody, recorder) as gateway:
        async with gateway.connect() as first:
            for task in ("fetched", "forgotten"):
                await first.send(tool_call(1, task))
                await first.recv()
        assert recorder.operations == []
        async with gateway.connect() as second:
            await second.send(fetch("fetched"))
            await second.recv()
        assert recorder.outcomes == [("1", "fetched", "tool_error")]
    assert recorder.outcomes == [("1", "fetched", "tool_error"), ("1", "forgotten", "unanswered")]
    assert gateway.gateway.statistics().recorded == 2


class Apart:
    """Servers of which nobody says that they are one."""

    def __init__(self, upstream: Upstream) -> None:
        self.connect = upstream.connect


@pytest.mark.parametrize("is_shared", [True, False])
async def test_the_calls_that_are_open_are_counted_once_whoever_shares_their_table(recorder: Recorder, is_shared: bool) -> None:
    async with websocket_server(tasks_of_everybody) as url:
        upstream: Upstream = WebSocketUpstream(url)
        async with running(recorder, upstream if is_shared else Apart(upstream)) as gateway:

            def open_calls() -> int:
                return gateway.gateway.statistics().open_calls

            async with gateway.connect() as first, gateway.connect() as second:
                for client, task in ((first, "a"), (first, "b"), (second, "c")):
                    await client.send(tool_call(1, task))
                    await client.recv()
                assert open_calls() == 3
                await first.send(fetch("a"))
                await first.recv()
                assert open_calls() == 2
            while gateway.gateway.statistics().open_connections:  # noqa: ASYNC110 -- nothing tells
                await trio.sleep(0.01)
            assert open_calls() == (2 if is_shared else 0)
    assert gateway.gateway.statistics().open_calls == 0


async def test_a_task_of_one_workspace_is_none_of_another(recorder: Recorder) -> None:
    async with in_front_of(tasks_of_everybody, recorder, TOKENS) as gateway:
        async with gateway.as_user(0) as mine:
            await mine.send(tool_call(1, "t"))
            await mine.recv()
        async with gateway.as_user(1) as other:
            await other.send(fetch("t"))
            await other.recv()
        assert recorder.operations == []
    assert [(operation.workspace_id, operation.tool) for operation in recorder.operations] == [("ws-0", "t")]
    assert recorder.outcomes == [("1", "t", "unanswered")]


async def test_without_a_known_token_the_handshake_is_refused(recorder: Recorder) -> None:
    async with in_front_of(answer_calls, recorder, TOKENS) as gateway:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            response = await refused(gateway.connect(additional_headers=headers))
            assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert gateway.gateway.statistics().unauthenticated == 2
    assert gateway.gateway.statistics().accepted == 0


async def test_an_authenticator_of_ones_own_gets_the_headers_and_may_take_its_time(recorder: Recorder) -> None:
    class Slow:
        async def authenticate(self, headers: Headers, /) -> Identity | None:
            await trio.sleep(0.01)
            return Identity(workspace_id=headers["x-WORKSPACE"], user_id="u")

    headers = [("X-Workspace", "a"), ("X-Workspace", "b")]
    async with in_front_of(answer_calls, recorder, Slow()) as gateway, gateway.connect(additional_headers=headers) as client:
        await client.send(tool_call(1))
        await client.recv()
    assert recorder.operations[0].workspace_id == "a, b"


@pytest.mark.parametrize("identity", [None, Identity(workspace_id="", user_id="u")])
async def test_an_authenticator_that_fails_lets_nobody_in(
    recorder: Recorder, identity: Identity | None, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        async def authenticate(self, headers: Headers, /) -> Identity | None:
            if identity is None:
                raise LookupError("secret of the backend")
            return identity

    async with in_front_of(answer_calls, recorder, Failing()) as gateway:
        assert (await refused(gateway.connect())).status_code == 503
    assert gateway.gateway.statistics().refused == 1
    assert "secret" not in caplog.text
    assert "authenticator failed" in caplog.text


async def test_a_web_page_may_only_connect_when_it_is_named(recorder: Recorder) -> None:
    async with in_front_of(answer_calls, recorder, origins=["https://good.test"]) as gateway:
        assert (await refused(gateway.connect(origin="https://evil.test"))).status_code == 403
        async with gateway.connect(origin="https://good.test") as client:
            await client.send(tool_call(1))
            await client.recv()


async def test_a_list_shows_the_clients_own_workspace_only(recorder: Recorder) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"operations": [request.url.params["workspace_id"]]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        list_client = ListClient("http://log.test/operations", "secret", http=http)
        async with in_front_of(answer_calls, recorder, TOKENS, list_client=list_client) as gateway, gateway.as_user(1) as client:
            await client.send('{"id": 1, "method": "operations/list", "params": {"workspace_id": "ws-0"}}')
            assert json.loads(await client.recv())["result"] == {"operations": ["ws-1"]}


async def test_the_subprotocol_that_a_client_likes_best_is_spoken_on_both_sides(recorder: Recorder) -> None:
    async with (
        websocket_server(answer_calls, subprotocols=["mcp"]) as url,
        running(recorder, WebSocketUpstream(url)) as gateway,
        gateway.connect(subprotocols=["mcp", "other"]) as client,
    ):
        assert client.subprotocol == "mcp"
        await client.send(tool_call(1))
        assert await client.recv() == answer(1)


# Limits


async def test_one_connection_too_many_is_refused_and_a_place_that_is_left_is_free_again(recorder: Recorder) -> None:
    async with in_front_of(answer_calls, recorder, max_connections=1) as gateway:
        async with gateway.connect() as client:
            await client.send(tool_call(1))
            await client.recv()
            assert (await refused(gateway.connect())).status_code == 503
        with trio.fail_after(60):
            while gateway.gateway.statistics().open_connections:
                await trio.lowlevel.checkpoint()
        async with gateway.connect() as client:
            await client.send(tool_call(2))
            await client.recv()
    assert gateway.gateway.statistics().refused == 1


async def test_200_clients_at_once_are_all_served(no_task_stays: None, recorder: Recorder) -> None:
    # All handshakes go on at once, so on a slow machine each of them may take long.
    async with in_front_of(answer_calls, recorder, handshake_timeout=60) as gateway:

        async def call(number: int) -> None:
            async with gateway.connect(open_timeout=60) as client:
                await client.send(tool_call(number))
                assert await client.recv() == answer(number)

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(call, number)
    assert {operation.request_id for operation in recorder.operations} == {str(number) for number in range(200)}
    assert len(recorder.operations) == 200


async def test_a_client_that_says_nothing_is_cut_off(recorder: Recorder) -> None:
    async with in_front_of(answer_calls, recorder, handshake_timeout=0.05) as gateway:
        host, port = gateway.url.removeprefix("ws://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n")
            assert await stream.receive_some() == b""


async def test_what_is_no_websocket_handshake_is_refused(recorder: Recorder) -> None:
    async with in_front_of(answer_calls, recorder) as gateway, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        response = await http.get(gateway.url.replace("ws:", "http:"))
    assert response.status_code == 426
    assert gateway.gateway.statistics().accepted == 0


async def test_a_message_over_the_limit_closes_with_1009_on_both_sides(no_task_stays: None, recorder: Recorder) -> None:
    codes: list[int | None] = []

    async def note_code(connection: ServerConnection) -> None:
        await connection.wait_closed()
        codes.append(connection.close_code)

    async with in_front_of(note_code, recorder, max_frame=1000) as gateway, gateway.connect() as client:
        await client.send("x" * 1001)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1009
    assert codes == [1009]


def test_a_limit_of_no_connections_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_connections"):
        Gateway(ChildUpstream(["cat"]), EVERYONE, Recorder(), CONFIG, max_connections=0)


@pytest.mark.parametrize("url", ["http://example.test", "ws://", "secret"])
def test_an_upstream_that_is_no_websocket_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WebSocketUpstream(url)
    assert str(caught.value) == "url must be a ws:// or wss:// address"


@pytest.mark.parametrize("command", [[], "cat"])
def test_an_upstream_that_is_no_command_is_refused(command: Any) -> None:
    with pytest.raises(ConfigError, match="command must name a program"):
        ChildUpstream(command)


# Faults


async def test_a_server_that_dies_in_the_middle_of_a_call(no_task_stays: None, recorder: Recorder) -> None:
    async def die(connection: ServerConnection) -> None:
        await connection.recv()
        await trio.aclose_forcefully(connection.stream)

    async with in_front_of(die, recorder) as gateway, gateway.connect() as client:
        await client.send(tool_call("mid"))
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1011
    assert recorder.outcomes == [("mid", "echo", "unanswered")]


async def test_a_client_that_vanishes_is_recorded_and_its_server_told(no_task_stays: None, recorder: Recorder) -> None:
    codes: list[int | None] = []
    called = trio.Event()

    async def note_code(connection: ServerConnection) -> None:
        await connection.recv()
        called.set()
        await connection.wait_closed()
        codes.append(connection.close_code)

    async with in_front_of(note_code, recorder) as gateway, gateway.connect() as client:
        await client.send(tool_call("mid"))
        await called.wait()
        await trio.aclose_forcefully(client.stream)
    assert codes == [1001]
    assert recorder.outcomes == [("mid", "echo", "unanswered")]


async def test_a_server_that_never_reads_stops_the_client_and_costs_little_memory(
    no_task_stays: None, recorder: Recorder
) -> None:
    async def never_read(connection: ServerConnection) -> None:
        await trio.sleep_forever()

    async with in_front_of(never_read, recorder, grace=0.2) as gateway, gateway.connect() as client:
        with trio.move_on_after(1) as scope:
            for number in range(10_000):
                await client.send(tool_call(number, text="x" * 65_536))
        assert scope.cancelled_caught
        assert number < 128
        # Stopping does not wait for it either.
        gateway.gateway.stop()
        with trio.fail_after(60):
            await client.wait_closed()


async def test_two_sides_that_send_more_than_the_network_takes_do_not_block_each_other(recorder: Recorder) -> None:
    """The server sends before it reads, as it may when its client reads: so the bridge must, while it cannot send."""
    big = "x" * (8 * 2**20)

    async def send_and_then_read(connection: ServerConnection) -> None:
        await connection.recv()
        for _ in range(4):
            await connection.send(big)
        for _ in range(4):
            assert await connection.recv() == big
        await connection.send("read")

    async with (
        in_front_of(send_and_then_read, recorder) as gateway,
        gateway.connect(create_connection=GatewayClientConnection) as client,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def send() -> None:
            await client.send("begin")
            for _ in range(4):
                await client.send(big)
                # The reply has to wait for the message that is on its way.
                await client.ping()

        for _ in range(4):
            assert await client.recv() == big
        assert await client.recv() == "read"


@pytest.mark.parametrize("upstream", [WebSocketUpstream(f"ws://{LOOPBACK}:1"), ChildUpstream(["no-such-command-anywhere"])])
async def test_without_a_server_the_client_is_told(
    upstream: Upstream, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(recorder, upstream) as gateway, gateway.connect() as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (1011, "no server")
    assert gateway.gateway.statistics().upstream_failures == 1
    assert "there is no server for a client" in caplog.text


async def test_a_server_that_refuses_the_handshake_is_no_server(recorder: Recorder) -> None:
    async def refuse(connection: ServerConnection, request: object) -> Any:
        return connection.respond(418, "no")

    async with (
        websocket_server(answer_calls, process_request=refuse) as url,
        running(recorder, WebSocketUpstream(url)) as gateway,
        gateway.connect() as client,
    ):
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1011


async def test_a_client_lost_during_the_handshake_leaves_its_place(no_task_stays: None, recorder: Recorder) -> None:
    reached, may_go_on = trio.Event(), trio.Event()

    class Waiting:
        async def authenticate(self, headers: Headers, /) -> Identity | None:
            reached.set()
            await may_go_on.wait()
            return Identity(workspace_id="ws")

    async with in_front_of(answer_calls, recorder, Waiting()) as gateway:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def vanish() -> None:
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as inner:
                        inner.start_soon(connect_for_ever, gateway)
                        await reached.wait()
                        scope.cancel()
                for _ in range(10):
                    await trio.lowlevel.checkpoint()
                may_go_on.set()

        with trio.fail_after(60):
            while gateway.gateway.statistics().open_connections:
                await trio.lowlevel.checkpoint()
    assert gateway.gateway.statistics().accepted == 0


async def connect_for_ever(gateway: Running) -> None:
    async with gateway.connect():
        await trio.sleep_forever()


async def test_stopping_closes_with_1001_refuses_new_clients_and_records_what_is_open(recorder: Recorder) -> None:
    async with in_front_of(never_answer, recorder) as gateway, gateway.connect() as client:
        await client.send(tool_call("open"))
        assert await client.recv() == "heard"
        gateway.gateway.stop()
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1001
        with pytest.raises(OSError, match="all attempts to connect"):
            async with gateway.connect():
                raise AssertionError
    assert recorder.outcomes == [("open", "echo", "unanswered")]


async def test_stopping_under_load_loses_no_call(no_task_stays: None, recorder: Recorder) -> None:
    sent: set[str] = set()
    answered: set[str] = set()

    async with in_front_of(answer_calls, recorder) as gateway:

        async def load(client_number: int) -> None:
            with pytest.raises(ConnectionClosed):
                async with gateway.connect() as client:
                    for number in range(1_000_000):
                        request_id = f"{client_number}-{number}"
                        await client.send(tool_call(request_id))
                        sent.add(request_id)
                        await client.recv()
                        answered.add(request_id)

        async with trio.open_nursery() as nursery:
            for client_number in range(20):
                nursery.start_soon(load, client_number)
            while len(answered) < 200:
                await trio.lowlevel.checkpoint()
            gateway.gateway.stop()

    recorded = {operation.request_id for operation in recorder.operations}
    assert len(recorded) == len(recorder.operations)
    assert answered <= recorded
    assert {operation.request_id for operation in recorder.operations if not operation.is_error} >= answered


async def test_cancelling_the_gateway_records_what_is_open(no_task_stays: None, recorder: Recorder) -> None:
    heard = ChildUpstream(["sh", "-c", "read line; echo heard; sleep 600"], kill_after=0.1)
    gateway = Gateway(heard, EVERYONE, recorder, CONFIG)
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    url = f"ws://{LOOPBACK}:{listeners[0].socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        await nursery.start(gateway.serve, listeners)
        async with connect(url, proxy=None) as client:
            await client.send(tool_call("open"))
            assert await client.recv() == "heard"
            nursery.cancel_scope.cancel()
    assert recorder.outcomes == [("open", "echo", "unanswered")]


# A child for each client

ECHO = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "result": {"content": []}}), flush=True)
"""
PYTHON = (sys.executable, "-I", "-S", "-u", "-c")


async def test_each_client_gets_a_child_of_its_own(recorder: Recorder) -> None:
    upstream = ChildUpstream([*PYTHON, ECHO])
    async with running(recorder, upstream) as gateway, gateway.connect() as one, gateway.connect() as two:
        for client in (one, two):
            await client.send(tool_call(1))
            assert json.loads(await client.recv()) == {"id": 1, "result": {"content": []}}
    assert len(recorder.operations) == 2


async def test_a_child_that_fails_closes_with_1011(recorder: Recorder) -> None:
    async with running(recorder, ChildUpstream(["sh", "-c", "read line; exit 3"])) as gateway, gateway.connect() as client:
        await client.send(tool_call("mid"))
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (1011, "the server exited with status 3")
    assert recorder.outcomes == [("mid", "echo", "unanswered")]


async def test_stopping_hands_every_open_call_over_however_many_there_are(recorder: Recorder) -> None:
    async def listen(connection: ServerConnection) -> None:
        async for frame in connection:
            if json.loads(frame)["id"] == 499:
                await connection.send("heard them all")

    async with in_front_of(listen, recorder) as gateway:

        async def call() -> None:
            async with gateway.connect() as client:
                for number in range(500):
                    await client.send(tool_call(number))
                assert await client.recv() == "heard them all"
                ready.append(client)
                if len(ready) == 10:
                    gateway.gateway.stop()
                with pytest.raises(ConnectionClosed):
                    await client.recv()
                assert client.close_code == 1001

        ready: list[ClientConnection] = []
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call)
    assert recorder.outcomes.count(("7", "echo", "unanswered")) == 10
    assert len(recorder.operations) == 5_000
