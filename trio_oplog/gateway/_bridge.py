"""The bridge: frames pumped both ways between a client and a server, each one shown to an Interceptor on its way."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Final

import trio
from attrs import frozen

from trio_oplog._errors import ConfigError
from trio_oplog._listing import OVERLOADED, ListClient, answering, read_list_request
from trio_oplog._recording import FrameObserver, Message
from trio_oplog._tap import json_texts
from trio_oplog._trio import require_trio
from trio_oplog.gateway._frames import GRACE, Closed, Frame, FrameStream, Line

_log = logging.getLogger("trio_oplog")

LISTS_AT_ONCE: Final = 8

# A letter of "operations/list" can only be spelled otherwise as \u00.., its slash as \/ too.
_HINTS_TEXT: Final = ("operations", "\\u00")
_HINTS_BYTES: Final = (b"operations", b"\\u00")


@frozen(kw_only=True)
class OperationsList:
    """What ``bridge`` answers ``operations/list`` with.

    Attributes:
        list_client: Where the operations come from.
        workspace_id: Whose operations this client may see, whatever it asks for.
    """

    list_client: ListClient
    workspace_id: str


@frozen(kw_only=True)
class BridgeReport:
    """What a bridge has done.

    Attributes:
        client_closed: How the client stopped sending; ``None`` when the server went first and the client was not waited for.
        server_closed: How the server stopped sending; ``None`` when it did not within the grace period.
        client_frames: Frames that reached the server.
        server_frames: Frames that reached the client.
        undelivered_frames: Frames, either way, that their receiver did not take any more.  They are on record.
        observer_errors: Frames that the Interceptor raised on; it should not.  They were forwarded.
        lists_answered: ``operations/list`` requests that were answered.
        lists_refused: Those of them that were answered "overloaded".
    """

    client_closed: Closed | None
    server_closed: Closed | None
    client_frames: int
    server_frames: int
    undelivered_frames: int
    observer_errors: int
    lists_answered: int
    lists_refused: int


async def bridge(
    client: FrameStream,
    server: FrameStream,
    interceptor: FrameObserver | None,
    *,
    operations: OperationsList | None = None,
    grace: float = GRACE,
) -> BridgeReport:
    """Pump frames both ways until the connection has ended, and show each one to an Interceptor before it is forwarded.

    A frame is forwarded as it came, in the order in which it came.  There is no queue: while one side does not take a frame,
    nothing is read from the other.  A frame that holds several JSON texts is shown one text at a time.  When one side ends,
    the other is told why, and may finish what is in flight.
    A failure of the Interceptor or of the list endpoint is counted and logged once, and never touches the traffic.

    Both streams belong to the bridge: they are closed when it ends, returns or is cancelled, and so is the Interceptor.

    Args:
        client: The side that calls.
        server: The side that is called.
        interceptor: Watches the traffic: an ``Interceptor``, or what has its methods; ``None`` forwards without a record.
        operations: Answers ``operations/list``; ``None`` leaves that to the server.  It is answered in a task of its own,
            at most 8 at once: more get the JSON-RPC error -32001.
        grace: How long the connection may go on after one side has ended, in seconds; not negative.

    Returns:
        What was done.

    Raises:
        ConfigError: ``grace`` is negative; nothing was done, and the streams are open.
        TrioRequiredError: The program runs under another event loop than Trio's; nothing was done, and the streams are open.
    """
    require_trio("bridge")
    if not grace >= 0:
        raise ConfigError("grace", "must not be negative")
    run = _Bridge(client, server, interceptor, operations, grace)
    try:
        await run.pump()
    finally:
        run.observe_end()
        with trio.CancelScope(shield=True):
            await client.aclose()
            await server.aclose()
    return run.report()


class _Direction:
    """One direction of a bridge: where frames come from, who looks at them, where they go, and how that went."""

    def __init__(self, source: FrameStream, sink: FrameStream, observe: Callable[[Frame], object] | None) -> None:
        self.receive = source.receive
        self.send = sink.send
        self.observe = observe
        self.delivered = 0
        self.takes = True


class _Bridge:
    """One run of ``bridge``: what its tasks share."""

    def __init__(
        self,
        client: FrameStream,
        server: FrameStream,
        interceptor: FrameObserver | None,
        operations: OperationsList | None,
        grace: float,
    ) -> None:
        self._client = client
        self._server = server
        self._interceptor = interceptor
        self._operations = operations
        self._grace = grace
        self._upward = _Direction(client, server, None if interceptor is None else interceptor.on_client_frame)
        self._downward = _Direction(server, client, None if interceptor is None else interceptor.on_server_frame)
        self._pumps = trio.CancelScope()
        self._to_server = trio.CancelScope()
        self._answering = 0
        self._answered = trio.Event()
        self._client_closed: Closed | None = None
        self._server_closed: Closed | None = None
        self._undelivered_frames = 0
        self._observer_errors = 0
        self._lists_answered = 0
        self._lists_refused = 0

    def report(self) -> BridgeReport:
        return BridgeReport(
            client_closed=self._client_closed,
            server_closed=self._server_closed,
            client_frames=self._upward.delivered,
            server_frames=self._downward.delivered,
            undelivered_frames=self._undelivered_frames,
            observer_errors=self._observer_errors,
            lists_answered=self._lists_answered,
            lists_refused=self._lists_refused,
        )

    async def pump(self) -> None:
        async with trio.open_nursery() as answers:
            with self._pumps:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump_to_client)
                    with self._to_server:
                        await self._pump_to_server(answers)
            answers.cancel_scope.cancel()

    def observe_end(self) -> None:
        if self._interceptor is not None:
            try:
                self._interceptor.close()
            except Exception as error:  # noqa: BLE001 - the log must not harm the traffic
                self._note(error)

    async def _pump_to_server(self, answers: trio.Nursery) -> None:
        while not isinstance(frame := await self._upward.receive(), Closed):
            texts = self._show(self._upward, frame)
            if self._operations is not None and _may_ask_for_list(frame):
                await self._take_out_lists(self._operations, frame, texts, answers)
            else:
                await self._forward(self._upward, frame)
        self._client_closed = frame
        self._begin_grace()
        await self._server.send_closed(frame.as_client())

    async def _pump_to_client(self) -> None:
        while not isinstance(frame := await self._downward.receive(), Closed):
            self._show(self._downward, frame)
            await self._forward(self._downward, frame)
        self._server_closed = frame
        self._begin_grace()
        while self._answering:
            await self._answered.wait()
        await self._client.send_closed(frame.as_server())
        if not frame.half:
            # The server takes nothing more.  The client was read until now only so that it could say good-bye.
            self._to_server.cancel()

    async def _take_out_lists(self, operations: OperationsList, frame: Frame, texts: list[Frame], answers: trio.Nursery) -> None:
        """Answer the ``operations/list`` in a frame, and forward what is left of it; a frame without one as it came."""
        requests = [read_list_request(text) for text in texts]
        if not any(requests):
            await self._forward(self._upward, frame)
            return
        for text, request in zip(texts, requests, strict=True):
            if request is None:
                await self._forward(self._upward, text)
            else:
                await self._list(operations, text, request, answers)

    async def _forward(self, way: _Direction, frame: Frame) -> None:
        if way.takes:
            try:
                await way.send(frame)
            except trio.BrokenResourceError:
                way.takes = False
                self._begin_grace()
            else:
                way.delivered += 1
                return
        self._undelivered_frames += 1

    def _begin_grace(self) -> None:
        self._pumps.deadline = min(self._pumps.deadline, trio.current_time() + self._grace)

    def _show(self, way: _Direction, frame: Frame) -> list[Frame]:
        """Show a frame; the JSON texts in it."""
        texts = _texts(frame)
        if way.observe is not None:
            for text in texts:
                try:
                    way.observe(text)
                except Exception as error:  # noqa: BLE001 - the log must not harm the traffic
                    self._note(error)
        return texts

    def _note(self, error: Exception) -> None:
        self._observer_errors += 1
        if self._observer_errors == 1:
            # Its text may quote a payload, so that only its type is shown.
            _log.error("the log of a connection failed with %s; the traffic goes on", type(error).__name__)

    async def _list(self, operations: OperationsList, frame: Frame, request: Message, answers: trio.Nursery) -> None:
        if self._answering >= LISTS_AT_ONCE:
            self._lists_refused += 1
            await self._answer(frame, _error(request, OVERLOADED, "overloaded"))
            return
        self._answering += 1
        answers.start_soon(self._list_and_answer, operations, frame, request)

    async def _list_and_answer(self, operations: OperationsList, frame: Frame, request: Message) -> None:
        try:
            async with answering(operations.list_client, operations.workspace_id, request) as answer:
                await self._answer(frame, answer)
        finally:
            self._answering -= 1
            self._answered.set()
            self._answered = trio.Event()

    async def _answer(self, request: Frame, answer: bytes) -> None:
        """Answer in the kind of frame in which the client asked."""
        try:
            # A line of a text stream is text, and need not be decoded, which could take four times its memory.
            await self._client.send(Line(answer) if isinstance(request, str) else answer)
        except trio.BrokenResourceError:
            self._undelivered_frames += 1
        else:
            self._lists_answered += 1


def _texts(frame: Frame) -> list[Frame]:
    if isinstance(frame, str):
        return [*json_texts(frame)]
    return [frame] if isinstance(frame, Line) else [*json_texts(frame)]


def _may_ask_for_list(frame: Frame) -> bool:
    """Whether it is worth looking for an ``operations/list`` in a frame."""
    if isinstance(frame, str):
        return _HINTS_TEXT[0] in frame or _HINTS_TEXT[1] in frame
    return _HINTS_BYTES[0] in frame or _HINTS_BYTES[1] in frame


def _error(request: Message, code: int, message: str) -> bytes:
    error = json.dumps({"code": code, "message": message}).encode()
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (bytes(request.id), error)
