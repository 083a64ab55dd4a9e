"""The endpoint as an ASGI app: its routes, who may use each, and how it says no.

Answers are JSON.  An error names the field and says what is wrong with it; it never repeats a value, and what the store
says goes to the log.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from trio_oplog._address import DEFAULT_PATH
from trio_oplog._errors import ConfigError, QueryError, StoreError
from trio_oplog.collector._access import Access, Grant, Right, credential
from trio_oplog.collector._endpoint import Endpoint
from trio_oplog.collector._metrics import Metrics
from trio_oplog.collector._page import page_routes
from trio_oplog.collector._refusals import FORBIDDEN, UNAUTHORIZED, RefusalError, json_response
from trio_oplog.collector._reporting import ROUTE, WHO, Reporting
from trio_oplog.collector._store import Store

Handler = Callable[[Endpoint, Request, Grant], Awaitable[ASGIApp]]

_HEALTH_INTERVAL: Final = 1.0
"""How long it counts what was last seen of the store, in seconds."""

_log = logging.getLogger("trio_oplog.collector")


class _Way(NamedTuple):
    """A route: its name in the log and the metrics, its method, its path, what it needs and who answers."""

    name: str
    method: str
    path: str
    right: Right
    handler: Handler


# The last of a path takes what the others leave: an operation with the id "stats" is found by the list's parameter id.
_BELOW: Final = (
    _Way("store", "POST", "", Right.WRITE, Endpoint.take),
    _Way("list", "GET", "", Right.READ, Endpoint.list),
    _Way("stats", "GET", "/stats", Right.READ, Endpoint.statistics),
    _Way("workspaces", "GET", "/workspaces", Right.READ, Endpoint.workspaces),
    _Way("whoami", "GET", "/whoami", Right.READ, Endpoint.whoami),
    _Way("export", "GET", "/export", Right.READ, Endpoint.export),
    _Way("live", "GET", "/live", Right.READ, Endpoint.live),
    _Way("prune", "POST", "/prune", Right.PRUNE, Endpoint.prune),
    _Way("get", "GET", "/{id:path}", Right.READ, Endpoint.get),
)
_METRICS: Final = _Way("metrics", "GET", "/metrics", Right.READ, Endpoint.metrics)


def create_app(store: Store, access: str | Access, *, path: str = DEFAULT_PATH, puts_reads_on_record: bool = True) -> Starlette:
    """An ASGI app that stores operations and shows them, to programs and on a page for people, on Trio or asyncio.

    Its lifespan opens the store and closes it, unless somebody else has it open as well.  Mounted in another app, whose lifespan
    is the one that runs, it opens the store at the first use.

    Args:
        store: From ``open_store``.
        access: Who may use it.  A text is the secret that gives all rights: visible ASCII, not empty.
        path: Where the endpoint is; begins with ``/``.  The page is at ``/``, unless the endpoint is.
        puts_reads_on_record: Whether each read of arguments and results is stored as an operation, too, in the workspace
            ``trio-oplog``.

    Raises:
        ConfigError: The secret is empty, which would let everybody in, or none that a header can hold; or the path begins with
            something else.
    """
    if not path.startswith("/"):
        raise ConfigError("path", "must begin with /")
    if isinstance(access, str):
        access = Access([access])
    metrics = Metrics()
    endpoint = Endpoint(store, access, metrics, puts_reads_on_record=puts_reads_on_record)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with store:
            yield

    ways: dict[str, list[_Way]] = {}
    for way in _BELOW:
        ways.setdefault(path.rstrip("/") + way.path or "/", []).append(way)
    return Starlette(
        routes=[
            Route("/healthz", _Health(None), methods=["GET"]),
            Route("/readyz", _Health(store), methods=["GET"]),
            Route(_METRICS.path, _Guarded(endpoint, access, [_METRICS]), methods=["GET"]),
            *(Route(at, _Guarded(endpoint, access, some), methods=[way.method for way in some]) for at, some in ways.items()),
            # The last: an endpoint at / leaves no room for a page.
            *page_routes(path),
        ],
        middleware=[Middleware(Reporting, metrics=metrics)],
        lifespan=lifespan,
    )


class _Guarded:
    """The ASGI app of a route: asks who is there, does what is asked, and says what went wrong."""

    def __init__(self, endpoint: Endpoint, access: Access, ways: list[_Way]) -> None:
        self._endpoint = endpoint
        self._access = access
        self._ways = {way.method: way for way in ways}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        request = Request(scope, receive)
        way = self._ways["GET" if request.method == "HEAD" else request.method]
        scope[ROUTE] = way.name
        try:
            response = await self._answer(request, way)
        except RefusalError as refusal:
            response = refusal.response()
        except QueryError as error:
            response = RefusalError(400, str(error), error.field).response()
        except StoreError as error:
            _log.error("the request %s failed: %s", way.name, error)
            response = RefusalError(503, "the store is unavailable").response()
        try:
            await response(scope, receive, send)
        except StoreError as error:
            # Half of it was sent: only the end of the connection can say that there is no more.
            _log.error("the response to %s was cut short: %s", way.name, error)
            raise

    async def _answer(self, request: Request, way: _Way) -> ASGIApp:
        shown = credential(request.scope["headers"])
        grant = None if shown is None else self._access.find(shown)
        if grant is None:
            raise RefusalError(UNAUTHORIZED, "the header X-Internal-Secret is missing or wrong, and so is the bearer token")
        request.scope[WHO] = grant.name
        if not grant.has(way.right):
            raise RefusalError(FORBIDDEN, f"a token with the role {grant.role} may not do this")
        return await way.handler(self._endpoint, request, grant)


class _Health:
    """Says that the process lives, or that the store works: for whoever restarts or chooses collectors.

    Strangers may ask, too.  So the store is looked at once for all who ask at the same time, and at most once a second.
    """

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._looking = anyio.Lock()
        self._looked_at = -math.inf
        self._is_well = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        scope[ROUTE] = "healthz" if self._store is None else "readyz"
        response = json_response({"status": "ok"})
        if self._store is not None and not await self._is_ready(self._store):
            response = json_response({"status": "the store is unavailable"}, 503)
        await response(scope, receive, send)

    async def _is_ready(self, store: Store) -> bool:
        async with self._looking:
            if anyio.current_time() >= self._looked_at + _HEALTH_INTERVAL:
                try:
                    await store.check()
                    self._is_well = True
                except StoreError as error:
                    _log.error("not ready: %s", error)
                    self._is_well = False
                self._looked_at = anyio.current_time()
            return self._is_well
