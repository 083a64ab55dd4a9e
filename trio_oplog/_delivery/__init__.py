"""Operations reach the endpoint.

In: operations, by ``Client.submit()`` from any thread.  Out: HTTP requests, and an account of what became of each operation.

    1  client.py      the block that owns the tasks; inbox.py takes operations from other threads
    2  record.py      one operation on its way, encoded once; ledger.py counts what becomes of it
    3  queue.py       the bounded queue between submit() and delivery; lanes.py makes it fair to workspaces
    4  memory.py      without a spool, records wait in the queue; with one (spool.py), in a file: spool_backlog.py, spool_file.py,
                      eviction.py; spool_folder.py is for files of several processes, spool_inspect.py for whoever looks in
    5  worker.py      takes groups of records (group.py) to the endpoint; retry.py says when to try again
    6  request.py     one group -> one HTTP request; verdict.py says what its answer means
    7  tee.py         one Submitter that feeds several
"""

from __future__ import annotations

from trio_oplog._delivery import spool_inspect
from trio_oplog._delivery.client import Client
from trio_oplog._delivery.ledger import DrainReport, DropReason, Statistics
from trio_oplog._delivery.retry import Retry
from trio_oplog._delivery.spool import Spool, SpoolFolder
from trio_oplog._delivery.tee import Tee, tee

__all__ = ["Client", "DrainReport", "DropReason", "Retry", "Spool", "SpoolFolder", "Statistics", "Tee", "spool_inspect", "tee"]
