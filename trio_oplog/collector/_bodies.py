"""The body of a ``POST``: read within a size and a time, and decoded."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request

from trio_oplog import _wire
from trio_oplog._errors import WireError
from trio_oplog._operation import Operation
from trio_oplog.collector._refusals import RefusalError

BODY_MAX_BYTES: Final = 8 * 1024 * 1024
"""The longest body taken, 8 MiB."""

BODY_TIMEOUT: Final = 30.0
"""How long a body may take, in seconds, on top of the time that ``BODY_MIN_RATE`` allows for what has come."""
BODY_MIN_RATE: Final = 16 * 1024
"""Bytes a second."""

# int() refuses thousands of digits with an error of its own.
_LENGTH_DIGITS: Final = 20
# A longer document is read in a thread, so that the others do not wait for it.
_INLINE_BYTES: Final = 64 * 1024


def content_type(request: Request) -> str:
    """The type of a body that can be taken.

    Raises:
        RefusalError: It cannot be.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/x-ndjson"):
        raise RefusalError(415, "the content type must be application/json or application/x-ndjson")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise RefusalError(415, "the content must not be encoded")
    return kind


async def read_body(request: Request) -> bytes:
    """The whole body.  Stops at ``BODY_MAX_BYTES``, whatever length was announced or not.

    Raises:
        RefusalError: It is too long, too slow or cut short.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or len(announced) > _LENGTH_DIGITS or int(announced) > BODY_MAX_BYTES:
        raise _too_long()
    body = bytearray()
    with anyio.move_on_after(BODY_TIMEOUT) as patience:
        began = anyio.current_time()
        try:
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    patience.deadline = began + BODY_TIMEOUT + len(body) / BODY_MIN_RATE
                    if len(body) > BODY_MAX_BYTES:
                        raise _too_long()
        except ClientDisconnect:
            raise RefusalError(400, "the body is cut short") from None
        return bytes(body)
    raise RefusalError(408, "the body is too slow")


def _too_long() -> RefusalError:
    return RefusalError(413, f"the body is over {BODY_MAX_BYTES >> 20} MiB")


async def decode(body: bytes) -> Operation:
    """The operation that a body is.

    Raises:
        RefusalError: It is none.
    """
    try:
        if len(body) > _INLINE_BYTES:
            return await anyio.to_thread.run_sync(_wire.decode, body)
        return _wire.decode(body)
    except WireError as error:
        raise RefusalError(400, str(error), error.field) from None
