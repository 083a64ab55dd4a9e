"""Model Context Protocol: ``tools/call``, its cancellation, and who the server is.

Source: MCP 2025-11-25 and 2026-07-28: "Tools", "Cancellation", "Lifecycle", "Discovery".
"""

from __future__ import annotations

from trio_oplog._dialects._arguments import read_arguments
from trio_oplog._dialects._events import UNKNOWN_TOOL, Call, Cancelled, Greeting
from trio_oplog._dialects._shapes import ClientMessage, ClientParams
from trio_oplog._envelope import read_id
from trio_oplog._limits import name, optional_name


def begin_call(message: ClientMessage, args_max_bytes: int) -> Call | None:
    """A ``tools/call`` request."""
    identity = read_id(message.id)
    if identity is None:
        return None
    params = message.params or ClientParams()
    arguments = read_arguments(params.arguments, args_max_bytes)
    meta = params.meta
    return Call(
        key=identity.key,
        tool=name(params.name) if params.name else UNKNOWN_TOOL,
        env_id=arguments.environment_id,
        request_id=identity.text,
        thread_id=optional_name(params.thread_id or params.thread_id_snake or (meta.thread_id if meta else None)),
        user_id=optional_name(meta.user_id) if meta else None,
        arguments=arguments.text,
        arguments_meta=arguments.meta,
    )


def cancel_call(message: ClientMessage, _: int) -> Cancelled | None:
    """A ``notifications/cancelled`` notification."""
    identity = read_id(message.params.request_id) if message.params else None
    return Cancelled(identity.key) if identity else None


def greet(message: ClientMessage, _: int) -> Greeting | None:
    """An ``initialize`` or ``server/discover`` request."""
    identity = read_id(message.id)
    return Greeting(identity.key) if identity else None
