"""The page for people: files that a browser loads, and headers under which they can reach nothing but this collector.

Whoever loads them gets nothing of the store: the page asks the endpoint like any other client, with the token of whoever looks.
"""

from __future__ import annotations

from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Final, Literal

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from trio_oplog.collector._reporting import ROUTE

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A browser asks each time whether its copy is still good: no file of one version meets one of another.
    "Cache-Control": "no-cache",
}
_INDEX: Final = "index.html"
_ENDPOINT: Final = b"{{endpoint}}"
_SIGN_IN: Final = b"{{sign-in}}"


def page_routes(path: str, sign_in: Literal["token", "link"] = "token") -> list[Route]:
    """The routes of the page: ``/``, and its files below ``/page/``.

    Args:
        path: Where the endpoint is, from which the page gets what it shows.
        sign_in: By what one signs in, which the page tells whoever is not: a token that it asks for, or a link.
    """
    # The page names what it asks for relative to itself, so that it works wherever the app is mounted.
    said = {_ENDPOINT: escape(path.strip("/")).encode(), _SIGN_IN: sign_in.encode()}
    found = {entry.name: entry.read_bytes() for entry in files(__package__).joinpath("page").iterdir()}
    for place, text in said.items():
        found[_INDEX] = found[_INDEX].replace(place, text)
    return [
        Route("/" if name == _INDEX else f"/page/{name}", _File(content, _TYPES[name.rpartition(".")[2]]), methods=["GET"])
        for name, content in found.items()
    ]


class _File:
    """The ASGI app of one file."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._headers = {**_HEADERS, "ETag": f'"{sha256(content).hexdigest()[:32]}"', "Content-Type": media_type}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        scope[ROUTE] = "page"
        is_known = (b"if-none-match", self._headers["ETag"].encode()) in scope["headers"]
        response = Response(b"" if is_known else self._content, 304 if is_known else 200, self._headers)
        await response(scope, receive, send)
