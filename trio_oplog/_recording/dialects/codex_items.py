"""Codex app-server: items, which are what the model calls, and the turns that they belong to.

Source: the JSON Schema that Codex app-server 0.171 states of its protocol, and recorded traffic.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct, field

from trio_oplog._json import ABSENT
from trio_oplog._operation import Outcome
from trio_oplog._recording.dialects.arguments import read_arguments
from trio_oplog._recording.dialects.codex import stand_in
from trio_oplog._recording.dialects.events import (
    UNKNOWN_TOOL,
    Call,
    Completed,
    End,
    ItemKey,
    ThreadClosed,
    TurnCompleted,
    TurnStarted,
)
from trio_oplog._recording.dialects.results import int64, is_present, is_true, read_blocks, read_gist, read_problem, read_text
from trio_oplog._recording.dialects.shapes import Block, Result
from trio_oplog._recording.envelope import Envelope, RequestId
from trio_oplog._recording.limits import optional_name


class Item(Struct, gc=False):
    """One item of a turn."""

    type: str | None = None
    id: str | None = None
    server: str | None = None
    tool: str | None = None
    status: str | None = None
    arguments: Raw = ABSENT
    result: Result | str | None = None
    error: Raw = ABSENT
    command: Raw = ABSENT
    cwd: Raw = ABSENT
    source: str | None = None
    changes: Raw = ABSENT
    query: Raw = ABSENT
    action: Raw = ABSENT
    prompt: Raw = ABSENT
    receiver_thread_ids: Raw = field(name="receiverThreadIds", default=ABSENT)
    content_items: list[Block] | None = field(name="contentItems", default=None)
    aggregated_output: str | None = field(name="aggregatedOutput", default=None)
    exit_code: int | None = field(name="exitCode", default=None)
    success: bool | None = None
    duration_ms: Raw = field(name="durationMs", default=ABSENT)
    started_at_ms: int | None = field(name="startedAtMs", default=None)
    completed_at_ms: int | None = field(name="completedAtMs", default=None)
    path: Raw = ABSENT
    revised_prompt: Raw = field(name="revisedPrompt", default=ABSENT)
    saved_path: Raw = field(name="savedPath", default=ABSENT)
    failure: Raw = ABSENT
    kind: Raw = ABSENT
    agent_thread_id: Raw = field(name="agentThreadId", default=ABSENT)
    agent_path: Raw = field(name="agentPath", default=ABSENT)


class _ItemParams(Struct, gc=False):
    thread_id: str | None = field(name="threadId", default=None)
    turn_id: str | None = field(name="turnId", default=None)
    item: Item | None = None


class ItemMessage(Envelope, gc=False):
    """``item/started`` or ``item/completed``."""

    params: _ItemParams | None = None


class _Turn(Struct, gc=False):
    id: str | None = None


class _TurnParams(Struct, gc=False):
    thread_id: str | None = field(name="threadId", default=None)
    turn: _Turn | None = None


class TurnMessage(Envelope, gc=False):
    """``turn/started``, ``turn/completed`` or ``thread/closed``."""

    params: _TurnParams | None = None


# The types of items that are calls.  A type without arguments has an object of its own fields instead: wire name to field.
ITEM_CALLS: Final[dict[str, dict[str, str]]] = {
    "mcpToolCall": {},
    "dynamicToolCall": {},
    "commandExecution": {"command": "command", "cwd": "cwd"},
    "fileChange": {"changes": "changes"},
    "webSearch": {"query": "query", "action": "action"},
    "collabAgentToolCall": {"prompt": "prompt", "receiverThreadIds": "receiver_thread_ids"},
    "subAgentActivity": {"kind": "kind", "agentThreadId": "agent_thread_id", "agentPath": "agent_path"},
    "imageView": {"path": "path"},
    "imageGeneration": {"revisedPrompt": "revised_prompt", "savedPath": "saved_path"},
    "sleep": {"durationMs": "duration_ms"},
}
# A command may run in the background and end seconds after the turn that started it.
_OUTLIVES_TURN: Final = "commandExecution"
_USER_SHELL: Final = "userShell"

_NO_FAILURE: Final = frozenset({None, "completed", "inProgress"})
_OUTCOMES: Final[dict[str | None, Outcome]] = {
    "failed": Outcome.FAILED,
    "declined": Outcome.DECLINED,
    "interrupted": Outcome.INTERRUPTED,
}


def begin_item(message: ItemMessage, identity: RequestId | None, args_max_bytes: int) -> Call | None:
    """An ``item/started`` notification."""
    params = message.params
    if identity is not None or params is None or params.item is None:
        return None
    return _item_call(params, params.item, args_max_bytes)


def complete_item(message: ItemMessage, identity: RequestId | None, args_max_bytes: int) -> Completed | None:
    """An ``item/completed`` notification."""
    params = message.params
    if identity is not None or params is None or params.item is None:
        return None
    call = _item_call(params, params.item, args_max_bytes)
    if call is None:
        return None
    item = params.item
    execution: tuple[str | int | None, ...] | None = None
    if item.started_at_ms is not None:
        execution = (params.thread_id, params.turn_id, item.id, item.type, item.started_at_ms, item.completed_at_ms)
    return Completed(call, _item_end(item), execution)


def complete_turn(message: TurnMessage, identity: RequestId | None, _: int) -> TurnCompleted | None:
    """A ``turn/completed`` notification."""
    turn = _turn_of(message, identity)
    return None if turn is None else TurnCompleted(turn)


def start_turn(message: TurnMessage, identity: RequestId | None, _: int) -> TurnStarted | None:
    """A ``turn/started`` notification."""
    turn = _turn_of(message, identity)
    return None if turn is None else TurnStarted(turn)


def close_thread(message: TurnMessage, identity: RequestId | None, _: int) -> ThreadClosed | None:
    """A ``thread/closed`` notification."""
    if identity is not None or message.params is None:
        return None
    return ThreadClosed(optional_name(message.params.thread_id))


def _turn_of(message: TurnMessage, identity: RequestId | None) -> tuple[str | None, str | None] | None:
    params = message.params
    if identity is not None or params is None or params.turn is None:
        return None
    return optional_name(params.thread_id), optional_name(params.turn.id)


def _item_call(params: _ItemParams, item: Item, args_max_bytes: int) -> Call | None:
    stand_ins = ITEM_CALLS.get(item.type or "")
    if item.type is None or stand_ins is None:  # a message, a thought: no tool call
        return None
    if item.type == "subAgentActivity" and read_text(item.kind) == "completed":  # word of an agent's end, no act of the model's
        return None
    thread_id = optional_name(params.thread_id)
    turn_id = optional_name(params.turn_id)
    item_id = optional_name(item.id)
    arguments, arguments_meta, environment_id = (
        stand_in(list(stand_ins), [getattr(item, attribute) for attribute in stand_ins.values()], args_max_bytes)
        if stand_ins
        else read_arguments(item.arguments, args_max_bytes)
    )
    server = optional_name(item.server)
    return Call(
        key=ItemKey(thread_id, turn_id, item_id, item.type),
        tool=optional_name(item.tool) or (item.type if stand_ins else UNKNOWN_TOOL),
        env_id=environment_id or server,
        request_id=item_id,
        thread_id=thread_id,
        arguments=arguments,
        arguments_meta=arguments_meta,
        is_model=item.source != _USER_SHELL,
        turn=(thread_id, turn_id),
        outlives_turn=item.type == _OUTLIVES_TURN,
        started_at_ms=item.started_at_ms,
        server=server,
    )


def _item_end(item: Item) -> End:
    problem = read_problem(item.error)
    text, content_types = None, None
    if isinstance(item.result, Result):  # the other kind is the data of an image, which is no text for people
        text, content_types = read_gist(item.result)
    if text is None and content_types is None:
        text, content_types = read_blocks(item.content_items or ())
    outcome = _outcome(item, failed=problem is not None)
    notes = {
        "outcome": outcome,
        "error_code": problem[1] if problem else None,
        "exit_code": int64(item.exit_code),
        "content_types": content_types,
        "reported_duration_ms": None if item.type == "sleep" else _whole(item.duration_ms),
    }
    return End(
        is_error=outcome is not None,
        text=(problem[0] if problem else None) or text or item.aggregated_output,
        notes={key: note for key, note in notes.items() if note is not None},
    )


def _whole(raw: Raw) -> int | None:
    text = bytes(raw)
    return int64(int(text)) if text.removeprefix(b"-").isdigit() and len(text) <= 20 else None


def _outcome(item: Item, *, failed: bool) -> Outcome | None:
    if item.type == "imageGeneration":  # its status is any text, "generating" even when it is done
        return Outcome.FAILED if item.status == "failed" or is_present(item.failure) else None
    if item.status not in _NO_FAILURE:
        return _OUTCOMES.get(item.status, Outcome.FAILED)
    if failed:
        return Outcome.FAILED
    if item.success is False or (isinstance(item.result, Result) and is_true(item.result.is_error)):
        return Outcome.TOOL_ERROR
    return None
