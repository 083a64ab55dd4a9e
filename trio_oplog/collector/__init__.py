"""The receiving end: an ASGI app that speaks the endpoint, and the store behind it.  The extra ``collector``.

::

    async with open_store("sqlite:///operations.sqlite3") as store:
        server = HTTPServer(create_app(store, secret))
        await server.serve(await trio.open_tcp_listeners(8088, host="127.0.0.1"))

The app is for any ASGI server, on Trio or asyncio.  ``HTTPServer`` is one for Trio that withstands strangers.

In: requests.  Out: rows in a database, and what is asked of them.

    1  _app.py       the routes, each with the right that it needs: _access.py has the roles, _sign_in.py the page's sign-in;
                     _reporting.py and _metrics.py say what becomes of each request, _refusals.py why one is refused
    2  _endpoint.py  what each route does: _bodies.py, _ndjson.py and _lines.py read records, _parameters.py reads questions,
                     _streams.py sends what is long, _audit.py puts reads and deletions on record
    3  _store.py     records in, pages out, from any task: _database.py and _databases.py reach SQLite and PostgreSQL,
                     _problems.py says what their errors mean, _place.py whether a file is still there, _size.py how much is
    4  _writing.py   _rows.py (what finds a record) and _cells.py (what is counted of it; _histogram.py) -> the tables of
                     _schema.py; _migration.py brings older ones up to date, _partitions.py makes PostgreSQL's days
    5  _queries.py   records by every filter: _pages.py and _positions.py cut them into pages, _search.py looks into them,
                     _slowest.py and _live.py order them otherwise, _statistics.py reads the counts
    6  _retention.py forgets what is old

``_page.py`` serves ``page/``, which shows all this to people.
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
