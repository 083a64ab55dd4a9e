"""A naive interceptor that keeps every law: plain json, slow and clear.  Its methods are there to be broken, one at a time."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from attrs import define

from trio_oplog import ArgumentsMeta, Config, Operation, Outcome, ResultMeta, Submitter

ITEM_TYPES = {"mcpToolCall", "commandExecution", "fileChange", "dynamicToolCall", "collabAgentToolCall", "webSearch"}
NAMELESS = {"commandExecution", "fileChange", "webSearch"}
COMPOSED = {
    "commandExecution": ("command", "cwd"),
    "fileChange": ("changes",),
    "webSearch": ("query",),
    "collabAgentToolCall": ("prompt", "receiverThreadIds"),
}
Raw = dict[str, str]

_value_end = json.JSONDecoder().raw_decode
_blank = re.compile(r"[ \t\n\r]*")


def members(text: str) -> Raw:
    """The exact texts of the members of an object; of a repeated name the last."""
    found, at = {}, _skip(text, _skip(text, 0) + 1)
    while text[at] != "}":
        name, at = _value_end(text, at)
        at = _skip(text, _skip(text, at) + 1)
        _, end = _value_end(text, at)
        found[name] = text[at:end]
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
    return found


def elements(text: str) -> list[str]:
    found, at = [], _skip(text, _skip(text, 0) + 1)
    while text[at] != "]":
        _, end = _value_end(text, at)
        found.append(text[at:end])
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
    return found


def _skip(text: str, at: int) -> int:
    found = _blank.match(text, at)
    assert found is not None
    return found.end()


def typed(raw: str | None, kind: type) -> Any:
    """The value, where it has the type."""
    value = None if raw is None else json.loads(raw)
    return value if type(value) is kind else None


def inside(raw: str | None) -> Raw:
    return members(raw) if typed(raw, dict) is not None else {}  # type: ignore[arg-type]


@define(eq=False)
class Call:
    key: Any
    kind: str
    turn: Any
    fields: dict[str, Any]
    began: tuple[datetime, float]
    duplicate: bool = False


class Reference:
    name_limit = 1024

    def __init__(self, submitter: Submitter, config: Config) -> None:
        self.submitter, self.config = submitter, config
        self.open: list[Call] = []
        self.server_name: str | None = None
        self.handshakes: set[Any] = set()

    # -- frames ----------------------------------------------------------------------------------------------------------

    def on_client_frame(self, frame: Any) -> None:
        for message in self.messages(frame):
            self.client_message(message)

    def on_server_frame(self, frame: Any) -> None:
        for message in self.messages(frame):
            self.server_message(message)

    def text(self, frame: Any) -> str:
        if isinstance(frame, str):
            return frame
        data = bytes(frame)
        return data.decode(json.detect_encoding(data), "surrogatepass")

    def messages(self, frame: Any) -> list[Raw]:
        try:
            text = self.text(frame)
            value = json.loads(text)
        except (ValueError, RecursionError):
            return []
        if isinstance(value, dict):
            return [members(text)]
        return self.batch(text, value) if isinstance(value, list) else []

    def batch(self, text: str, values: list[Any]) -> list[Raw]:
        return [members(raw) for raw, value in zip(elements(text), values, strict=True) if isinstance(value, dict)]

    # -- messages --------------------------------------------------------------------------------------------------------

    def method(self, message: Raw) -> str | None:
        return typed(message.get("method"), str)

    def has_method(self, message: Raw) -> bool:
        return message.get("method", "null") != "null"

    def key(self, raw: str | None) -> Any:
        if raw is None or raw[0] in "[{tfn":
            return None
        return ("string", json.loads(raw)) if raw[0] == '"' else ("number", Decimal(raw))

    def client_message(self, message: Raw) -> None:
        method, key = self.method(message), self.key(message.get("id"))
        if method in {"mcpServer/tool/call", "tools/call"} and key is not None:
            self.begin_call(message, key, "codex" if method.startswith("mcpServer") else "mcp")
        elif method in {"initialize", "server/discover"} and key is not None:
            self.handshakes.add(key)
        elif method == "notifications/cancelled":
            self.cancel(self.key(inside(message.get("params")).get("requestId")))

    def server_message(self, message: Raw) -> None:
        method = self.method(message)
        params = inside(message.get("params"))
        if not self.has_method(message):
            self.response(message)
        elif "id" in message:
            return  # a request of the server's
        elif method in {"item/started", "item/completed"}:
            item = inside(params.get("item"))
            if typed(item.get("type"), str) in ITEM_TYPES and self.config.record_items:
                getattr(self, method.replace("/", "_"))(params, item)
        elif method == "turn/completed":
            turn = typed(inside(params.get("turn")).get("id"), str)
            self.turn_completed((typed(params.get("threadId"), str), turn))

    def response(self, message: Raw) -> None:
        key = self.key(message.get("id"))
        error = self.error(message)
        if key is None or ("result" not in message and error is None):
            return
        if key in self.handshakes:
            self.handshakes.discard(key)
            name = typed(inside(inside(message.get("result")).get("serverInfo")).get("name"), str)
            self.server_name = name or self.server_name
        call = self.oldest(key)
        if call is not None:
            self.end(call, **self.answer(call, message, error))

    def error(self, message: Raw) -> str | None:
        raw = message.get("error", "null")
        return None if raw == "null" else raw

    # -- calls -----------------------------------------------------------------------------------------------------------

    def oldest(self, key: Any) -> Call | None:
        return next((call for call in self.open if call.key == key), None)

    def begin_call(self, message: Raw, key: Any, kind: str) -> None:
        params = inside(message.get("params"))
        meta = inside(params.get("_meta"))
        thread_id = typed(params.get("threadId"), str) or typed(params.get("thread_id"), str)
        if kind == "mcp":
            thread_id = thread_id or typed(meta.get("threadId"), str)
        arguments = params.get("arguments")
        fields = {
            "source": self.config.source,
            "request_id": self.request_id(message["id"]),
            "tool": typed(params.get("name" if kind == "mcp" else "tool"), str) or "unknown",
            "thread_id": thread_id,
            "user_id": typed(meta.get("agentserver_user_id"), str),
            "server": typed(params.get("server"), str) if kind == "codex" else None,
            "environment": self.environment(arguments),
            **self.kept_arguments(arguments),
        }
        self.begin(Call(key, kind, None, fields, self.now()))

    def request_id(self, raw: str) -> str:
        return str(json.loads(raw)) if raw[0] == '"' else raw

    def environment(self, arguments: str | None) -> str | None:
        return typed(inside(arguments).get("environment_id"), str)

    def kept_arguments(self, raw: str | None) -> dict[str, Any]:
        if raw is None or raw == "null":
            return {}
        data = raw.encode("utf-8", "backslashreplace")
        strict = not re.search("NaN|Infinity", re.sub(r'"(\\.|[^"\\])*"', "", raw))
        if len(data) <= self.config.args_max_bytes and strict:
            return {"arguments": data}
        return {"arguments_meta": ArgumentsMeta(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())}

    def begin(self, call: Call) -> None:
        twins = [other for other in self.open if other.key == call.key]
        for twin in (*twins, call) if twins else ():
            twin.duplicate = True
        self.open.append(call)
        if len(self.open) > self.config.max_pending:
            self.evict()

    def evict(self) -> None:
        self.end(self.open[0], outcome=Outcome.EVICTED)

    def cancel(self, key: Any) -> None:
        call = None if key is None else self.oldest(key)
        if call is not None:
            self.end(call, outcome=Outcome.CANCELLED)

    def answer(self, call: Call, message: Raw, error: str | None) -> dict[str, Any]:
        if error is not None:
            parts = inside(error)
            text = typed(parts.get("message"), str) or ""
            return {"outcome": Outcome.RPC_ERROR, "text": text, "error_code": typed(parts.get("code"), int)}
        result = inside(message.get("result"))
        outcome = Outcome.TOOL_ERROR if result.get("isError") == "true" else None
        if typed(result.get("resultType"), str) == "input_required":
            outcome = Outcome.INPUT_REQUIRED
        if call.kind == "mcp":
            info = inside(inside(result.get("_meta")).get("io.modelcontextprotocol/serverInfo"))
            call.fields["server"] = typed(info.get("name"), str)
        return {"outcome": outcome, **self.content(result.get("content"), "text")}

    def content(self, raw: str | None, kind: str) -> dict[str, Any]:
        blocks = [inside(block) for block in elements(raw)] if typed(raw, list) is not None else []  # type: ignore[arg-type]
        types = tuple(typed(block.get("type"), str) for block in blocks)
        text = "".join(typed(block.get("text"), str) or "" for block in blocks if typed(block.get("type"), str) == kind)
        return {"text": text, "content_types": types if set(types) - {kind} else None}

    # -- items -----------------------------------------------------------------------------------------------------------

    def item_call(self, params: Raw, item: Raw) -> Call:
        kind, thread, turn = typed(item["type"], str), typed(params.get("threadId"), str), typed(params.get("turnId"), str)
        item_id = typed(item.get("id"), str)
        arguments = item.get("arguments")
        if kind in COMPOSED:
            arguments = "{" + ",".join(f'"{name}":{item[name]}' for name in COMPOSED[kind] if name in item) + "}"
        fields = {
            "source": "llm",
            "request_id": item_id,
            "tool": typed(item.get("tool"), str) or (kind if kind in NAMELESS else "unknown"),
            "thread_id": thread,
            "server": typed(item.get("server"), str),
            "environment": self.environment(arguments),
            **self.kept_arguments(arguments),
        }
        return Call(self.item_key(thread, turn, item_id, kind), kind, (thread, turn), fields, self.now())

    def item_key(self, *parts: Any) -> Any:
        return parts

    def item_started(self, params: Raw, item: Raw) -> None:
        self.begin(self.item_call(params, item))

    def item_completed(self, params: Raw, item: Raw) -> None:
        completed = self.item_call(params, item)
        call = self.oldest(completed.key)
        if call is None:
            call = completed
            self.open.append(call)
        call.fields = completed.fields
        if typed(item.get("startedAtMs"), int) is not None:
            key = f"{self.config.workspace_id} {completed.key} {item['startedAtMs']} {item.get('completedAtMs')}"
            call.fields["id"] = self.execution_id(key)
        self.end(call, **self.item_answer(call.kind, item))

    def execution_id(self, key: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, key))

    def item_answer(self, kind: str, item: Raw) -> dict[str, Any]:
        status = typed(item.get("status"), str)
        outcome = self.status_outcome(status)
        if outcome is None and item.get("success") == "false":
            outcome = Outcome.TOOL_ERROR
        found = self.content(item.get("contentItems"), "inputText")
        if kind == "mcpToolCall":
            found = self.content(inside(item.get("result")).get("content"), "text")
        found["text"] = typed(inside(item.get("error")).get("message"), str) or found["text"]
        found["text"] = typed(item.get("aggregatedOutput"), str) or found["text"]
        codes = {"exit_code": typed(item.get("exitCode"), int), "reported_duration_ms": typed(item.get("durationMs"), int)}
        return {"outcome": outcome, **codes, **found}

    def status_outcome(self, status: str | None) -> Outcome | None:
        if status in {None, "completed", "inProgress"}:
            return None
        return Outcome(status) if status in {"declined", "interrupted"} else Outcome.FAILED

    def turn_completed(self, turn: Any) -> None:
        for call in list(self.open):
            if call.turn == turn and call.kind != "commandExecution":
                self.end(call, outcome=Outcome.INTERRUPTED)

    # -- the end ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        for call in list(self.open):
            self.end(call, outcome=Outcome.UNANSWERED)

    def end(self, call: Call, *, outcome: Outcome | None = None, text: str = "", **known: Any) -> None:
        self.open.remove(call)
        self.submitter.submit(self.operation(call, outcome, text, known))

    def operation(self, call: Call, outcome: Outcome | None, text: str, known: dict[str, Any]) -> Operation:
        fields = call.fields
        whole = self.clean(text).encode()
        limit = self.config.result_max_bytes
        if len(whole) > limit:
            known.update(truncated=True, total_bytes=len(whole), sha256=hashlib.sha256(whole).hexdigest())
        meta = ResultMeta(outcome=outcome, duplicate_id=call.duplicate or None, **known)
        server = fields.get("server") or (self.server_name if call.kind == "mcp" else None)
        completed_at, completed = self.now()
        return Operation(
            id=fields.get("id") or self.new_id(),
            workspace_id=self.config.workspace_id,
            source=fields["source"],
            env_id=self.name(self.env(fields.get("environment"), server)),
            tool=self.name(fields["tool"]),
            is_error=self.is_error(outcome),
            started_at=call.began[0],
            completed_at=completed_at,
            duration_ms=self.duration_ms(completed - call.began[1]),
            user_id=self.user(fields.get("user_id")),
            thread_id=self.name(fields.get("thread_id")),
            request_id=self.name(fields.get("request_id")),
            arguments=fields.get("arguments"),
            arguments_meta=fields.get("arguments_meta"),
            result_summary=self.cut(whole, limit) if whole else None,
            result_meta=None if meta == ResultMeta() else meta,
        )

    def is_error(self, outcome: Outcome | None) -> bool:
        return outcome not in {None, Outcome.INPUT_REQUIRED}

    def env(self, environment: str | None, server: str | None) -> str:
        return environment or server or self.config.default_env_id

    def user(self, claimed: str | None) -> str | None:
        return self.config.user_id or self.name(claimed)

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def now(self) -> tuple[datetime, float]:
        return datetime.now(UTC), time.monotonic()

    def duration_ms(self, seconds: float) -> int:
        return int(seconds * 1000)

    def clean(self, text: str) -> str:
        return re.sub("[\ud800-\udfff]", "\ufffd", text)

    def name(self, text: str | None) -> Any:
        return None if text is None else self.cut(self.clean(text).encode(), self.name_limit)

    def cut(self, data: bytes, limit: int) -> str:
        return data[:limit].decode("utf-8", "ignore")
