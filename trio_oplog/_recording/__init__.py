"""Frames become operations.  Sans-IO: no task, no socket, and no clock but those it is given.

In: the frames of a connection, as text or bytes.  Out: one ``Operation`` for each tool call, handed to a ``Submitter``.

    1  envelope.py     one frame -> the JSON-RPC messages in it
    2  dialects/       one message -> the event that it means: a call begins, an item completes, a person is asked
    3  interceptor.py  shows each frame to 1 and 2, and the event to 4
    4  pairing.py      events -> the ends of calls.  calls.py holds the open ones, suspended.py those that outlive their
                       answer, approvals.py and consent.py who let them run
    5  recorder.py     a call and its end -> an Operation; ids.py its id, limits.py the sizes, redact.py and
                       secrets.py what must not be kept

``http/`` stands before 1: the bytes of HTTP exchanges become frames there.
"""

from __future__ import annotations

from trio_oplog._recording.envelope import Frame, Message, is_utf8, read_key, read_request
from trio_oplog._recording.http import Budget, EventParser, Headers, Hold, HttpExchange, HttpTap, HttpTapStatistics
from trio_oplog._recording.interceptor import Interceptor, InterceptorStatistics
from trio_oplog._recording.limits import NAME_MAX_BYTES, name
from trio_oplog._recording.observer import FrameObserver
from trio_oplog._recording.redact import Payload, redact_keys
from trio_oplog._recording.secrets import redact_secrets
from trio_oplog._recording.suspended import SuspendedCalls

__all__ = [
    "NAME_MAX_BYTES",
    "Budget",
    "EventParser",
    "Frame",
    "FrameObserver",
    "Headers",
    "Hold",
    "HttpExchange",
    "HttpTap",
    "HttpTapStatistics",
    "Interceptor",
    "InterceptorStatistics",
    "Message",
    "Payload",
    "SuspendedCalls",
    "is_utf8",
    "name",
    "read_key",
    "read_request",
    "redact_keys",
    "redact_secrets",
]
