"""Where each field of an Operation goes in OTLP: one table, which the mapping works from and a test compares with the classes.

The names are those of OpenTelemetry's semantic conventions for MCP and generative AI, and of its registry (``error.type``,
``network.transport``, ``process.exit.code``, ``user.id``), where there is one that means the same.  The rest is ours:
``trio_oplog.*``.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Attribute:
    """The field is an attribute.

    Attributes:
        name: Its name.
        payload: Whether it goes only where payloads were asked for, because it is, or may quote, what a peer sent.
    """

    name: str
    payload: bool = False


@frozen
class Elsewhere:
    """The field has a place of its own in a span, or its attribute depends on other fields.

    Attributes:
        place: Where it goes.
        payload: As in ``Attribute``.
    """

    place: str
    payload: bool = False


@frozen
class NotExported:
    """The field is not sent.

    Attributes:
        reason: Why.
    """

    reason: str


FIELDS: Final[dict[str, Attribute | Elsewhere | NotExported]] = {
    "id": Attribute("trio_oplog.operation.id"),
    "workspace_id": Attribute("trio_oplog.workspace.id"),
    "source": Attribute("trio_oplog.source"),
    "env_id": Attribute("trio_oplog.env.id"),
    "tool": Attribute("gen_ai.tool.name"),
    "is_error": Elsewhere("the span's status, `error.type`"),
    "started_at": Elsewhere("the span's start time"),
    "completed_at": NotExported("the span ends `duration_ms` after its start, which no clock that is set meanwhile can bend"),
    "duration_ms": Elsewhere("the span's end time"),
    "user_id": Attribute("user.id"),
    "thread_id": Attribute("gen_ai.conversation.id"),
    "request_id": Elsewhere("`jsonrpc.request.id`; `gen_ai.tool.call.id` of a call of the model's"),
    "arguments": Attribute("gen_ai.tool.call.arguments", payload=True),
    "arguments_meta.truncated": NotExported("it is always true, and the two others are there only with it"),
    "arguments_meta.size_bytes": Attribute("trio_oplog.arguments.size"),
    "arguments_meta.sha256": Attribute("trio_oplog.arguments.sha256"),
    "result_summary": Elsewhere("`gen_ai.tool.call.result`; of an error the message of the span's status, too", payload=True),
    "result_meta.truncated": Attribute("trio_oplog.result.truncated"),
    "result_meta.total_bytes": Attribute("trio_oplog.result.size"),
    "result_meta.sha256": Attribute("trio_oplog.result.sha256"),
    "result_meta.outcome": Attribute("trio_oplog.outcome"),
    "result_meta.error_code": Elsewhere("`rpc.response.status_code`, as text"),
    "result_meta.exit_code": Attribute("process.exit.code"),
    "result_meta.content_types": Attribute("trio_oplog.result.content_types"),
    "result_meta.reported_duration_ms": Attribute("trio_oplog.reported_duration_ms"),
    "result_meta.duplicate_id": Attribute("trio_oplog.duplicate_id"),
    "result_meta.waited_ms": Attribute("trio_oplog.waited_ms"),
    "result_meta.rounds": Elsewhere("`trio_oplog.rounds`, and `trio_oplog.rounds.count` of the event `trio_oplog.rounds`"),
    "result_meta.task_id": Attribute("trio_oplog.task.id"),
    "result_meta.title": Attribute("trio_oplog.title", payload=True),
    "result_meta.id_respelled": Attribute("trio_oplog.id_respelled"),
    "result_meta.replaced": Attribute("trio_oplog.result.replaced"),
    "context.client": Attribute("trio_oplog.client"),
    "context.server": Attribute("trio_oplog.server"),
    "context.protocol": Elsewhere("`mcp.protocol.version` where it is a date, as MCP's are; else `trio_oplog.protocol`"),
    "context.session": Elsewhere("`mcp.session.id`; `trio_oplog.session` of a call of the model's"),
    "context.transport": Attribute("trio_oplog.transport"),
    "context.trace_id": Elsewhere("the span's trace id"),
    "context.parent_span_id": Elsewhere("the span's parent"),
    "approval.decision": Attribute("trio_oplog.approval.decision"),
    "approval.by": Attribute("trio_oplog.approval.by"),
    "approval.waited_ms": Attribute("trio_oplog.approval.waited_ms"),
    "approval.reason": Attribute("trio_oplog.approval.reason", payload=True),
    "approval.risk": Attribute("trio_oplog.approval.risk"),
    "approval.count": Attribute("trio_oplog.approval.count"),
}
"""By the path of the field.

``network.transport`` and ``network.protocol.name`` follow from the transport.  The attributes of ``approval`` are those of the
span event ``trio_oplog.approval``; a log record has them among its own.
"""
