"""The head of a request as an ASGI scope, or the status that refuses it."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import unquote

import h11

from trio_oplog._serving.limits import HTTPLimits

Scope = MutableMapping[str, Any]
Address = tuple[str, int | None] | None

_VERSIONS: Final = (b"1.0", b"1.1")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE)


class RefusalError(Exception):
    """The server itself refuses a request with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def make_scope(request: h11.Request, limits: HTTPLimits, *, scheme: str, client: Address, server: Address) -> Scope:
    """The scope of a request.

    Names of headers are in lower case, as ASGI wants them.  Their order and their values are as they came, but that the white
    space around a value and the line breaks within it are gone, and that a repeated ``Content-Length`` is there once.

    Raises:
        RefusalError: The request is not for an app to see.
    """
    if request.http_version not in _VERSIONS:
        raise RefusalError(505)
    if request.method == b"CONNECT":
        raise RefusalError(501)
    headers = list(request.headers)
    size = sum(len(name) + len(value) for name, value in headers) + 4 * len(headers)
    if len(headers) > limits.max_headers or len(request.target) + size > limits.max_head:
        raise RefusalError(431)
    names = {name for name, _ in headers}
    # Where two parties disagree about the end of a request, one of them can be made to see a request that the other did not.
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        raise RefusalError(400)
    authority, target = _split(request.method, request.target)
    if authority is not None:
        # Whatever Host says (RFC 9112, 3.2.2).
        headers = [(b"host", authority), *((name, value) for name, value in headers if name != b"host")]
    raw_path, _, query = target.partition(b"?")
    return {
        "type": "http",
        # Of a later version, Starlette stops looking for http.disconnect while it streams.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version.decode(),
        "method": request.method.decode(),
        "scheme": scheme,
        "path": unquote(raw_path.decode()),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": client,
        "server": server,
    }


def _split(method: bytes, target: bytes) -> tuple[bytes | None, bytes]:
    """The authority of an absolute target, and the path and query of any."""
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return None, target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise RefusalError(400)
    rest = absolute[2]
    return absolute[1], rest if rest.startswith(b"/") else b"/" + rest
