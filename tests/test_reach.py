"""Whose certificates are trusted, and what a failure on the way to an endpoint is called."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from trio_oplog import Client, ConfigError, ListClient, ListError, ListQuery, Retry
from trio_oplog._reach import check_ca_file, make_tls, name_failure

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
PAST = datetime(2001, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@asynccontextmanager
async def https(authority: trustme.CA, name: str = "localhost", **options: object) -> AsyncIterator[str]:
    """A server that stores whatever it is sent, with a certificate for that name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.receive_some()
            await stream.send_all(ANSWER)
            await stream.aclose()
        except trio.BrokenResourceError:
            pass  # a client that trusts nobody here

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        yield f"https://localhost:{listeners[0].transport_listener.socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


async def deliver(url: str, make_operation, **options: object) -> str | None:
    """Why one record did not arrive, if it did not."""
    async with Client(url, "s", retry=Retry(attempts=1), **options) as client:
        client.submit(make_operation())
        arrived = await client.flush(60)
    return None if arrived else client.last_error


async def test_a_private_authority_is_trusted_where_it_is_named(authority, ca_file, make_operation, monkeypatch):
    async with https(authority) as url:
        assert await deliver(url, make_operation) == "TLS: unknown authority"
        assert await deliver(url, make_operation, ca_file=ca_file) is None
        assert await deliver(url, make_operation, ca_file=str(ca_file)) is None
        with pytest.raises(ListError, match="cannot be reached: TLS: unknown authority"):
            await ListClient(url, "s").fetch(ListQuery(workspace_id="w"))
        assert await ListClient(url, "s", ca_file=ca_file).fetch(ListQuery(workspace_id="w")) == b"{}"
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
        assert await deliver(url, make_operation) is None
        assert await ListClient(url, "s").fetch(ListQuery(workspace_id="w")) == b"{}"


async def test_a_certificate_that_is_wrong_says_how(authority, ca_file, make_operation):
    async with https(authority, "elsewhere.example") as url:
        assert await deliver(url, make_operation, ca_file=ca_file) == "TLS: certificate is for another name"
    async with https(authority, not_before=PAST, not_after=PAST + timedelta(days=1)) as url:
        assert await deliver(url, make_operation, ca_file=ca_file) == "TLS: certificate has expired"


async def test_certificates_that_cannot_be_read_are_said_on_entering(tmp_path, monkeypatch):
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate")
    for path, problem in ((tmp_path / "nowhere", "cannot be read"), (rubbish, "holds no certificates")):
        with pytest.raises(ConfigError, match=f"ca_file {problem}"):
            await Client("https://x/", "s", ca_file=path).__aenter__()
        with pytest.raises(ConfigError, match=f"ca_file {problem}"):
            ListClient("https://x/", "s", ca_file=path)
    monkeypatch.setenv("SSL_CERT_FILE", str(rubbish))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE holds no certificates"):
        make_tls(None)


def test_a_ca_file_is_a_path_and_for_a_client_of_our_own():
    for wrong in (5, "", b"x"):
        with pytest.raises(ConfigError, match="ca_file must be the path of a file"):
            check_ca_file(wrong, None)
    with pytest.raises(ConfigError, match="ca_file cannot be used together with http"):
        Client("https://x/", "s", http=httpx.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)), ca_file="x")
    assert check_ca_file(None, None) is None
    assert check_ca_file("x", None) == Path("x")


def caused(error: BaseException, *causes: BaseException) -> BaseException:
    for cause in causes:
        cause.__cause__, error = error, cause
    return error


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (caused(ConnectionRefusedError(), OSError("all attempts failed"), httpx.ConnectError("x")), "connection refused"),
        (caused(socket.gaierror(socket.EAI_NONAME, "x"), httpx.ConnectError("x")), "name not found"),
        (caused(ExceptionGroup("x", [ConnectionRefusedError()]), httpx.ConnectError("x")), "connection refused"),
        (httpx.RemoteProtocolError("x"), "no valid HTTP answer"),
        (httpx.ReadError("x"), "connection lost"),
        (httpx.WriteError("x"), "connection lost"),
        (caused(OSError(errno.ECONNRESET, "x"), httpx.ReadError("x")), "connection lost"),
        (caused(ssl.SSLError("x"), httpx.ConnectError("x")), "TLS: the handshake failed"),
        (caused(ssl.SSLCertVerificationError("x"), httpx.ConnectError("x")), "TLS: certificate is not trusted"),
        (httpx.ConnectError("x"), "ConnectError"),
    ],
)
def test_a_failure_is_named_by_its_innermost_cause(error, name):
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        error.__cause__.verify_code = 0
    assert name_failure(error) == name


def test_causes_that_go_round_in_circles_have_an_end():
    one, two = ValueError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    assert name_failure(one) == "ValueError"
