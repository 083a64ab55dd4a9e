"""The attributes that are the same in a span, a log record and a metric, because they depend on more than one field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from trio_oplog._operation import Context, Operation, Outcome

METHOD: Final = "tools/call"
EXECUTE_TOOL: Final = ("gen_ai.operation.name", "execute_tool")
OF_THE_MODEL: Final = "llm"
"""The ``source`` of calls that the model makes: items of Codex, tool calls of ACP agents.  Their ids are no JSON-RPC ids."""

# MCP's versions are dates, and no other protocol's are.
_MCP_VERSION: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# network.transport and network.protocol.name
_TRANSPORTS: Final[dict[str | None, tuple[tuple[str, str], ...]]] = {
    "stdio": (("network.transport", "pipe"),),
    "websocket": (("network.transport", "tcp"), ("network.protocol.name", "websocket")),
    "http": (("network.transport", "tcp"), ("network.protocol.name", "http")),
    "sse": (("network.transport", "tcp"), ("network.protocol.name", "http")),
}
_NOWHERE: Final = Context()


def shared_attributes(operation: Operation) -> Iterator[tuple[str, str]]:
    """What calls have in common with each other: how they were made, and how they failed."""
    if operation.source != OF_THE_MODEL:
        yield "mcp.method.name", METHOD
    meta = operation.result_meta
    if operation.is_error:
        yield "error.type", error_type(operation)
    if meta is not None and meta.error_code is not None:
        yield "rpc.response.status_code", str(meta.error_code)
    context = operation.context
    if context is not None:
        if context.protocol is not None and _MCP_VERSION.fullmatch(context.protocol):
            yield "mcp.protocol.version", context.protocol
        yield from _TRANSPORTS.get(context.transport, ())


def own_attributes(operation: Operation) -> Iterator[tuple[str, str]]:
    """What one call has for itself: its ids."""
    by_model = operation.source == OF_THE_MODEL
    if operation.request_id is not None:
        yield ("gen_ai.tool.call.id" if by_model else "jsonrpc.request.id"), operation.request_id
    context = operation.context or _NOWHERE
    if context.protocol is not None and not _MCP_VERSION.fullmatch(context.protocol):
        yield "trio_oplog.protocol", context.protocol
    if context.session is not None:
        yield ("trio_oplog.session" if by_model else "mcp.session.id"), context.session


def error_type(operation: Operation) -> str:
    """What kind of error a call ended in, which it did: the code of a JSON-RPC error, else the outcome."""
    meta = operation.result_meta
    if meta is None or meta.outcome is None:
        return "_OTHER"  # the conventions' word for an error without a name
    if meta.outcome is Outcome.RPC_ERROR and meta.error_code is not None:
        return str(meta.error_code)
    return meta.outcome.value


def metric_attributes(operation: Operation) -> tuple[tuple[str, str], ...]:
    """What the duration of a call is told by."""
    return (EXECUTE_TOOL, ("gen_ai.tool.name", operation.tool), *shared_attributes(operation))
