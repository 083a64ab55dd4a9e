"""A second, independent reading of the recording rules: plain ``json``, plain dicts, no thought of speed.

It shares nothing with the package.  It reads a whole session at once and writes down what must come of it.

``reading`` finds messages and the exact texts of their parts, ``gist`` reads results and errors, ``calls`` makes records of
calls and their ends, and ``mcp``, ``codex``, ``codex_approvals`` and ``acp`` know what a message means.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from tests.naive import acp, codex, codex_approvals, mcp
from tests.naive.calls import Call, Connection, Log, finish, is_answer, settle, take_request
from tests.naive.gist import fault
from tests.naive.reading import CAPTURES, EXCHANGES, SESSIONS, Frame, Line, Message, id_key, messages, read, session

__all__ = [
    "CAPTURES",
    "EXCHANGES",
    "SESSIONS",
    "Frame",
    "Line",
    "differences",
    "expected",
    "expected_of",
    "expected_of_connections",
    "id_key",
    "messages",
    "session",
    "wire_form",
]

REQUESTS = mcp.REQUESTS | codex.REQUESTS | acp.REQUESTS
REQUESTS_OF_SERVER = mcp.REQUESTS_OF_SERVER | codex_approvals.REQUESTS_OF_SERVER | acp.REQUESTS_OF_SERVER
NOTIFICATIONS = mcp.NOTIFICATIONS | codex.NOTIFICATIONS | codex_approvals.NOTIFICATIONS | acp.NOTIFICATIONS
IN_MILLISECONDS = ("duration_ms", "waited_ms")


def expected_of(path: Path, **settings: Any) -> list[dict[str, Any]]:
    """What must come of a recorded session, with the settings of the tests' Interceptors."""
    return expected(session(path), **{"source": "sdk", "workspace_id": "ws-1"} | settings)


def expected(lines: Iterable[tuple[str, Frame, float]], **settings: Any) -> list[dict[str, Any]]:
    """The records of a session on one connection, in the order of their ends.  See ``expected_of_connections``."""
    return expected_of_connections([(None, *line) for line in lines], **settings)


def expected_of_connections(
    lines: Iterable[tuple[Hashable, str, Frame, float]],
    *,
    source: str,
    workspace_id: str,
    shared: bool = False,
    user_id: str | None = None,
    transport: str | None = None,
    default_env_id: str = "local",
    record_items: bool = True,
    args_max_bytes: int = 65_536,
    result_max_bytes: int = 4_096,
) -> list[dict[str, Any]]:
    """The records of sessions on several connections, in the order of their ends.

    A record is what goes over the wire without ``id``, ``started_at`` and ``completed_at``, and with ``arguments`` as their exact
    text.  Beside that ``_began_t`` and ``_ended_t`` say when the call began and ended, and ``_began`` numbers the beginnings.

    Args:
        lines: Which connection, ``"c2s"``, ``"s2c"`` or ``"close"``, the frame, and seconds on a clock.
        source: As in ``Config``, like all the following but ``shared``.
        workspace_id: The workspace.
        shared: Whether tasks and rounds of input may come back on another connection.
    """
    log = Log(source, workspace_id, user_id, transport, default_env_id, record_items, args_max_bytes, result_max_bytes)
    common: list[Any] = []
    connections: dict[Hashable, Connection] = {}
    t = 0.0
    for label, direction, frame, t in lines:
        connection = connections.setdefault(label, Connection(log, common if shared else []))
        if direction == "close":
            close(connections.pop(label), t, shared=shared)
        for message in read(frame) if direction != "close" else []:
            (from_client if direction == "c2s" else from_server)(connection, message, t)
    for connection in connections.values():
        close(connection, t, shared=shared)
    fall_out(common, t)
    return log.records


def close(connection: Connection, t: float, *, shared: bool) -> None:
    for call in list(connection.open):
        if call["kind"] == "acp":
            acp.end(connection, call, t, outcome="unanswered")
        else:
            finish(call, t, outcome="unanswered")
    if not shared:
        fall_out(connection.waiting, t)


def fall_out(waiting: list[Call], t: float) -> None:
    while waiting:
        mcp.fall_out(waiting[0], t)


def from_client(connection: Connection, message: Message, t: float) -> None:
    method, key = message.value.get("method"), id_key(message.value.get("id"))
    if is_answer(message):
        asked, _ = take_request(connection.asked, key)
        if asked and asked["kind"] == "ask":
            settle(asked["ask"], t, **verdict_of(asked, message))
    elif method == "notifications/cancelled":
        mcp.cancel(connection, message, t)
    elif method is not None and key is not None:
        begins = REQUESTS.get(method) if isinstance(method, str) else None
        about = begins(connection, message, key, t) if begins else {"kind": "other"}
        connection.requests.append({"key": key} | about)


def verdict_of(asked: dict[str, Any], answer: Message) -> dict[str, Any]:
    """What the client's answer decides.  An error, or an answer that says nothing that fits, is an answer, too."""
    problem = fault(answer, "error")
    if problem is None:
        verdict: dict[str, Any] = asked["judge"](asked["params"], answer)
        return {"by": "client"} | verdict
    spoken = answer.get("error") if isinstance(answer.get("error"), str) else answer.get("error", "message")
    return {"by": "client"} | ({"reason": spoken} if isinstance(spoken, str) else {})


def from_server(connection: Connection, message: Message, t: float) -> None:
    method, key = message.value.get("method"), id_key(message.value.get("id"))
    if is_answer(message):
        request, is_respelled = take_request(connection.requests, key)
        if request and request["kind"] != "other":
            if is_respelled and request.get("call") and request.get("method") != "tasks/update":
                request["call"]["meta"]["id_respelled"] = True
            request["answered"](connection, request, message, t)
    elif isinstance(method, str) and key is not None:
        asks = REQUESTS_OF_SERVER.get(method)
        asked = asks(connection, message, t) if asks else None
        about = {"kind": "ask", "params": message.get("params"), **asked} if asked else {"kind": "other"}
        connection.asked.append({"key": key} | about)
    elif isinstance(method, str) and "id" not in message.value and method in NOTIFICATIONS:
        NOTIFICATIONS[method](connection, message, t)


def wire_form(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what only the naive reader says."""
    return {key: value for key, value in record.items() if not key.startswith("_")}


def differences(found: Any, wanted: Any, where: str = "records", *, tolerance_ms: int = 1) -> list[str]:
    """Where two records, or lists of records, differ, give or take a millisecond in what is measured."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        found, wanted = wire_form(found), wire_form(wanted)
        parts = [(f"{where}.{key}", found.get(key), wanted.get(key)) for key in sorted(found.keys() | wanted.keys())]
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        parts = [(f"{where}[{at}]", one, other) for at, (one, other) in enumerate(zip(found, wanted, strict=True))]
    else:
        is_measured = where.rpartition(".")[2] in IN_MILLISECONDS
        measured = is_measured and isinstance(found, int) and isinstance(wanted, int)
        same = abs(found - wanted) <= tolerance_ms if measured else found == wanted
        return [] if same else [f"{where}: {found!r} and not {wanted!r}"]
    return [difference for part, one, other in parts for difference in differences(one, other, part, tolerance_ms=tolerance_ms)]
