"""A naive bridge over memory channels that keeps every promise, and ones that each break one."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

from tests.http import http_client
from trio_oplog.testing import Law

FAULTY: list[tuple[type[Any], set[Law]]] = []


def breaks(*laws: Law) -> Any:
    def register(kind: type[NaiveBridge]) -> type[NaiveBridge]:
        FAULTY.append((kind, set(laws)))
        return kind

    return register


class End:
    """One end of a connection in memory."""

    def __init__(self, sends: trio.MemorySendChannel[Any], receives: trio.MemoryReceiveChannel[Any]) -> None:
        self.sends, self.receives = sends, receives

    async def send(self, frame: Any) -> None:
        await self.sends.send(frame)

    async def receive(self) -> Any:
        try:
            return await self.receives.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return None

    async def aclose(self) -> None:
        await self.sends.aclose()


def connection() -> tuple[End, End]:
    there, here = trio.open_memory_channel[Any](0), trio.open_memory_channel[Any](0)
    return End(there[0], here[1]), End(here[0], there[1])


class NaiveBridge:
    """Two pumps; ``operations/list`` is answered in a task of its own."""

    def __init__(self, interceptor: Any, list_url: str | None) -> None:
        self.interceptor, self.list_url = interceptor, list_url

    @classmethod
    @asynccontextmanager
    async def open(cls, interceptor: Any, list_url: str | None) -> AsyncIterator[tuple[End, End]]:
        (client, inner_client), (server, inner_server) = connection(), connection()
        made = cls(interceptor, list_url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run, inner_client, inner_server)
            yield client, server
            nursery.cancel_scope.cancel()

    async def run(self, client: End, server: End) -> None:
        self.tasks: trio.Nursery
        try:
            async with trio.open_nursery() as self.tasks:
                async with trio.open_nursery() as pumps:
                    pumps.start_soon(self.pump, client, server, "on_client_frame", client)
                    pumps.start_soon(self.pump, server, client, "on_server_frame", None)
                self.tasks.cancel_scope.cancel()
        finally:
            self.finish()

    def finish(self) -> None:
        self.watch(self.interceptor.close)

    def watch(self, look: Any, *frame: Any) -> None:
        try:
            look(*frame)
        except Exception:  # noqa: BLE001
            return

    async def pump(self, source: End, sink: End, look: str, client: End | None) -> None:
        while (frame := await source.receive()) is not None:
            self.watch(getattr(self.interceptor, look), frame)
            if client is not None and self.list_url and b"operations/list" in (frame if isinstance(frame, bytes) else b""):
                await self.start_list(frame, client)
            else:
                await self.forward(sink, frame)
        await self.end(sink)

    async def end(self, sink: End) -> None:
        await sink.aclose()

    async def forward(self, sink: End, frame: Any) -> None:
        await sink.send(frame)

    async def start_list(self, frame: bytes, client: End) -> None:
        self.tasks.start_soon(self.answer_list, frame, client)

    async def answer_list(self, frame: bytes, client: End) -> None:
        await client.send(self.list_answer(json.loads(frame)["id"], await self.fetch()))

    async def fetch(self) -> httpx.Response | None:
        async with http_client(timeout=10) as http:
            try:
                return await http.get(self.list_url or "")
            except httpx.HTTPError:
                return None

    def list_answer(self, request_id: Any, answer: httpx.Response | None) -> bytes:
        try:
            outcome = {"result": answer.json()}  # type: ignore[union-attr]
        except (ValueError, AttributeError):
            outcome = {"error": {"code": -32603, "message": "no answer"}}
        return json.dumps({"jsonrpc": "2.0", "id": request_id, **outcome}).encode()


@breaks(Law.BRIDGE_BYTES)
class EncodesFramesAgain(NaiveBridge):
    async def forward(self, sink: End, frame: Any) -> None:
        try:
            again = json.dumps(json.loads(frame))
        except (ValueError, RecursionError):
            again = frame
        await sink.send(again if isinstance(frame, str) or not isinstance(again, str) else again.encode())


@breaks(Law.BRIDGE_BYTES)
class MakesEverythingText(NaiveBridge):
    async def forward(self, sink: End, frame: Any) -> None:
        await sink.send(frame if isinstance(frame, str) else frame.decode("utf-8", "replace"))


@breaks(Law.BRIDGE_ORDER)
class ForwardsTwoAtOnce(NaiveBridge):
    """Holds one frame back, and lets the next one pass."""

    async def pump(self, source: End, sink: End, look: str, client: End | None) -> None:
        held: list[Any] = []
        while (frame := await source.receive()) is not None:
            self.watch(getattr(self.interceptor, look), frame)
            held.append(frame)
            if len(held) == 2:
                await sink.send(held.pop())
                await sink.send(held.pop())
        for frame in held:
            await sink.send(frame)
        await sink.aclose()


@breaks(Law.BRIDGE_ORDER)
class DropsWhatIsNoJson(NaiveBridge):
    async def forward(self, sink: End, frame: Any) -> None:
        if frame[:1] in {"{", b"{"}:
            await sink.send(frame)


@breaks(Law.BRIDGE_MEMORY)
class QueuesWithoutBounds(NaiveBridge):
    async def pump(self, source: End, sink: End, look: str, client: End | None) -> None:
        send, receive = trio.open_memory_channel[Any](math.inf)

        async def write() -> None:
            async for frame in receive:
                await sink.send(frame)
            await sink.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            while (frame := await source.receive()) is not None:
                self.watch(getattr(self.interceptor, look), frame)
                if client is not None and self.list_url and b"operations/list" in bytes(frame):
                    await self.start_list(frame, client)
                else:
                    send.send_nowait(frame)
            send.close()


@breaks(Law.BRIDGE_LOG_INVISIBLE)
class DiesOfItsLog(NaiveBridge):
    def watch(self, look: Any, *frame: Any) -> None:
        look(*frame)


@breaks(Law.BRIDGE_LOG_INVISIBLE)
class DropsWhatTheLogRefuses(NaiveBridge):
    failed = False

    def watch(self, look: Any, *frame: Any) -> None:
        try:
            look(*frame)
        except Exception:  # noqa: BLE001
            self.failed = True

    async def forward(self, sink: End, frame: Any) -> None:
        if not self.failed:
            await sink.send(frame)


@breaks(Law.BRIDGE_SHOWS)
class ShowsAfterwards(NaiveBridge):
    async def pump(self, source: End, sink: End, look: str, client: End | None) -> None:
        last = None
        while (frame := await source.receive()) is not None:
            await sink.send(frame)
            if last is not None:
                self.watch(getattr(self.interceptor, look), last)
            last = frame
        await sink.aclose()


@breaks(Law.BRIDGE_SHOWS)
class ShowsOneDirectionOnly(NaiveBridge):
    def watch(self, look: Any, *frame: Any) -> None:
        if look.__name__ != "on_server_frame":
            super().watch(look, *frame)


@breaks(Law.BRIDGE_END)
class NeverClosesTheInterceptor(NaiveBridge):
    def finish(self) -> None:
        pass


@breaks(Law.BRIDGE_END)
class ClosesTheInterceptorTwice(NaiveBridge):
    def finish(self) -> None:
        super().finish()
        super().finish()


@breaks(Law.BRIDGE_END)
class LeavesTheOtherSideOpen(NaiveBridge):
    async def end(self, sink: End) -> None:
        pass


@breaks(Law.BRIDGE_LIST_GOES_ON)
class WaitsForTheList(NaiveBridge):
    """The predecessor's way: every later frame waits."""

    async def start_list(self, frame: bytes, client: End) -> None:
        await self.answer_list(frame, client)


@breaks(Law.BRIDGE_LIST_ANSWERS)
class ShowsTheUpstreamBody(NaiveBridge):
    def list_answer(self, request_id: Any, answer: httpx.Response | None) -> bytes:
        error = {"code": -32603, "message": answer.text if answer is not None else "no answer"}
        return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode()


@breaks(Law.BRIDGE_LIST_ANSWERS)
class LeavesTheListUnanswered(NaiveBridge):
    """The predecessor's way, when the reply is not JSON."""

    async def answer_list(self, frame: bytes, client: End) -> None:
        answer = await self.fetch()
        if answer is not None and answer.text.startswith("{"):
            await client.send(self.list_answer(json.loads(frame)["id"], answer))
