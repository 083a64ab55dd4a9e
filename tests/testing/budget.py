"""How much is spent on the laws: ``TRIO_OPLOG_BUDGET`` times what a check spends when nobody tells it, once unless told.

Twenty times take some minutes, so they run in a session of their own, on one Python: ``nox -s laws``.  A thousand times are
100 000 generated sessions of one connection, and 50 000 of several: the long profile, before a release.
"""

from __future__ import annotations

import os
from typing import Final

TIMES: Final = int(os.environ.get("TRIO_OPLOG_BUDGET", "1"))
