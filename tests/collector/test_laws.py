"""The laws of stores, on PostgreSQL; tests/testing/test_real.py has SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from trio_oplog.collector import open_store
from trio_oplog.testing import check_store

pytestmark = pytest.mark.once


def test_a_store_on_postgresql_keeps_the_laws(make_database: Callable[..., str]) -> None:
    @asynccontextmanager
    async def open_database() -> AsyncIterator[Any]:
        async with open_store(make_database()) as store:
            yield store

    check_store(open_database, max_examples=4)
