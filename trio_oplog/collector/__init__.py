"""The receiving end: an ASGI app that speaks the endpoint, and the store behind it.  The extra ``collector``.

::

    async with open_store("sqlite:///operations.sqlite3") as store:
        server = HTTPServer(create_app(store, secret))
        await server.serve(await trio.open_tcp_listeners(8088, host="127.0.0.1"))

The app is for any ASGI server that runs Trio.  ``HTTPServer`` is one that withstands strangers.
"""

from __future__ import annotations

from trio_oplog._address import DEFAULT_PATH
from trio_oplog._serving import ClientDisconnectedError, HTTPLimits, HTTPServer, HTTPServerStatistics, tls_context
from trio_oplog.collector._app import create_app
from trio_oplog.collector._store import Store, open_store

__all__ = [
    "DEFAULT_PATH",
    "ClientDisconnectedError",
    "HTTPLimits",
    "HTTPServer",
    "HTTPServerStatistics",
    "Store",
    "create_app",
    "open_store",
    "tls_context",
]
