"""What ``check_interceptor`` does beside playing sessions."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from attrs import evolve

from tests.testing.faulty.interceptors import GivesExecutionsRandomIds
from tests.testing.faulty.reference import Reference
from trio_oplog import Operation
from trio_oplog.testing import Law, LawBroken, check_interceptor
from trio_oplog.testing._check_interceptor import _growth


def test_memory_is_measured_also_where_somebody_else_measures_it() -> None:
    kept: list[bytes] = []
    assert _growth(lambda: kept.append(bytes(100_000))) >= 100_000
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        assert _growth(lambda: kept.append(bytes(100_000))) >= 100_000
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


class MeasuresNothing(Reference):
    """Takes no clocks, so that only the real one can show it."""

    def __init__(self, submitter: Any, config: Any) -> None:
        super().__init__(submitter, config)

    def operation(self, *arguments: Any) -> Operation:
        return evolve(super().operation(*arguments), duration_ms=0)


@pytest.mark.parametrize(("kind", "law"), [(MeasuresNothing, Law.TIMES), (GivesExecutionsRandomIds, Law.EXECUTION_IDS)])
def test_what_one_session_cannot_show_is_looked_for_by_itself(kind: Any, law: Law) -> None:
    with pytest.raises(LawBroken) as broken:
        check_interceptor(kind)
    assert broken.value.law is law
