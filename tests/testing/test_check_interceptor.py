"""What ``check_interceptor`` does beside playing sessions."""

from __future__ import annotations

import tracemalloc

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
