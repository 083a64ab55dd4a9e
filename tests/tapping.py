"""HTTP taps under the eyes of a test: recorded exchanges, what they are shown as, and what comes of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Hashable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tests.watching import BEGAN, Recorded
from trio_oplog import Config, HttpExchange, HttpTap, HttpTapStatistics, Operation, SuspendedCalls

SESSION = "5e551014"
HTML = "<html><body>Bad gateway</body></html>"


class Step(NamedTuple):
    """Something that happens in an exchange."""

    t: float
    exchange: Hashable
    event: str
    """What a recording calls it."""
    content: dict[str, Any]


def steps_of(path: Path) -> list[Step]:
    """The recorded exchanges of a session."""
    entries = map(json.loads, filter(None, path.read_bytes().decode().split("\n")))
    return [Step(entry["t"], entry["x"], entry["ev"], entry) for entry in entries]


def data_of(step: Step) -> bytes:
    data = step.content["data"]
    return base64.b64decode(data["b64"]) if isinstance(data, dict) else data.encode()


def headers_of(step: Step) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in step.content.get("headers", [])]


def pieces(data: bytes, sizes: list[int] | None) -> Iterator[bytes]:
    """Data in pieces of these sizes, over and over."""
    if sizes is None:
        yield data
        return
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        yield data[at : at + size]
        at, turn = at + size, turn + 1


class TapWatch:
    """An HttpTap whose time stands still until ``seconds`` is set, with ids ``id-1``, ``id-2``, ..."""

    def __init__(self, *, suspended: SuspendedCalls | None = None, config: dict[str, Any] | None = None, **settings: Any) -> None:
        self.recorded = Recorded()
        self.seconds = 0.0
        self._made = 0
        self._open: dict[Hashable, HttpExchange] = {}
        self.tap = HttpTap(
            self.recorded,
            Config(**{"source": "sdk", "workspace_id": "ws-1"} | (config or {})),
            suspended=suspended,
            clock=lambda: BEGAN + timedelta(seconds=self.seconds),
            monotonic=lambda: 5.0 + self.seconds,
            new_id=self._new_id,
            **settings,
        )

    def _new_id(self) -> str:
        self._made += 1
        return f"id-{self._made}"

    @property
    def statistics(self) -> HttpTapStatistics:
        return self.tap.statistics()

    def close(self) -> Recorded:
        self.tap.close()
        return self.recorded

    def play(
        self, steps: Iterable[Step], *, sizes: list[int] | None = None, who: dict[Hashable, dict[str, Any]] | None = None
    ) -> None:
        """Show the tap recorded steps, bodies in pieces of these sizes.

        Args:
            steps: The steps.
            sizes: The sizes; ``None``: as they were recorded.
            who: Who makes the exchanges, by the first part of their name.
        """
        for step in steps:
            self.seconds = step.t
            if step.event == "request":
                named = step.exchange[0] if isinstance(step.exchange, tuple) else None
                identity = (who or {}).get(named, {})
                exchange = self.tap.exchange(step.content["method"], step.content["path"], headers_of(step), **identity)
                self._open[step.exchange] = exchange
                continue
            exchange = self._open[step.exchange]
            match step.event:
                case "request_body":
                    for piece in pieces(data_of(step), sizes):
                        exchange.request_data(piece)
                    exchange.request_end()
                case "response":
                    exchange.response_head(step.content["status"], headers_of(step))
                case "response_data":
                    for piece in pieces(data_of(step), sizes):
                        exchange.response_data(piece)
                case "response_end":
                    (exchange.upstream_failed if step.content.get("aborted") else exchange.response_end)()
                case _:
                    exchange.client_closed()

    # By hand.

    def ask(self, *messages: Any, method: str = "POST", target: str = "/mcp", **headers: str) -> HttpExchange:
        """A request whose body is one message, or an array of them: text and bytes as they are, anything else as JSON."""
        exchange = self.tap.exchange(method, target, as_headers(headers))
        for message in messages:
            exchange.request_data(as_bytes(message))
        exchange.request_end()
        return exchange


def as_headers(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]


def as_bytes(message: Any) -> bytes:
    if isinstance(message, bytes):
        return message
    return (message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)).encode()


def answer(exchange: HttpExchange, *messages: Any, status: int = 200, end: bool = True, **headers: str) -> None:
    """Answer with JSON."""
    body = b"".join(map(as_bytes, messages))
    exchange.response_head(status, as_headers({"content_type": "application/json", "content_length": str(len(body))} | headers))
    exchange.response_data(body)
    if end:
        exchange.response_end()


def stream(exchange: HttpExchange, **headers: str) -> None:
    """Answer with the head of a stream."""
    exchange.response_head(200, as_headers({"content_type": "text/event-stream"} | headers))


def event(message: Any, **fields: str) -> bytes:
    """One event of a stream."""
    lines = [f"{name}: {value}\n" for name, value in fields.items()]
    return "".join(lines).encode() + b"data: " + as_bytes(message) + b"\n\n"


# Messages, and what is done with them


def call(number: Any = 1, tool: str = "echo", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": tool, **params}}


def result(number: Any = 1, text: str = "done", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": text}], **more}}


def problem(number: Any = None, message: str = "no", code: int = -32600) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


def ask(number: int = 0) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "elicitation/create", "params": {"message": "?"}}


def given(number: int = 0, action: str = "accept") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": {"action": action}}


def cancelled(number: Any = 1, reason: str = "stop") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number, "reason": reason}}


INITIALIZE = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"clientInfo": {"name": "c", "version": "1"}}}
INITIALIZED = {
    "jsonrpc": "2.0",
    "id": 0,
    "result": {"protocolVersion": "2025-11-25", "serverInfo": {"name": "s", "version": "2"}},
}
MODERN = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call"}
IN_SESSION = {"mcp_session_id": SESSION}
NO_CONTENT = {"content_length": "0"}


def listen(watch: TapWatch, *, target: str = "/mcp", **headers: str) -> HttpExchange:
    """A stream by GET, with its head."""
    exchange = watch.ask(method="GET", target=target, **headers)
    stream(exchange)
    return exchange


def ends(operations: list[Operation]) -> list[tuple[str | None, str | None, str | None]]:
    """Of each operation: the id of the request, the outcome, the summary."""
    return [(one.request_id, one.result_meta.outcome if one.result_meta else None, one.result_summary) for one in operations]


def greet(watch: TapWatch, session: str = SESSION) -> None:
    answer(watch.ask(INITIALIZE), INITIALIZED, mcp_session_id=session)


def accepted(watch: TapWatch, message: Any, **headers: str) -> None:
    """A request whose answer is to come on another exchange."""
    exchange = watch.ask(message, **(IN_SESSION | headers))
    exchange.response_head(202, [])
    exchange.response_data(b"Accepted")
    exchange.response_end()


def broken_off(watch: TapWatch, message: Any, **headers: str) -> None:
    """A request whose stream breaks off, and can be resumed."""
    exchange = watch.ask(message, **(IN_SESSION | headers))
    stream(exchange)
    exchange.response_data(event("", id="e1"))
    exchange.upstream_failed()


def redirected(exchange: HttpExchange, location: str = "http://127.0.0.1:1/mcp/?x=1", status: int = 307) -> None:
    answer(exchange, status=status, location=location)
