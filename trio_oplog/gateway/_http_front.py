"""Who may send requests over HTTP: an ASGI app in front of another one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import httpx
from attrs import define

from trio_oplog._asgi import ASGIApp, Receive, Scope, Send
from trio_oplog._recording import Headers
from trio_oplog.gateway._identity import Authenticator

IDENTITY: Final = "trio_oplog.identity"
"""Where in the scope of a request the ``Identity`` of its client is."""

_log = logging.getLogger("trio_oplog")


@define
class HTTPFrontCounts:
    """What an ``HTTPFront`` has done so far.

    Attributes:
        accepted: Requests that were let in.
        unauthenticated: Requests refused with 401.
        refused: Requests refused with 403, from a web page, or with 503, because the authenticator failed.
    """

    accepted: int = 0
    unauthenticated: int = 0
    refused: int = 0


class HTTPFront:
    """Lets those requests through to an app whose clients may send them, with who they are in the scope.

    Args:
        app: Gets them.
        authenticator: Who may send requests, and as whom; asked for each.
        origins: Web pages that may send requests (values of the ``Origin`` header).  Clients that are no browser send none and
            always may: without this check any page that a user looks at could reach a gateway on the user's machine, even
            one that has only the name of this machine (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, *, origins: Sequence[str] = ()) -> None:
        self._app = app
        self._authenticator = authenticator
        self._origins = frozenset(origin.encode() for origin in origins)
        self.counts = HTTPFrontCounts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put one request through, or refuse it."""
        if scope["type"] == "http":
            status = await self._admit(scope)
            if status is not None:
                await refuse(status, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> HTTPStatus | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if any(name == b"origin" and value not in self._origins for name, value in headers):
            self.counts.refused += 1
            return HTTPStatus.FORBIDDEN
        try:
            identity = await self._authenticator.authenticate(httpx.Headers(headers))
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is let in; its text may hold a secret
            _log.error("the authenticator failed with %s", type(error).__name__)
            self.counts.refused += 1
            return HTTPStatus.SERVICE_UNAVAILABLE
        if identity is None:
            self.counts.unauthenticated += 1
            return HTTPStatus.UNAUTHORIZED
        self.counts.accepted += 1
        scope[IDENTITY] = identity
        return None


async def refuse(status: HTTPStatus, send: Send) -> None:
    """Answer a request with a status, and nothing else that says anything."""
    headers = [(b"www-authenticate", b"Bearer")] if status == HTTPStatus.UNAUTHORIZED else []
    await answer(status, b"text/plain", f"{status.phrase}\n".encode(), send, headers)


async def answer(status: HTTPStatus, media_type: bytes, body: bytes, send: Send, headers: Headers = ()) -> None:
    """Answer a request in the app's stead."""
    own = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status.value, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})
