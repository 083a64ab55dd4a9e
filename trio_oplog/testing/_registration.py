"""What Hypothesis learns of this package by its entry point, the first time that it is used."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st

from trio_oplog._operation import Operation
from trio_oplog.testing._operations import operations
from trio_oplog.testing._session import Session
from trio_oplog.testing._sessions import sessions

LONG_PROFILE: Final = "trio_oplog_long"


def register() -> None:
    """Teach Hypothesis how an ``Operation`` is drawn, and what a long run is.

    After it ``st.from_type(Operation)`` and ``st.builds`` work, and ``settings.load_profile("trio_oplog_long")`` (or
    ``--hypothesis-profile=trio_oplog_long``) searches a hundred times as long, with no deadline.
    """
    st.register_type_strategy(Operation, operations())
    st.register_type_strategy(Session, sessions())
    examples = int(os.environ.get("TRIO_OPLOG_EXAMPLES", "10000"))
    settings.register_profile(LONG_PROFILE, max_examples=examples, deadline=None, print_blob=True)
