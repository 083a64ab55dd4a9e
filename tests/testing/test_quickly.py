"""The laws on a small budget and always the same sessions: what finds a change in the code within seconds."""

from __future__ import annotations

from trio_oplog import Interceptor
from trio_oplog.testing import check_interceptor


def test_the_interceptor_keeps_the_laws_in_the_sessions_of_one_seed() -> None:
    check_interceptor(Interceptor, max_examples=30, seed=3)
