"""Step 2: which messages begin and end a tool call.

One module a dialect; each function reads one message into the event it means, or ``None``.  The two tables are the whole
knowledge of which methods matter: what is in neither is not looked into.  To teach the log a dialect, write such a module,
name its fields in ``_shapes`` and its methods here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from trio_oplog._dialects import _codex, _mcp
from trio_oplog._dialects._events import Call, CallKey, Cancelled, Completed, End, Event, Greeting, TurnCompleted
from trio_oplog._dialects._result import read_answer, read_server_name
from trio_oplog._dialects._shapes import ClientMessage, ServerMessage

# Each reads a message, given the most bytes of arguments to keep.
ClientMethods: TypeAlias = Mapping[str, Callable[[ClientMessage, int], Event | None]]
ServerMethods: TypeAlias = Mapping[str, Callable[[ServerMessage, int], Event | None]]

FROM_CLIENT: Final[ClientMethods] = {
    "mcpServer/tool/call": _codex.begin_call,
    "tools/call": _mcp.begin_call,
    "notifications/cancelled": _mcp.cancel_call,
    "initialize": _mcp.greet,
    "server/discover": _mcp.greet,
}

FROM_SERVER: Final[ServerMethods] = {
    "item/started": _codex.begin_item,
    "item/completed": _codex.complete_item,
    "turn/completed": _codex.complete_turn,
}

__all__ = [
    "FROM_CLIENT",
    "FROM_SERVER",
    "Call",
    "CallKey",
    "Cancelled",
    "ClientMessage",
    "Completed",
    "End",
    "Event",
    "Greeting",
    "ServerMessage",
    "ServerMethods",
    "TurnCompleted",
    "read_answer",
    "read_server_name",
]
