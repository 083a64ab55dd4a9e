"""A second, independent reading of the recording rules: plain ``json``, plain dicts, no thought of speed.

It shares nothing with the package.  It reads a whole session at once and writes down what must come of it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

CAPTURES = Path(__file__).parent / "captures"
SESSIONS = sorted(CAPTURES.glob("**/*.jsonl"))

ITEM_TYPES = {"mcpToolCall", "commandExecution", "fileChange", "dynamicToolCall", "collabAgentToolCall", "webSearch"}
STAND_INS = {
    "commandExecution": ["command", "cwd"],
    "fileChange": ["changes"],
    "webSearch": ["query"],
    "collabAgentToolCall": ["prompt", "receiverThreadIds"],
}


def session(path: Path) -> list[tuple[str, str]]:
    """The frames of a recorded session with their directions.  Split on newlines only: frames hold raw U+2028."""
    lines = path.read_bytes().decode().split("\n")
    return [(entry["dir"], entry["frame"]) for entry in map(json.loads, filter(None, lines))]


def messages(frame: str) -> list[dict[str, Any]]:
    try:
        read = json.loads(frame)
    except ValueError:
        return []
    return [message for message in (read if isinstance(read, list) else [read]) if isinstance(message, dict)]


def id_key(value: Any) -> tuple[str, Any] | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return ("string" if isinstance(value, str) else "number", value)


def exact(frame: str, *path: str) -> str | None:
    """The exact text of a member, found by looking for it in the frame: the recorded frames are compact and sane."""
    value: Any = json.loads(frame)
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    at = 0
    for name in path:
        at = frame.index(json.dumps(name) + ":", at) + len(json.dumps(name)) + 1
        while frame[at] in " \t":
            at += 1
    _, end = json.JSONDecoder().raw_decode(frame, at)
    assert json.loads(frame[at:end]) == value, path
    return frame[at:end]


def arguments_of(text: str | None, limit: int) -> dict[str, Any]:
    if text is None or text == "null":
        return {}
    data = text.encode()
    if len(data) > limit:
        return {"arguments_meta": {"truncated": True, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
    return {"arguments": text}


def text_of(blocks: Any) -> tuple[str, list[str] | None]:
    blocks = blocks or []
    types = [block["type"] for block in blocks]
    text = "".join(block["text"] for block in blocks if block["type"] in ("text", "inputText"))
    return text, types if any(kind not in ("text", "inputText") for kind in types) else None


def summary_of(text: str | None, limit: int) -> tuple[dict[str, Any], dict[str, Any]]:
    if not text:
        return {}, {}
    data = text.encode()
    if len(data) <= limit:
        return {"result_summary": text}, {}
    cut = ""
    for character in text:
        if len((cut + character).encode()) > limit:
            break
        cut += character
    return {"result_summary": cut}, {"truncated": True, "total_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def environment(arguments: str | None) -> str | None:
    value = json.loads(arguments) if arguments else None
    named = value.get("environment_id") if isinstance(value, dict) else None
    return named if isinstance(named, str) and named else None


def expected(
    frames: list[tuple[str, str]], *, source: str, workspace_id: str, args_max_bytes: int = 65_536, result_max_bytes: int = 4_096
) -> list[dict[str, Any]]:
    """Every operation of a session as its wire form without ids and times, in the order of their ends."""
    pending: list[dict[str, Any]] = []
    done: list[dict[str, Any]] = []
    server_name: str | None = None
    greetings: set[Any] = set()

    def end(call: dict[str, Any], *, is_error: bool, text: str | None = None, **meta: Any) -> None:
        summary, cut = summary_of(text, result_max_bytes)
        meta = {key: value for key, value in (cut | meta | call.get("meta", {})).items() if value is not None}
        env_id = call["env_id"] or server_name or "local"
        record = call["record"] | summary | {"is_error": is_error, "env_id": env_id, "workspace_id": workspace_id}
        done.append(record | ({"result_meta": meta} if meta else {}))

    def begin(call: dict[str, Any]) -> None:
        for other in pending:
            if other["key"] == call["key"]:
                other["meta"] = call["meta"] = {"duplicate_id": True}
        pending.append(call)

    def take(key: Any) -> dict[str, Any] | None:
        for call in pending:
            if call["key"] == key:
                pending.remove(call)
                return call
        return None

    for direction, frame in frames:
        for message in messages(frame):
            method, params = message.get("method"), message.get("params") or {}
            if direction == "c2s" and method in ("mcpServer/tool/call", "tools/call"):
                key = id_key(message.get("id"))
                if key is None:
                    continue
                mcp = method == "tools/call"
                text = exact(frame, "params", "arguments")
                meta = params.get("_meta") or {}
                thread = params.get("threadId") or params.get("thread_id") or (meta.get("threadId") if mcp else None)
                record = {
                    "source": source,
                    "tool": params.get("name" if mcp else "tool") or "unknown",
                    "request_id": key[1] if key[0] == "string" else exact(frame, "id"),
                    **({"thread_id": thread} if thread else {}),
                    **({"user_id": meta["agentserver_user_id"]} if meta.get("agentserver_user_id") else {}),
                    **arguments_of(text, args_max_bytes),
                }
                begin({"key": key, "record": record, "env_id": environment(text) or params.get("server")})
            elif direction == "c2s" and method in ("initialize", "server/discover"):
                greetings.add(id_key(message["id"]))
            elif direction == "c2s" and method == "notifications/cancelled":
                if call := take(id_key(params["requestId"])):
                    end(call, is_error=True, outcome="cancelled")
            elif direction == "s2c" and "method" not in message:
                key = id_key(message.get("id"))
                result, error = message.get("result"), message.get("error")
                if key in greetings and not any(call["key"] == key for call in pending):
                    info = (result or {}).get("serverInfo") or (result or {}).get("_meta", {}).get(
                        "io.modelcontextprotocol/serverInfo", {}
                    )
                    server_name = info.get("name") or server_name
                elif call := take(key):
                    if error is not None:
                        end(call, is_error=True, text=error["message"], outcome="rpc_error", error_code=error["code"])
                        continue
                    text, types = text_of(result.get("content"))
                    failed = result.get("isError") is True
                    asks = result.get("resultType") == "input_required"
                    outcome = "tool_error" if failed else "input_required" if asks else None
                    end(call, is_error=failed, text=text, outcome=outcome, content_types=types)
            elif direction == "s2c" and method in ("item/started", "item/completed"):
                item = params["item"]
                if item["type"] not in ITEM_TYPES:
                    continue
                call = item_call(frame, params, args_max_bytes)
                if method == "item/started":
                    begin(call)
                    continue
                if begun := take(call["key"]):
                    call["meta"] = begun.get("meta", {})
                error, result = item.get("error"), item.get("result") or {}
                text, types = text_of(result.get("content") or item.get("contentItems"))
                status = item.get("status")
                failed = status not in (None, "completed", "inProgress")
                outcome = status if status in ("failed", "declined", "interrupted") else "failed" if failed or error else None
                if outcome is None and (item.get("success") is False or result.get("isError")):
                    outcome = "tool_error"
                end(
                    call,
                    is_error=outcome is not None,
                    text=(error or {}).get("message") or text or item.get("aggregatedOutput"),
                    outcome=outcome,
                    content_types=types,
                    exit_code=item.get("exitCode"),
                    reported_duration_ms=item.get("durationMs"),
                )
            elif direction == "s2c" and method == "turn/completed":
                for call in [call for call in pending if call.get("turn") == (params["threadId"], params["turn"]["id"])]:
                    pending.remove(call)
                    end(call, is_error=True, outcome="interrupted")
    while pending:
        end(pending.pop(0), is_error=True, outcome="unanswered")
    return done


def item_call(frame: str, params: dict[str, Any], args_max_bytes: int) -> dict[str, Any]:
    item = params["item"]
    kind = item["type"]
    if kind in STAND_INS:
        parts = [(name, exact(frame, "params", "item", name)) for name in STAND_INS[kind]]
        text: str | None = "{" + ",".join(f'"{name}":{part}' for name, part in parts if part is not None) + "}"
    else:
        text = exact(frame, "params", "item", "arguments")
    record = {
        "source": "llm",
        "tool": item.get("tool") or kind,
        "request_id": item["id"],
        "thread_id": params["threadId"],
        **arguments_of(text, args_max_bytes),
    }
    return {
        "key": ("item", params["threadId"], params["turnId"], item["id"], kind),
        "turn": None if kind == "commandExecution" else (params["threadId"], params["turnId"]),
        "record": record,
        "env_id": (None if kind in STAND_INS else environment(text)) or item.get("server"),
    }
