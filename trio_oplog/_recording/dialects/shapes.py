"""The parts of messages that several dialects have in common.

Whatever is not named in a shape is skipped when a frame is read.  Source: JSON-RPC 2.0, section 5; MCP 2025-11-25 and
2026-07-28, ``CallToolResult``, ``ContentBlock``, ``Implementation``; ACP 1, ``ContentBlock``.
"""

from __future__ import annotations

from msgspec import UNSET, Raw, Struct, UnsetType, field

from trio_oplog._json import ABSENT
from trio_oplog._recording.envelope import Envelope


class Implementation(Struct, gc=False):
    """How a client, a server or an agent introduces itself."""

    name: str | None = None
    version: str | None = None


class Trace(Struct, gc=False):
    """A W3C trace context."""

    traceparent: str | None = None


class RequestMeta(Struct, gc=False):
    """``params._meta`` of a request."""

    user_id: str | None = field(name="agentserver_user_id", default=None)
    thread_id: str | None = field(name="threadId", default=None)
    traceparent: str | None = None
    client: Implementation | None = field(name="io.modelcontextprotocol/clientInfo", default=None)
    protocol: str | None = field(name="io.modelcontextprotocol/protocolVersion", default=None)


class CallParams(Struct, gc=False):
    """``params`` of a request that calls a tool."""

    name: str | None = None
    thread_id: str | None = field(name="threadId", default=None)
    server: str | None = None
    tool: str | None = None
    arguments: Raw = ABSENT
    meta: RequestMeta | None = field(name="_meta", default=None)
    thread_id_snake: str | None = field(name="thread_id", default=None)
    request_state: Raw = field(name="requestState", default=ABSENT)
    input_responses: Raw = field(name="inputResponses", default=ABSENT)


class CallMessage(Envelope, gc=False):
    """A request that calls a tool.  Most of what a client sends that matters is one, so every short frame is read into it."""

    params: CallParams | None = None
    trace: Trace | None = None


class Resource(Struct, gc=False):
    """An embedded resource."""

    text: str | None = None
    uri: str | None = None


class Block(Struct, gc=False):
    """One content block."""

    type: str | None = None
    text: str | None = None
    resource: Resource | None = None
    uri: str | None = None


class ResultMeta(Struct, gc=False):
    """``_meta`` of a result."""

    server: Implementation | None = field(name="io.modelcontextprotocol/serverInfo", default=None)


class Task(Struct, gc=False):
    """The state of a task."""

    task_id: str | None = field(name="taskId", default=None)
    status: str | None = None
    message: str | None = field(name="statusMessage", default=None)


class Result(Struct, gc=False):
    """The result of a tool call, in every form that servers give it."""

    content: list[Block] | str | Block | None = None
    is_error: bool | str | None = field(name="isError", default=None)
    result_type: str | None = field(name="resultType", default=None)
    structured_content: Raw = field(name="structuredContent", default=ABSENT)
    meta: ResultMeta | None = field(name="_meta", default=None)
    tool_result: Raw = field(name="toolResult", default=ABSENT)
    task: Task | None = None
    task_id: str | None = field(name="taskId", default=None)
    status: str | None = None
    message: str | None = field(name="statusMessage", default=None)
    request_state: Raw = field(name="requestState", default=ABSENT)
    input_requests: Raw = field(name="inputRequests", default=ABSENT)


class Response(Envelope, gc=False):
    """A response to a tool call."""

    result: Result | str | UnsetType | None = UNSET
    error: Raw = ABSENT


class Error(Struct, gc=False):
    """The error of a response or of an item."""

    code: int | None = None
    message: str | None = None


class OddError(Struct, gc=False):
    """An error with parts of other types than they should have."""

    code: Raw = ABSENT
    message: Raw = ABSENT
