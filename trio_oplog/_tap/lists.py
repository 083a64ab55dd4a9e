"""Requests for ``operations/list``, taken out of what a client sends."""

from __future__ import annotations

from typing import Final, NamedTuple

from trio_oplog._tap.messages import Assembler

HOLD: Final = 0.020
"""How long the beginning of what may be such a request is held, in seconds.  Then it passes, and is the server's to answer."""

# A letter of "operations/list" can only be spelled otherwise as \u00.., its slash as \/ too.
_HINTS: Final = (b"operations", b"\\u00")
_METHOD: Final = "operations/list"
_REQUEST_MAX: Final = 65_536
_BEGINNING_MAX: Final = 4_096


class ListRequest(NamedTuple):
    """A request that the server does not get.

    Attributes:
        id: Its id, as JSON.
        data: The request.
        framed: Whether it came with a ``Content-Length``, as its answer then must.
    """

    id: str
    data: bytes
    framed: bool


class ListSieve:
    """Takes requests for ``operations/list`` out of a byte stream, and holds what may become one."""

    def __init__(self) -> None:
        self._messages = Assembler(_REQUEST_MAX)
        self._passed = False  # the beginning of the message that has not ended
        self.held = b""
        """The beginning of a message that may be such a request; it was not passed on."""

    def feed(self, data: bytes) -> tuple[bytes, list[ListRequest]]:
        """What passes, and what is taken out.

        Args:
            data: The next bytes of the client.
        """
        offset = len(self.held)
        data, self.held = self.held + data, b""
        passing: list[bytes] = []
        taken: list[ListRequest] = []
        start = 0
        for message in self._messages.feed(data[offset:]):
            end = offset + message.end
            request = None if self._passed or message.data is None else _read(message.data, framed=message.framed)
            if request is None:
                passing.append(data[start:end])
            else:
                taken.append(request)
            start = end
            self._passed = False
        rest = data[start:]
        if rest and not self._passed and _may_become_request(rest):
            self.held = rest
        elif rest:
            passing.append(rest)
            self._passed = True
        return b"".join(passing), taken

    def release(self) -> bytes:
        """Stop holding: what was held passes, and the message that it begins with it."""
        held, self.held = self.held, b""
        self._passed = self._passed or bool(held)
        return held

    def finish(self) -> tuple[bytes, list[ListRequest]]:
        """What passes of what is held, and what is taken out of it, when nothing follows it."""
        held, self.held = self.held, b""
        request = _read(held, framed=False)
        return (held, []) if request is None else (b"", [request])


def _may_become_request(beginning: bytes) -> bool:
    if len(beginning) > _BEGINNING_MAX or beginning.lstrip()[:1] not in (b"{", b"C", b"c"):
        return False
    _, found, method = beginning.partition(b'"method"')
    begun = method.lstrip(b' \t:"')
    return not found or any(hint in beginning for hint in _HINTS) or _METHOD.encode().startswith(begun) or begun[:1] == b"\\"


def _read(data: bytes, *, framed: bool) -> ListRequest | None:
    if not any(hint in data for hint in _HINTS):
        return None
    import json  # noqa: PLC0415 -- what starts a server has no time for it

    try:
        request = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict) or request.get("method") != _METHOD:
        return None
    request_id = request.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, str | int | float):
        return None
    return ListRequest(json.dumps(request_id), data, framed)
