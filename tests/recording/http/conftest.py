"""What the tests of the tap share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tapping import TapWatch


@pytest.fixture
def watch() -> Iterator[TapWatch]:
    watch = TapWatch()
    yield watch
    watch.close()
    statistics = watch.statistics
    assert (statistics.internal_errors, statistics.open_calls, statistics.open_exchanges, statistics.sessions) == (0, 0, 0, 0)
    assert watch.tap.budget.held == 0
