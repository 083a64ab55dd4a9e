"""HTTP exchanges become frames for Interceptors.  Sans-IO like all of this room.

In: heads and bytes of requests and responses, as they cross.  Out: what ``Interceptor`` makes of the messages in them.

    1  head.py      the few header fields that matter
    2  coding.py    the content coding of a body; holding.py bounds what is held of it
    3  sse.py       a stream of server-sent events -> its events; messages.py tells the messages in a text apart
    4  exchange.py  one exchange: which of its messages are whose business, and what its end means
    5  session.py   the requests of one session, each exchange's in an Interceptor of its own
    6  tap.py       all exchanges and sessions of one upstream
"""

from __future__ import annotations

from trio_oplog._recording.http.exchange import HttpExchange
from trio_oplog._recording.http.head import Headers
from trio_oplog._recording.http.holding import Budget, Hold
from trio_oplog._recording.http.sse import EventParser
from trio_oplog._recording.http.tap import HttpTap, HttpTapStatistics

__all__ = ["Budget", "EventParser", "Headers", "Hold", "HttpExchange", "HttpTap", "HttpTapStatistics"]
