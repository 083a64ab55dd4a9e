"""Agent Client Protocol (v1): the calls of an agent, and the permissions for them."""

from __future__ import annotations

from typing import Any

from tests.naive.calls import Ask, Call, Connection, begin, finish, new_ask, new_call
from tests.naive.gist import blocks_of, links_of, texts_of, types_of
from tests.naive.mcp import environment
from tests.naive.reading import Key, Message, arguments_of, name

About = dict[str, Any]
OUTCOMES = {"completed": None, "failed": "failed"}


def session_of(message: Message) -> str | None:
    return name(message.get("params", "sessionId"))


# The client's requests


def prompt(connection: Connection, message: Message, key: Key, t: float) -> About:
    return {"kind": "prompt", "session": session_of(message), "answered": prompt_answered}


def prompt_answered(connection: Connection, about: About, message: Message, t: float) -> None:
    """The turn is over, and with it whatever the agent said nothing more about."""
    for call in [call for call in connection.open if call["kind"] == "acp" and call["session"] == about["session"]]:
        end(connection, call, t, outcome="interrupted")


def load(connection: Connection, message: Message, key: Key, t: float) -> About:
    return {"kind": "load", "session": session_of(message), "answered": lambda *_: None}


def is_replayed(connection: Connection, session: str | None) -> bool:
    """Whether the updates of a session are its history, because the client is loading it."""
    return any(request["kind"] == "load" and request["session"] == session for request in connection.requests)


# Calls


def updated(connection: Connection, message: Message, t: float) -> None:
    """``session/update`` about a call."""
    session, kind = session_of(message), message.get("params", "update", "sessionUpdate")
    call_id, status = name(message.get("params", "update", "toolCallId")), message.get("params", "update", "status")
    about_a_call = kind in ("tool_call", "tool_call_update") and call_id is not None
    if not connection.log.record_items or not about_a_call or is_replayed(connection, session):
        return
    ends = isinstance(status, str) and status in OUTCOMES
    call = find(connection, session, call_id)
    if call is None and (kind == "tool_call" or ends):
        call = begin_call(connection, session, call_id, t)
    if call is None:  # it has ended, or nobody has said that it began
        return
    note(call, message, "params", "update")
    blocks, output = content_in(message), output_in(message)
    if ends:
        said = [(blocks, None), (None, output), (call["blocks"], None), (None, call["output"])]
        end(connection, call, t, outcome=OUTCOMES[status], lossy=message.lossy or call["lossy"], **gist(said))
        return
    if blocks is not None:
        call["blocks"] = blocks
    call["output"] = output if output is not None else call["output"]
    call["lossy"] = call["lossy"] or message.lossy


def content_in(message: Message) -> list[dict[str, Any]] | None:
    """The content blocks of an update; differences between files and terminals are none.  ``None`` where it has no content."""
    content = message.get("params", "update", "content")
    if content is None:
        return None
    return blocks_of([entry.get("content") for entry in blocks_of(content) if entry.get("type") == "content"])


def output_in(message: Message) -> str | None:
    """The raw output of an update: a text as it is, anything else as its exact text."""
    output = message.get("params", "update", "rawOutput")
    if output is None or isinstance(output, str):
        return output
    return message.exact("params", "update", "rawOutput")


def gist(candidates: list[tuple[list[dict[str, Any]] | None, str | None]]) -> dict[str, Any]:
    """The first text of what was said, and the types of its content; without a text the types of the first content."""
    first_types = None
    for blocks, output in candidates:
        text, types = output, None
        if blocks is not None:
            text, types = next(texts_of(blocks), None), types_of(blocks)
            text = links_of(blocks) if text is None else text
            first_types = first_types or types
        if text is not None:
            return {"text": text, "content_types": types if blocks is not None else first_types}
    return {"content_types": first_types}


def find(connection: Connection, session: str | None, call_id: str | None) -> Call | None:
    return next((call for call in connection.open if call["key"] == ("acp", session, call_id)), None)


def begin_call(connection: Connection, session: str | None, call_id: str | None, t: float) -> Call | None:
    """A call that begins; ``None`` for one that has ended, because what comes late adds nothing."""
    key = ("acp", session, call_id)
    if key in connection.acp_ended:
        return None
    context = {} if session is None else {"session": session}
    call = new_call(
        connection, t, key=key, kind="acp", tool=None, data=None, context=context, request_id=call_id, thread_id=session
    )
    call["record"]["source"] = "llm"
    call |= {"session": session, "tool": None, "tool_kind": None, "blocks": None, "output": None, "lossy": False}
    begin(call)
    return call


def note(call: Call, message: Message, *place: str) -> None:
    """What an update or a permission request says about a call; the last that says something counts."""
    call["tool"] = (
        name(message.get(*place, "_meta", "claudeCode", "toolName"))
        or name(message.get(*place, "_meta", "toolName"))
        or call["tool"]
    )
    call["tool_kind"] = name(message.get(*place, "kind")) or call["tool_kind"]
    if title := name(message.get(*place, "title")):
        call["meta"]["title"] = title
    if message.get(*place, "rawInput") is not None:
        kept = {key: value for key, value in call["record"].items() if key not in ("arguments", "arguments_meta")}
        call["env_id"] = environment(message.get(*place, "rawInput")) or call["env_id"]
        limit = call["connection"].log.args_max_bytes
        call["record"] = kept | arguments_of(message.exact_bytes(*place, "rawInput"), limit, lossy=message.lossy)


def end(connection: Connection, call: Call, t: float, **end: Any) -> None:
    call["record"]["tool"] = call["tool"] or call["tool_kind"] or "other"
    connection.acp_ended.append(call["key"])
    finish(call, t, **end)


# Permissions


def ask_permission(connection: Connection, message: Message, t: float) -> dict[str, Any] | None:
    """``session/request_permission``: about an open call, or about one that begins with it."""
    session, call_id = session_of(message), name(message.get("params", "toolCall", "toolCallId"))
    if not connection.log.record_items or call_id is None:
        return None
    call = find(connection, session, call_id) or begin_call(connection, session, call_id, t)
    if call is None:
        return None
    note(call, message, "params", "toolCall")
    ask: Ask = new_ask("request", t, reason=message.get("params", "reason"))
    call["asks"].append(ask)
    return {"ask": ask, "judge": judge_permission}


def judge_permission(params: Any, answer: Message) -> dict[str, Any]:
    """What the client's choice means: the kind that the request gives to the option."""
    if answer.get("result", "outcome", "outcome") == "cancelled":
        return {"decision": "cancelled"}
    chosen = answer.get("result", "outcome", "optionId")
    if not isinstance(chosen, str):
        return {}
    options = params.get("options") if isinstance(params, dict) else None
    for option in options if isinstance(options, list) else []:
        if isinstance(option, dict) and option.get("optionId") == chosen and isinstance(option.get("kind"), str):
            return {"decision": option["kind"], "refuses": option["kind"].startswith("reject")}
    return {"decision": chosen}


REQUESTS = {"session/prompt": prompt, "session/load": load}
REQUESTS_OF_SERVER = {"session/request_permission": ask_permission}
NOTIFICATIONS = {"session/update": updated}
