"""Codex app-server: direct calls (``mcpServer/tool/call``), and items: what the model calls.

Source: the JSON Schema that Codex app-server 0.169 states of its protocol, and recorded traffic.
"""

from __future__ import annotations

from typing import Final

from trio_oplog._json import ABSENT
from trio_oplog._operation import Outcome
from trio_oplog._recording.dialects.arguments import NO_ARGUMENTS, Arguments, read_arguments
from trio_oplog._recording.dialects.events import UNKNOWN_TOOL, Call, Completed, End, ItemKey, TurnCompleted
from trio_oplog._recording.dialects.results import int64, read_content, read_error
from trio_oplog._recording.dialects.shapes import ClientMessage, ClientParams, Item, ServerMessage, ServerParams
from trio_oplog._recording.envelope import read_id
from trio_oplog._recording.limits import keep_arguments, optional_name

# The types of items that are tool calls.  A type without arguments has an object of its own fields instead: wire name to field.
_STAND_INS: Final[dict[str | None, dict[str, str]]] = {
    "mcpToolCall": {},
    "dynamicToolCall": {},
    "commandExecution": {"command": "command", "cwd": "cwd"},
    "fileChange": {"changes": "changes"},
    "webSearch": {"query": "query"},
    "collabAgentToolCall": {"prompt": "prompt", "receiverThreadIds": "receiver_thread_ids"},
}
# A command may run in the background and end seconds after the turn that started it.
_OUTLIVES_TURN: Final = "commandExecution"

_NO_FAILURE: Final = frozenset({None, "completed", "inProgress"})
_OUTCOMES: Final[dict[str | None, Outcome]] = {
    "failed": Outcome.FAILED,
    "declined": Outcome.DECLINED,
    "interrupted": Outcome.INTERRUPTED,
}


def begin_call(message: ClientMessage, args_max_bytes: int) -> Call | None:
    """A ``mcpServer/tool/call`` request."""
    identity = read_id(message.id)
    if identity is None:
        return None
    key, request_id = identity
    params = message.params or ClientParams()
    arguments, arguments_meta, environment_id = read_arguments(params.arguments, args_max_bytes)
    return Call(
        key=key,
        tool=optional_name(params.tool) or UNKNOWN_TOOL,
        env_id=environment_id or optional_name(params.server),
        request_id=request_id,
        thread_id=optional_name(params.thread_id or params.thread_id_snake),
        user_id=optional_name(params.meta.user_id) if params.meta else None,
        arguments=arguments,
        arguments_meta=arguments_meta,
    )


def begin_item(message: ServerMessage, args_max_bytes: int) -> Call | None:
    """An ``item/started`` notification."""
    params = message.params
    if message.id is not ABSENT or params is None or params.item is None:
        return None
    return _item_call(params, params.item, args_max_bytes)


def complete_item(message: ServerMessage, args_max_bytes: int) -> Completed | None:
    """An ``item/completed`` notification."""
    params = message.params
    if message.id is not ABSENT or params is None or params.item is None:
        return None
    item = params.item
    call = _item_call(params, item, args_max_bytes)
    if call is None:
        return None
    identity = None
    if item.started_at_ms is not None:
        identity = (params.thread_id, params.turn_id, item.id, item.type, item.started_at_ms, item.completed_at_ms)
    return Completed(call, _item_end(item), identity)


def complete_turn(message: ServerMessage, _: int) -> TurnCompleted | None:
    """A ``turn/completed`` notification."""
    params = message.params
    if message.id is not ABSENT or params is None or params.turn is None:
        return None
    return TurnCompleted((optional_name(params.thread_id), optional_name(params.turn.id)))


def _item_call(params: ServerParams, item: Item, args_max_bytes: int) -> Call | None:
    stand_ins = _STAND_INS.get(item.type)
    if item.type is None or stand_ins is None:  # a message, a thought: no tool call
        return None
    thread_id = optional_name(params.thread_id)
    turn_id = optional_name(params.turn_id)
    item_id = optional_name(item.id)
    arguments, arguments_meta, environment_id = (
        _stand_in(item, stand_ins, args_max_bytes) if stand_ins else read_arguments(item.arguments, args_max_bytes)
    )
    return Call(
        key=ItemKey(thread_id, turn_id, item_id, item.type),
        tool=optional_name(item.tool) or (item.type if stand_ins else UNKNOWN_TOOL),
        env_id=environment_id or optional_name(item.server),
        request_id=item_id,
        thread_id=thread_id,
        arguments=arguments,
        arguments_meta=arguments_meta,
        is_item=True,
        turn=None if item.type == _OUTLIVES_TURN else (thread_id, turn_id),
    )


def _stand_in(item: Item, members: dict[str, str], args_max_bytes: int) -> Arguments:
    """An object of an item's own fields, each in its exact text, in place of arguments."""
    values = [(wire_name, getattr(item, attribute)) for wire_name, attribute in members.items()]
    text = b",".join([b'"%b":%b' % (wire_name.encode(), bytes(raw)) for wire_name, raw in values if raw is not ABSENT])
    return (*keep_arguments(b"{%b}" % text, args_max_bytes), None) if text else NO_ARGUMENTS


def _item_end(item: Item) -> End:
    problem = read_error(item.error)
    text, content_types = read_content((item.result.content if item.result else None) or item.content_items)
    outcome = _outcome(item, failed=problem is not None)
    notes = {
        "outcome": outcome,
        "error_code": int64(problem.code) if problem else None,
        "exit_code": int64(item.exit_code),
        "content_types": content_types,
        "reported_duration_ms": int64(item.duration_ms),
    }
    return End(
        is_error=outcome is not None,
        text=(problem.message if problem else None) or text or item.aggregated_output,
        notes={key: note for key, note in notes.items() if note is not None},
    )


def _outcome(item: Item, *, failed: bool) -> Outcome | None:
    if item.status not in _NO_FAILURE:
        return _OUTCOMES.get(item.status, Outcome.FAILED)
    if failed:
        return Outcome.FAILED
    if item.success is False or (item.result and item.result.is_error):
        return Outcome.TOOL_ERROR
    return None
