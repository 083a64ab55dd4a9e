"""Step 2: which messages begin and end a tool call.

One module a dialect; each function reads one message into the event it means, or ``None``.  The two tables are the whole
knowledge of which methods matter: what is in neither is not looked into.  To teach the log a dialect, write such a module,
name its fields in ``_shapes`` and its methods here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from trio_oplog._recording.dialects import codex, mcp
from trio_oplog._recording.dialects.events import Call, CallKey, Cancelled, Completed, End, Event, Handshake, TurnCompleted
from trio_oplog._recording.dialects.results import read_answer, read_server_name
from trio_oplog._recording.dialects.shapes import ClientMessage, ServerMessage

# Each reads a message, given the most bytes of arguments to keep.
ClientMethods: TypeAlias = Mapping[str, Callable[[ClientMessage, int], Event | None]]
ServerMethods: TypeAlias = Mapping[str, Callable[[ServerMessage, int], Event | None]]

FROM_CLIENT: Final[ClientMethods] = {
    "mcpServer/tool/call": codex.begin_call,
    "tools/call": mcp.begin_call,
    "notifications/cancelled": mcp.cancel_call,
    "initialize": mcp.shake_hands,
    "server/discover": mcp.shake_hands,
}

FROM_SERVER: Final[ServerMethods] = {
    "item/started": codex.begin_item,
    "item/completed": codex.complete_item,
    "turn/completed": codex.complete_turn,
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
    "Handshake",
    "ServerMessage",
    "ServerMethods",
    "TurnCompleted",
    "read_answer",
    "read_server_name",
]
