"""The parts of messages that the log has a use for, in both dialects: a frame is read into these in one pass.

Whatever is not named here is skipped.  A field stands for one meaning in every method that has it, so that frames that are
none of our business fit the shapes as well.

Source: the JSON Schema that Codex app-server 0.169 states of its protocol; MCP 2025-11-25 and 2026-07-28, ``CallToolResult``;
JSON-RPC 2.0, section 5.1 (error object).
"""

from __future__ import annotations

from msgspec import UNSET, Raw, Struct, UnsetType, field

from trio_oplog._json import ABSENT
from trio_oplog._recording.envelope import Envelope


class CallMeta(Struct, gc=False):
    """``params._meta`` of a request."""

    user_id: str | None = field(name="agentserver_user_id", default=None)
    thread_id: str | None = field(name="threadId", default=None)


class ClientParams(Struct, gc=False):
    """``params`` of what a client sends."""

    thread_id: str | None = field(name="threadId", default=None)
    thread_id_snake: str | None = field(name="thread_id", default=None)
    server: str | None = None
    tool: str | None = None
    name: str | None = None
    arguments: Raw = ABSENT
    meta: CallMeta | None = field(name="_meta", default=None)
    request_id: Raw = field(name="requestId", default=ABSENT)


class ClientMessage(Envelope, gc=False):
    """A message from the client."""

    params: ClientParams | None = None


class ServerInfo(Struct, gc=False):
    """How a server introduces itself."""

    name: str | None = None


class ResultMeta(Struct, gc=False):
    """``_meta`` of a result."""

    server_info: ServerInfo | None = field(name="io.modelcontextprotocol/serverInfo", default=None)


class Block(Struct, gc=False):
    """One content block."""

    type: str | None = None
    text: str | None = None


class Result(Struct, gc=False):
    """The result of a tool call, or of an ``initialize``."""

    content: list[Block] | None = None
    is_error: bool | None = field(name="isError", default=None)
    result_type: str | None = field(name="resultType", default=None)
    server_info: ServerInfo | None = field(name="serverInfo", default=None)
    meta: ResultMeta | None = field(name="_meta", default=None)


class Error(Struct, gc=False):
    """The error of a response or of an item."""

    code: int | None = None
    message: str | None = None


class Item(Struct, gc=False):
    """One item of a turn."""

    type: str | None = None
    id: str | None = None
    server: str | None = None
    tool: str | None = None
    status: str | None = None
    arguments: Raw = ABSENT
    result: Result | None = None
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


class Turn(Struct, gc=False):
    """One turn of a thread."""

    id: str | None = None


class ServerParams(Struct, gc=False):
    """``params`` of what a server sends."""

    thread_id: str | None = field(name="threadId", default=None)
    turn_id: str | None = field(name="turnId", default=None)
    turn: Turn | None = None
    item: Item | None = None


class ServerMessage(Envelope, gc=False):
    """A message from the server."""

    params: ServerParams | None = None
    result: Result | UnsetType | None = UNSET
    error: Raw = ABSENT
