"""Model Context Protocol: ``tools/call``, its cancellation, and who the server is.

Source: MCP 2025-11-25 and 2026-07-28: "Tools", "Cancellation", "Lifecycle", "Discovery".
"""

from __future__ import annotations

from msgspec import Raw, Struct, field

from trio_oplog._dialects._events import Call, Cancelled, Greeting
from trio_oplog._dialects._request import UNKNOWN_TOOL, optional_name, read_arguments, read_params
from trio_oplog._envelope import Message, read_id
from trio_oplog._json import ABSENT, Reader


class _CancelledParams(Struct, gc=False):
    request_id: Raw = field(name="requestId", default=ABSENT)


_cancelled_params = Reader(_CancelledParams)


def begin_call(message: Message, args_max_bytes: int) -> Call | None:
    """A ``tools/call`` request."""
    identity = read_id(message.id)
    if identity is None:
        return None
    params = read_params(message.params)
    arguments = read_arguments(params.arguments, args_max_bytes)
    meta = params.meta
    return Call(
        key=identity.key,
        tool=optional_name(params.name) or UNKNOWN_TOOL,
        env_id=arguments.environment_id,
        request_id=identity.text,
        thread_id=optional_name(params.thread_id or params.thread_id_snake or (meta.thread_id if meta else None)),
        user_id=optional_name(meta.user_id) if meta else None,
        arguments=arguments.text,
        arguments_meta=arguments.meta,
    )


def cancel_call(message: Message, _: int) -> Cancelled | None:
    """A ``notifications/cancelled`` notification."""
    params = _cancelled_params.read(message.params)
    identity = read_id(params.request_id) if params else None
    return Cancelled(identity.key) if identity else None


def greet(message: Message, _: int) -> Greeting | None:
    """An ``initialize`` or ``server/discover`` request."""
    identity = read_id(message.id)
    return Greeting(identity.key) if identity else None
