from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trio_oplog import ConfigError, ListClient, ListError, ListQuery, try_handle_operations_list

URL = "http://collector/internal/operations"
SECRET = "swordfish"
QUERY = ListQuery(workspace_id="ws")
UNAVAILABLE = {"code": -32603, "message": "The operation log is not available"}
EMPTY = b'{"operations":[]}'

Answer = Callable[[httpx.Request], httpx.Response]


def client_for(answer: Answer | bytes | int, **options: Any) -> ListClient:
    """A ListClient whose endpoint answers with a body, with a status, or as a function says."""
    if isinstance(answer, bytes):
        body = answer
        return client_for(lambda _: httpx.Response(200, content=body), **options)
    if isinstance(answer, int):
        status = answer
        return client_for(lambda _: httpx.Response(status, content=b"upstream says: hunter2"), **options)
    return ListClient(URL, SECRET, http=httpx.AsyncClient(transport=httpx.MockTransport(answer)), **options)


class Flood(httpx.AsyncByteStream):
    """An answer without an end.

    Attributes:
        read: How many bytes of it were read.
    """

    def __init__(self, piece: int) -> None:
        self.read = 0
        self._piece = piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await trio.lowlevel.checkpoint()
            self.read += self._piece
            yield b"x" * self._piece


def request(params: Any = None, **changes: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "operations/list", "params": params} | changes).encode()


async def asked_for(params: Any) -> dict[str, str]:
    """The parameters that reach the endpoint."""
    seen: list[httpx.Request] = []

    def answer(sent: httpx.Request) -> httpx.Response:
        seen.append(sent)
        return httpx.Response(200, content=EMPTY)

    reply = await try_handle_operations_list(client_for(answer), "ws", request(params))
    assert reply == b'{"jsonrpc":"2.0","id":1,"result":{"operations":[]}}'
    assert seen[0].method == "GET"
    assert seen[0].headers["X-Internal-Secret"] == SECRET
    return dict(seen[0].url.params)


# What is ours, and what is not


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"no json",
        b"{}",
        b"[]",
        b'{"id":1,"method":"tools/list"}',
        b'{"method":"operations/list"}',
        b'{"id":null,"method":"operations/list"}',
        b'{"id":true,"method":"operations/list"}',
        b'{"id":{},"method":"operations/list"}',
        b'{"id":[1],"method":"operations/list"}',
        b'{"id":1,"result":{"method":"operations/list"}}',
        b'[{"id":1,"method":"operations/list"}]',
        b' [{"id":1,"method":"operations/list"}]',
        '\n[{"id":1,"method":"operations/list"}]',
        b'[{"id":1,"method":"operations/list"},{"id":2,"method":"tools/list"}]',
        b'{"id":"\xff","method":"operations/list"}',
    ],
)
async def test_what_is_no_such_request_is_left_to_be_forwarded(frame: bytes | str) -> None:
    assert await try_handle_operations_list(client_for(EMPTY), "ws", frame) is None


@given(st.binary() | st.text())
def test_nothing_a_client_sends_raises(frame: bytes | str) -> None:
    assert trio.run(try_handle_operations_list, client_for(EMPTY), "ws", frame) is None


@pytest.mark.parametrize(
    "spelling", ["1", "-1", "0", "1.50", "1e2", "9007199254740993", '""', '"a\\u0041"', '"\\ud800"', '"\u2603"']
)
@pytest.mark.parametrize(
    "convert", [str, str.encode, lambda text: bytearray(text, "utf-8"), lambda text: memoryview(text.encode())]
)
async def test_the_id_is_echoed_exactly_whatever_the_frame_is(spelling: str, convert: Callable[[str], Any]) -> None:
    frame = convert('{"method":"operations/list","id": ' + spelling + " }")
    reply = await try_handle_operations_list(client_for(EMPTY), "ws", frame)
    assert reply == b'{"jsonrpc":"2.0","id":' + spelling.encode() + b',"result":{"operations":[]}}'


# What is asked for


async def test_every_parameter_reaches_the_endpoint_and_the_next_page_comes_back() -> None:
    texts = {name: f"a {name}" for name in ("env_id", "tool", "source", "id", "user_id", "thread_id", "outcome", "client", "q")}
    times = {"since": "2026-01-31T12:00:00Z", "until": "2026-02-01T12:00:00Z"}
    more = {"approval": "any", "cursor": "AQ", "id_prefix": "a5"}
    wanted = {"workspace_id": "ws", "limit": "7", "is_error": "true", **texts, **times, **more}
    assert await asked_for({**texts, **times, **more, "is_error": True, "limit": 7}) == wanted
    page = b'{"operations":[],"next":"AQ","searched_to":"2026-01-31T12:00:00Z"}'
    reply = await try_handle_operations_list(client_for(page), "ws", request())
    assert reply == b'{"jsonrpc":"2.0","id":1,"result":' + page + b"}"


async def test_without_params_only_the_workspace_is_asked_for() -> None:
    for params in (None, {}):
        assert await asked_for(params) == {"workspace_id": "ws", "limit": "100"}


async def test_every_param_reaches_the_endpoint() -> None:
    params = {"env_id": "e", "tool": "a&b=c+d", "source": "s\u2603", "is_error": False, "id": "i\ud800", "limit": 1000}
    assert await asked_for(params | {"since": "2026-01-31T13:00:00.25+01:00"}) == {
        "workspace_id": "ws",
        "env_id": "e",
        "tool": "a&b=c+d",
        "source": "s\u2603",
        "is_error": "false",
        "since": "2026-01-31T12:00:00.250000Z",
        "id": "i\ufffd",
        "limit": "1000",
    }


async def test_the_workspace_is_the_gateways_whatever_the_params_say() -> None:
    assert await asked_for({"workspace_id": "theirs", "tool": "x"}) == {"workspace_id": "ws", "tool": "x", "limit": "100"}


async def test_null_and_empty_params_count_as_not_given() -> None:
    names = ["env_id", "tool", "source", "is_error", "since", "id", "limit"]
    assert await asked_for(dict.fromkeys(names)) == {"workspace_id": "ws", "limit": "100"}
    assert await asked_for({"env_id": "", "tool": "", "source": "", "since": "", "id": ""}) == {
        "workspace_id": "ws",
        "limit": "100",
    }


async def test_the_url_keeps_its_own_parameters() -> None:
    seen: list[httpx.URL] = []

    def answer(sent: httpx.Request) -> httpx.Response:
        seen.append(sent.url)
        return httpx.Response(200, content=EMPTY)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    await ListClient(f"{URL}?tenant=7", SECRET, http=http).fetch(QUERY)
    assert dict(seen[0].params) == {"tenant": "7", "workspace_id": "ws", "limit": "100"}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ([], "params"),
        ("x", "params"),
        (5, "params"),
        ({"limit": "10"}, "limit"),
        ({"limit": 10.0}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": -(10**100)}, "limit"),
        ({"limit": [10]}, "limit"),
        ({"limit": math.nan}, "limit"),
        ({"tool": 5}, "tool"),
        ({"tool": {}}, "tool"),
        ({"tool": "x" * 1025}, "tool"),
        ({"env_id": ["a"]}, "env_id"),
        ({"source": False}, "source"),
        ({"id": 1}, "id"),
        ({"is_error": "true"}, "is_error"),
        ({"is_error": 0}, "is_error"),
        ({"since": 5}, "since"),
        ({"since": "yesterday"}, "since"),
    ],
)
async def test_a_param_of_a_wrong_type_is_named(params: Any, field: str) -> None:
    reply = await try_handle_operations_list(client_for(EMPTY), "ws", request(params))
    assert reply is not None
    error = json.loads(reply)["error"]
    assert error["code"] == -32602
    assert error["message"].startswith(f"Invalid params: {field} ")
    assert "yesterday" not in error["message"]


# What is answered


@pytest.mark.parametrize(
    "body",
    [
        b'{"operations":[{"id":"1","arguments":{ "a" : 1.0,\n "b":"\xe2\x98\x83" }}]}',
        b' {"operations": [], "more": true}\n',
        b'{"operations":[{"arguments":"\\ud800"}]}',
        b'{"operations":[{"arguments":["\\ud800", ' + b"9" * 5000 + b"]}]}",
        b'{"operations":["' + b"x" * 100_000 + b'"]}',
        b"{}",
    ],
)
async def test_the_endpoints_body_becomes_the_result_unaltered(body: bytes) -> None:
    reply = await try_handle_operations_list(client_for(body), "ws", request())
    assert reply == b'{"jsonrpc":"2.0","id":1,"result":' + body + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hunter2</html>",
        b"[]",
        b"null",
        b'"hunter2"',
        b'{"operations":[}',
        b'{"operations":[]} trailing',
        b'{"operations":["\xff"]}',
        b'{"operations":[NaN, "\\ud800"]}',
        b'\xef\xbb\xbf{"operations":[]}',
        '{"operations":[]}'.encode("utf-16-le"),
        b'{"operations":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"x" * 100_000,
    ],
)
async def test_a_body_that_is_no_json_object_is_never_passed_on(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    reply = await try_handle_operations_list(client_for(body), "ws", request())
    assert reply is not None
    assert json.loads(reply) == {"jsonrpc": "2.0", "id": 1, "error": UNAVAILABLE}
    assert caplog.messages == [f"operations/list failed: the endpoint's answer of {len(body)} bytes is no JSON object"]


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (401, "the endpoint does not accept the secret (status 401)"),
        (302, "the endpoint refused (status 302)"),
        (400, "the endpoint refused (status 400)"),
        (404, "the endpoint refused (status 404)"),
        (500, "the endpoint refused (status 500)"),
    ],
)
async def test_what_the_endpoint_says_in_anger_stays_here(status: int, problem: str, caplog: pytest.LogCaptureFixture) -> None:
    reply = await try_handle_operations_list(client_for(status), "ws", request())
    assert reply is not None
    assert json.loads(reply)["error"] == UNAVAILABLE
    assert caplog.messages == [f"operations/list failed: {problem}"]


async def test_no_redirect_is_followed_with_the_secret() -> None:
    asked: list[str] = []

    def answer(sent: httpx.Request) -> httpx.Response:
        asked.append(sent.url.host)
        return httpx.Response(307, headers={"Location": "http://elsewhere/"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), follow_redirects=True)
    with pytest.raises(ListError):
        await ListClient(URL, SECRET, http=http).fetch(QUERY)
    assert asked == ["collector"]


@pytest.mark.parametrize("error", [httpx.ConnectError("hunter2"), httpx.ReadTimeout("hunter2"), ZeroDivisionError("hunter2")])
async def test_a_transport_that_fails_is_answered_for(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def answer(sent: httpx.Request) -> httpx.Response:
        raise error

    reply = await try_handle_operations_list(client_for(answer), "ws", request())
    assert reply is not None
    assert json.loads(reply)["error"] == UNAVAILABLE
    assert type(error).__name__ in caplog.text
    assert "hunter2" not in caplog.text


async def test_an_error_holds_neither_the_request_nor_the_secret() -> None:
    def answer(sent: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=sent)

    with pytest.raises(ListError) as caught:
        await client_for(answer).fetch(QUERY)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_an_endpoint_that_hangs_is_given_up_after_the_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async def answer(sent: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError  # pragma: no cover

    list_client = ListClient(URL, SECRET, http=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    began = trio.current_time()
    reply = await try_handle_operations_list(list_client, "ws", request())
    assert trio.current_time() - began == 10
    assert reply is not None
    assert json.loads(reply)["error"] == UNAVAILABLE


async def test_an_answer_that_dribbles_is_given_up_after_the_timeout(autojump_clock: trio.testing.MockClock) -> None:
    class Dribble(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await trio.sleep(1)
                yield b" "

    list_client = client_for(lambda _: httpx.Response(200, stream=Dribble()), timeout=3.5)
    began = trio.current_time()
    with pytest.raises(ListError, match="in time"):
        await list_client.fetch(QUERY)
    assert trio.current_time() - began == 3.5


async def test_an_answer_over_the_cap_is_not_read_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    flood = Flood(1000)
    list_client = client_for(lambda _: httpx.Response(200, stream=flood), max_bytes=5000)
    reply = await try_handle_operations_list(list_client, "ws", request())
    assert reply is not None
    assert json.loads(reply)["error"] == UNAVAILABLE
    assert caplog.messages == ["operations/list failed: the endpoint's answer is over 5000 bytes"]
    assert flood.read == 6000


async def test_an_answer_as_long_as_the_cap_is_taken() -> None:
    assert await client_for(EMPTY, max_bytes=len(EMPTY)).fetch(QUERY) == EMPTY
    with pytest.raises(ListError):
        await client_for(EMPTY, max_bytes=len(EMPTY) - 1).fetch(QUERY)


async def test_a_workspace_that_is_none_is_the_gateways_mistake_and_not_the_clients(caplog: pytest.LogCaptureFixture) -> None:
    reply = await try_handle_operations_list(client_for(EMPTY), "", request())
    assert reply is not None
    assert json.loads(reply)["error"] == UNAVAILABLE
    assert caplog.records[0].levelno == logging.ERROR


async def test_cancellation_passes_through(autojump_clock: trio.testing.MockClock) -> None:
    async def answer(sent: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError  # pragma: no cover

    list_client = ListClient(URL, SECRET, http=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    with trio.move_on_after(1) as scope:
        await try_handle_operations_list(list_client, "ws", request())
    assert scope.cancelled_caught


# The client


async def test_a_client_of_its_own_works_without_a_block_and_leaves_no_connection_open(nursery: trio.Nursery) -> None:
    requests: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            requests.append(await stream.receive_some())
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(EMPTY), EMPTY))
            assert await stream.receive_some() == b""  # closed by the client
            closed.set()

    closed = trio.Event()
    [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    host, port = listener.socket.getsockname()
    assert await ListClient(f"http://{host}:{port}/log", SECRET).fetch(QUERY) == EMPTY
    await closed.wait()
    assert requests[0].startswith(b"GET /log?workspace_id=ws&limit=100 HTTP/1.1\r\n")
    nursery.cancel_scope.cancel()


async def test_a_real_answer_over_the_cap_leaves_nothing_behind(nursery: trio.Nursery) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(99_999_999))

    [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    host, port = listener.socket.getsockname()
    with pytest.raises(ListError, match="over 1000 bytes"):
        await ListClient(f"http://{host}:{port}/", SECRET, max_bytes=1000).fetch(QUERY)
    nursery.cancel_scope.cancel()


async def test_nobody_at_the_address_is_a_list_error() -> None:
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))  # and does not listen
        port = unused.getsockname()[1]
        with pytest.raises(ListError, match="cannot be reached: connection refused"):
            await ListClient(f"https://127.0.0.1:{port}/", SECRET).fetch(QUERY)


def test_the_repr_shows_where_and_not_with_what() -> None:
    assert repr(ListClient(f"http://user:hunter2@host/log?key={SECRET}", SECRET)) == "<ListClient http://host/log>"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"url": "ftp://host/"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://host:port/"}, "url"),
        ({"url": None}, "url"),
        ({"secret": ""}, "secret"),
        ({"secret": "two\nlines"}, "secret"),
        ({"secret": None}, "secret"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"http": "http"}, "http"),
    ],
)
def test_a_wrong_value_is_refused_at_once(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ListClient(**({"url": URL, "secret": SECRET} | arguments))
    assert caught.value.field == field
