"""The server's own responses, and the headers that it adds to an app's."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Final

PHRASES: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


def date() -> bytes:
    """The value of a ``Date`` header now."""
    return _format_date(int(time()))


@lru_cache(maxsize=1)
def _format_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def make_response(status: int, *, with_body: bool = True) -> bytes:
    """A response of the server itself, which ends the connection.  It says nothing but its status."""
    body = PHRASES[status] + b"\n"
    head = (
        b"HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n",
        b"retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else b"",
        b"\r\n",
    )
    return b"".join(head) % (status, PHRASES[status], date(), len(body)) + (body if with_body else b"")
