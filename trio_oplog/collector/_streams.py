"""Responses that are sent as they are made: exports, long lists and the live tail."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Final

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope, Send

from trio_oplog import _wire
from trio_oplog._listing import DOCUMENT_BEGIN
from trio_oplog._operation import Operation
from trio_oplog.collector._rows import approval_of, outcome_of

HEARTBEAT: Final = 15.0
"""How often a live tail says something, in seconds, so that nobody in between takes it for dead."""

COLUMNS: Final = (
    *("id", "workspace_id", "started_at", "completed_at", "duration_ms", "source", "env_id", "tool", "is_error", "outcome"),
    *("user_id", "thread_id", "request_id", "client", "server", "approval", "approved_by", "waited_ms"),
    *("arguments", "result_summary"),
)
"""What an export in a table has of each record."""
# What a spreadsheet would take for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class StreamedResponse:
    """A response that is sent as it is made.  It ends when its client leaves, and closes what makes it.

    An error in the middle leaves, so that the server cuts the connection: half of an export must not look like a whole one.

    Args:
        chunks: What makes the body.
        media_type: What it is.
        headers: Further headers.
        ended: Called when the response is over, also where nothing of it was sent.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        media_type: str,
        headers: Mapping[str, str] | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._chunks = chunks
        self._ended = ended
        fields = {"content-type": media_type, "cache-control": "no-store", **(headers or {})}
        self._headers = [(name.encode(), value.encode()) for name, value in fields.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            await self._answer(scope, receive, send)
        finally:
            self._ended()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        error: Exception | None = None
        async with aclosing(self._chunks), anyio.create_task_group() as group:
            group.start_soon(_leave_with_client, receive, group.cancel_scope)
            try:
                await self._send(send, with_body=scope["method"] != "HEAD")
            except Exception as caught:  # noqa: BLE001 -- only carried out of the group, which would wrap it
                error = caught
            group.cancel_scope.cancel()
        if error is not None:
            raise error

    async def _send(self, send: Send, *, with_body: bool) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        if with_body:
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _leave_with_client(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def as_line(body: bytes) -> bytes:
    """The bytes of a record as one line.  Line breaks, which JSON has between its parts only, become spaces."""
    return body.replace(b"\n", b" ").replace(b"\r", b" ")


def event(cursor: str, body: bytes) -> bytes:
    """A record as a server-sent event."""
    return b"id: %b\ndata: %b\n\n" % (cursor.encode(), as_line(body))


def heartbeat(cursor: str) -> bytes:
    """An event that nobody sees, and from which on a client will resume."""
    return b"id: %b\n\n" % cursor.encode()


async def as_document(lists: AsyncGenerator[list[bytes], None], end: bytes) -> AsyncGenerator[bytes, None]:
    """Records as the document of a list.

    Args:
        lists: The records; each list has one at least.
        end: What comes after them.
    """
    before = DOCUMENT_BEGIN
    async with aclosing(lists):
        async for bodies in lists:
            yield before + b",".join(bodies)
            before = b","
    yield end


async def as_ndjson(lists: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[bytes, None]:
    """Records, one a line."""
    async with aclosing(lists):
        async for bodies in lists:
            yield b"".join(as_line(body) + b"\n" for body in bodies)


async def as_csv(lists: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[bytes, None]:
    """Records as RFC 4180 has them, with a line of names first."""
    async with aclosing(lists):
        yield ",".join(COLUMNS).encode() + b"\r\n"
        async for bodies in lists:
            yield await anyio.to_thread.run_sync(_csv_lines, bodies)


def _csv_lines(bodies: Iterable[bytes]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    for body in bodies:
        writer.writerow([_harmless(_spelled(value)) for value in column_values(_wire.decode(body))])
    return text.getvalue().encode("utf-8", "replace")


def column_values(operation: Operation) -> tuple[str | int | bool | datetime | None, ...]:
    """What ``COLUMNS`` are of one record."""
    meta, context, approval = operation.result_meta, operation.context, operation.approval
    return (
        *(operation.id, operation.workspace_id, operation.started_at, operation.completed_at),
        *(operation.duration_ms, operation.source, operation.env_id, operation.tool),
        *(operation.is_error, outcome_of(operation)),
        *(operation.user_id, operation.thread_id, operation.request_id),
        *((None, None) if context is None else (context.client, context.server)),
        *((None, None) if approval is None else (approval_of(approval), approval.by.value)),
        None if meta is None else meta.waited_ms,
        None if operation.arguments is None else operation.arguments.decode("utf-8", "replace"),
        operation.result_summary,
    )


def _spelled(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else value


def _harmless(value: object) -> object:
    """A text that a spreadsheet would run gets an apostrophe before it, which makes it one that it shows."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
