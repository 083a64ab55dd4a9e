"""One request and its response: ASGI's ``receive`` and ``send`` over h11."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import h11
import trio
from attrs import frozen

from trio_oplog._serving.inbound import Inbound
from trio_oplog._serving.lifespan import Message
from trio_oplog._serving.limits import Counters, HTTPLimits
from trio_oplog._serving.outbound import ClientDisconnectedError, Outbound
from trio_oplog._serving.responses import PHRASES, date

_STATUSES_WITHOUT_BODY: Final = (204, 304)
# So many pieces of a body are read in one go, lest a body of one-byte chunks keep the other tasks waiting.
_EVENTS_AT_ONCE: Final = 64


class AppError(Exception):
    """An app broke the ASGI protocol."""


class AbortedError(Exception):
    """An app raises this to end its client's connection in the middle of a response where that is no fault of its own."""


@frozen
class Wires:
    """What the exchanges of one connection have in common.

    Attributes:
        is_stopping: Whether the server takes no more requests.
    """

    inbound: Inbound
    outbound: Outbound
    limits: HTTPLimits
    counters: Counters
    is_stopping: Callable[[], bool]


class Exchange:
    """A request whose head has been read, and the response to it.

    ``receive`` and ``send`` are the app's; one may be called while the other one runs.
    """

    def __init__(self, http: h11.Connection, request: h11.Request, wires: Wires) -> None:
        self._http = http
        self._wires = wires
        self._is_head_request = request.method == b"HEAD"
        self._head: h11.Response | None = None
        self._waited = 0.0
        self._taken = 0
        self._has_left = trio.Event()
        self.is_received = False
        """Whether the app has the whole body of the request."""
        self.refusal: int | None = None
        """The status that the body of the request deserves, when it is no HTTP or comes too slowly."""
        self.was_told_to_leave = False
        """Whether the app has got ``http.disconnect``."""
        self.has_begun = False
        """Whether something of the response may have been sent."""
        self.is_complete = False
        """Whether the response has been sent whole."""

    def leave(self) -> None:
        """Tell the app, when it asks, that the client has left."""
        self._has_left.set()

    async def receive(self) -> Message:
        """ASGI's ``receive``: the body as it comes, and then the client's leaving."""
        if not self.is_received and self.refusal is None and not self.is_complete:
            try:
                body = await self._read()
            except h11.RemoteProtocolError:
                self._wires.counters.malformed += 1
                self.refusal = HTTPStatus.BAD_REQUEST
            except ClientDisconnectedError:
                pass  # it did not even wait for the 100
            else:
                if self.refusal is None:
                    return {"type": "http.request", "body": body, "more_body": not self.is_received}
        else:
            await self._has_left.wait()
        self.was_told_to_leave = True
        return {"type": "http.disconnect"}

    async def _read(self) -> bytes:
        """The next bytes of the body, which may be its last ones.  Sets ``is_received`` or ``refusal`` at the end."""
        parts: list[bytes] = []
        while len(parts) < _EVENTS_AT_ONCE:
            event = self._http.next_event()
            if type(event) is h11.Data:
                parts.append(event.data)
            elif type(event) is h11.EndOfMessage:
                self.is_received = True
                break
            elif parts or not await self._fetch():
                break
        await trio.lowlevel.checkpoint()
        return b"".join(parts)

    async def _fetch(self) -> bool:
        """Wait for more of the body; not longer than a client may take."""
        if self._http.they_are_waiting_for_100_continue and not self.has_begun:
            await self._wires.outbound.send([self._http.send(h11.InformationalResponse(status_code=100, headers=[]))])
        limits = self._wires.limits
        began = trio.current_time()
        allowed = limits.body_timeout + self._taken / limits.min_body_rate - self._waited
        with trio.move_on_after(max(0, allowed)) as scope:
            data = await self._wires.inbound.take()
        if scope.cancelled_caught:
            self._wires.counters.timeouts += 1
            self.refusal = HTTPStatus.REQUEST_TIMEOUT
            return False
        self._waited += trio.current_time() - began
        self._taken += len(data)
        self._http.receive_data(data)
        return True

    async def send(self, message: Message) -> None:
        """ASGI's ``send``: what it is given has been passed to the operating system when it returns.

        A head waits for the first part of the body, which may be empty.

        Raises:
            AppError: The message is none that may come now.
            ClientDisconnectedError: The client has left.
            h11.LocalProtocolError: A header, the status, or the length of the body is none that HTTP allows.
        """
        kind = message["type"]
        if kind == "http.response.start" and self._head is None:
            await trio.lowlevel.checkpoint()
            self._head = self._make_head(message)
        elif kind == "http.response.body" and self._head is not None and not self.is_complete:
            await self._send_body(self._head, message.get("body", b""), is_last=not message.get("more_body", False))
        else:
            raise AppError(f"the app sent {kind} out of turn")

    def _make_head(self, message: Message) -> h11.Response:
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        if all(name.lower() != b"date" for name, _ in headers):
            headers.append((b"date", date()))
        # A client that waits for a 100 may or may not send the body now: it cannot be told where the next request begins.
        if self._wires.is_stopping() or self.refusal is not None or self._http.they_are_waiting_for_100_continue:
            headers.append((b"connection", b"close"))
        status = message["status"]
        return h11.Response(status_code=status, headers=headers, reason=PHRASES.get(status, b""))

    async def _send_body(self, head: h11.Response, body: bytes, *, is_last: bool) -> None:
        http, parts = self._http, list[bytes]()
        if not self.has_begun:
            parts += http.send_with_data_passthrough(head) or ()
        if body and not self._is_head_request and head.status_code not in _STATUSES_WITHOUT_BODY:
            parts += http.send_with_data_passthrough(h11.Data(data=body)) or ()
        if is_last:
            parts += http.send_with_data_passthrough(h11.EndOfMessage()) or ()
        self.has_begun = True
        await self._wires.outbound.send(parts)
        if is_last:
            self.is_complete = True
            self._has_left.set()

    async def drain(self, limit: int) -> None:
        """Read the rest of the body and throw it away, if that is ``limit`` bytes or less; else stop anywhere."""
        while not self.is_received and self.refusal is None and limit > 0:
            try:
                limit -= max(1, len(await self._read()))
            except (h11.RemoteProtocolError, ClientDisconnectedError):
                return
