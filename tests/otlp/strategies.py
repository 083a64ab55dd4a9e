"""Operations with every part that a span can have."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
from hypothesis import strategies as st

from trio_oplog import Approval, ArgumentsMeta, Context, DecidedBy, Operation, Outcome, ResultMeta
from trio_oplog.testing import operations

TEXTS = st.one_of(st.sampled_from(["a", "tool/with.dots", "ünï😀", "\x00", "x" * 1024]), st.text(max_size=12))
SIZES = st.one_of(st.sampled_from([0, 1, 2**31 - 1, 2**63 - 1]), st.integers(0, 10_000))
WHOLES = st.one_of(SIZES, st.sampled_from([-32603, -(2**63)]))
HEX = st.text("0123456789abcdef")
TRACE_IDS = st.one_of(st.sampled_from(["4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32, "", "4BF9", "é" * 32]), HEX)
SPAN_IDS = st.one_of(st.sampled_from(["00f067aa0ba902b7", "0" * 16, "00f067aa0ba902b7ff", " "]), HEX)
DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
MOMENTS = st.one_of(
    st.sampled_from([datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)


def optional(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


RESULT_METAS = st.builds(
    ResultMeta,
    truncated=optional(st.booleans()),
    total_bytes=optional(SIZES),
    sha256=optional(st.just(DIGEST)),
    outcome=optional(st.sampled_from(Outcome)),
    error_code=optional(WHOLES),
    exit_code=optional(WHOLES),
    content_types=optional(st.lists(TEXTS, max_size=3).map(tuple)),
    reported_duration_ms=optional(WHOLES),
    duplicate_id=optional(st.booleans()),
    waited_ms=optional(SIZES),
    rounds=optional(SIZES),
    task_id=optional(TEXTS),
    title=optional(TEXTS),
    id_respelled=optional(st.booleans()),
    replaced=optional(st.booleans()),
)
CONTEXTS = st.builds(
    Context,
    client=optional(TEXTS),
    server=optional(TEXTS),
    protocol=optional(TEXTS | st.sampled_from(["2025-11-25", "1", "2025-11-25 "])),
    session=optional(TEXTS),
    transport=optional(st.sampled_from(["stdio", "websocket", "http", "sse", "pigeon"])),
    trace_id=optional(TRACE_IDS),
    parent_span_id=optional(SPAN_IDS),
)
APPROVALS = st.builds(
    Approval,
    decision=optional(TEXTS),
    by=st.sampled_from(DecidedBy),
    waited_ms=SIZES,
    reason=optional(TEXTS),
    risk=optional(TEXTS),
    count=optional(SIZES),
)


@st.composite
def full_operations(draw: st.DrawFn) -> Operation:
    """Any operation that can be stored."""
    meta = draw(optional(st.builds(ArgumentsMeta, size_bytes=SIZES, sha256=st.just(DIGEST))))
    return attrs.evolve(
        draw(operations()),
        started_at=draw(MOMENTS),
        arguments_meta=meta,
        result_meta=draw(optional(RESULT_METAS)),
        context=draw(optional(CONTEXTS)),
        approval=draw(optional(APPROVALS)),
    )
