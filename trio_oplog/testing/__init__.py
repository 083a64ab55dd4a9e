"""A test kit for gateways, taps, bridges and stores of JSON-RPC tool calls.  Needs the extra ``testing``.

Strategies draw hostile two-way sessions together with the operations that must come of them; checks hold an implementation
to the laws, one call each, and say in words which one it broke::

    _laws.py         the laws
    _session.py      a session: frames with directions, and what must come of them
    _facts.py        what the oracle is told of calls
    _oracle.py       the account that is kept while a session is written
    _expecting.py    the operation that must come of a call and its end
    _*_texts.py      what peers may say, each text beside what it means
    _*_scenarios.py  the stories that sessions are made of
    _sessions.py     the strategies of sessions
    _example*.py     the smallest sessions that show each law
    _replaying.py    plays a session and compares
    _check_*.py      the checks
    _time.py         virtual time that threads hold up
"""

from __future__ import annotations

from trio_oplog.testing._capture import Capture, CapturedFrame, capture, load_capture
from trio_oplog.testing._check_bridge import check_bridge
from trio_oplog.testing._check_interceptor import check_interceptor
from trio_oplog.testing._check_store import check_store
from trio_oplog.testing._check_submitter import check_submitter
from trio_oplog.testing._chunks import chunked
from trio_oplog.testing._endpoint import FaultyEndpoint, Hang, Request, Reset, Respond
from trio_oplog.testing._laws import Law, LawBroken
from trio_oplog.testing._operations import json_values, operations, request_ids
from trio_oplog.testing._recording import RecordingSubmitter
from trio_oplog.testing._replaying import Gateway, play
from trio_oplog.testing._session import Direction, Expected, Feature, Session, SessionFrame
from trio_oplog.testing._sessions import frames, interleavings, sessions, tool_calls

__all__ = [
    "Capture",
    "CapturedFrame",
    "Direction",
    "Expected",
    "FaultyEndpoint",
    "Feature",
    "Gateway",
    "Hang",
    "Law",
    "LawBroken",
    "RecordingSubmitter",
    "Request",
    "Reset",
    "Respond",
    "Session",
    "SessionFrame",
    "capture",
    "check_bridge",
    "check_interceptor",
    "check_store",
    "check_submitter",
    "chunked",
    "frames",
    "interleavings",
    "json_values",
    "load_capture",
    "operations",
    "play",
    "request_ids",
    "sessions",
    "tool_calls",
]
