"""Who is who, and which trace a call belongs to: each text beside what it means."""

from __future__ import annotations

from typing import Final

from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._json_text import quoted

TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID: Final = "b7ad6b7169203331"
GOOD_TRACEPARENTS: Final = (
    f"00-{TRACE_ID}-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{SPAN_ID}-00",
    f"cc-{TRACE_ID}-{SPAN_ID}-01",
    f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like",
)
BAD_TRACEPARENTS: Final = (
    f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
    f"00-{'0' * 32}-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{'0' * 16}-01",
    f"ff-{TRACE_ID}-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{SPAN_ID}-01-more",
    f"00-{TRACE_ID}-{SPAN_ID}",
    f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
    f"0-{TRACE_ID}-{SPAN_ID}-01",
    f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
    f"cc-{TRACE_ID}-{SPAN_ID}-01more",
    "",
)
TRACED: Final = {"trace_id": TRACE_ID, "parent_span_id": SPAN_ID}
PROTOCOL: Final = "2026-07-28"


def some_trace(choices: ChoiceSource) -> tuple[str, dict[str, str]]:
    """A traceparent as JSON text, and what it says."""
    if choices.number(3) < 2:
        return quoted(choices.pick(GOOD_TRACEPARENTS)), dict(TRACED)
    return choices.pick((*map(quoted, BAD_TRACEPARENTS), "null", "7")), {}


def call_meta(choices: ChoiceSource) -> tuple[list[tuple[str, str | None]], dict[str, str]]:
    """What a request of MCP 2026-07-28 says of its sender, in ``_meta``, and what it means."""
    info, client = choices.pick(
        (('{"name":"cli","version":"2.3.0"}', "cli/2.3.0"), ('{"name":"cli"}', "cli"), ('{"version":"1"}', None), ("7", None))
    )
    members: list[tuple[str, str | None]] = [
        ("io.modelcontextprotocol/protocolVersion", quoted(PROTOCOL)),
        ("io.modelcontextprotocol/clientInfo", info),
        ("io.modelcontextprotocol/clientCapabilities", "{}"),
    ]
    return members, {"protocol": PROTOCOL} | ({"client": client} if client else {})
