"""Codex app-server: direct calls (``mcpServer/tool/call``), and items: what the model calls.

Source: the JSON Schema that Codex app-server 0.169 generates of its own protocol, and recorded traffic.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct, field

from trio_oplog._dialects._events import Call, Completed, End, ItemKey, TurnCompleted
from trio_oplog._dialects._request import UNKNOWN_TOOL, Arguments, optional_name, read_arguments, read_params
from trio_oplog._dialects._result import Block, int64, is_given, read_content, read_error, read_result
from trio_oplog._envelope import Message, read_id
from trio_oplog._json import ABSENT, Reader
from trio_oplog._limits import keep_arguments
from trio_oplog._operation import Outcome


class _Item(Struct, gc=False):
    type: str | None = None
    id: str | None = None
    server: str | None = None
    tool: str | None = None
    status: str | None = None
    arguments: Raw = ABSENT
    result: Raw = ABSENT
    error: Raw = ABSENT
    command: Raw = ABSENT
    cwd: Raw = ABSENT
    changes: Raw = ABSENT
    query: Raw = ABSENT
    prompt: Raw = ABSENT
    receiver_thread_ids: Raw = field(name="receiverThreadIds", default=ABSENT)
    content_items: list[Block] | None = field(name="contentItems", default=None)
    aggregated_output: str | None = field(name="aggregatedOutput", default=None)
    exit_code: int | None = field(name="exitCode", default=None)
    success: bool | None = None
    duration_ms: int | None = field(name="durationMs", default=None)
    started_at_ms: int | None = field(name="startedAtMs", default=None)
    completed_at_ms: int | None = field(name="completedAtMs", default=None)


class _ItemParams(Struct, gc=False):
    item: _Item | None = None
    thread_id: str | None = field(name="threadId", default=None)
    turn_id: str | None = field(name="turnId", default=None)


class _Turn(Struct, gc=False):
    id: str | None = None


class _TurnParams(Struct, gc=False):
    thread_id: str | None = field(name="threadId", default=None)
    turn: _Turn | None = None


_item_params = Reader(_ItemParams)
_turn_params = Reader(_TurnParams)

# The types of items that are tool calls.  A type without arguments has an object of its own fields instead: wire name to field.
_STAND_INS: Final[dict[str, dict[str, str]]] = {
    "mcpToolCall": {},
    "dynamicToolCall": {},
    "commandExecution": {"command": "command", "cwd": "cwd"},
    "fileChange": {"changes": "changes"},
    "webSearch": {"query": "query"},
    "collabAgentToolCall": {"prompt": "prompt", "receiverThreadIds": "receiver_thread_ids"},
}
# A command may run in the background and end seconds after the turn that started it.
_OUTLIVES_TURN: Final = "commandExecution"

_OUTCOMES: Final = {
    "failed": Outcome.FAILED,
    "declined": Outcome.DECLINED,
    "interrupted": Outcome.INTERRUPTED,
}
_NO_FAILURE: Final = frozenset({None, "completed", "inProgress"})


def begin_call(message: Message, args_max_bytes: int) -> Call | None:
    """A ``mcpServer/tool/call`` request."""
    identity = read_id(message.id)
    if identity is None:
        return None
    params = read_params(message.params)
    arguments = read_arguments(params.arguments, args_max_bytes)
    return Call(
        key=identity.key,
        tool=optional_name(params.tool) or UNKNOWN_TOOL,
        env_id=arguments.environment_id or optional_name(params.server),
        request_id=identity.text,
        thread_id=optional_name(params.thread_id or params.thread_id_snake),
        user_id=optional_name(params.meta.user_id) if params.meta else None,
        arguments=arguments.text,
        arguments_meta=arguments.meta,
    )


def begin_item(message: Message, args_max_bytes: int) -> Call | None:
    """An ``item/started`` notification."""
    params = _tool_item(message)
    return _item_call(params, params.item, args_max_bytes) if params and params.item else None


def complete_item(message: Message, args_max_bytes: int) -> Completed | None:
    """An ``item/completed`` notification."""
    params = _tool_item(message)
    if params is None or params.item is None:
        return None
    item = params.item
    call = _item_call(params, item, args_max_bytes)
    identity = None
    if item.started_at_ms is not None:
        identity = (params.thread_id, params.turn_id, item.id, item.type, item.started_at_ms, item.completed_at_ms)
    return Completed(call, _item_end(item), identity)


def complete_turn(message: Message, _: int) -> TurnCompleted | None:
    """A ``turn/completed`` notification."""
    params = _turn_params.read(message.params)
    if params is None or params.turn is None:
        return None
    return TurnCompleted((optional_name(params.thread_id), optional_name(params.turn.id)))


def _tool_item(message: Message) -> _ItemParams | None:
    """The params of a notification about an item that is a tool call."""
    if message.id is not ABSENT:  # a request of that name is not ours
        return None
    params = _item_params.read(message.params)
    return params if params and params.item and params.item.type in _STAND_INS else None


def _item_call(params: _ItemParams, item: _Item, args_max_bytes: int) -> Call:
    kind = item.type or UNKNOWN_TOOL
    stand_ins = _STAND_INS[kind]
    thread_id = optional_name(params.thread_id)
    turn_id = optional_name(params.turn_id)
    item_id = optional_name(item.id)
    arguments = _stand_in(item, stand_ins, args_max_bytes) if stand_ins else read_arguments(item.arguments, args_max_bytes)
    return Call(
        key=ItemKey(thread_id, turn_id, item_id, kind),
        tool=optional_name(item.tool) or (kind if stand_ins else UNKNOWN_TOOL),
        env_id=arguments.environment_id or optional_name(item.server),
        request_id=item_id,
        thread_id=thread_id,
        arguments=arguments.text,
        arguments_meta=arguments.meta,
        is_item=True,
        turn=None if kind == _OUTLIVES_TURN else (thread_id, turn_id),
    )


def _stand_in(item: _Item, members: dict[str, str], args_max_bytes: int) -> Arguments:
    """An object of an item's own fields, each in its exact text, in place of arguments."""
    values = [(wire_name, getattr(item, attribute)) for wire_name, attribute in members.items()]
    text = b",".join([b'"%b":%b' % (wire_name.encode(), bytes(raw)) for wire_name, raw in values if raw is not ABSENT])
    return Arguments(*keep_arguments(b"{%b}" % text, args_max_bytes)) if text else Arguments()


def _item_end(item: _Item) -> End:
    result = read_result(item.result)
    problem = read_error(item.error) if is_given(item.error) else None
    text, content_types = read_content(result.content or item.content_items)
    end = End(
        text=(problem.message if problem else None) or text or item.aggregated_output,
        error_code=int64(problem.code) if problem else None,
        exit_code=int64(item.exit_code),
        content_types=content_types,
        reported_duration_ms=int64(item.duration_ms),
    )
    if item.status not in _NO_FAILURE:
        end.is_error = True
        end.outcome = _OUTCOMES.get(item.status or "", Outcome.FAILED)
    elif problem:
        end.is_error = True
        end.outcome = Outcome.FAILED
    elif item.success is False or result.is_error:
        end.is_error = True
        end.outcome = Outcome.TOOL_ERROR
    return end
