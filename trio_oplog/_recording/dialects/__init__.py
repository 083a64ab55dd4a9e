"""Step 2: what a message means for the log.

One module a protocol, or a part of one; each function reads one message into the event it means, or ``None``.  The tables
here are the whole knowledge of which methods matter: what is in none of them is not looked into.  To teach the log a
dialect, write such a module and enter its methods here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from trio_oplog._recording.dialects import acp, codex, codex_approvals, codex_items, mcp, mcp_tasks
from trio_oplog._recording.dialects.events import Call, Event, Request
from trio_oplog._recording.dialects.mcp import Reply
from trio_oplog._recording.dialects.rules import Rule
from trio_oplog._recording.dialects.shapes import CallMessage, Response
from trio_oplog._recording.envelope import RequestId

# Each reads a message, given its id and the most bytes of arguments to keep.
Interpret: TypeAlias = Callable[[Any, RequestId | None, int], Event | None]
Methods: TypeAlias = Mapping[str, Rule[Any, Interpret]]

FROM_CLIENT: Final[Methods] = {
    "tools/call": Rule(CallMessage, mcp.begin_call),
    **codex.CLIENT_CALLS,
    "notifications/cancelled": Rule(mcp.CancelMessage, mcp.cancel_call),
    "initialize": Rule(mcp.HandshakeMessage, mcp.shake_hands),
    "server/discover": Rule(mcp.HandshakeMessage, mcp.shake_hands),
    "tasks/get": Rule(mcp_tasks.TaskMessage, mcp_tasks.get_task),
    "tasks/result": Rule(mcp_tasks.TaskMessage, mcp_tasks.fetch_result),
    "tasks/cancel": Rule(mcp_tasks.TaskMessage, mcp_tasks.cancel_task),
    "tasks/update": Rule(mcp_tasks.TaskMessage, mcp_tasks.update_task),
    "session/prompt": Rule(acp.SessionMessage, acp.prompt),
    "session/load": Rule(acp.SessionMessage, acp.load),
}
"""What matters of what a client sends."""

OF_THE_MODEL: Final[Methods] = {
    "item/started": Rule(codex_items.ItemMessage, codex_items.begin_item),
    "item/completed": Rule(codex_items.ItemMessage, codex_items.complete_item),
    "turn/started": Rule(codex_items.TurnMessage, codex_items.start_turn),
    "turn/completed": Rule(codex_items.TurnMessage, codex_items.complete_turn),
    "thread/closed": Rule(codex_items.TurnMessage, codex_items.close_thread),
    "item/commandExecution/requestApproval": Rule(codex_approvals.AskMessage, codex_approvals.ask_approval),
    "item/fileChange/requestApproval": Rule(codex_approvals.AskMessage, codex_approvals.ask_approval),
    "execCommandApproval": Rule(codex_approvals.AskMessage, codex_approvals.ask_approval),
    "applyPatchApproval": Rule(codex_approvals.AskMessage, codex_approvals.ask_approval),
    "item/permissions/requestApproval": Rule(codex_approvals.AskMessage, codex_approvals.ask_permissions),
    "item/tool/requestUserInput": Rule(codex_approvals.AskMessage, codex_approvals.ask_user),
    "item/autoApprovalReview/started": Rule(codex_approvals.ReviewMessage, codex_approvals.start_review),
    "item/autoApprovalReview/completed": Rule(codex_approvals.ReviewMessage, codex_approvals.complete_review),
    "hook/started": Rule(codex_approvals.HookMessage, codex_approvals.start_hook),
    "hook/completed": Rule(codex_approvals.HookMessage, codex_approvals.complete_hook),
    "session/update": Rule(acp.UpdateMessage, acp.update_session),
    "session/request_permission": Rule(acp.PermissionMessage, acp.ask_permission),
}
"""What a server says of the model's calls."""

OF_THE_CLIENT: Final[Methods] = {
    "mcpServer/elicitation/request": Rule(codex_approvals.ElicitMessage, codex_approvals.elicit),
    "serverRequest/resolved": Rule(codex_approvals.ResolvedMessage, codex_approvals.resolve),
    "process/exited": Rule(codex.ExitMessage, codex.process_exited),
    "elicitation/create": Rule(mcp.PromptMessage, mcp.elicit),
    "sampling/createMessage": Rule(mcp.PromptMessage, mcp.sample),
    "notifications/cancelled": Rule(mcp.CancelMessage, mcp.cancel_prompt),
    "notifications/tasks/status": Rule(mcp_tasks.StatusMessage, mcp_tasks.task_status),
    "notifications/tasks": Rule(mcp_tasks.StatusMessage, mcp_tasks.task_status),
}
"""What a server says of the client's calls."""

FROM_SERVER: Final[Methods] = {**OF_THE_MODEL, **OF_THE_CLIENT}
"""What matters of what a server sends."""

__all__ = ["FROM_CLIENT", "FROM_SERVER", "OF_THE_CLIENT", "Call", "CallMessage", "Methods", "Reply", "Request", "Response"]
