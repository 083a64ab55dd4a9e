"""What a span must say, read off the operation's JSON with nothing of the package, and what one says, as plain data."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

Document = dict[str, Any]

# The plain attributes, by where they stand in the JSON.
PLAIN = {
    ("id",): "trio_oplog.operation.id",
    ("workspace_id",): "trio_oplog.workspace.id",
    ("source",): "trio_oplog.source",
    ("env_id",): "trio_oplog.env.id",
    ("tool",): "gen_ai.tool.name",
    ("user_id",): "user.id",
    ("thread_id",): "gen_ai.conversation.id",
    ("arguments_meta", "size_bytes"): "trio_oplog.arguments.size",
    ("arguments_meta", "sha256"): "trio_oplog.arguments.sha256",
    ("result_meta", "truncated"): "trio_oplog.result.truncated",
    ("result_meta", "total_bytes"): "trio_oplog.result.size",
    ("result_meta", "sha256"): "trio_oplog.result.sha256",
    ("result_meta", "outcome"): "trio_oplog.outcome",
    ("result_meta", "exit_code"): "process.exit.code",
    ("result_meta", "content_types"): "trio_oplog.result.content_types",
    ("result_meta", "reported_duration_ms"): "trio_oplog.reported_duration_ms",
    ("result_meta", "duplicate_id"): "trio_oplog.duplicate_id",
    ("result_meta", "waited_ms"): "trio_oplog.waited_ms",
    ("result_meta", "rounds"): "trio_oplog.rounds",
    ("result_meta", "task_id"): "trio_oplog.task.id",
    ("result_meta", "id_respelled"): "trio_oplog.id_respelled",
    ("result_meta", "replaced"): "trio_oplog.result.replaced",
    ("context", "client"): "trio_oplog.client",
    ("context", "server"): "trio_oplog.server",
    ("context", "transport"): "trio_oplog.transport",
}
APPROVAL = ("decision", "by", "waited_ms", "risk", "count")


def at(document: Document, *path: str) -> Any:
    value: Any = document
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def expected_attributes(document: Document, arguments: str | None, *, payloads: bool) -> Document:
    """The attributes of a span or a log record.

    Args:
        document: The operation's JSON, parsed.
        arguments: The exact text of its arguments.
        payloads: Whether they were asked for.
    """
    attributes = {name: at(document, *path) for path, name in PLAIN.items() if at(document, *path) is not None}
    attributes["gen_ai.operation.name"] = "execute_tool"
    llm = document["source"] == "llm"
    if not llm:
        attributes["mcp.method.name"] = "tools/call"
    if "request_id" in document:
        attributes["gen_ai.tool.call.id" if llm else "jsonrpc.request.id"] = document["request_id"]
    code, outcome = at(document, "result_meta", "error_code"), at(document, "result_meta", "outcome")
    if code is not None:
        attributes["rpc.response.status_code"] = str(code)
    if document["is_error"]:
        attributes["error.type"] = str(code) if outcome == "rpc_error" and code is not None else (outcome or "_OTHER")
    if (protocol := at(document, "context", "protocol")) is not None:
        parts = protocol.split("-")
        dated = list(map(len, parts)) == [4, 2, 2] and all(part.isascii() and part.isdigit() for part in parts)
        attributes["mcp.protocol.version" if dated else "trio_oplog.protocol"] = protocol
    if (session := at(document, "context", "session")) is not None:
        attributes["trio_oplog.session" if llm else "mcp.session.id"] = session
    match at(document, "context", "transport"):
        case "stdio":
            attributes["network.transport"] = "pipe"
        case "websocket":
            attributes |= {"network.transport": "tcp", "network.protocol.name": "websocket"}
        case "http" | "sse":
            attributes |= {"network.transport": "tcp", "network.protocol.name": "http"}
    if payloads:
        found = {
            "gen_ai.tool.call.arguments": arguments,
            "gen_ai.tool.call.result": document.get("result_summary"),
            "trio_oplog.title": at(document, "result_meta", "title"),
        }
        attributes |= {name: value for name, value in found.items() if value is not None}
    return attributes


def approval_attributes(document: Document, *, payloads: bool) -> Document:
    approval = document["approval"]
    names = (*APPROVAL, "reason") if payloads else APPROVAL
    return {f"trio_oplog.approval.{name}": approval[name] for name in names if name in approval}


def nanoseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return max(0, min(microseconds * 1000, 2**64 - 1))


def expected_span(document: Document, arguments: str | None, kind: str, *, payloads: bool) -> Document:
    digest = hashlib.sha256(document["id"].encode()).digest()
    trace, parent = (hex_id(at(document, "context", name), size) for name, size in (("trace_id", 16), ("parent_span_id", 8)))
    start = nanoseconds(document["started_at"])
    end = min(start + document["duration_ms"] * 10**6, 2**64 - 1)
    events = []
    if "approval" in document:
        decided = min(start + document["approval"]["waited_ms"] * 10**6, end)
        events.append(("trio_oplog.approval", decided, approval_attributes(document, payloads=payloads)))
    if (rounds := at(document, "result_meta", "rounds")) is not None:
        waited = at(document, "result_meta", "waited_ms") or 0
        events.append(("trio_oplog.rounds", min(start + waited * 10**6, end), {"trio_oplog.rounds.count": rounds}))
    failed = document["is_error"]
    return {
        "trace_id": trace or digest[:16],
        "span_id": digest[16:24],
        "parent_span_id": (parent if trace else None) or b"",
        "flags": 0x300 if trace and parent else 0x100,
        "name": "tools/call " + document["tool"],
        "kind": {"client": 3, "server": 2}[kind],
        "start": start,
        "end": end,
        "status": (2, (document.get("result_summary") or "") if payloads else "") if failed else (0, ""),
        "attributes": expected_attributes(document, arguments, payloads=payloads),
        "events": events,
    }


def hex_id(text: str | None, size: int) -> bytes | None:
    if text is None or len(text) != 2 * size or not set(text) <= set("0123456789abcdefABCDEF") or set(text) == {"0"}:
        return None
    return bytes(int(text[place : place + 2], 16) for place in range(0, 2 * size, 2))


def plain_value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [plain_value(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def plain_attributes(attributes: Any) -> Document:
    plain = {attribute.key: plain_value(attribute.value) for attribute in attributes}
    assert len(plain) == len(attributes), "an attribute is there twice"
    return plain


def plain_span(span: Any) -> Document:
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "status": (span.status.code, span.status.message),
        "attributes": plain_attributes(span.attributes),
        "events": [(event.name, event.time_unix_nano, plain_attributes(event.attributes)) for event in span.events],
    }


def expected_log_record(document: Document, arguments: str | None, *, payloads: bool) -> Document:
    span = expected_span(document, arguments, "server", payloads=payloads)
    attributes = span["attributes"] | {"trio_oplog.duration_ms": document["duration_ms"]}
    if "approval" in document:
        attributes |= approval_attributes(document, payloads=payloads)
    return {
        "trace_id": span["trace_id"],
        "span_id": span["span_id"],
        "time": span["end"],
        "observed": span["end"],
        "event_name": "trio_oplog.operation",
        "severity": (17, "ERROR") if document["is_error"] else (9, "INFO"),
        "body": span["name"],
        "attributes": attributes,
    }


def plain_log_record(record: Any) -> Document:
    return {
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "time": record.time_unix_nano,
        "observed": record.observed_time_unix_nano,
        "event_name": record.event_name,
        "severity": (record.severity_number, record.severity_text),
        "body": plain_value(record.body),
        "attributes": plain_attributes(record.attributes),
    }
