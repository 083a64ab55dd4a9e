"""Step 2: which messages begin and end a tool call.

One module a dialect; each function reads one message into the event it means, or ``None``.  The two tables are the whole
knowledge of which methods matter: what is in neither is not looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from trio_oplog._dialects import _codex, _mcp
from trio_oplog._dialects._events import Call, CallKey, Cancelled, Completed, End, Event, Greeting, TurnCompleted
from trio_oplog._dialects._result import read_answer, read_server_name
from trio_oplog._envelope import Message

ReadEvent: TypeAlias = Callable[[Message, int], Event | None]
"""Reads a message, given the most bytes of arguments to keep."""

FROM_CLIENT: Final[Mapping[str, ReadEvent]] = {
    "mcpServer/tool/call": _codex.begin_call,
    "tools/call": _mcp.begin_call,
    "notifications/cancelled": _mcp.cancel_call,
    "initialize": _mcp.greet,
    "server/discover": _mcp.greet,
}

FROM_SERVER: Final[Mapping[str, ReadEvent]] = {
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
    "Completed",
    "End",
    "Event",
    "Greeting",
    "TurnCompleted",
    "read_answer",
    "read_server_name",
]
