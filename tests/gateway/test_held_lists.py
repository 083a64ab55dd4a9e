"""Clients that ask for lists and do not read them: the gateway holds so much at most, and others get their lists again."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import trio
from websockets.trio.client import connect

from tests.gateway.fronted import ADA, fronting, http
from tests.serving.peer import PLENTY, echo, request
from tests.serving.test_streaming import POST
from trio_oplog import Config, ListClient
from trio_oplog._listing.room import COPIES, COPIES_SENT
from trio_oplog.gateway import Anyone, ChildUpstream, Gateway
from trio_oplog.testing import RecordingSubmitter

RECORDS = 250
ANSWER = b'{"operations":["' + b"x" * 16_000_000 + b'"]}'
LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "operations/list", "params": {"limit": RECORDS}})


def list_client() -> ListClient:
    """With room for one answer: while it is sent there is none for another one to be made."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=ANSWER))
    return ListClient("http://x", "s", http=httpx.AsyncClient(transport=transport), timeout=PLENTY, max_held=COPIES * len(ANSWER))


async def until_one_is_being_sent(asking: ListClient) -> None:
    while asking._room.held != COPIES_SENT * len(ANSWER):  # noqa: ASYNC110
        await trio.sleep(0.01)


@contextmanager
def impatient(asking: ListClient) -> Iterator[None]:
    """Whoever asks now does not wait for room."""
    asking._timeout = 0.01
    yield
    asking._timeout = PLENTY


def narrow(stream: trio.SocketStream) -> None:
    """Let the kernel take little of what the gateway sends."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


async def test_over_http_what_is_not_read_has_its_limit() -> None:
    asking = list_client()
    async with fronting(echo, list_client=asking) as found, http() as client:
        streams = [await found.connect() for _ in range(8)]
        for stream in streams:
            narrow(stream)
            await stream.send_all(request(b"Content-Length: %d\r\n" % len(LIST), line=POST, body=LIST.encode()))
        await until_one_is_being_sent(asking)
        with impatient(asking):
            assert (await client.post(found.url, content=LIST.encode())).json()["error"]["code"] == -32001
        for stream in streams:
            await trio.aclose_forcefully(stream)
        assert ANSWER in (await client.post(found.url, content=LIST.encode())).content
    assert asking._room.held == 0


async def test_over_websocket_what_is_not_read_has_its_limit(nothing_leaks: None) -> None:
    asking = list_client()
    gateway = Gateway(
        ChildUpstream(["cat"]),
        Anyone(ADA),
        RecordingSubmitter(),
        Config(source="s", workspace_id="w"),
        list_client=asking,
        grace=0.1,
    )
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    with trio.fail_after(PLENTY):
        async with trio.open_nursery() as nursery:
            await nursery.start(gateway.serve, listeners)
            async with connect(url, proxy=None, max_size=None) as patient:

                async def ask() -> str:
                    await patient.send(LIST)
                    return str(await patient.recv())

                async with trio.open_nursery() as idle:
                    for _ in range(2):
                        client = await idle.start(hold_back, url)
                        for _ in range(8):
                            await client.send_all(masked(LIST.encode()))
                    await until_one_is_being_sent(asking)
                    with impatient(asking):
                        assert json.loads(await ask())["error"]["code"] == -32001
                    idle.cancel_scope.cancel()
                assert ANSWER.decode() in await ask()
            gateway.stop()
    assert asking._room.held == 0


async def hold_back(url: str, *, task_status: trio.TaskStatus[trio.SocketStream]) -> None:
    """A WebSocket client that reads nothing after the handshake."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    async with stream:
        narrow(stream)
        key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        await stream.send_all(request(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + key))
        said = b""
        while b"\r\n\r\n" not in said:
            said += await stream.receive_some()
        task_status.started(stream)
        await trio.sleep_forever()


def masked(text: bytes) -> bytes:
    """A text message from a client, with a mask that changes nothing."""
    length = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + len(text).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + text
