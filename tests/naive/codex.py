"""Codex app-server: the client's own executions, the model's (items), and who approved them."""

from __future__ import annotations

from typing import Any

from tests.naive import mcp
from tests.naive.calls import Call, Connection, begin, finish, finish_as_answered, new_call
from tests.naive.codex_approvals import forget_early_asks, take_early_asks
from tests.naive.gist import blocks_of, fault, is_failed, said, texts_of, trace_of, types_of
from tests.naive.reading import Key, Message, integer, name, same_json, sized

About = dict[str, Any]

# The types of items that are calls, and which of an item's fields stand for its arguments where it has none.
ITEMS: dict[str, list[str] | None] = {
    "mcpToolCall": None,
    "dynamicToolCall": None,
    "commandExecution": ["command", "cwd"],
    "fileChange": ["changes"],
    "webSearch": ["query", "action"],
    "collabAgentToolCall": ["prompt", "receiverThreadIds"],
    "imageView": ["path"],
    "imageGeneration": ["revisedPrompt", "savedPath"],
    "sleep": ["durationMs"],
    "subAgentActivity": ["kind", "agentThreadId", "agentPath"],
}
# The client's requests that are calls, and which of their parameters stand for the arguments.
REQUESTS_THAT_ARE_CALLS = {
    "command/exec": ["command", "cwd", "env", "timeoutMs", "processId"],
    "process/spawn": ["command", "cwd", "env", "timeoutMs", "processHandle"],
    "fs/writeFile": ["path", "dataBase64"],
    "fs/remove": ["path", "recursive", "force"],
    "fs/copy": ["sourcePath", "destinationPath", "recursive"],
    "fs/createDirectory": ["path", "recursive"],
    "mcpServer/resource/read": ["server", "uri"],
}


def object_of(message: Message, names: list[str], *place: str) -> bytes | None:
    """An object of the members of another one, each in its exact text; ``None`` when there is none of them."""
    texts = [(member, message.exact_bytes(*place, member)) for member in names]
    parts = [b'"%b":%b' % (member.encode(), text) for member, text in texts if text is not None]
    return b"{%b}" % b",".join(parts) if parts else None


# The client's own executions


def call_tool(connection: Connection, message: Message, key: Key, t: float) -> About:
    """``mcpServer/tool/call``."""
    arguments = message.get("params", "arguments")
    return direct_call(
        connection,
        message,
        key,
        t,
        tool=name(message.get("params", "tool")),
        data=message.exact_bytes("params", "arguments"),
        value=arguments,
        env_id=mcp.environment(arguments) or name(message.get("params", "server")),
        threads=("threadId", "thread_id"),
    )


def call_method(connection: Connection, message: Message, key: Key, t: float) -> About:
    """A request whose method is the tool."""
    method = message.value["method"]
    return direct_call(
        connection,
        message,
        key,
        t,
        tool=method,
        data=object_of(message, REQUESTS_THAT_ARE_CALLS[method], "params"),
        env_id=name(message.get("params", "server")) if method == "mcpServer/resource/read" else None,
        threads=("threadId",),
    )


def direct_call(connection: Connection, message: Message, key: Key, t: float, *, threads: tuple[str, ...], **facts: Any) -> About:
    traceparent = message.get("params", "_meta", "traceparent")
    call = new_call(
        connection,
        t,
        key=key,
        kind="direct",
        lossy=message.lossy,
        context=trace_of(mcp.trace_beside(message), traceparent),
        request_id=mcp.request_id(message, key),
        thread_id=next(filter(None, (name(message.get("params", thread)) for thread in threads)), None),
        user_id=name(message.get("params", "_meta", "agentserver_user_id")),
        **facts,
    )
    call |= {"server": message.get("params", "server"), "handle": message.get("params", "processHandle")}
    tool_call = message.value["method"] == "mcpServer/tool/call"
    begin(call)
    return {"kind": "call", "call": call, "answered": mcp.answered if tool_call else method_answered}


def method_answered(connection: Connection, about: About, message: Message, t: float) -> None:
    call: Call = about["call"]
    method = call["record"]["tool"]
    if fault(message, "error") is not None or method.startswith("fs/"):
        finish_as_answered(call, message, t)
    elif method == "command/exec":
        finish_as_exited(call, message, t, "result")
    elif method == "mcpServer/resource/read":
        contents = message.get("result", "contents")
        texts = [part.get("text") for part in contents if isinstance(part, dict)] if isinstance(contents, list) else []
        finish(call, t, text="".join(text for text in texts if isinstance(text, str)), lossy=message.lossy)
    # A process that was spawned runs on.


def process_exited(connection: Connection, message: Message, t: float) -> None:
    handle = message.get("params", "processHandle")
    for call in connection.open:
        if call["record"]["tool"] == "process/spawn" and call["kind"] == "direct" and same_json(call["handle"], handle):
            # Should the request still be open, then nobody's answer to it matters now.
            connection.requests[:] = [request for request in connection.requests if request.get("call") is not call]
            finish_as_exited(call, message, t, "params")
            return


def finish_as_exited(call: Call, message: Message, t: float, place: str) -> None:
    code = integer(message.get(place, "exitCode"))
    outputs = [message.get(place, stream) for stream in ("stdout", "stderr")]
    text = "".join(output for output in outputs if isinstance(output, str))
    finish(call, t, outcome="tool_error" if code else None, text=text, lossy=message.lossy, exit_code=code)


# Items


def item_of(connection: Connection, message: Message, t: float) -> Call | None:
    """The call that an ``item/started`` or ``item/completed`` is about, as it says it; ``None`` when the item is no call."""
    item = message.get("params", "item")
    kind = item.get("type") if isinstance(item, dict) else None
    if not connection.log.record_items or not isinstance(kind, str) or kind not in ITEMS:
        return None
    if kind == "subAgentActivity" and item.get("kind") == "completed":
        return None
    thread, turn, item_id = name(message.get("params", "threadId")), name(message.get("params", "turnId")), name(item.get("id"))
    fields = ITEMS[kind]
    arguments = item.get("arguments") if fields is None else None
    place = ("params", "item")
    call = new_call(
        connection,
        t,
        key=("item", thread, turn, item_id, kind),
        kind="item",
        tool=name(item.get("tool")) or (None if fields is None else kind),
        data=message.exact_bytes(*place, "arguments") if fields is None else object_of(message, fields, *place),
        value=arguments,
        lossy=message.lossy,
        env_id=mcp.environment(arguments) or name(item.get("server")),
        request_id=item_id,
        thread_id=thread,
    )
    call["record"]["source"] = connection.log.source if item.get("source") == "userShell" else "llm"
    started_at = item.get("startedAtMs", message.get("params", "startedAtMs"))
    call |= {"thread": thread, "turn": turn, "item_id": item_id, "type": kind, "server": item.get("server")}
    call["started_at"] = started_at if isinstance(started_at, int | float) else None
    return call


def execution(call: Call) -> tuple[Any, ...] | None:
    """What a repeated notification about an execution has in common with the first; ``None`` when that cannot be told."""
    if call["started_at"] is None:
        return None
    record = call["record"]
    arguments = sized(record["arguments"].encode()) if "arguments" in record else record.get("arguments_meta")
    return (*call["key"], call["started_at"], record["tool"], str(arguments))


def has_ended(connection: Connection, call: Call) -> bool:
    """Whether what a completed item is about has its record."""
    again = execution(call)
    return (again is not None and again in connection.items_ended) or call["key"] in connection.keys_ended_by_turn


def item_started(connection: Connection, message: Message, t: float) -> None:
    call = item_of(connection, message, t)
    if call is None or (execution(call) is not None and execution(call) in connection.items_begun):
        return
    connection.items_begun.append(execution(call))
    take_early_asks(connection, call)
    begin(call)


def item_completed(connection: Connection, message: Message, t: float) -> None:
    call = item_of(connection, message, t)
    if call is None:
        return
    begun = [other for other in connection.open if other["key"] == call["key"]]
    same_time = [other for other in begun if other["started_at"] == call["started_at"]]
    if begun:
        # What the item says now counts, and what was noted of the call since it began.
        other = (same_time or begun)[0]
        connection.open.remove(other)
        call |= {fact: other[fact] for fact in ("meta", "asks", "began_t", "began")}
    elif has_ended(connection, call):
        return
    else:
        take_early_asks(connection, call)
    connection.items_begun.append(execution(call))
    connection.items_ended.append(execution(call))
    finish_item(call, message, t)


def finish_item(call: Call, message: Message, t: float) -> None:
    item = message.get("params", "item")
    place = ("params", "item")
    problem = fault(message, *place, "error")
    # The result of a generated image is the image, and no text.
    text, types = (None, None) if call["type"] == "imageGeneration" else said(message, *place, "result")
    if not text and not types:
        content = item.get("contentItems")
        blocks = blocks_of(content)
        text = content if isinstance(content, str) else next(texts_of(blocks), text)
        types = types_of(blocks)
    output = item.get("aggregatedOutput")
    finish(
        call,
        t,
        outcome=outcome_of(item, failed=problem is not None),
        text=(problem[0] if problem else None) or text or (output if isinstance(output, str) else None),
        lossy=message.lossy,
        error_code=problem[1] if problem else None,
        content_types=types,
        exit_code=integer(item.get("exitCode")),
        reported_duration_ms=None if call["type"] == "sleep" else integer(item.get("durationMs")),
    )


def outcome_of(item: dict[str, Any], *, failed: bool) -> str | None:
    status = item.get("status")
    if item["type"] == "imageGeneration":
        return "failed" if status == "failed" or item.get("failure") is not None or failed else None
    if status not in (None, "completed", "inProgress"):
        return status if status in ("failed", "declined", "interrupted") else "failed"
    if failed:
        return "failed"
    return "tool_error" if item.get("success") is False or is_failed(item.get("result")) else None


def ends_with_its_turn(call: Call) -> bool:
    """A command may go on in the background, but not while it waits to be allowed."""
    waits = any(ask["approval"] and ask["settled_t"] is None for ask in call["asks"])
    return call["type"] != "commandExecution" or waits


def interrupt(connection: Connection, calls: list[Call], t: float) -> None:
    for call in calls:
        connection.keys_ended_by_turn.append(call["key"])
        finish(call, t, outcome="interrupted")


def turn_completed(connection: Connection, message: Message, t: float) -> None:
    thread, turn = name(message.get("params", "threadId")), name(message.get("params", "turn", "id"))
    forget_early_asks(connection, thread, turn)
    items = [call for call in connection.open if call["kind"] == "item"]
    interrupt(
        connection, [call for call in items if (call["thread"], call["turn"]) == (thread, turn) and ends_with_its_turn(call)], t
    )


def turn_started(connection: Connection, message: Message, t: float) -> None:
    thread, turn = name(message.get("params", "threadId")), name(message.get("params", "turn", "id"))
    items = [call for call in connection.open if call["kind"] == "item" and call["thread"] == thread]
    interrupt(connection, [call for call in items if call["turn"] != turn and ends_with_its_turn(call)], t)


def thread_closed(connection: Connection, message: Message, t: float) -> None:
    thread = name(message.get("params", "threadId"))
    interrupt(connection, [call for call in connection.open if call["kind"] == "item" and call["thread"] == thread], t)


REQUESTS = {"mcpServer/tool/call": call_tool, **dict.fromkeys(REQUESTS_THAT_ARE_CALLS, call_method)}
NOTIFICATIONS = {
    "item/started": item_started,
    "item/completed": item_completed,
    "turn/started": turn_started,
    "turn/completed": turn_completed,
    "thread/closed": thread_closed,
    "process/exited": process_exited,
}
