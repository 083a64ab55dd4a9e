"""The endpoint misbehaves as it is told."""

from __future__ import annotations

import httpx
import pytest
import trio

from tests.http import http_client
from trio_oplog._wire import encode
from trio_oplog.testing import FaultyEndpoint, Hang, Reset, Respond
from trio_oplog.testing._operations import sample


async def post(endpoint: FaultyEndpoint, content: bytes = b"", **headers: str) -> httpx.Response:
    async with http_client(timeout=5) as http:
        return await http.post(endpoint.url, content=content, headers=headers)


async def test_it_accepts_everything_until_it_is_told_otherwise() -> None:
    (one,) = sample(1)
    async with FaultyEndpoint() as endpoint:
        assert (await post(endpoint, encode(one))).status_code == 204
        assert (await post(endpoint, b"no operation")).is_success
        assert endpoint.operations == [one]
        assert [request.method for request in endpoint.requests] == ["POST", "POST"]
        await endpoint.wait_for_requests(2)


async def test_it_reads_a_batch_line_by_line() -> None:
    lines = [operation for operation in sample(20) if b"\n" not in encode(operation)]
    async with FaultyEndpoint() as endpoint:
        await post(endpoint, b"\n".join(map(encode, lines)), **{"Content-Type": "application/x-ndjson"})
        assert endpoint.operations == lines


async def test_it_follows_its_script_once() -> None:
    async with FaultyEndpoint() as endpoint:
        endpoint.script(Respond(status=503, headers=(("Retry-After", "1"),), body=b"busy"), Reset())
        refused = await post(endpoint)
        assert (refused.status_code, refused.text, refused.headers["retry-after"]) == (503, "busy", "1")
        with pytest.raises(httpx.HTTPError):
            await post(endpoint)
        assert (await post(endpoint)).is_success
        assert endpoint.operations == []


async def test_it_hangs_for_as_long_as_it_is_told() -> None:
    async with FaultyEndpoint() as endpoint:
        endpoint.behaviour = Hang()
        with trio.move_on_after(0.05) as patience:
            await post(endpoint)
        assert patience.cancelled_caught
        endpoint.behaviour = Hang(at_most=0.0)
        with pytest.raises(httpx.HTTPError):
            await post(endpoint)


async def test_it_refuses_on_the_same_port_and_accepts_again() -> None:
    async with FaultyEndpoint() as endpoint:
        url = endpoint.url
        await endpoint.accept()
        await endpoint.refuse()
        await endpoint.refuse()
        with pytest.raises(httpx.ConnectError):
            await post(endpoint)
        await endpoint.accept()
        assert endpoint.url == url
        assert (await post(endpoint)).is_success
        await endpoint.refuse()


async def test_an_exception_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with FaultyEndpoint():
            raise KeyError


async def test_a_client_that_talks_nonsense_or_goes_away_is_left_alone() -> None:
    async with FaultyEndpoint() as endpoint:
        port = httpx.URL(endpoint.url).port
        assert port is not None
        for nonsense in (b"not http at all\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(nonsense)
            await stream.send_eof()
            assert await stream.receive_some() in {b"", None}
            await stream.aclose()
        async with http_client() as http:
            assert (await http.get(endpoint.url, headers={"Connection": "close"})).is_success
        assert endpoint.requests[-1].method == "GET"
