"""The HTTP server: an ASGI app and listeners go in; each connection is served on its own, whatever its peer sends.

::

    limits.py       what a server bounds, and what it counts
    target.py       a request's head -> an ASGI scope, or the status that refuses it
    inbound.py      what the client sends: read ahead within a bound, so that its leaving is noticed at once
    outbound.py     what is sent to the client: piece by piece, each within a time
    responses.py    the server's own responses
    exchange.py     one request and its response: ASGI's ``receive`` and ``send`` over h11
    connection.py   one connection: heads, exchanges, keep-alive, and a gentle end
    lifespan.py     ASGI's lifespan protocol
    server.py       the listeners, the limit of connections, and the graceful stop

HTTP/1.1 only: no HTTP/2, no upgrades.  Knows nothing of operations.
"""

from __future__ import annotations

from trio_oplog._serving.exchange import AbortedError
from trio_oplog._serving.limits import HTTPLimits, HTTPServerStatistics
from trio_oplog._serving.outbound import ClientDisconnectedError
from trio_oplog._serving.server import GRACE, HTTPServer, tls_context

__all__ = [
    "GRACE",
    "AbortedError",
    "ClientDisconnectedError",
    "HTTPLimits",
    "HTTPServer",
    "HTTPServerStatistics",
    "tls_context",
]
