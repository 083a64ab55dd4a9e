"""A client of ``codex app-server`` on its standard input and output, with nothing but ``json``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
import trio

Json = dict[str, Any]
Answer = Callable[[Json], Awaitable[Json]]


class AppServerClient:
    """Sends requests, answers those of the server, and keeps every notification.

    Attributes:
        notifications: Every notification so far.
    """

    def __init__(self, process: trio.Process, answer: Answer) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.notifications: list[Json] = []
        self._input = process.stdin
        self._output = process.stdout
        self._answer_for = answer
        self._ids = count()
        self._results: dict[int, Json] = {}
        self._news = trio.Condition()

    async def request(self, method: str, **params: Any) -> Json:
        """Send a request and return its result; the answer must not be an error."""
        request_id = next(self._ids)
        await self._send({"id": request_id, "method": method, "params": params})
        async with self._news:
            while request_id not in self._results:
                await self._news.wait()
        answer = self._results.pop(request_id)
        assert "result" in answer, answer
        result: Json = answer["result"]
        return result

    async def notify(self, method: str) -> None:
        await self._send({"method": method})

    async def wait_for(self, method: str, **params: Any) -> Json:
        """Return the parameters of the first notification of this method that has these parameters."""
        seen = 0
        async with self._news:
            while True:
                for notification in self.notifications[seen:]:
                    found: Json = notification["params"]
                    if notification["method"] == method and all(found.get(name) == value for name, value in params.items()):
                        return found
                seen = len(self.notifications)
                await self._news.wait()

    async def run(self) -> None:
        """Read until the server closes its output."""
        rest = b""
        async with trio.open_nursery() as nursery:
            async for chunk in self._output:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    message: Json = json.loads(line)
                    if "method" not in message:
                        self._results[message["id"]] = message
                    elif "id" not in message:
                        self.notifications.append(message)
                    else:
                        nursery.start_soon(self._answer, message)
                async with self._news:
                    self._news.notify_all()
        pytest.fail("the app-server closed its output")

    async def _answer(self, request: Json) -> None:
        await self._send({"id": request["id"], "result": await self._answer_for(request)})

    async def _send(self, message: Json) -> None:
        await self._input.send_all(json.dumps(message).encode() + b"\n")


@asynccontextmanager
async def connected(process: trio.Process, answer: Answer) -> AsyncIterator[AppServerClient]:
    """A client that has introduced itself as ``e2e/1.0``."""
    client = AppServerClient(process, answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        await client.request("initialize", clientInfo={"name": "e2e", "version": "1.0"}, capabilities={"experimentalApi": True})
        await client.notify("initialized")
        yield client
        nursery.cancel_scope.cancel()
