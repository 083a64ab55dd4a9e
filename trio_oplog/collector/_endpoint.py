"""The handlers of the endpoint's routes.

A workspace that a token does not cover looks to it like one that never had a record.  Every read of arguments and results is
itself stored as an operation before they are sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from trio_oplog._errors import WireError
from trio_oplog._listing import Counted, ListQuery, Page, Slowest, read_values
from trio_oplog._tokens import digest_of_token
from trio_oplog.collector._access import Access, Grant, Right, credential
from trio_oplog.collector._audit import AUDIT_WORKSPACE, read_record
from trio_oplog.collector._bodies import content_type, decode, read_body
from trio_oplog.collector._live import read_after
from trio_oplog.collector._metrics import MEDIA_TYPE, Metrics
from trio_oplog.collector._ndjson import LINES_MAX, read_batch
from trio_oplog.collector._pages import Begun
from trio_oplog.collector._parameters import (
    read_export,
    read_list,
    read_live,
    read_prune,
    read_slowest,
    read_statistics_query,
    read_workspace,
)
from trio_oplog.collector._positions import read_cursor
from trio_oplog.collector._refusals import NOT_FOUND, RefusalError, json_response
from trio_oplog.collector._store import Store
from trio_oplog.collector._streams import HEARTBEAT, StreamedResponse, as_csv, as_document, as_ndjson, event, heartbeat

LISTENERS_MAX: Final = 100
"""How many live tails may be open at once."""
LISTENERS_OF_TOKEN_MAX: Final = 25
"""How many of them one token may have open, so that others find room.  The shared secret may be everybody's: it has no share."""
_LISTENER_RETRY_AFTER: Final = 10
"""When to ask again where there is no room for a live tail, in seconds."""

POLL_INTERVAL: Final = 0.5
"""How often a live tail looks for what other programs stored in the same database, in seconds: it says so within one second."""
_BREATH: Final = 0.1
"""How long a live tail pauses after it was woken, in seconds, so that a busy collector answers many records at a time."""


class Endpoint:
    """The collector's answers.

    Args:
        store: Where operations are.
        access: Who may do what.
        metrics: What is counted.
        puts_reads_on_record: Whether reads of payloads are stored as operations themselves.
    """

    def __init__(self, store: Store, access: Access, metrics: Metrics, *, puts_reads_on_record: bool) -> None:
        self._store = store
        self._access = access
        self._metrics = metrics
        self._puts_reads_on_record = puts_reads_on_record
        self._listeners: Counter[bytes] = Counter()

    async def ingest(self, request: Request, grant: Grant) -> ASGIApp:
        """``POST``: one Operation, or one a line."""
        kind = content_type(request)
        body = await read_body(request)
        if kind == "application/x-ndjson":
            return await self._ingest_lines(body, grant)
        operation = await decode(body)
        try:
            _check_workspace(operation.workspace_id, grant)
        except WireError as error:
            raise RefusalError(422, str(error), error.field) from None
        await self._store.add([operation])
        self._metrics.take(1, 0)
        return json_response({"id": operation.id}, 201)

    async def _ingest_lines(self, body: bytes, grant: Grant) -> Response:
        batch = await anyio.to_thread.run_sync(read_batch, body, lambda workspace_id: _check_workspace(workspace_id, grant))
        if batch is None:
            raise RefusalError(413, f"the body has more than {LINES_MAX} lines")
        await self._store.add_rows([line.row for line in batch.lines])
        self._metrics.take(len(batch.lines), len(batch.refused))
        return json_response({"stored": [line.id for line in batch.lines], "refused": batch.refused})

    async def list(self, request: Request, grant: Grant) -> ASGIApp:
        """``GET``: the operations that meet the parameters, the newest first."""
        query, payloads = read_list(request.query_params.multi_items())
        read_cursor(query)  # first: one that is none is refused wherever it is used
        if not grant.covers(query.workspace_id):
            return _document(Page([], None))
        begun = await self._store.begin_page(query, payload=grant.has(Right.PAYLOADS), brief=not payloads)
        return await self._send(begun, "list", request, grant, query, payloads=payloads)

    async def slowest(self, request: Request, grant: Grant) -> ASGIApp:
        """``GET …/slowest``: the operations that meet the parameters and took longest, the slowest first."""
        query, payloads = read_slowest(request.query_params.multi_items())
        if not grant.covers(query.workspace_id):
            return _document(Slowest([]))
        begun = await self._store.begin_slowest(query, payload=grant.has(Right.PAYLOADS), brief=not payloads)
        return await self._send(begun, "slowest", request, grant, query, payloads=payloads)

    async def _send(
        self, begun: Begun[Page] | Begun[Slowest], route: str, request: Request, grant: Grant, query: ListQuery, *, payloads: bool
    ) -> ASGIApp:
        if _tells(query, payloads=payloads):
            await self._put_on_record(request, grant, route, begun.count)
        if not begun.rest:
            return _document(begun.answer)
        lists = self._store.pieces(query.workspace_id, begun, payload=grant.has(Right.PAYLOADS), brief=not payloads)
        return StreamedResponse(as_document(lists, begun.answer.document_end()), "application/json")

    async def get(self, request: Request, grant: Grant) -> ASGIApp:
        """``GET …/{id}``: one operation, as it was stored."""
        workspace_id = read_workspace(request.query_params.multi_items())
        operation_id = request.path_params["id"]
        # First, so that an id that cannot be is refused wherever it is looked for.
        ListQuery(workspace_id=workspace_id, id=operation_id)
        found = None
        if grant.covers(workspace_id):
            found = await self._store.get(workspace_id, operation_id, payload=grant.has(Right.PAYLOADS))
        if found is None:
            raise RefusalError(NOT_FOUND, "the workspace has no operation of this id")
        await self._put_on_record(request, grant, "get", 1, id=operation_id)
        return Response(found, media_type="application/json")

    async def statistics(self, request: Request, grant: Grant) -> ASGIApp:
        """``GET …/stats``: how many operations there were, and how long they took."""
        query = read_statistics_query(request.query_params.multi_items())
        counted = await self._store.statistics(query) if grant.covers(query.workspace_id) else Counted([])
        return Response(counted.document(query.by), media_type="application/json")

    async def workspaces(self, request: Request, grant: Grant) -> ASGIApp:
        """``GET …/workspaces``: the names of those that ever had a record."""
        _read_nothing(request)
        return json_response({"workspaces": grant.covered(await self._store.workspaces())})

    async def whoami(self, request: Request, grant: Grant) -> ASGIApp:
        """``GET …/whoami``: what whoever asks may do."""
        _read_nothing(request)
        rights = {"write": Right.WRITE, "payloads": Right.PAYLOADS, "prune": Right.PRUNE}
        return json_response(
            {"name": grant.name, "role": grant.role, **{name: grant.has(right) for name, right in rights.items()}}
        )

    async def export(self, request: Request, grant: Grant) -> ASGIApp:
        """``GET …/export``: every operation that meets the parameters, without a limit."""
        query, chosen = read_export(request.query_params.multi_items())
        write, media_type = {"ndjson": (as_ndjson, "application/x-ndjson"), "csv": (as_csv, "text/csv; charset=utf-8")}[chosen]
        read_cursor(query)
        if grant.covers(query.workspace_id):
            await self._store.page(ListQuery(workspace_id=query.workspace_id, limit=1))  # or say why not
            await self._put_on_record(request, grant, "export")
            lists = self._store.export(query, payload=grant.has(Right.PAYLOADS))
        else:
            lists = _no_lists()
        return StreamedResponse(write(lists), media_type, {"content-disposition": f'attachment; filename="operations.{chosen}"'})

    async def live(self, request: Request, grant: Grant) -> ASGIApp:
        """``GET …/live``: what arrives, as server-sent events."""
        query, after, payloads = read_live(request.query_params.multi_items())
        after = request.headers.get("last-event-id") or after
        shown = credential(request.scope["headers"]) or b""
        token = digest_of_token(shown)
        if self._listeners.total() >= LISTENERS_MAX:
            raise RefusalError(503, "too many live tails are open", retry_after=_LISTENER_RETRY_AFTER)
        if self._listeners[token] >= LISTENERS_OF_TOKEN_MAX and not grant.is_shared:
            raise RefusalError(429, "the token has too many live tails open", retry_after=_LISTENER_RETRY_AFTER)
        read_after(after)  # or say why not
        self._listen(token, 1)  # before anything is waited for: the next one may ask meanwhile
        try:
            now = (await self._store.arrivals(query)).next
            if grant.covers(query.workspace_id) and _tells(query, payloads=payloads):
                await self._put_on_record(request, grant, "live")
        except BaseException:
            self._listen(token, -1)
            raise
        events = self._events(query, now if after is None else after, grant, shown, brief=not payloads)
        return StreamedResponse(events, "text/event-stream", ended=lambda: self._listen(token, -1))

    def _listen(self, token: bytes, change: int) -> None:
        self._listeners[token] += change
        if not self._listeners[token]:
            del self._listeners[token]  # one that is gone would stay
        self._metrics.listen(change)

    async def _events(
        self, query: ListQuery, after: str, grant: Grant, shown: bytes, *, brief: bool
    ) -> AsyncGenerator[bytes, None]:
        yield b"retry: 1000\n" + heartbeat(after)
        said_at = anyio.current_time()
        # A token that is taken away ends what would go on for ever.
        while self._access.find(shown) == grant:
            arrival = self._store.next_arrival()
            if grant.covers(query.workspace_id):
                arrived = await self._store.arrivals(query, after, payload=grant.has(Right.PAYLOADS), brief=brief)
                if arrived.records:
                    # All at once: each chunk wakes the client, and whatever is in between.
                    yield b"".join(event(cursor, body) for cursor, body in arrived.records)
                    said_at = anyio.current_time()
                is_over = arrived.next == after
                after = arrived.next
                if not is_over:
                    continue
            if anyio.current_time() >= said_at + HEARTBEAT:
                yield heartbeat(after)
                said_at = anyio.current_time()
            with anyio.move_on_after(POLL_INTERVAL):
                await arrival.wait()
            await anyio.sleep(_BREATH)

    async def prune(self, request: Request, grant: Grant) -> ASGIApp:
        """``POST …/prune``: delete what began on a day before the day of a time."""
        before, workspace_id, dry_run = read_prune(request.query_params.multi_items())
        if workspace_id is None and grant.workspaces is not None:
            raise RefusalError(400, "workspace_id is missing", "workspace_id")
        if workspace_id is not None and not grant.covers(workspace_id):
            return json_response({"before": before.date(), "records": 0})
        pruned = await self._store.prune(before, workspace_id=workspace_id, dry_run=dry_run, who=grant.name)
        return json_response({"before": pruned.before.date(), "records": pruned.records})

    async def metrics(self, request: Request, grant: Grant) -> ASGIApp:
        """``GET /metrics``: for Prometheus."""
        _read_nothing(request)
        if grant.workspaces is not None:
            raise RefusalError(403, "metrics are of all workspaces, and the token is for some")
        return Response(self._metrics.write(await self._store.size()), headers={"Content-Type": MEDIA_TYPE})

    async def _put_on_record(self, request: Request, grant: Grant, route: str, found: int | None = None, **more: str) -> None:
        if self._puts_reads_on_record and grant.has(Right.PAYLOADS) and found != 0:
            parameters = dict(request.query_params.multi_items()) | more
            await self._store.add([read_record(grant.name, route, parameters, found)])


def _check_workspace(workspace_id: str, grant: Grant) -> None:
    """See to it that an operation of a workspace may be stored.

    Raises:
        WireError: It may not.
    """
    if workspace_id == AUDIT_WORKSPACE:
        raise WireError("workspace_id", "is the collector's own")
    if not grant.covers(workspace_id):
        raise WireError("workspace_id", "is none that the token is for")


def _tells(query: ListQuery, *, payloads: bool) -> bool:
    """Whether the answer tells of payloads: it has them, or says which of them hold a text."""
    return payloads or query.q is not None


def _read_nothing(request: Request) -> None:
    read_values(request.query_params.multi_items(), {})


def _document(found: Page | Slowest) -> Response:
    return Response(found.document(), media_type="application/json")


async def _no_lists() -> AsyncGenerator[list[bytes], None]:
    yield []
