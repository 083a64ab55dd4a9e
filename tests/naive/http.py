"""MCP over HTTP, read whole: a recorded session becomes frames on connections, which ``tests.naive`` reads as it reads others.

A connection is a session, or one exchange that has none.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import tests.naive as naive
from tests.naive.calls import Call, Connection, Log, finish
from tests.naive.gist import fault
from tests.naive.reading import read

BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass
class Crossing:
    """One exchange of a recording."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    began_t: float
    body: bytes = b""
    body_t: float = 0.0
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer_t: float = 0.0
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    end_t: float | None = None
    client_left: bool = False


def crossings(path: Path) -> list[Crossing]:
    """The exchanges of a recording."""
    found: dict[int, Crossing] = {}
    for line in filter(None, path.read_bytes().decode().split("\n")):
        entry = json.loads(line)
        number, event, t = entry["x"], entry["ev"], entry["t"]
        headers = {name.lower(): value for name, value in entry.get("headers", [])}
        one = found.get(number)
        if event == "request":
            found[number] = Crossing(number, entry["method"], entry["path"], headers, t)
            continue
        assert one is not None
        data = entry.get("data", "")
        data = base64.b64decode(data["b64"]) if isinstance(data, dict) else data.encode()
        if event == "request_body":
            one.body, one.body_t = data, t
        elif event == "response":
            one.status, one.answer_headers, one.answer_t = entry["status"], headers, t
        elif event == "response_data":
            one.chunks.append((t, data))
        else:
            one.end_t, one.client_left = t, event != "response_end"
    return list(found.values())


def is_stream(one: Crossing) -> bool:
    return one.answer_headers.get("content-type", "").startswith("text/event-stream")


def events_of(one: Crossing) -> list[tuple[float, dict[str, list[bytes]]]]:
    """The events of a stream, each with the time of its last byte and its fields."""
    found: list[tuple[float, dict[str, list[bytes]]]] = []
    text, rest = b"", b""
    for t, chunk in one.chunks:
        text = rest + chunk
        *whole, rest = BLANK_LINE.split(text)
        for event in whole:
            fields: dict[str, list[bytes]] = {}
            for line in LINE_END.split(event):
                name, _, value = line.partition(b":")
                fields.setdefault(name.decode(), []).append(value.removeprefix(b" "))
            found.append((t, fields))
    return found


def is_modern(one: Crossing) -> bool:
    """Whether the protocol has no sessions (2026-07-28)."""
    return "mcp-method" in one.headers or one.headers.get("mcp-protocol-version", "") >= "2026-07-28"


def session_id_of(one: Crossing) -> str | None:
    """The session of an exchange, as the request or the answer names it."""
    query = dict(parse_qsl(urlsplit(one.path).query))
    given = one.headers.get("mcp-session-id") or query.get("session_id") or query.get("sessionId")
    if not given and b'"initialize"' in one.body:
        given = one.answer_headers.get("mcp-session-id")
    for _, event in events_of(one) if is_stream(one) and one.method == "GET" and not given else []:
        if event.get("event") == [b"endpoint"]:
            query = dict(parse_qsl(urlsplit(event["data"][0].decode()).query))
            given = query.get("session_id") or query.get("sessionId")
    return given


@dataclass
class Reading:
    """What is known while a recording is read."""

    logs: dict[str, Log]
    waiting: list[Call] = field(default_factory=list)
    connections: dict[Any, Connection] = field(default_factory=dict)
    calls: dict[int, list[Call]] = field(default_factory=dict)
    """The calls that came in each exchange."""

    def connection_of(self, one: Crossing) -> Connection:
        session = None if is_modern(one) else session_id_of(one)
        transport = "sse" if "/message" in one.path or one.path == "/sse" else "http"
        label = session if session is not None else one.number
        if label not in self.connections:
            self.connections[label] = Connection(self.logs[transport], self.waiting, session=session)
        connection = self.connections[label]
        connection.announced_protocol = connection.announced_protocol or one.headers.get("mcp-protocol-version")
        return connection


def expected_of_exchanges(path: Path, **settings: Any) -> list[dict[str, Any]]:
    """What must come of a recorded session over HTTP, with the settings of the tests' taps: see ``tests.naive.expected``."""
    told = {
        "source": "sdk",
        "workspace_id": "ws-1",
        "user_id": None,
        "default_env_id": "local",
        "record_items": True,
        "args_max_bytes": 65_536,
        "result_max_bytes": 4_096,
    } | settings
    records: list[dict[str, Any]] = []
    reading = Reading({name: Log(transport=name, records=records, **told) for name in ("http", "sse")})
    steps: list[tuple[float, int, Any]] = []
    for one in crossings(path):
        steps += [(t, len(steps) + at, act) for at, (t, act) in enumerate(acts_of(reading, one))]
    t = 0.0
    for t, _, act in sorted(steps, key=lambda step: step[:2]):
        act(t)
    for connection in reading.connections.values():
        naive.close(connection, t, shared=True)
    naive.fall_out(reading.waiting, t)
    return records


def acts_of(reading: Reading, one: Crossing) -> list[tuple[float, Any]]:
    """What happens in an exchange, and when."""
    if 300 <= one.status < 400:  # it is sent again, and that counts
        return []
    acts: list[tuple[float, Any]] = [(one.body_t, lambda t: ask(reading, one, t))] if one.body and one.method == "POST" else []
    if is_stream(one):
        for event_t, event in events_of(one):
            frame = b"\n".join(event.get("data", []))
            if event.get("event", [b"message"])[-1] == b"message":
                acts.append((event_t, lambda t, frame=frame: answer(reading, one, frame, t)))
    elif one.method == "POST" and one.chunks and one.status != 202:
        text = b"".join(chunk for _, chunk in one.chunks)
        acts.append((one.chunks[-1][0], lambda t: answer(reading, one, text, t)))
    if one.end_t is not None:
        is_empty = one.answer_headers.get("content-length") == "0"
        acts.append((one.answer_t if is_empty and one.method == "POST" else one.end_t, lambda t: end(reading, one, t)))
    return acts


def ask(reading: Reading, one: Crossing, t: float) -> None:
    connection = reading.connection_of(one)
    for message in read(one.body):
        if message.value.get("method") == "notifications/cancelled" and connection.session is None:
            cancel_anywhere(reading, message, t)
            continue
        known = list(connection.open)
        naive.from_client(connection, message, t)
        reading.calls.setdefault(one.number, []).extend(call for call in connection.open if call not in known)


def cancel_anywhere(reading: Reading, message: Any, t: float) -> None:
    """A cancellation that names no session: it is about the request with this id in some exchange without a session."""
    key = naive.id_key(message.get("params", "requestId"))
    for connection in reading.connections.values():
        if connection.session is None and any(request["key"] == key for request in connection.requests):
            naive.mcp.cancel(connection, message, t)
            return


def answer(reading: Reading, one: Crossing, frame: bytes, t: float) -> None:
    connection = reading.connection_of(one)
    for message in read(frame):
        problem = fault(message, "error")
        names_nothing = naive.id_key(message.value.get("id")) is None or one.status >= 400
        connection.asking = reading.calls.get(one.number)
        naive.from_server(connection, message, t)
        for call in still_open(reading, one) if problem is not None and names_nothing else []:
            finish(call, t, outcome="rpc_error", text=problem[0], error_code=problem[1])


def still_open(reading: Reading, one: Crossing) -> list[Call]:
    return [call for call in reading.calls.get(one.number, []) if any(call is other for other in call["on"].open)]


def end(reading: Reading, one: Crossing, t: float) -> None:
    connection = reading.connection_of(one)
    if one.method == "DELETE" and one.status == 200:
        reading.connections.pop(connection.session, None)
        naive.close(connection, t, shared=True)
    for call in still_open(reading, one):
        if one.status >= 400:
            finish(call, t, outcome="rpc_error", text=f"HTTP {one.status}")
        elif is_modern(one) and one.client_left:
            finish(call, t, outcome="cancelled")
        elif connection.session is None or not (one.status == 202 or any(event.get("id") for _, event in events_of(one))):
            finish(call, t, outcome="unanswered")
