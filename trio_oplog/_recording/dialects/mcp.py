"""Model Context Protocol: ``tools/call``, its cancellation, and who the server is.

Source: MCP 2025-11-25 and 2026-07-28: "Tools", "Cancellation", "Lifecycle", "Discovery".
"""

from __future__ import annotations

from trio_oplog._recording.dialects.arguments import read_arguments
from trio_oplog._recording.dialects.events import UNKNOWN_TOOL, Call, Cancelled, Handshake
from trio_oplog._recording.dialects.shapes import ClientMessage, ClientParams
from trio_oplog._recording.envelope import read_id, read_key
from trio_oplog._recording.limits import optional_name


def begin_call(message: ClientMessage, args_max_bytes: int) -> Call | None:
    """A ``tools/call`` request."""
    identity = read_id(message.id)
    if identity is None:
        return None
    key, request_id = identity
    params = message.params or ClientParams()
    arguments, arguments_meta, environment_id = read_arguments(params.arguments, args_max_bytes)
    meta = params.meta
    return Call(
        key=key,
        tool=optional_name(params.name) or UNKNOWN_TOOL,
        env_id=environment_id,
        request_id=request_id,
        thread_id=optional_name(params.thread_id or params.thread_id_snake or (meta.thread_id if meta else None)),
        user_id=optional_name(meta.user_id) if meta else None,
        arguments=arguments,
        arguments_meta=arguments_meta,
    )


def cancel_call(message: ClientMessage, _: int) -> Cancelled | None:
    """A ``notifications/cancelled`` notification."""
    key = read_key(message.params.request_id) if message.params else None
    return None if key is None else Cancelled(key)


def shake_hands(message: ClientMessage, _: int) -> Handshake | None:
    """An ``initialize`` or ``server/discover`` request."""
    key = read_key(message.id)
    return None if key is None else Handshake(key)
