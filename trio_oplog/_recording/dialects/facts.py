"""What requests say of where they come from: the client, the protocol, the trace.

Source: W3C Trace Context, section 3.2 (``traceparent``); MCP 2026-07-28, "Request metadata".
"""

from __future__ import annotations

import re
from typing import Final

from trio_oplog._recording.dialects.events import Facts
from trio_oplog._recording.dialects.results import kept
from trio_oplog._recording.dialects.shapes import RequestMeta, Trace
from trio_oplog._recording.limits import optional_name

# Version 00 ends after the flags; a later one may go on after a dash.
_TRACEPARENT: Final = re.compile(r"((?!ff)[0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII)
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


def read_facts(meta: RequestMeta | None, trace: Trace | None = None) -> Facts | None:
    """The facts in a request; ``None`` where there is none.

    Args:
        meta: ``params._meta``.
        trace: ``trace``, which Codex has beside ``params``; it goes before the one in ``meta``.
    """
    client = protocol = trace_id = span_id = None
    if trace is not None:
        trace_id, span_id = read_traceparent(trace.traceparent)
    if meta is not None:
        client, protocol = kept(meta.client), optional_name(meta.protocol)
        if trace_id is None and meta.traceparent is not None:
            trace_id, span_id = read_traceparent(meta.traceparent)
    if client is None and protocol is None and trace_id is None:
        return None
    return Facts(client, protocol, trace_id, span_id)


def read_traceparent(text: str | None) -> tuple[str | None, str | None]:
    """The trace and the span of a ``traceparent``; nothing of a malformed one."""
    match = _TRACEPARENT.fullmatch(text) if text else None
    if match is None or (match[1] == "00" and match[4]) or match[2] == _NO_TRACE or match[3] == _NO_SPAN:
        return None, None
    return match[2], match[3]
