"""The operation log for JSON-RPC gateways written with Trio.

A frame becomes a stored operation in this order, one module a step::

    1  _envelope.py      one frame -> the JSON-RPC messages in it
    2  _dialects/        which messages begin and end a tool call
    3  _limits.py        size limits: digests, UTF-8-safe cuts
    4  _operation.py     the product: Operation and its parts
    5  _interceptor.py   pairs beginnings with ends, hands each Operation to a Submitter
    6  _wire.py          Operation <-> JSON bytes
    7  _client.py        takes operations: _queue.py holds them as _record.py, _ledger.py accounts for them
    8  _delivery.py      one batch -> HTTP POST, and what the answer means; _courier.py and _retry.py see it through
    9  _listing.py       operations/list, answered inside the gateway
"""

from __future__ import annotations

from trio_oplog._client import Client
from trio_oplog._errors import (
    ClientStateError,
    ConfigError,
    ListError,
    OplogError,
    QueryError,
    SpoolError,
    SpoolInUseError,
    StoreError,
    StoreVersionError,
    TokenFileError,
    WireError,
)
from trio_oplog._interceptor import Interceptor, InterceptorStatistics
from trio_oplog._ledger import DrainReport, DropReason, Statistics
from trio_oplog._listing import ListClient, try_handle_operations_list
from trio_oplog._observer import FrameObserver
from trio_oplog._operation import ArgumentsMeta, Config, Operation, Outcome, ResultMeta, Submitter
from trio_oplog._query import ListQuery
from trio_oplog._redact import Payload, redact_keys
from trio_oplog._retry import Retry
from trio_oplog._spool import Spool
from trio_oplog._tee import Tee, tee

__version__ = "0.1.0"

__all__ = [
    "ArgumentsMeta",
    "Client",
    "ClientStateError",
    "Config",
    "ConfigError",
    "DrainReport",
    "DropReason",
    "FrameObserver",
    "Interceptor",
    "InterceptorStatistics",
    "ListClient",
    "ListError",
    "ListQuery",
    "Operation",
    "OplogError",
    "Outcome",
    "Payload",
    "QueryError",
    "ResultMeta",
    "Retry",
    "Spool",
    "SpoolError",
    "SpoolInUseError",
    "Statistics",
    "StoreError",
    "StoreVersionError",
    "Submitter",
    "Tee",
    "TokenFileError",
    "WireError",
    "redact_keys",
    "tee",
    "try_handle_operations_list",
]
