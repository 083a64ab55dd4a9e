"""A naive store in memory that keeps every promise, and ones that each break one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self

import trio
from attrs import evolve

from trio_oplog import Operation
from trio_oplog._listing.query import ListQuery
from trio_oplog._wire import encode
from trio_oplog.testing import Law

FAULTY: list[tuple[type[Any], set[Law]]] = []
CONDITIONS = ("env_id", "tool", "source", "is_error", "id")


def breaks(*laws: Law) -> Any:
    def register(kind: type[NaiveStore]) -> type[NaiveStore]:
        FAULTY.append((kind, set(laws)))
        return kind

    return register


class NaiveStore:
    conditions: tuple[str, ...] = CONDITIONS

    def __init__(self) -> None:
        self.kept: dict[str, Operation] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        yield cls()

    async def add(self, batch: Iterable[Operation]) -> None:
        await trio.lowlevel.checkpoint()
        for operation in batch:
            self.kept.setdefault(operation.id, operation)

    async def find(self, query: ListQuery) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        found = [operation for operation in self.kept.values() if self.fits(operation, query)]
        return [self.encode(operation) for operation in self.sorted(found)[: self.limit(query)]]

    def fits(self, operation: Operation, query: ListQuery) -> bool:
        wanted = all(getattr(query, name) in {None, getattr(operation, name)} for name in self.conditions)
        return wanted and self.is_theirs(operation, query) and self.is_recent(operation, query)

    def is_theirs(self, operation: Operation, query: ListQuery) -> bool:
        return operation.workspace_id == query.workspace_id

    def is_recent(self, operation: Operation, query: ListQuery) -> bool:
        return query.since is None or operation.started_at >= query.since

    def sorted(self, found: list[Operation]) -> list[Operation]:
        return sorted(found, key=lambda operation: operation.started_at, reverse=True)

    def limit(self, query: ListQuery) -> int:
        return query.limit

    def encode(self, operation: Operation) -> bytes:
        return encode(operation)


@breaks(Law.STORE_IDEMPOTENT)
class StoresTwice(NaiveStore):
    async def add(self, batch: Iterable[Operation]) -> None:
        for operation in batch:
            self.kept[f"{operation.id} {len(self.kept)}"] = operation


@breaks(Law.STORE_IDEMPOTENT, Law.STORE_KEEPS)
class LastOneWins(NaiveStore):
    async def add(self, batch: Iterable[Operation]) -> None:
        self.kept.update({operation.id: operation for operation in batch})


@breaks(Law.STORE_IDEMPOTENT)
class RefusesWhatItHas(NaiveStore):
    async def add(self, batch: Iterable[Operation]) -> None:
        new = {operation.id: operation for operation in batch}
        if self.kept.keys() & new.keys():
            raise KeyError
        await super().add(new.values())


@breaks(Law.STORE_WORKSPACES)
class ShowsEverybodyEverything(NaiveStore):
    def is_theirs(self, operation: Operation, query: ListQuery) -> bool:
        return True


@breaks(Law.STORE_FILTERS)
class IgnoresOneFilter(NaiveStore):
    conditions = ("env_id", "source", "is_error", "id")


@breaks(Law.STORE_FILTERS)
class TakesFalseForNoFilter(NaiveStore):
    def fits(self, operation: Operation, query: ListQuery) -> bool:
        return super().fits(operation, evolve(query, is_error=query.is_error or None))


@breaks(Law.STORE_FILTERS)
class ExcludesTheMomentItself(NaiveStore):
    def is_recent(self, operation: Operation, query: ListQuery) -> bool:
        return query.since is None or operation.started_at > query.since


@breaks(Law.STORE_ORDER)
class ListsTheOldestFirst(NaiveStore):
    def sorted(self, found: list[Operation]) -> list[Operation]:
        return sorted(found, key=lambda operation: operation.started_at)


@breaks(Law.STORE_ORDER)
class ListsInTheOrderOfArrival(NaiveStore):
    def sorted(self, found: list[Operation]) -> list[Operation]:
        return found[::-1]


@breaks(Law.STORE_LIMITS)
class KnowsNoLimit(NaiveStore):
    def limit(self, query: ListQuery) -> int:
        return 10**6


@breaks(Law.STORE_LIMITS)
class ListsOneTooFew(NaiveStore):
    def limit(self, query: ListQuery) -> int:
        return max(query.limit - 1, 1) if query.limit > 1 else 1


@breaks(Law.STORE_KEEPS)
class EncodesArgumentsAgain(NaiveStore):
    def encode(self, operation: Operation) -> bytes:
        return json.dumps(json.loads(encode(operation))).encode()


@breaks(Law.STORE_KEEPS)
class KeepsWholeSecondsOnly(NaiveStore):
    def encode(self, operation: Operation) -> bytes:
        return encode(evolve(operation, started_at=operation.started_at.replace(microsecond=0)))


@breaks(Law.STORE_KEEPS)
class ForgetsWhatIsEmpty(NaiveStore):
    def encode(self, operation: Operation) -> bytes:
        return encode(evolve(operation, result_summary=operation.result_summary or None))


@breaks(Law.STORE_CONCURRENCY)
class LosesWhatOthersWrite(NaiveStore):
    """Reads everything, thinks, and writes everything."""

    async def add(self, batch: Iterable[Operation]) -> None:
        kept = dict(self.kept)
        await trio.lowlevel.checkpoint()
        self.kept = {**{operation.id: operation for operation in reversed(list(batch))}, **kept}


@breaks(Law.STORE_CONCURRENCY)
class RefusesTwoAtOnce(NaiveStore):
    busy = False

    async def add(self, batch: Iterable[Operation]) -> None:
        if self.busy:
            raise RuntimeError("database is locked")
        self.busy = True
        await super().add(batch)
        self.busy = False


@breaks(Law.STORE_IDEMPOTENT)
class ListsEverythingTwice(NaiveStore):
    async def find(self, query: ListQuery) -> list[bytes]:
        return (await super().find(query)) * 2


@breaks(Law.STORE_ORDER)
class LimitsBeforeItSorts(NaiveStore):
    async def find(self, query: ListQuery) -> list[bytes]:
        found = [operation for operation in self.kept.values() if self.fits(operation, query)]
        return [self.encode(operation) for operation in self.sorted(found[: query.limit])]
