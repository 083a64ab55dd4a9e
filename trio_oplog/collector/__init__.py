"""The receiving end: an ASGI app that speaks the endpoint, and the store behind it.  The extra ``collector``.

::

    async with open_store("sqlite:///operations.sqlite3") as store:
        server = HTTPServer(create_app(store, secret))
        await server.serve(await trio.open_tcp_listeners(8088, host="127.0.0.1"))

The app is for any ASGI server, on Trio or asyncio.  ``HTTPServer`` is one for Trio that withstands strangers.
"""

from __future__ import annotations

from trio_oplog._address import DEFAULT_PATH
from trio_oplog._listing import Arrivals, Counted, Page, Slowest, Statistics, StatisticsQuery
from trio_oplog._serving import ClientDisconnectedError, HTTPLimits, HTTPServer, HTTPServerStatistics, tls_context
from trio_oplog.collector._access import Access, Grant, Right, Role
from trio_oplog.collector._app import create_app
from trio_oplog.collector._retention import Pruned
from trio_oplog.collector._size import StoreSize
from trio_oplog.collector._store import Store, open_store

__all__ = [
    "DEFAULT_PATH",
    "Access",
    "Arrivals",
    "ClientDisconnectedError",
    "Counted",
    "Grant",
    "HTTPLimits",
    "HTTPServer",
    "HTTPServerStatistics",
    "Page",
    "Pruned",
    "Right",
    "Role",
    "Slowest",
    "Statistics",
    "StatisticsQuery",
    "Store",
    "StoreSize",
    "create_app",
    "open_store",
    "tls_context",
]
