"""A test kit for gateways, taps, bridges and stores of JSON-RPC tool calls.

Strategies draw hostile two-way sessions together with the operations that must come of them; checks hold an implementation
to the laws, one call each, and say in words which one it broke.
"""

from __future__ import annotations

from trio_oplog.testing._check_interceptor import check_interceptor
from trio_oplog.testing._laws import Law, LawBroken
from trio_oplog.testing._playing import play
from trio_oplog.testing._recording import RecordingSubmitter
from trio_oplog.testing._session import Direction, Expected, Feature, Session, SessionFrame
from trio_oplog.testing._sessions import frames, interleavings, sessions, tool_calls

__all__ = [
    "Direction",
    "Expected",
    "Feature",
    "Law",
    "LawBroken",
    "RecordingSubmitter",
    "Session",
    "SessionFrame",
    "check_interceptor",
    "frames",
    "interleavings",
    "play",
    "sessions",
    "tool_calls",
]
