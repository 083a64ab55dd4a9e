"""The HTTP front: requests, their identities, what is on record, and the end."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.gateway.fronted import ADA, JSON, STREAM, call, fronting, http, result
from tests.serving.peer import PLENTY, echo, read_all, read_body, read_until, request
from tests.serving.test_streaming import POST, START, part
from trio_oplog import Config, ConfigError, ListClient, Outcome, TrioRequiredError
from trio_oplog._asgi import ASGIApp, Receive, Send
from trio_oplog._serving import HTTPLimits
from trio_oplog.gateway import Anyone, HTTPGateway, TokenFile
from trio_oplog.testing import RecordingSubmitter

LIST = b'{"jsonrpc":"2.0","id":7,"method":"operations/list"}'


async def answer(scope: Any, receive: Receive, send: Send) -> None:
    """A server that answers calls with JSON."""
    request = json.loads(await read_body(receive))
    body = result(request["id"])
    await send(START | {"headers": [JSON, (b"content-length", b"%d" % len(body))]})
    await send(part(body, more=False))


def hearing(heard: list[Any]) -> ASGIApp:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        heard.append((scope["headers"], await read_body(receive)))
        await send(START)
        await send(part(more=False))

    return app


def list_client(asked: list[httpx.Request], *, wait: trio.Event | None = None) -> ListClient:
    async def endpoint(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if wait is not None:
            await wait.wait()
        return httpx.Response(200, content=b'{"operations":[]}')

    return ListClient("http://x", "s", http=httpx.AsyncClient(transport=httpx.MockTransport(endpoint)))


async def test_a_call_is_one_operation_of_who_made_it() -> None:
    async with fronting(answer) as found, http() as client:
        reply = await client.post(found.url, content=call(1, a=2), headers={"mcp-session-id": "s-1"})
        assert reply.content == result(1)
    [operation] = found.recorded
    assert (operation.workspace_id, operation.user_id, operation.tool) == ("ws-1", "ada", "echo")
    assert (operation.arguments, operation.result_summary, operation.is_error) == (b'{"a": 2}', "done", False)
    assert operation.context is not None
    assert (operation.context.transport, operation.context.session) == ("http", "s-1")
    done = found.gateway.statistics()
    assert (done.accepted, done.unauthenticated, done.refused, done.upstream_failures, done.recorded) == (1, 0, 0, 0, 1)
    assert repr(found.gateway) == "<HTTPGateway open_connections=0 requests=1>"


async def test_each_pending_id_is_told_of_an_upstream_that_cannot_be_reached(caplog: pytest.LogCaptureFixture) -> None:
    error = {"code": -32000, "message": "the server cannot be reached"}
    async with fronting(echo) as found, http() as client:
        found.upstream.server.stop()
        await found.upstream.ended.wait()
        reply = await client.post(found.url, content=call(7))
        assert (reply.status_code, reply.json()) == (502, {"jsonrpc": "2.0", "id": 7, "error": error})
        assert reply.headers["content-type"] == "application/json"
        reply = await client.post(found.url, content=b"[" + call("a") + b"," + call(8) + b"]")
        assert [each["id"] for each in reply.json()] == ["a", 8]
        for nothing in (client.get(found.url), client.post(found.url, content=b'{"method":"notifications/initialized"}')):
            reply = await nothing
            assert (reply.status_code, reply.text) == (502, "Bad Gateway\n")
    assert [operation.result_meta.outcome for operation in found.recorded if operation.result_meta] == [Outcome.UNANSWERED] * 3
    assert found.gateway.statistics().upstream_failures == 4
    assert [record.getMessage() for record in caplog.records] == ["there is no server for a client: connection refused"]


async def test_an_upstream_that_takes_too_long_to_accept_is_a_504(monkeypatch: pytest.MonkeyPatch) -> None:
    async def too_slow(_: Any, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("payload")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", too_slow)
    async with fronting(echo) as found, await found.connect() as stream:
        await stream.send_all(request(b"Connection: close\r\n"))
        assert (await read_all(stream)).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")


async def test_a_call_that_is_redirected_and_sent_again_is_one_call() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("/"):
            await answer(scope, receive, send)
            return
        await read_body(receive)
        there = b"http://127.0.0.1:%d/mcp/" % scope["server"][1]
        await send(START | {"status": 307, "headers": [(b"location", there), (b"content-length", b"0")]})
        await send(part(more=False))

    async with fronting(app) as found, http() as client:
        reply = await client.post(found.url, content=call(1))
        assert (reply.status_code, reply.headers["location"]) == (307, "/mcp/")
        assert (await client.post(found.url + "/", content=call(1))).content == result(1)
    assert [(operation.tool, operation.is_error) for operation in found.recorded] == [("echo", False)]


async def test_a_request_that_is_too_long_is_refused_and_the_upstream_is_not_to_blame(caplog: pytest.LogCaptureFixture) -> None:
    async with fronting(echo, max_body=100) as found, http() as client:
        reply = await client.post(found.url, content=bytes(101))
        assert (reply.status_code, reply.text) == (413, f"{HTTPStatus(413).phrase}\n")
    assert found.gateway.statistics().upstream_failures == 0
    assert not caplog.records


@pytest.mark.once
@pytest.mark.timeout(600)
async def test_two_thousand_calls_at_once_with_equal_ids_are_told_apart() -> None:
    clients, calls = 100, 20
    waiting: list[trio.Event] = []

    async def answer_at_last(scope: Any, receive: Receive, send: Send) -> None:
        request = json.loads(await read_body(receive))
        waiting.append(trio.Event())
        if len(waiting) == clients * calls:
            for each in random.Random(0).sample(waiting, len(waiting)):
                each.set()
        await waiting[-1].wait() if len(waiting) < clients * calls else None
        text = request["params"]["arguments"]["text"]
        is_stream = text.endswith("0")
        body = result(request["id"], text)
        await send(START | {"headers": [STREAM if is_stream else JSON]})
        await send(part(b"data: %b\n\n" % body if is_stream else body, more=False))

    limits = HTTPLimits(max_connections=clients * calls)
    async with fronting(answer_at_last, max_connections=clients * calls, limits=limits, most=600.0) as found:

        async def ask(number: int, call_number: int) -> None:
            body = call(call_number, text=f"{number} {call_number}")
            head = b"Mcp-Session-Id: %d\r\nContent-Length: %d\r\nConnection: close\r\n" % (number, len(body))
            async with await found.connect() as stream:
                await stream.send_all(request(head, line=POST, body=body))
                assert result(call_number, f"{number} {call_number}") in await read_all(stream)

        async with trio.open_nursery() as nursery:
            for number in range(clients):
                for call_number in range(calls):
                    nursery.start_soon(ask, number, call_number)
    assert len(found.recorded) == clients * calls
    for operation in found.recorded:
        assert operation.context is not None
        said = f"{operation.context.session} {operation.request_id}"
        assert (operation.arguments, operation.result_summary) == (json.dumps({"text": said}).encode(), said)
    assert len({operation.arguments for operation in found.recorded}) == clients * calls


# Identities, and what the upstream sees


async def test_the_gateways_token_is_not_for_the_upstream(tmp_path: Any) -> None:
    heard: list[Any] = []
    file = tmp_path / "tokens"
    file.write_text(f'[[token]]\nsha256 = "{hashlib.sha256(b"t" * 40).hexdigest()}"\nworkspace_id = "ws-1"\nuser_id = "ada"\n')
    authenticator = TokenFile.read(file)
    headers = {"authorization": "Bearer " + "t" * 40}
    async with fronting(hearing(heard), authenticator=authenticator, headers=[(b"X-Api-Key", b"k")]) as found, http() as client:
        assert (await client.post(found.url, content=b"x")).status_code == 401
        assert (await client.post(found.url, content=b"x", headers=headers)).status_code == 200
    [(seen, body)] = heard
    assert body == b"x"
    assert (b"x-api-key", b"k") in seen
    assert b"authorization" not in dict(seen)
    done = found.gateway.statistics()
    assert (done.accepted, done.unauthenticated) == (1, 1)


async def test_without_tokens_the_clients_authorization_is_the_upstreams_business() -> None:
    heard: list[Any] = []
    async with fronting(hearing(heard)) as found, http() as client:
        await client.post(found.url, content=b"x", headers={"authorization": "Bearer theirs"})
    assert dict(heard[0][0])[b"authorization"] == b"Bearer theirs"


async def test_what_is_withheld_can_be_named() -> None:
    heard: list[Any] = []
    async with fronting(hearing(heard), withheld=["Cookie"]) as found, http() as client:
        await client.post(found.url, content=b"x", headers={"authorization": "Bearer theirs", "cookie": "c"})
    seen = dict(heard[0][0])
    assert (seen[b"authorization"], b"cookie" in seen) == (b"Bearer theirs", False)


@pytest.mark.parametrize(("headers", "seen"), [((), b"Basic dTpww7w="), (((b"authorization", b"Bearer k"),), b"Bearer k")])
async def test_a_password_in_the_url_goes_to_the_upstream_alone(headers: Any, seen: bytes) -> None:
    heard: list[Any] = []
    url = "http://u:p%C3%BC@127.0.0.1:{port}/mcp"
    async with fronting(hearing(heard), url=url, headers=headers) as found, http() as client:
        await client.post(found.url, content=b"x", headers={"authorization": "Bearer theirs"})
        assert "%C3" not in repr(found.gateway)
    assert [value for name, value in heard[0][0] if name == b"authorization"] == [seen]


async def test_a_web_page_is_refused_and_on_the_account() -> None:
    async with fronting(answer) as found, http() as client:
        assert (await client.post(found.url, content=call(), headers={"origin": "http://evil.example"})).status_code == 403
    assert found.gateway.statistics().refused == 1
    assert not found.recorded


# operations/list


@pytest.mark.parametrize("pieces", [1, 10])
async def test_a_list_is_answered_here_for_the_workspace_of_the_client(pieces: int) -> None:
    heard: list[Any] = []
    asked: list[httpx.Request] = []

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(LIST), len(LIST) // pieces):
            yield LIST[start : start + len(LIST) // pieces]
            await wait_all_tasks_blocked(0.001)

    async with fronting(hearing(heard), list_client=list_client(asked)) as found, http() as client:
        reply = await client.post(found.url, content=body())
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
        assert reply.json() == {"jsonrpc": "2.0", "id": 7, "result": {"operations": []}}
    assert [each.url.params["workspace_id"] for each in asked] == ["ws-1"]
    assert not heard


@pytest.mark.parametrize(
    "body",
    [call(), b"[" + LIST + b"]", b" " * 20_000 + LIST, b"", b"no json", b'{"method":"operations/list"}'],
    ids=["a call", "a batch", "long", "empty", "no JSON", "a notification"],
)
async def test_whatever_is_no_list_passes_as_it_came(body: bytes) -> None:
    heard: list[Any] = []
    async with fronting(hearing(heard), list_client=list_client([])) as found, http() as client:
        assert (await client.post(found.url, content=body)).status_code == 200
    assert [each[1] for each in heard] == [body]


async def test_a_list_that_is_compressed_is_the_upstreams() -> None:
    heard: list[Any] = []
    async with fronting(hearing(heard), list_client=list_client([])) as found, http() as client:
        await client.post(found.url, content=gzip.compress(LIST), headers={"content-encoding": "gzip"})
    assert gzip.decompress(heard[0][1]) == LIST


@pytest.mark.parametrize("is_asked", [True, False])
async def test_a_client_that_leaves_is_not_listed_for(is_asked: bool) -> None:
    asked: list[httpx.Request] = []
    async with fronting(echo, list_client=list_client(asked, wait=trio.Event())) as found:
        async with await found.connect() as stream:
            length = len(LIST) + (not is_asked)
            await stream.send_all(request(b"Content-Length: %d\r\n" % length, line=POST, body=LIST))
            while is_asked and not asked:  # noqa: ASYNC110
                await trio.sleep(0.01)
        with trio.fail_after(PLENTY):
            while found.gateway.statistics().open_connections:  # noqa: ASYNC110
                await trio.sleep(0.01)
    assert len(asked) == is_asked


# The end


async def test_at_the_stop_open_calls_are_on_record_and_streams_end_cleanly() -> None:
    async def stream_for_ever(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send(START | {"headers": [STREAM]})
        await send(part(b": hello\n\n"))
        await receive()

    async with fronting(stream_for_ever, grace=0.05) as found, await found.connect() as stream:
        body = call()
        await stream.send_all(request(b"Content-Length: %d\r\n" % len(body), line=POST, body=body))
        await read_until(stream, b"hello\n\n\r\n")
        found.gateway.stop()
        assert await read_all(stream) == b"0\r\n\r\n"
        await found.ended.wait()
    [operation] = found.recorded
    assert operation.result_meta is not None
    assert operation.result_meta.outcome == Outcome.UNANSWERED


async def test_what_waits_too_long_is_given_up_though_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hand_out_task(scope: Any, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send(START | {"headers": [JSON]})
        task = {"taskId": "t", "status": "working"}
        await send(part(json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"task": task}}).encode(), more=False))

    monkeypatch.setattr("trio_oplog.gateway._http_gateway._EXPIRE_EVERY", 0.01)
    params = {"name": "slow", "arguments": {}, "task": {}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    async with fronting(hand_out_task, config={"max_suspended_age": 1e-6}) as found, http() as client:
        await client.post(found.url, content=body)
        await found.until_recorded(1)
    assert found.recorded[0].tool == "slow"


def test_a_gateway_needs_trio() -> None:
    gateway = HTTPGateway("http://localhost/mcp", Anyone(ADA), RecordingSubmitter(), Config(source="s", workspace_id="w"))
    with pytest.raises(TrioRequiredError):
        gateway.serve([]).send(None)


@pytest.mark.parametrize(("url", "options"), [("ws://x", {}), ("http://", {}), ("http://x", {"max_body": 0})])
def test_a_wrong_value_is_named(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        HTTPGateway(url, Anyone(ADA), RecordingSubmitter(), Config(source="s", workspace_id="w"), **options)


def test_an_upstream_may_speak_tls() -> None:
    HTTPGateway("https://x/mcp", Anyone(ADA), RecordingSubmitter(), Config(source="s", workspace_id="w"))
    with pytest.raises(ConfigError, match="ca_file cannot be read"):
        HTTPGateway(
            "https://x/mcp", Anyone(ADA), RecordingSubmitter(), Config(source="s", workspace_id="w"), ca_file="/no/such/file"
        )
