"""The receiving end: an ASGI app that speaks the endpoint, and the store behind it.  The extra ``collector``.

::

    async with open_store("sqlite:///operations.sqlite3") as store:
        app = create_app(store, secret)     # for any ASGI server, on Trio or asyncio
"""

from __future__ import annotations

from trio_oplog._address import DEFAULT_PATH
from trio_oplog._listing import Arrivals, Page, Statistics, StatisticsQuery
from trio_oplog.collector._access import Access, Grant, Right, Role
from trio_oplog.collector._app import create_app
from trio_oplog.collector._retention import Pruned
from trio_oplog.collector._size import StoreSize
from trio_oplog.collector._store import Store, open_store

__all__ = [
    "DEFAULT_PATH",
    "Access",
    "Arrivals",
    "Grant",
    "Page",
    "Pruned",
    "Right",
    "Role",
    "Statistics",
    "StatisticsQuery",
    "Store",
    "StoreSize",
    "create_app",
    "open_store",
]
