"""``operations/list`` over HTTP: an ASGI app in front of the proxy, which answers such requests itself."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import trio

from trio_oplog._asgi import ASGIApp, Message, Receive, Scope, Send
from trio_oplog._listing import ListClient, answering, read_list_request
from trio_oplog._recording import HttpExchange
from trio_oplog._recording import Message as Request
from trio_oplog.gateway._http_front import IDENTITY, answer

EXCHANGE: Final = "trio_oplog.exchange"
"""Where in the scope of a request the ``HttpExchange`` is that is shown it."""


class HTTPLists:
    """Answers ``operations/list``, and passes every other request on as it came.

    What may be one is held until that is known: a POST whose body is not longer than 16 KiB, until its body is whole.

    Args:
        app: Gets the other requests.
        list_client: Where the operations are.
    """

    def __init__(self, app: ASGIApp, list_client: ListClient) -> None:
        self._app = app
        self._list_client = list_client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        exchange: HttpExchange = scope[EXCHANGE]
        held = deque[Message]()
        while exchange.may_list_operations:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            held.append(message)
        if exchange.lists_operations:
            # None where it is compressed; then the upstream may say what it does not know.
            request = read_list_request(b"".join(message["body"] for message in held))
            if request is not None:
                await self._answer(scope, request, receive, send)
                return

        async def receive_again() -> Message:
            if held:
                await trio.lowlevel.checkpoint()
                return held.popleft()
            return await receive()

        await self._app(scope, receive_again, send)

    async def _answer(self, scope: Scope, request: Request, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:

            async def leave_with_client() -> None:
                await receive()
                nursery.cancel_scope.cancel()

            nursery.start_soon(leave_with_client)
            async with answering(self._list_client, scope[IDENTITY].workspace_id, request) as body:
                with suppress(OSError):  # the client has left
                    await answer(HTTPStatus.OK, b"application/json", body, send)
            nursery.cancel_scope.cancel()
