"""Codex app-server: who lets a call run: requests for approval, automatic reviews, hooks.

Source: the JSON Schema that Codex app-server 0.171 states of its protocol, and recorded traffic.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct, field

from trio_oplog._json import ABSENT
from trio_oplog._recording.dialects.events import (
    UNKNOWN_TOOL,
    About,
    Decision,
    HookRan,
    Options,
    Prompt,
    ReplyRule,
    Resolved,
    Review,
)
from trio_oplog._recording.dialects.mcp import Reply, canonical, members, read_action
from trio_oplog._recording.dialects.results import is_present, read_text
from trio_oplog._recording.envelope import Envelope, RequestId, read_key
from trio_oplog._recording.limits import name, optional_name

_REFUSALS: Final = frozenset({"decline", "cancel", "denied", "abort"})
_GIVEN: Final = b"{}"


class _AskParams(Struct, gc=False):
    thread_id: str | None = field(name="threadId", default=None)
    turn_id: str | None = field(name="turnId", default=None)
    item_id: str | None = field(name="itemId", default=None)
    conversation_id: str | None = field(name="conversationId", default=None)
    call_id: str | None = field(name="callId", default=None)
    kind: str | None = None
    reason: str | None = None


class AskMessage(Envelope, gc=False):
    """A request of the server about one item."""

    params: _AskParams | None = None


def _about_item(params: _AskParams) -> About | None:
    item_id = optional_name(params.item_id or params.call_id)
    if item_id is None:
        return None
    return About(optional_name(params.thread_id or params.conversation_id), optional_name(params.turn_id), item_id)


def ask_approval(message: AskMessage, identity: RequestId | None, _: int) -> Prompt | None:
    """A request for approval of a command or of a change of files."""
    types = message.params is not None and message.params.kind == "writeStdin"
    return _approval(message, identity, _read_input_decision if types else _read_decision)


def ask_permissions(message: AskMessage, identity: RequestId | None, _: int) -> Prompt | None:
    """A request for more permissions."""
    return _approval(message, identity, _read_permissions)


def _approval(message: AskMessage, identity: RequestId | None, read_reply: ReplyRule) -> Prompt | None:
    about = _about_item(message.params) if message.params else None
    if identity is None or message.params is None or about is None:
        return None
    return Prompt(identity[0], about, read_reply, reason=message.params.reason)


def ask_user(message: AskMessage, identity: RequestId | None, _: int) -> Prompt | None:
    """A question of the model's to the user: a wait, and no approval."""
    about = _about_item(message.params) if message.params else None
    return None if identity is None or about is None else Prompt(identity[0], about)


def _spelled(raw: Raw) -> str | None:
    """A decision: a string, or an object with one key and what goes with it."""
    if bytes(raw)[:1] == b'"':
        return optional_name(read_text(raw))
    names = [name for name, _ in members(raw)]
    return names[0] or None if len(names) == 1 else None


def _read_decision(reply: Reply, _: Options | None) -> Decision:
    decision = _spelled(reply.result.decision) if reply.result else None
    return Decision(decision, refused=decision in _REFUSALS)


def _read_input_decision(reply: Reply, _: Options | None) -> Decision:
    """Whether something may be typed into a running command: to refuse that does not refuse the command."""
    return Decision(_spelled(reply.result.decision) if reply.result else None)


def _read_permissions(reply: Reply, _: Options | None) -> Decision:
    result = reply.result
    if result is None or not is_present(result.permissions):
        return Decision()
    if b"".join(bytes(result.permissions).split()) == _GIVEN:
        return Decision("decline")
    return Decision(optional_name(result.scope) or "turn")


class _ApprovalMeta(Struct, gc=False):
    kind: str | None = field(name="codex_approval_kind", default=None)
    tool: str | None = field(name="tool_name", default=None)
    arguments: Raw = field(name="tool_params", default=ABSENT)


class _ElicitParams(Struct, gc=False):
    thread_id: str | None = field(name="threadId", default=None)
    turn_id: str | None = field(name="turnId", default=None)
    server: str | None = field(name="serverName", default=None)
    meta: _ApprovalMeta | None = field(name="_meta", default=None)


class ElicitMessage(Envelope, gc=False):
    """``mcpServer/elicitation/request``."""

    params: _ElicitParams | None = None


def elicit(message: ElicitMessage, identity: RequestId | None, _: int) -> Prompt | None:
    """An elicitation of an MCP server, or Codex's own question whether an MCP tool may run, which names no item."""
    params = message.params
    if identity is None or params is None:
        return None
    server = optional_name(params.server)
    if server is None:
        return None
    about = About(optional_name(params.thread_id), optional_name(params.turn_id), server=server)
    if params.meta is None or params.meta.kind is None:
        return Prompt(identity[0], about, read_action)
    about.tool = optional_name(params.meta.tool) or UNKNOWN_TOOL
    if is_present(params.meta.arguments):
        about.arguments = canonical(bytes(params.meta.arguments))
    return Prompt(identity[0], about, _read_tool_approval)


def _read_tool_approval(reply: Reply, _: Options | None) -> Decision:
    action = optional_name(reply.result.action) if reply.result else None
    persist = reply.result.meta.persist if action and reply.result and reply.result.meta else None
    return Decision(name(f"{action} persist={persist}") if persist else action, refused=action in _REFUSALS)


class _ResolvedParams(Struct, gc=False):
    request_id: Raw = field(name="requestId", default=ABSENT)


class ResolvedMessage(Envelope, gc=False):
    """``serverRequest/resolved``."""

    params: _ResolvedParams | None = None


def resolve(message: ResolvedMessage, _: RequestId | None, __: int) -> Resolved | None:
    """A request of the server was answered on some connection, or is taken back."""
    key = read_key(message.params.request_id) if message.params else None
    return None if key is None else Resolved(key)


class _ReviewState(Struct, gc=False):
    status: str | None = None
    risk: str | None = field(name="riskLevel", default=None)
    rationale: str | None = None


class _ReviewAction(Struct, gc=False):
    type: str | None = None


class _ReviewParams(Struct, gc=False):
    thread_id: str | None = field(name="threadId", default=None)
    turn_id: str | None = field(name="turnId", default=None)
    review_id: str | None = field(name="reviewId", default=None)
    item_id: str | None = field(name="targetItemId", default=None)
    review: _ReviewState | None = None
    action: _ReviewAction | None = None


class ReviewMessage(Envelope, gc=False):
    """``item/autoApprovalReview/started`` or ``…/completed``."""

    params: _ReviewParams | None = None


def start_review(message: ReviewMessage, _: RequestId | None, __: int) -> Review | None:
    """An automatic review began."""
    return _review(message)


def complete_review(message: ReviewMessage, _: RequestId | None, __: int) -> Review | None:
    """An automatic review came to a decision."""
    review = _review(message)
    if review is None:
        return None
    state = (message.params.review if message.params else None) or _ReviewState()
    status = optional_name(state.status)
    # What is typed into a running command may be refused; the command is not.
    types = message.params is not None and message.params.action is not None and message.params.action.type == "writeStdin"
    refused = status not in (None, "approved", "inProgress") and not types
    review.decision = Decision(status, refused, optional_name(state.rationale), optional_name(state.risk))
    return review


def _review(message: ReviewMessage) -> Review | None:
    params = message.params
    item_id = optional_name(params.item_id) if params else None
    if params is None or item_id is None:
        return None
    about = About(optional_name(params.thread_id), optional_name(params.turn_id), item_id)
    return Review(about, optional_name(params.review_id))


class _HookEntry(Struct, gc=False):
    text: str | None = None


class _HookRun(Struct, gc=False):
    id: str | None = None
    event: str | None = field(name="eventName", default=None)
    status: str | None = None
    entries: list[_HookEntry] | None = None


class _HookParams(Struct, gc=False):
    thread_id: str | None = field(name="threadId", default=None)
    turn_id: str | None = field(name="turnId", default=None)
    run: _HookRun | None = None


class HookMessage(Envelope, gc=False):
    """``hook/started`` or ``hook/completed``."""

    params: _HookParams | None = None


def start_hook(message: HookMessage, _: RequestId | None, __: int) -> HookRan | None:
    """A hook began to look at a call."""
    hook = _hook(message)
    if hook is not None:
        hook.begins = True
    return hook


def complete_hook(message: HookMessage, _: RequestId | None, __: int) -> HookRan | None:
    """A hook has looked at a call.  One that blocks says so; one that allows says nothing, and then nobody is asked."""
    hook = _hook(message)
    run = message.params.run if message.params else None
    if hook is None or run is None:
        return None
    if run.event == "postToolUse":  # too late to decide anything
        return hook
    if run.status == "blocked":
        reason = "\n".join([entry.text for entry in run.entries or () if entry.text])
        hook.decision = Decision("block", refused=True, reason=optional_name(reason))
    elif run.event == "permissionRequest" and run.status == "completed":
        hook.decision = Decision("allow")
    return hook


def _hook(message: HookMessage) -> HookRan | None:
    """The call's id is only what follows the last colon of the run's."""
    params = message.params
    run = params.run if params else None
    if params is None or run is None or not run.id:
        return None
    item_id = optional_name(run.id.rpartition(":")[2])
    if item_id is None:
        return None
    return HookRan(About(optional_name(params.thread_id), optional_name(params.turn_id), item_id), name(run.id))
