"""The endpoint as an ASGI app: its routes, the right that each needs, and its error responses.

Responses are JSON.  An error names the field and says what is wrong with it.  It never repeats a value, and the message of a
failed database goes to the log only.
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


class _RouteSpec(NamedTuple):
    """A route: its name in the log and the metrics, its method, its path, the right that it needs, and its handler."""

    name: str
    method: str
    path: str
    right: Right
    handler: Handler


# The last one matches every path that the others do not: an operation whose id is "stats" is found by the list's parameter id.
_BELOW: Final = (
    _RouteSpec("store", "POST", "", Right.WRITE, Endpoint.ingest),
    _RouteSpec("list", "GET", "", Right.READ, Endpoint.list),
    _RouteSpec("slowest", "GET", "/slowest", Right.READ, Endpoint.slowest),
    _RouteSpec("stats", "GET", "/stats", Right.READ, Endpoint.statistics),
    _RouteSpec("workspaces", "GET", "/workspaces", Right.READ, Endpoint.workspaces),
    _RouteSpec("whoami", "GET", "/whoami", Right.READ, Endpoint.whoami),
    _RouteSpec("export", "GET", "/export", Right.READ, Endpoint.export),
    _RouteSpec("live", "GET", "/live", Right.READ, Endpoint.live),
    _RouteSpec("prune", "POST", "/prune", Right.PRUNE, Endpoint.prune),
    _RouteSpec("get", "GET", "/{id:path}", Right.READ, Endpoint.get),
)
_METRICS: Final = _RouteSpec("metrics", "GET", "/metrics", Right.READ, Endpoint.metrics)


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

    routes: dict[str, list[_RouteSpec]] = {}
    for route in _BELOW:
        routes.setdefault(path.rstrip("/") + route.path or "/", []).append(route)
    return Starlette(
        routes=[
            Route("/healthz", _Health(None), methods=["GET"]),
            Route("/readyz", _Health(store), methods=["GET"]),
            Route(_METRICS.path, _Guarded(endpoint, access, [_METRICS]), methods=["GET"]),
            *(
                Route(at, _Guarded(endpoint, access, specs), methods=[spec.method for spec in specs])
                for at, specs in routes.items()
            ),
            # Last, so that an endpoint at / goes before the page.
            *page_routes(path),
        ],
        middleware=[Middleware(Reporting, metrics=metrics)],
        lifespan=lifespan,
    )


class _Guarded:
    """The ASGI app of a path: authenticates, checks the right, calls the handler, and turns errors into responses."""

    def __init__(self, endpoint: Endpoint, access: Access, routes: list[_RouteSpec]) -> None:
        self._endpoint = endpoint
        self._access = access
        self._routes = {route.method: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        request = Request(scope, receive)
        route = self._routes["GET" if request.method == "HEAD" else request.method]
        scope[ROUTE] = route.name
        try:
            response = await self._answer(request, route)
        except RefusalError as refusal:
            response = refusal.response()
        except QueryError as error:
            response = RefusalError(400, str(error), error.field).response()
        except StoreError as error:
            _log.error("the request %s failed: %s", route.name, error)
            response = RefusalError(503, "the store is unavailable").response()
        try:
            await response(scope, receive, send)
        except StoreError as error:
            # Half of the body was sent.  Only closing the connection tells the client that the rest is missing.
            _log.error("the response to %s was cut short: %s", route.name, error)
            raise

    async def _answer(self, request: Request, route: _RouteSpec) -> ASGIApp:
        shown = credential(request.scope["headers"])
        grant = None if shown is None else self._access.find(shown)
        if grant is None:
            raise RefusalError(UNAUTHORIZED, "the header X-Internal-Secret is missing or wrong, and so is the bearer token")
        request.scope[WHO] = grant.name
        if not grant.has(route.right):
            raise RefusalError(FORBIDDEN, f"a token with the role {grant.role} may not do this")
        return await route.handler(self._endpoint, request, grant)


class _Health:
    """``/healthz``, that the process answers, or ``/readyz``, that the store works; for supervisors and load balancers.

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
