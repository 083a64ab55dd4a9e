"""The endpoint as an ASGI app: what comes over HTTP, and what is said to it.

Answers are JSON.  An error names the field and says what is wrong with it; it never repeats a value, and what the store
says goes to the log.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from trio_oplog import _wire
from trio_oplog._address import DEFAULT_PATH, check_secret
from trio_oplog._errors import ConfigError, QueryError, StoreError, WireError
from trio_oplog._listing import read_parameters
from trio_oplog._operation import Operation
from trio_oplog.collector._ndjson import LINES_MAX, read_batch
from trio_oplog.collector._store import Store

BODY_MAX_BYTES: Final = 8 * 1024 * 1024
"""The longest body taken, 8 MiB."""

_HEADER: Final = b"x-internal-secret"
# A longer document is read in a thread, so that the others do not wait for it.
_INLINE_BYTES: Final = 64 * 1024

_log = logging.getLogger("trio_oplog.collector")


class _RefusalError(Exception):
    """What to say instead of doing it."""

    def __init__(self, status: int, error: str, field: str | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.error = error
        self.field = field


def create_app(store: Store, secret: str, *, path: str = DEFAULT_PATH) -> Starlette:
    """An ASGI app that stores and lists operations.

    Its lifespan opens the store and closes it, unless somebody else has it open as well.  The server must run Trio.

    Args:
        store: From ``open_store``.
        secret: What every request must carry in ``X-Internal-Secret``; visible ASCII, not empty.
        path: Where the endpoint is; begins with ``/``.

    Raises:
        ConfigError: The secret is empty, which would let everybody in, or none that a header can hold; or the path begins with
            something else.
    """
    check_secret(secret)
    if not path.startswith("/"):
        raise ConfigError("path", "must begin with /")
    endpoint = _Endpoint(store, secret.encode())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with store:
            yield

    return Starlette(
        routes=[Route(path, endpoint.answer, methods=["GET", "POST"])],
        lifespan=lifespan,
    )


class _Endpoint:
    def __init__(self, store: Store, secret: bytes) -> None:
        self._store = store
        self._secret = secret

    async def answer(self, request: Request) -> Response:
        """Ask for the secret, do what is asked, and say what went wrong."""
        try:
            self._check_secret(request)
            return await (self.take if request.method == "POST" else self.show)(request)
        except _RefusalError as refusal:
            field = {} if refusal.field is None else {"field": refusal.field}
            return _json({"error": refusal.error, **field}, refusal.status)
        except StoreError as error:
            _log.error("a %s failed: %s", request.method, error)
            return _json({"error": "the store is unavailable"}, 503)

    async def take(self, request: Request) -> Response:
        """``POST``: one Operation, or one a line."""
        kind = _content_type(request)
        body = await _read_body(request)
        if kind == "application/x-ndjson":
            return await self._take_lines(body)
        operation = await _decode(body)
        await self._store.add([operation])
        return _json({"id": operation.id}, 201)

    async def _take_lines(self, body: bytes) -> Response:
        batch = await trio.to_thread.run_sync(read_batch, body)
        if batch is None:
            raise _RefusalError(413, f"the body has more than {LINES_MAX} lines")
        await self._store.add(batch.operations)
        return _json({"stored": [operation.id for operation in batch.operations], "refused": batch.refused})

    async def show(self, request: Request) -> Response:
        """``GET``: the operations that meet the parameters, the newest first."""
        try:
            page = await self._store.page(read_parameters(request.query_params.multi_items()))
        except QueryError as error:
            raise _RefusalError(400, str(error), error.field) from None
        # As they were stored: nothing is read again, and arguments stay the text that they are.
        more = {"next": page.next, "searched_to": page.searched_to}
        tail = b"".join(b',"%b":%b' % (name.encode(), msgspec.json.encode(value)) for name, value in more.items() if value)
        return Response(b'{"operations":[' + b",".join(page.bodies) + b"]" + tail + b"}", media_type="application/json")

    def _check_secret(self, request: Request) -> None:
        given = [value for name, value in request.scope["headers"] if name == _HEADER]
        if len(given) != 1 or not hmac.compare_digest(given[0], self._secret):
            raise _RefusalError(401, "the header X-Internal-Secret is missing or wrong")


def _content_type(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/x-ndjson"):
        raise _RefusalError(415, "the content type must be application/json or application/x-ndjson")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _RefusalError(415, "the content must not be encoded")
    return kind


async def _read_body(request: Request) -> bytes:
    """The whole body.  Stops at ``BODY_MAX_BYTES``, whatever length was announced or not."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > BODY_MAX_BYTES:
        raise _too_long()
    body = bytearray()
    try:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > BODY_MAX_BYTES:
                    raise _too_long()
    except ClientDisconnect:
        raise _RefusalError(400, "the body is cut short") from None
    return bytes(body)


def _too_long() -> _RefusalError:
    return _RefusalError(413, f"the body is over {BODY_MAX_BYTES >> 20} MiB")


async def _decode(body: bytes) -> Operation:
    try:
        if len(body) > _INLINE_BYTES:
            return await trio.to_thread.run_sync(_wire.decode, body)
        return _wire.decode(body)
    except WireError as error:
        raise _RefusalError(400, str(error), error.field) from None


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
