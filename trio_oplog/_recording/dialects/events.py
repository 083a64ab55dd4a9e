"""What a message can mean for the log, as data: the dialects make these, and ``pairing`` acts on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from msgspec import Struct

from trio_oplog._operation import ArgumentsMeta
from trio_oplog._recording.dialects.rules import Rule
from trio_oplog._recording.dialects.shapes import Implementation
from trio_oplog._recording.envelope import RequestKey

if TYPE_CHECKING:
    from trio_oplog._recording.consent import Consent
    from trio_oplog._recording.recorder import Recorder, Summary

UNKNOWN_TOOL: Final = "unknown"
"""The tool of a call that names none."""

NEVER: Final = datetime.min.replace(tzinfo=UTC)


class ItemKey(NamedTuple):
    """What a Codex item is known by.  Item ids repeat, also within a turn and at once."""

    thread_id: str | None
    turn_id: str | None
    item_id: str | None
    item_type: str


class ToolKey(NamedTuple):
    """What an ACP tool call is known by."""

    session_id: str | None
    tool_call_id: str


CallKey: TypeAlias = RequestKey | ItemKey | ToolKey
"""What an open call is found by."""


class Facts(Struct, frozen=True, gc=False):
    """What one request says of where it comes from."""

    client: Implementation | None = None
    protocol: str | None = None
    trace_id: str | None = None
    parent_span_id: str | None = None


class Continuation(Struct, frozen=True, gc=False):
    """What a ``tools/call`` carries on from an earlier answer that asked for input."""

    state: str | None
    """``requestState``; a long one as its digest."""
    answered: frozenset[str]
    """The keys of ``inputResponses``."""
    decisions: dict[str, Decision]
    """What a person decided, by key."""


class Call(Struct, eq=False, gc=False):
    """A call began: everything that its beginning says of it.  Holds copies only, never a frame.

    The last group of fields is the recorder's, while the call is open.
    """

    key: CallKey | None
    """``None`` once its request was answered, where the call goes on."""
    tool: str
    env_id: str | None = None
    request_id: str | None = None
    thread_id: str | None = None
    user_id: str | None = None
    arguments: bytes | None = None
    arguments_meta: ArgumentsMeta | None = None
    is_model: bool = False
    """Whether the model made the call, and not the client."""
    turn: tuple[str | None, str | None] | None = None
    """Codex: thread and turn of an item."""
    outlives_turn: bool = False
    started_at_ms: int | None = None
    """Codex: when the item began, as the item says it."""
    server: str | None = None
    """Codex: the MCP server that runs the tool."""
    process: str | None = None
    """Codex: the handle of the process that the call spawns."""
    session: str | None = None
    kind: str | None = None
    """ACP: the kind of tool, which names the call where the agent names no tool."""
    is_named: bool = False
    """ACP: whether the agent has named the tool."""
    facts: Facts | None = None
    continues: Continuation | None = None
    answer: AnswerRule | None = None
    """How the response to the request is read; ``None`` for what is not ended by a response."""
    subject: str | None = None

    began_at: datetime = NEVER
    began: float = 0.0
    later: deque[Call] | None = None
    """Of the oldest call with a key: the others with it.  They end in the order in which they began."""
    consent: Consent | None = None
    notes: dict[str, Any] | None = None
    """What ``ResultMeta`` is to say of the call, however it ends."""
    content_so_far: Summary | None = None
    """ACP: the text of the latest content, already cut; ``None`` where it has none."""
    content_types_so_far: tuple[str, ...] | None = None
    output_so_far: Summary | None = None
    """ACP: the text of the latest raw output, already cut."""
    recorder: Recorder | None = None
    """Of a call that goes on on another connection: the recorder of the one on which it began."""


class End(Struct, gc=False):
    """How a call ended.  ``text`` is the whole text of the result, not yet cut; ``notes`` are what ``ResultMeta`` is to say."""

    is_error: bool = False
    text: str | None = None
    notes: dict[str, Any] | None = None
    server: Implementation | None = None
    """The server, where the result says who it is."""
    summary: Summary | None = None
    """A text that was cut before, where ``text`` is ``None``."""
    replaced: bool = False
    """Whether surrogates in ``text`` stand for bytes that are no UTF-8."""


class Completed(Struct, gc=False):
    """An item ended.  ``call`` is the completed item's own account, which replaces that of its beginning."""

    call: Call
    end: End
    identity: tuple[str | int | None, ...] | None = None
    """What makes this execution the same one on every connection that watches it; ``None`` where it does not say."""


class Cancelled(Struct, gc=False):
    """The client took a request back."""

    key: RequestKey
    reason: str | None = None
    replaced: bool = False


class TurnCompleted(Struct, gc=False):
    """A turn ended, and with it every open item that cannot outlive it."""

    turn: tuple[str | None, str | None]


class TurnStarted(Struct, gc=False):
    """A turn began: the older turns of its thread are over, whether that was said or not."""

    turn: tuple[str | None, str | None]


class ThreadClosed(Struct, gc=False):
    """A thread ended, and with it every open item of it."""

    thread_id: str | None


class ProcessExited(Struct, gc=False):
    """A spawned process ended."""

    process: str
    end: End


class Suspended(Struct, gc=False):
    """The response to a call does not end it: a task goes on, or the client is to call again with more input.

    ``end`` is how the call ends if nothing more is heard of it; ``None``: as unanswered.
    """

    task_id: str | None = None
    state: str | None = None
    asks: frozenset[str] = frozenset()
    """The keys of what the client is asked for."""
    asks_person: tuple[str, ...] = ()
    """Those of them that a person has to answer."""
    status: TaskNews | None = None
    """What the response says of the task, besides its id."""
    end: End | None = None
    server: Implementation | None = None


class TaskNews(Struct, gc=False):
    """Something was learned of a task."""

    task_id: str
    status: str | None = None
    message: str | None = None
    end: End | None = None
    """The result, where it came along."""
    is_result: bool = False
    """Whether this is the answer to ``tasks/result``, which ends the task whatever it says."""
    is_answer: bool = False
    """Whether the client asked for it."""
    asks_person: tuple[str, ...] = ()
    """The keys of what a person has to answer."""
    server: Implementation | None = None
    """The server, where the message says who it is."""
    replaced: bool = False


class InputGiven(Struct, gc=False):
    """The client answered what a task asked for."""

    task_id: str
    decisions: dict[str, Decision]


class Decision(Struct, frozen=True, gc=False):
    """What somebody decided on a request for approval."""

    decision: str | None = None
    refused: bool = False
    reason: str | None = None
    risk: str | None = None


class About(Struct, gc=False):
    """Which call a request of the server, a review or a hook is about: what of it the message names."""

    thread_id: str | None = None
    turn_id: str | None = None
    item_id: str | None = None
    server: str | None = None
    tool: str | None = None
    arguments: bytes | None = None
    """The arguments in a canonical spelling, where the message tells them."""
    is_mcp: bool = False
    """MCP: it is about a call on the same stream, or a task, if anything."""
    task_id: str | None = None
    tool_call: ToolKey | None = None
    call: Call | None = None
    """ACP: the tool call as the request tells it; it begins here when nothing else began it."""


class Prompt(Struct, gc=False):
    """The server asks the client something about a call."""

    key: RequestKey
    about: About
    read_reply: ReplyRule | None = None
    """How the client's reply is read; ``None`` where it decides nothing."""
    is_wait: bool = True
    """Whether a person has to answer."""
    reason: str | None = None
    options: Options | None = None


class Resolved(Struct, gc=False):
    """A request of the server needs no answer any more."""

    key: RequestKey


class Review(Struct, gc=False):
    """An automatic review of a call began, or ended with a decision."""

    about: About
    review_id: str | None
    decision: Decision | None = None


class HookRan(Struct, gc=False):
    """A hook began to look at a call, or has looked at it; it may have decided nothing."""

    about: About
    run_id: str
    begins: bool = False
    decision: Decision | None = None


class ToolUpdate(Struct, gc=False):
    """News of an ACP tool call."""

    call: Call
    begins: bool = False
    end: End | None = None
    has_content: bool = False
    text: str | None = None
    """The text of its content."""
    content_types: tuple[str, ...] | None = None
    output: str | None = None
    """Its raw output as text."""
    replaced: bool = False


class ServerKnown(Struct, gc=False):
    """The server or agent said who it is."""

    name: str | None = None
    server: str | None = None
    protocol: str | None = None


class ClientKnown(Struct, gc=False):
    """The client said who it is."""

    client: str | None


class PromptEnded(Struct, gc=False):
    """ACP: the answer to a prompt came."""

    session_id: str | None


class Nothing(Struct, gc=False):
    """A response that says nothing of calls, but is one."""


class Request(Struct, gc=False):
    """A request of the client that is no call itself, but whose response says something of calls."""

    key: RequestKey
    answer: AnswerRule
    subject: str | None = None
    """What the request is about: a task, a session."""
    opening: Event | None = None
    """What the request itself says."""


Event: TypeAlias = (
    Call
    | Completed
    | Cancelled
    | TurnCompleted
    | TurnStarted
    | ThreadClosed
    | ProcessExited
    | TaskNews
    | InputGiven
    | Prompt
    | Resolved
    | Review
    | HookRan
    | ToolUpdate
    | ServerKnown
    | ClientKnown
    | PromptEnded
    | Nothing
    | Request
)

Answer: TypeAlias = End | Suspended | Event | None
"""What a response means; ``None`` where it is none: it has neither a result nor an error."""

AnswerRule: TypeAlias = Rule[Any, Any]
Options: TypeAlias = dict[str, str]
"""ACP: the kind of each option that a request offers, by its id."""
ReplyRule: TypeAlias = "Callable[[Any, Options | None], Decision]"


def mark_replaced(event: Any) -> None:
    """Note of an event, or an answer, that surrogates in its texts stand for bytes that are no UTF-8."""
    for part in (event, getattr(event, "end", None), getattr(event, "status", None)):
        if isinstance(part, End | Cancelled | TaskNews | ToolUpdate):
            part.replaced = True
