"""What ``check_store`` asks of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, TypeAlias

from trio_oplog._listing import ListQuery, Statistics, StatisticsQuery
from trio_oplog._operation import Operation


class PageLike(Protocol):
    """A page of a list: its records as JSON documents, and the cursor of the next one."""

    @property
    def bodies(self) -> Sequence[bytes]: ...
    @property
    def next(self) -> str | None: ...


class ArrivalsLike(Protocol):
    """Records that arrived, each with its cursor, and the cursor to go on from."""

    @property
    def records(self) -> Sequence[tuple[str, bytes]]: ...
    @property
    def next(self) -> str: ...


class CountedLike(Protocol):
    """What was counted."""

    @property
    def groups(self) -> Sequence[Statistics]: ...


class PrunedLike(Protocol):
    """What was pruned, or would be."""

    @property
    def records(self) -> int: ...


class StoreLike(Protocol):
    """What ``check_store`` asks of a store."""

    async def add(self, batch: Iterable[Operation], /) -> object:
        """Keep operations; one whose workspace has its id already is passed over."""

    async def find(self, query: ListQuery, /) -> Iterable[bytes]:
        """The records that a query asks for, as JSON documents, the newest first."""

    async def page(self, query: ListQuery, /) -> PageLike:
        """The same, with the cursor of the next page."""

    async def get(self, workspace_id: str, operation_id: str, /) -> bytes | None:
        """One record."""

    async def statistics(self, query: StatisticsQuery, /) -> CountedLike:
        """What is counted of the records that were stored."""

    async def arrivals(self, query: ListQuery, after: str | None = None, /) -> ArrivalsLike:
        """The next records to arrive, the first to arrive first."""

    async def prune(self, before: datetime, /, *, workspace_id: str | None = None, dry_run: bool = False) -> PrunedLike:
        """Delete records that began on a UTC day before that of a time."""


StoreOpener: TypeAlias = Callable[[], AbstractAsyncContextManager[StoreLike]]
