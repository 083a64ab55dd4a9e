"""Operations reach the endpoint.

In: operations, by ``Client.submit()`` from any thread.  Out: HTTP requests, and an account of what became of each operation.

    1  client.py      the block that owns the tasks; inbox.py takes operations from other threads
    2  record.py      one operation on its way, encoded once; ledger.py counts what becomes of it
    3  queue.py       the bounded queue between submit() and delivery; lanes.py makes it fair to workspaces
    4  memory.py      without a spool, records wait in the queue; with one (spool.py), in a file: spool_backlog.py, spool_file.py,
                      eviction.py; spool_folder.py is for files of several processes, spool_inspect.py for whoever looks in
    5  worker.py      takes groups of records (group.py) to the endpoint; retry.py says when to try again
    6  protocol.py    what the endpoint speaks: a group -> the body of a request; request.py makes it, verdict.py reads its answer
    7  tee.py         one Submitter that feeds several
"""

from __future__ import annotations

from trio_oplog._delivery import spool_inspect
from trio_oplog._delivery.client import Client
from trio_oplog._delivery.ledger import DrainReport, DropReason, Statistics
from trio_oplog._delivery.protocol import Content
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.request import Endpoint
from trio_oplog._delivery.retry import Retry
from trio_oplog._delivery.spool import Spool, SpoolFolder
from trio_oplog._delivery.tee import Tee, tee
from trio_oplog._delivery.verdict import Answer, Reply, Verdict, is_page, name_status

__all__ = [
    "Answer",
    "Client",
    "Content",
    "DrainReport",
    "DropReason",
    "Endpoint",
    "Record",
    "Reply",
    "Retry",
    "Spool",
    "SpoolFolder",
    "Statistics",
    "Tee",
    "Verdict",
    "is_page",
    "name_status",
    "spool_inspect",
    "tee",
]
