"""Frames become operations.  Sans-IO: no task, no socket, and no clock but those it is given.

In: the frames of a connection, as text or bytes.  Out: one ``Operation`` for each tool call, handed to a ``Submitter``.

    1  envelope.py     one frame -> the JSON-RPC messages in it
    2  dialects/       one message -> the event that it means: a call begins, an item completes
    3  limits.py       size limits: digests, cuts that respect UTF-8
    4  interceptor.py  events -> one operation for each call
    5  redact.py       operations without what must not be kept
"""

from __future__ import annotations

from trio_oplog._recording.envelope import Frame, FrameReader, Message, read_key
from trio_oplog._recording.interceptor import Interceptor, InterceptorStatistics
from trio_oplog._recording.limits import NAME_MAX_BYTES, name
from trio_oplog._recording.observer import FrameObserver
from trio_oplog._recording.redact import Payload, redact_keys

__all__ = [
    "NAME_MAX_BYTES",
    "Frame",
    "FrameObserver",
    "FrameReader",
    "Interceptor",
    "InterceptorStatistics",
    "Message",
    "Payload",
    "name",
    "read_key",
    "redact_keys",
]
