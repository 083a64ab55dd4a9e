"""What becomes of each request: a line in the log, and the metrics.  Neither has a parameter or a payload."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Final
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trio_oplog.collector._metrics import Metrics

WHO: Final = "trio_oplog.who"
"""Where in an ASGI scope the name of whoever asks is, once that is known."""
ROUTE: Final = "trio_oplog.route"
"""Where in an ASGI scope the route is that a request came to."""

_PATH_MAX: Final = 256
_METHODS: Final = ("GET", "HEAD", "POST")

access_log = logging.getLogger("trio_oplog.collector.access")


class Reporting:
    """ASGI middleware that reports each request when it is over."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        status = 500  # what a server says where an app says nothing
        sent = 0

        async def watch(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            took = perf_counter() - began
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.finish(scope.get(ROUTE, "none"), method, status, took)
            client = scope.get("client") or ("-",)
            values = (client[0], scope.get(WHO, "-"), method, _path(scope), status, sent, took * 1000)
            access_log.info("%s %s %s %s %d %d bytes %.1f ms", *values)


def _path(scope: Scope) -> str:
    """The path, in printable ASCII."""
    return quote(scope["path"].encode("utf-8", "replace")[:_PATH_MAX])
