"""Signing in by a link: its code is exchanged for a token, once.

A link may stay in a terminal, in a browser's history and in the arguments of a process; what it has is worth nothing afterwards.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from trio_oplog._address import DEFAULT_PATH
from trio_oplog._tokens import digest_of_token, new_token
from trio_oplog.collector._access import Access, Grant, Role, credential
from trio_oplog.collector._app import create_app
from trio_oplog.collector._page import page_routes
from trio_oplog.collector._refusals import FORBIDDEN
from trio_oplog.collector._store import Store

HOSTS = ("127.0.0.1", "localhost")


class SignInLinks:
    """The ASGI app to which the page brings the code of a link.

    Args:
        token: What a code is exchanged for.
        used: Called with the code of the next link, at first and whenever one was used.
    """

    def __init__(self, token: str, used: Callable[[str], object]) -> None:
        self._token = token
        self._used = used
        self._code = ""

    def renew(self) -> None:
        """Make another code; the one before is worth nothing any more."""
        self._code = secrets.token_urlsafe(32)
        self._used(self._code)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        shown = credential(scope["headers"])
        if shown is not None and self._code and hmac.compare_digest(shown, self._code.encode()):
            response = PlainTextResponse(self._token, headers={"Cache-Control": "no-store"})
            self.renew()
        else:
            response = PlainTextResponse("the code is wrong, or was used already\n", FORBIDDEN)
        await response(scope, receive, send)


def create_local_app(store: Store, used: Callable[[str], object]) -> tuple[ASGIApp, SignInLinks]:
    """The app of ``create_app`` for one person on their own machine, who signs in by a link.

    It answers only to names of this machine, so that no page of another name that leads here gets an answer.  It stores nothing,
    and does not put on record who reads: they could read the store without it.

    Args:
        store: Which somebody has open.
        used: See ``SignInLinks``.

    Returns:
        The app, and what makes its links.
    """
    token, _ = new_token()
    grant = Grant(name="you", role=Role.AUDIT)
    links = SignInLinks(token, used)
    inner = create_app(store, Access(tokens={digest_of_token(token.encode()): grant}), puts_reads_on_record=False)
    routes = [Route("/exchange", links, methods=["POST"]), *page_routes(DEFAULT_PATH, sign_in="link"), Mount("/", inner)]
    app = Starlette(routes=routes)
    return TrustedHostMiddleware(app, allowed_hosts=HOSTS, www_redirect=False), links
