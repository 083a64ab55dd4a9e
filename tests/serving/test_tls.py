"""The same over TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.http import PATIENCE
from tests.serving.peer import PLENTY, descriptors, echo, for_requests, read_all, read_until, request
from tests.serving.test_limits import busy
from trio_oplog import ConfigError
from trio_oplog._serving import HTTPLimits, HTTPServer, tls_context
from trio_oplog._serving.lifespan import ASGIApp

CERTIFICATE = Path(__file__).with_name("certificate.pem")
KEY = Path(__file__).with_name("key.pem")
TRUSTS = ssl.create_default_context(cafile=str(CERTIFICATE))


@asynccontextmanager
async def serving(app: ASGIApp, **limits: Any) -> AsyncIterator[tuple[HTTPServer, int]]:
    before = descriptors()
    server = HTTPServer(for_requests(app), limits=HTTPLimits(**limits))
    plain = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(PLENTY):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.serve, plain, tls=tls_context(CERTIFICATE, KEY)))
            yield server, plain[0].socket.getsockname()[1]
            server.stop()
    assert server.statistics().connection_failures == 0
    assert descriptors() == before


async def connect(port: int) -> trio.SSLStream[trio.SocketStream]:
    return await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=TRUSTS, https_compatible=True)


async def test_a_client_is_served_and_the_app_knows_that_it_is_https() -> None:
    schemes: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        schemes.append(scope["scheme"])
        await echo(scope, receive, send)

    async with serving(app) as (_, port), httpx.AsyncClient(trust_env=False, verify=TRUSTS, timeout=PATIENCE) as http:
        for body in (b"one", bytes(1_000_000)):
            assert (await http.post(f"https://127.0.0.1:{port}/", content=body)).content == body
    assert schemes[-2:] == ["https", "https"]


async def test_a_malformed_request_is_answered() -> None:
    async with serving(echo) as (_, port), await connect(port) as stream:
        await stream.send_all(b"\xff\r\n\r\n")
        assert (await read_until(stream, b"Bad Request\n")).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff"])
async def test_who_does_not_speak_tls_is_left(said: bytes) -> None:
    async with serving(echo) as (server, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(said)
        assert b"HTTP" not in await read_all(stream)
        assert server.statistics().requests == 0


async def test_who_is_too_slow_to_shake_hands_is_left() -> None:
    async with serving(echo, head_timeout=0.05) as (server, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        assert await read_all(stream) == b""
        assert server.statistics().timeouts == 1


async def test_one_connection_too_many_is_closed() -> None:
    async with serving(busy, max_connections=1) as (server, port), await connect(port) as stream:
        await stream.send_all(request())
        await read_until(stream, b"busy\r\n")
        with pytest.raises(trio.BrokenResourceError):
            async with await connect(port) as refused:
                await refused.do_handshake()
    assert server.statistics().refused == 1


@pytest.mark.parametrize(("certificate", "key"), [("gone", KEY), (CERTIFICATE, CERTIFICATE), (KEY, KEY)])
async def test_files_that_are_no_certificate_and_key_are_refused(certificate: Path | str, key: Path) -> None:
    with pytest.raises(ConfigError, match="certificate and its key cannot be used"):
        tls_context(Path(certificate), key)
