"""``operations/list``: the way back from the store to whoever asks.

In: a JSON-RPC request.  Out: its answer, from the endpoint.

    1  query.py      what may be asked for, and how it is spelled in a URL
    2  answering.py  the request is recognised inside the gateway, sent on over HTTP, and answered;
                     room.py bounds what all answers together hold

Beside it, for whoever reads without a gateway:

    reading.py       everything that a collector answers over HTTP, with the methods that its store has
    pages.py         what comes of it
"""

from __future__ import annotations

from trio_oplog._listing.answering import (
    METHOD,
    OVERLOADED,
    ListClient,
    answering,
    read_list_request,
    try_handle_operations_list,
)
from trio_oplog._listing.pages import DOCUMENT_BEGIN, Arrivals, Page, Slowest
from trio_oplog._listing.query import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    LIST_PARAMETERS,
    ListQuery,
    ValueReader,
    read_bool,
    read_text,
    read_time,
    read_values,
    required,
    write_parameters,
)
from trio_oplog._listing.reading import ReadClient
from trio_oplog._listing.statistics import STATISTICS_GROUPS, Counted, Statistics, StatisticsQuery

__all__ = [
    "DOCUMENT_BEGIN",
    "LIMIT_DEFAULT",
    "LIMIT_MAX",
    "LIST_PARAMETERS",
    "METHOD",
    "OVERLOADED",
    "STATISTICS_GROUPS",
    "Arrivals",
    "Counted",
    "ListClient",
    "ListQuery",
    "Page",
    "ReadClient",
    "Slowest",
    "Statistics",
    "StatisticsQuery",
    "ValueReader",
    "answering",
    "read_bool",
    "read_list_request",
    "read_text",
    "read_time",
    "read_values",
    "required",
    "try_handle_operations_list",
    "write_parameters",
]
