"""An app in this process for the tests of its routes, with one token of each role for each of two workspaces."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import httpx
import trio
from starlette.types import ASGIApp, Message

from trio_oplog import Operation, _wire
from trio_oplog.collector import DEFAULT_PATH, Access, Grant, Role, Store, create_app

SECRET = "swordfish"
NDJSON = {"Content-Type": "application/x-ndjson"}

MakeOperation = Callable[..., Operation]


def access_for(*workspaces: str) -> Access:
    """Each role, for everything as ``read-*`` and for each workspace as ``read-ws``."""
    tokens = {}
    for role in Role:
        for workspace in ("*", *workspaces):
            name = f"{role}-{workspace}"
            only = None if workspace == "*" else frozenset({workspace})
            tokens[sha256(name.encode()).digest()] = Grant(name=name, role=role, workspaces=only)
    return Access([SECRET], tokens)


def as_whom(token: str | None) -> dict[str, str]:
    """The header of a token, or of the shared secret."""
    return {"X-Internal-Secret": SECRET} if token is None else {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def client_of(
    store: Store, access: str | Access = SECRET, *, token: str | None = None, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app on a store."""
    transport = httpx.ASGITransport(app=create_app(store, access, **options))
    async with httpx.AsyncClient(transport=transport, base_url="http://collector", headers=as_whom(token)) as http:
        yield http


async def post(http: httpx.AsyncClient, *operations: Operation) -> None:
    """Store operations over HTTP."""
    lines = b"\n".join(map(_wire.encode, operations))
    reply = await http.post(DEFAULT_PATH, content=lines, headers=NDJSON)
    assert reply.json() == {"stored": [operation.id for operation in operations], "refused": []}


class Listener:
    """A client of one endless response: what came, and how to leave."""

    def __init__(self) -> None:
        self._left = trio.Event()
        self._send, self._chunks = trio.open_memory_channel[bytes](1_000)
        self.status = 0
        self.is_over = trio.Event()
        self._rest = b""

    async def run(self, app: ASGIApp, query: str, headers: dict[str, str], method: str = "GET") -> None:
        """Ask, and take what comes until the response ends or ``leave`` was called."""
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            elif message["body"]:
                await self._send.send(message["body"])

        path, _, parameters = query.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": parameters.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        try:
            await app(scope, receive, send)
        finally:
            self._send.close()
            self.is_over.set()

    async def event(self) -> tuple[str, Any]:
        """The next event that is shown: its id and its data; ``("", None)`` at the end."""
        while True:
            shown, separator, self._rest = self._rest.partition(b"\n\n")
            if not separator:
                self._rest = shown
                try:
                    self._rest += await self._chunks.receive()
                except trio.EndOfChannel:
                    return "", None
                continue
            fields = dict(line.split(": ", 1) for line in shown.decode().splitlines())
            if "data" in fields:
                return fields["id"], json.loads(fields["data"])

    async def chunk(self) -> bytes:
        """What came next, as it came."""
        return await self._chunks.receive()

    def leave(self) -> None:
        """Go away."""
        self._left.set()
