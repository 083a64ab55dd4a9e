"""What the heads of requests and responses say that matters here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urljoin, urlsplit

from msgspec import Struct

from trio_oplog._recording.limits import name

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
"""Header fields as ASGI and h11 have them: names in any case."""

_KNOWN: Final = frozenset(
    {
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"last-event-id",
        b"location",
        b"mcp-method",
        b"mcp-protocol-version",
        b"mcp-session-id",
    }
)
_VERSION: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# From here on there are no sessions: each POST stands by itself, and to close its answer's stream is to cancel it.
_WITHOUT_SESSIONS: Final = "2026-07-28"
_FORMS: Final = (b"application/x-www-form-urlencoded", b"multipart/")
_SESSION_PARAMETERS: Final = frozenset({"sessionid", "session"})
_LENGTH_DIGITS: Final = 18


class RequestHead(Struct, frozen=True, gc=False):
    """The head of a request.

    Attributes:
        method: The method.
        target: Path and query.
        session: ``Mcp-Session-Id``.
        protocol: ``MCP-Protocol-Version``.
        mcp_method: ``Mcp-Method``.
        resumes: Whether it resumes a stream by ``Last-Event-ID``.
        is_alone: Whether its protocol has no sessions.
        has_form: Whether the body is a form, which is no message.
        coding: ``Content-Encoding``.
    """

    method: str
    target: str
    session: str | None
    protocol: str | None
    mcp_method: bytes | None
    resumes: bool
    is_alone: bool
    has_form: bool
    coding: bytes | None


class ResponseHead(Struct, frozen=True, gc=False):
    """The head of a response.

    Attributes:
        status: The status code.
        session: ``Mcp-Session-Id``.
        location: Path and query of where it sends the client; ``None`` where it sends it nowhere.
        is_stream: Whether the body is a stream of events.
        is_text: Whether it is plain text.
        length: ``Content-Length``.
        coding: ``Content-Encoding``.
    """

    status: int
    session: str | None
    location: str | None
    is_stream: bool
    is_text: bool
    length: int | None
    coding: bytes | None


def read_request_head(method: str, target: str, headers: Headers) -> RequestHead:
    """Read the head of a request."""
    known = _known(headers)
    protocol = _text(known, b"mcp-protocol-version")
    mcp_method = known.get(b"mcp-method")
    is_dated = protocol is not None and _VERSION.fullmatch(protocol) is not None
    return RequestHead(
        method=method,
        target=target,
        session=_text(known, b"mcp-session-id"),
        protocol=protocol,
        mcp_method=mcp_method,
        resumes=b"last-event-id" in known,
        is_alone=mcp_method is not None or (is_dated and str(protocol) >= _WITHOUT_SESSIONS),
        has_form=_media_type(known).startswith(_FORMS),
        coding=known.get(b"content-encoding"),
    )


def read_response_head(status: int, headers: Headers, target: str) -> ResponseHead:
    """Read the head of a response to a request for this target."""
    known = _known(headers)
    media_type = _media_type(known)
    length = known.get(b"content-length", b"").strip()
    location = known.get(b"location")
    return ResponseHead(
        status=status,
        session=_text(known, b"mcp-session-id"),
        location=resolve(target, location.decode("latin-1")) if location else None,
        is_stream=media_type == b"text/event-stream",
        is_text=media_type == b"text/plain",
        length=int(length) if length.isdigit() and len(length) <= _LENGTH_DIGITS else None,
        coding=known.get(b"content-encoding"),
    )


def resolve(target: str, reference: str) -> str | None:
    """Path and query of what a reference means to the client of a target; ``None`` for what is no URL."""
    try:
        parts = urlsplit(urljoin(target, reference))
    except ValueError:
        return None
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def session_in(target: str) -> str | None:
    """The session that the query of a URL names, as the endpoints of HTTP+SSE do; ``None`` where it names none."""
    try:
        parameters = parse_qsl(urlsplit(target).query)
    except ValueError:
        return None
    for key, value in parameters:
        if key.lower().replace("_", "").replace("-", "") in _SESSION_PARAMETERS and value:
            return name(value)
    return None


def _known(headers: Headers) -> dict[bytes, bytes]:
    """The fields that matter, by their names in lower case.  Of a repeated one the first counts."""
    known: dict[bytes, bytes] = {}
    for key, value in headers:
        lower = key.lower()
        if lower in _KNOWN:
            known.setdefault(lower, value)
    return known


def _text(known: Mapping[bytes, bytes], key: bytes) -> str | None:
    return known[key].strip().decode("latin-1") or None if key in known else None


def _media_type(known: Mapping[bytes, bytes]) -> bytes:
    return known.get(b"content-type", b"").partition(b";")[0].strip().lower()
