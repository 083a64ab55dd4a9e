"""Step 5: the product: one Operation is one tool call, from its beginning to its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, Protocol

import attrs
from attrs import Attribute, define, field, frozen

from trio_oplog._errors import ConfigError


class Outcome(StrEnum):
    """How a call ended, where it did not end in plain success."""

    RPC_ERROR = "rpc_error"
    """The answer was a JSON-RPC error."""
    TOOL_ERROR = "tool_error"
    """The tool ran and said that it failed."""
    FAILED = "failed"
    """An item, a task or an agent's call ended as ``failed``, or an item with a status that this version does not know."""
    DECLINED = "declined"
    """Somebody refused to let the call run."""
    INTERRUPTED = "interrupted"
    """The turn or the prompt that the call belongs to ended before the call did."""
    CANCELLED = "cancelled"
    """The client took the call back."""
    UNANSWERED = "unanswered"
    """The connection ended before the call did."""
    EVICTED = "evicted"
    """More calls were open than ``Config.max_pending``; this was the oldest."""
    INPUT_REQUIRED = "input_required"
    """The server asked for more input, and the client did not call again with it.  No error."""
    UNFETCHED = "unfetched"
    """The call became a task that completed, and nobody fetched its result.  No error."""


@frozen(kw_only=True)
class ArgumentsMeta:
    """What is kept of arguments that are over the limit.

    Attributes:
        truncated: Always true.
        size_bytes: The length of their exact JSON text, in bytes of UTF-8.
        sha256: The SHA-256 of that text, 64 hex digits.
    """

    truncated: bool = True
    size_bytes: int
    sha256: str


@frozen(kw_only=True)
class ResultMeta:
    """What is known of a result besides its text.  ``None`` means "does not apply" and is left out on the wire.

    Attributes:
        truncated: True when ``result_summary`` was cut.
        total_bytes: The size of the whole text, in bytes of UTF-8; with ``truncated``.
        sha256: The SHA-256 of the whole text, 64 hex digits; with ``truncated``.
        outcome: How the call ended, where it is not plain success.
        error_code: The code of a JSON-RPC error.
        exit_code: The exit code of a command.
        content_types: The type of each content block in order, where not all of them are text.
        reported_duration_ms: How long the server says an item took, in milliseconds.
        duplicate_id: True when another open call had the same id, so that their ends may have been swapped.
        waited_ms: How long the call waited for a person, in milliseconds: approvals, elicitations and rounds of input.
        rounds: How many requests the call took, where it took more than one.
        task_id: The id of the task that the call became.
        title: What an ACP agent calls the call for people.
        id_respelled: True when the answer's id was the request's in the other type: 7 for "7".
        replaced: True when ``result_summary`` has U+FFFD in place of bytes that were no UTF-8.
    """

    truncated: bool | None = None
    total_bytes: int | None = None
    sha256: str | None = None
    outcome: Outcome | None = None
    error_code: int | None = None
    exit_code: int | None = None
    content_types: tuple[str, ...] | None = None
    reported_duration_ms: int | None = None
    duplicate_id: bool | None = None
    waited_ms: int | None = None
    rounds: int | None = None
    task_id: str | None = None
    title: str | None = field(default=None, repr=False)
    id_respelled: bool | None = None
    replaced: bool | None = None


@frozen(kw_only=True)
class Context:
    """Where a call came from.  ``None`` means "not known" and is left out on the wire.

    Attributes:
        client: Name and version of the client, as ``"name/version"``; the name alone where no version is known.
        server: The same of the server or agent.
        protocol: The version of the protocol that the two agreed on.
        session: The id of the MCP or ACP session.
        transport: From ``Config.transport``.
        trace_id: The W3C trace that the call belongs to, 32 hex digits.
        parent_span_id: The span that made the call, 16 hex digits.
    """

    client: str | None = field(default=None, repr=False)
    server: str | None = field(default=None, repr=False)
    protocol: str | None = field(default=None, repr=False)
    session: str | None = field(default=None, repr=False)
    transport: str | None = None
    trace_id: str | None = None
    parent_span_id: str | None = None


class DecidedBy(StrEnum):
    """Who decided on an approval."""

    CLIENT = "client"
    """The client answered the server's request: a person, or a rule of the client's."""
    REVIEWER = "reviewer"
    """An automatic review."""
    HOOK = "hook"
    """A hook of the server's."""
    NONE = "none"
    """Nobody answered before the request was withdrawn or the call ended; or somebody on another connection did."""


@frozen(kw_only=True)
class Approval:
    """Who let a call run.

    Attributes:
        decision: What was decided, as the protocol says it: ``"accept"``, ``"decline"``, ``"allow_once"``, ``"approved"``, …;
            ``None`` where nobody decided, or the answer did not say.
        by: Who decided.
        waited_ms: From the request to the decision, in milliseconds.
        reason: Why approval was asked for or refused, where the protocol says so; at most 1 024 bytes of UTF-8.
        risk: How risky an automatic review found the call; at most 1 024 bytes of UTF-8.
        count: How many decisions there were, where there was more than one; the other fields are those of the last.
    """

    decision: str | None = None
    by: DecidedBy
    waited_ms: int
    reason: str | None = field(default=None, repr=False)
    risk: str | None = None
    count: int | None = None


@define(eq=False, repr=False, match_args=False)
class Draft:
    """An Operation that is not frozen yet: assign ``Operation`` to its ``__class__``.

    To make one and freeze it takes half the time of calling ``Operation``, which has to go round its own ``__setattr__`` for
    each field; and the Interceptor makes one for every call.
    """

    id: str
    workspace_id: str = field(repr=False)
    source: str = field(repr=False)
    env_id: str = field(repr=False)
    tool: str = field(repr=False)
    is_error: bool
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    user_id: str | None = field(default=None, repr=False)
    thread_id: str | None = field(default=None, repr=False)
    request_id: str | None = field(default=None, repr=False)
    arguments: bytes | None = field(default=None, repr=False)
    arguments_meta: ArgumentsMeta | None = field(default=None, repr=False)
    result_summary: str | None = field(default=None, repr=False)
    result_meta: ResultMeta | None = field(default=None, repr=False)
    context: Context | None = field(default=None, repr=False)
    approval: Approval | None = field(default=None, repr=False)


@frozen
class Operation(Draft):
    """One tool call, from its beginning to its end.

    The values are checked when it is made: each has the type that is said below, and both times know their offset.  What cannot
    be encoded all the same, such as a lone surrogate in a text, is found when it is delivered.

    The repr leaves out everything that a peer wrote: payloads never reach a log by accident.

    Attributes:
        id: UUID text; the idempotency key of every delivery.
        workspace_id: From ``Config.workspace_id``.
        source: From ``Config.source``; ``"llm"`` for what the model called.
        env_id: Where it ran; never empty.
        tool: What was called; ``"unknown"`` where the call named nothing.
        is_error: Whether the call failed.
        started_at: When the gateway saw the beginning; aware, UTC.
        completed_at: When the gateway saw the end; aware, UTC.
        duration_ms: Between the two on a monotonic clock: whole milliseconds, 0 to 2**31 - 1.
        user_id: Who called, where it is known.
        thread_id: The conversation it belongs to, where it has one.
        request_id: The JSON-RPC id as text, or the id of the item.
        arguments: The exact JSON text from the wire in UTF-8; ``None`` when missing, ``null`` or over the limit.
        arguments_meta: Size and digest of arguments that are over the limit.
        result_summary: The text of the result, at most ``Config.result_max_bytes`` of UTF-8.
        result_meta: What else is known of the result; ``None`` for plain success.
        context: Where the call came from; ``None`` where nothing is known of it.
        approval: Who let it run; ``None`` where nobody was asked.

    Raises:
        ConfigError: A value is wrong; the error names the field.
    """

    def __attrs_post_init__(self) -> None:
        """Check what somebody made by hand.  What the Interceptor makes of a Draft does not come by here."""
        for name, types, is_optional, problem in _EXPECTED:
            value = getattr(self, name)
            if not (isinstance(value, types) or (is_optional and value is None)):
                raise ConfigError(name, f"{problem}, or None" if is_optional else problem)
        for name in ("started_at", "completed_at"):
            if getattr(self, name).utcoffset() is None:
                raise ConfigError(name, "must be a datetime that knows its offset from UTC")
        if isinstance(self.duration_ms, bool) or self.duration_ms < 0:
            raise ConfigError("duration_ms", _MILLISECONDS)


_MILLISECONDS: Final = "must be a whole number of milliseconds, not negative"
_EXPECTED: Final[tuple[tuple[str, type, bool, str], ...]] = (
    *((name, str, False, "must be a string") for name in ("id", "workspace_id", "source", "env_id", "tool")),
    ("is_error", bool, False, "must be True or False"),
    ("started_at", datetime, False, "must be a datetime"),
    ("completed_at", datetime, False, "must be a datetime"),
    ("duration_ms", int, False, _MILLISECONDS),
    *((name, str, True, "must be a string") for name in ("user_id", "thread_id", "request_id")),
    ("arguments", bytes, True, "must be bytes"),
    ("arguments_meta", ArgumentsMeta, True, "must be an ArgumentsMeta"),
    ("result_summary", str, True, "must be a string"),
    ("result_meta", ResultMeta, True, "must be a ResultMeta"),
    ("context", Context, True, "must be a Context"),
    ("approval", Approval, True, "must be an Approval"),
)


def shrink(operation: Operation) -> Operation:
    """Replace the arguments and the result's text by their size and digest, and leave out what else may quote them.

    Args:
        operation: Any operation.

    Returns:
        The same object where it has none of these.
    """
    changes: dict[str, Any] = {}
    if operation.arguments is not None:
        digest = sha256(operation.arguments).hexdigest()
        meta = ArgumentsMeta(size_bytes=len(operation.arguments), sha256=digest)
        changes |= {"arguments": None, "arguments_meta": meta}
    result_meta = operation.result_meta
    if operation.result_summary is not None:
        changes["result_summary"] = None
        # A summary that was cut already carries the size and digest of the whole text, which are the better ones.
        if result_meta is None or result_meta.sha256 is None:
            text = operation.result_summary.encode("utf-8", "replace")
            digest = sha256(text).hexdigest()
            result_meta = attrs.evolve(result_meta or ResultMeta(), truncated=True, total_bytes=len(text), sha256=digest)
    if result_meta is not None and result_meta.title is not None:  # a command line, say
        result_meta = attrs.evolve(result_meta, title=None)
        result_meta = None if result_meta == ResultMeta() else result_meta
    if result_meta is not operation.result_meta:
        changes["result_meta"] = result_meta
    if operation.approval is not None and operation.approval.reason is not None:
        changes["approval"] = attrs.evolve(operation.approval, reason=None)
    return attrs.evolve(operation, **changes) if changes else operation


class Submitter(Protocol):
    """Anything that accepts finished operations, such as a ``Client``, a ``tee`` of several, or a test double."""

    def submit(self, operation: Operation, /) -> None:
        """Take one operation.  Must not block and must not raise."""


CHECK_SOURCE = "trio-oplog-check"
"""The ``source`` of what ``trio-oplog check`` stores.  A list shows that only where this source or the id is asked for."""
ARGS_MAX_BYTES = 65_536
RESULT_MAX_BYTES = 4_096
MAX_SUSPENDED = 1_024
MAX_SUSPENDED_AGE = 3_600.0
TRANSPORTS = ("stdio", "websocket", "http", "sse")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def _non_empty_text(_: Any, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(attribute.name, "must be a non-empty string")
    if _LONE_SURROGATE.search(value):
        raise ConfigError(attribute.name, "must be text that UTF-8 can hold")


def _optional_text(instance: Any, attribute: Attribute[Any], value: object) -> None:
    if value is not None:
        _non_empty_text(instance, attribute, value)


def _at_least(minimum: int) -> Callable[[Any, Attribute[Any], object], None]:
    def check(_: Any, attribute: Attribute[Any], value: object) -> None:
        if type(value) is not int or value < minimum:
            raise ConfigError(attribute.name, f"must be a whole number of at least {minimum}")

    return check


# A limit of 0 means its default.  The type is asked for because False and 0.0 equal 0 and are mistakes.
def _args_max_bytes(value: int) -> int:
    return ARGS_MAX_BYTES if type(value) is int and value == 0 else value


def _result_max_bytes(value: int) -> int:
    return RESULT_MAX_BYTES if type(value) is int and value == 0 else value


def _yes_or_no(_: Any, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(attribute.name, "must be True or False")


def _optional_transport(_: Any, attribute: Attribute[Any], value: object) -> None:
    if value is not None and value not in TRANSPORTS:
        raise ConfigError(attribute.name, f"must be one of {', '.join(TRANSPORTS)}, or None")


def _positive(_: Any, attribute: Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(attribute.name, "must be a number of seconds above 0")


def _optional_function(_: Any, attribute: Attribute[Any], value: object) -> None:
    if value is not None and not callable(value):
        raise ConfigError(attribute.name, "must be a function, or None")


@frozen(kw_only=True)
class Config:
    """What an Interceptor writes into every operation, and its limits.

    Attributes:
        source: What kind of client is connected, such as ``"sdk"``; not empty.
        workspace_id: Whose operations these are; not empty.
        args_max_bytes: Longest arguments kept verbatim, in bytes; 0 means 65 536.
        result_max_bytes: Longest ``result_summary``, in bytes of UTF-8; 0 means 4 096.
        user_id: The authenticated user.  ``None`` lets the client claim one in ``params._meta.agentserver_user_id``.
        default_env_id: The ``env_id`` of a call that names neither an environment nor a server; not empty.
        max_pending: How many calls may be open at once before the oldest is evicted; at least 1.
        record_items: Whether to record what the model calls (Codex items, ACP tool calls) besides what the client calls.
        redact: Sees each operation before anybody else does and returns the one to hand over; ``redact_keys()`` makes such a
            function.  If it raises, or returns what is no operation, the payload is replaced by its size and digest.
        transport: How the frames travel: ``"stdio"``, ``"websocket"``, ``"http"`` or ``"sse"``; goes into ``Operation.context``.
        max_suspended: How many calls may wait at once for a task to end or for another round of input; at least 1.  The oldest
            one is recorded as it stands.  For the Interceptor's own ``SuspendedCalls``; a shared one has a bound of its own.
        max_suspended_age: How long a call may wait so, in seconds.

    Raises:
        ConfigError: A value is wrong; the error names the field.
    """

    source: str = field(validator=_non_empty_text)
    workspace_id: str = field(validator=_non_empty_text)
    args_max_bytes: int = field(default=0, validator=_at_least(0), converter=_args_max_bytes)
    result_max_bytes: int = field(default=0, validator=_at_least(0), converter=_result_max_bytes)
    user_id: str | None = field(default=None, validator=_optional_text)
    default_env_id: str = field(default="local", validator=_non_empty_text)
    max_pending: int = field(default=1024, validator=_at_least(1))
    record_items: bool = field(default=True, validator=_yes_or_no)
    redact: Callable[[Operation], Operation] | None = field(default=None, validator=_optional_function, repr=False)
    transport: str | None = field(default=None, validator=_optional_transport)
    max_suspended: int = field(default=MAX_SUSPENDED, validator=_at_least(1))
    max_suspended_age: float = field(default=MAX_SUSPENDED_AGE, validator=_positive)
