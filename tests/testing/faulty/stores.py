from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Self

import trio
from attrs import evolve

from trio_oplog import Operation
from trio_oplog._listing import Counted, ListQuery, Statistics, StatisticsQuery
from trio_oplog._wire import encode
from trio_oplog.collector import Arrivals, Page, Pruned
from trio_oplog.testing import Law

FAULTY: list[tuple[type[Any], set[Law]]] = []
CONDITIONS = ("env_id", "tool", "source", "is_error", "id", "id_prefix", "user_id", "thread_id", "outcome", "client", "approval")


def breaks(*laws: Law) -> Any:
    def register(kind: type[NaiveStore]) -> type[NaiveStore]:
        FAULTY.append((kind, set(laws)))
        return kind

    return register


def outcome_of(operation: Operation) -> str:
    meta = operation.result_meta
    return str(meta.outcome) if meta and meta.outcome else "error" if operation.is_error else "ok"


READ: dict[str, Callable[[Operation], Any]] = {
    "outcome": outcome_of,
    "client": lambda operation: operation.context.client if operation.context else None,
    "approval": lambda operation: (operation.approval.decision or "none") if operation.approval else None,
    "hour": lambda operation: operation.started_at.replace(minute=0, second=0, microsecond=0),
    "day": lambda operation: operation.started_at.replace(hour=0, minute=0, second=0, microsecond=0),
}


def value_of(operation: Operation, name: str) -> Any:
    return READ[name](operation) if name in READ else getattr(operation, name)


class NaiveStore:
    conditions: tuple[str, ...] = CONDITIONS

    def __init__(self) -> None:
        self.kept: dict[Any, Operation] = {}
        # What was ever stored, in the order of arrival; and what is counted.
        self.arrived: list[Operation] = []
        self.counted: list[Operation] = []

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        yield cls()

    def key(self, operation: Operation) -> Any:
        return operation.workspace_id, operation.id

    async def add(self, batch: Iterable[Operation]) -> None:
        await trio.lowlevel.checkpoint()
        for operation in batch:
            if self.key(operation) not in self.kept:
                self.kept[self.key(operation)] = operation
                self.arrived.append(operation)
                self.counted.append(operation)

    async def find(self, query: ListQuery) -> list[bytes]:
        return (await self.page(query)).bodies

    async def page(self, query: ListQuery) -> Page:
        await trio.lowlevel.checkpoint()
        found = [operation for operation in self.kept.values() if self.fits(operation, query)]
        found = self.after(self.sorted(found), query.cursor)
        page = found[: self.limit(query)]
        bodies = [self.encode(operation) for operation in page]
        return Page(bodies, self.cursor(page[-1], query) if len(found) > len(page) else None)

    async def get(self, workspace_id: str, operation_id: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        found = self.kept.get((workspace_id, operation_id))
        return None if found is None else self.encode(found)

    async def statistics(self, query: StatisticsQuery) -> Counted:
        await trio.lowlevel.checkpoint()
        groups: dict[Any, list[Operation]] = {}
        for operation in self.counted:
            if operation.workspace_id == query.workspace_id:
                groups.setdefault(value_of(operation, query.by), []).append(operation)
        return Counted([self.count(value, operations) for value, operations in groups.items()])

    async def arrivals(self, query: ListQuery, after: str | None = None) -> Arrivals:
        await trio.lowlevel.checkpoint()
        if after is None:
            return Arrivals([], str(len(self.arrived)))
        new = [(str(number), each) for number, each in enumerate(self.arrived, 1) if number > int(after)]
        records = [(number, encode(each)) for number, each in new if self.fits(each, query)][: query.limit]
        return Arrivals(records, records[-1][0] if records else str(len(self.arrived)))

    async def prune(self, before: datetime, *, workspace_id: str | None = None, dry_run: bool = False) -> Pruned:
        await trio.lowlevel.checkpoint()
        day = self.first_day(before)
        old = [key for key, each in self.kept.items() if each.started_at < day and workspace_id in {None, each.workspace_id}]
        if not dry_run:
            for key in old:
                del self.kept[key]
        return Pruned(day, len(old))

    def fits(self, operation: Operation, query: ListQuery) -> bool:
        wanted = all(self.has(operation, name, getattr(query, name)) for name in self.conditions)
        return wanted and self.is_theirs(operation, query) and self.is_recent(operation, query) and self.holds(operation, query.q)

    def has(self, operation: Operation, name: str, wanted: Any) -> bool:
        if name == "id_prefix":
            return wanted is None or operation.id.startswith(wanted)
        found = value_of(operation, name)
        return wanted is None or found == wanted or ((name, wanted) == ("approval", "any") and found is not None)

    def is_theirs(self, operation: Operation, query: ListQuery) -> bool:
        return operation.workspace_id == query.workspace_id

    def is_recent(self, operation: Operation, query: ListQuery) -> bool:
        is_late = query.since is None or operation.started_at >= query.since
        return is_late and (query.until is None or operation.started_at < query.until)

    def holds(self, operation: Operation, text: str | None) -> bool:
        if text is None:
            return True
        return any(text.lower() in each.lower() for each in self.texts(operation))

    def texts(self, operation: Operation) -> list[str]:
        arguments = (operation.arguments or b"").decode()
        read = arguments.replace('\\"', '"').replace("\\n", "\n")
        for number in range(0x80, 0x100):
            read = read.replace(f"\\u{number:04x}", chr(number))
        return [operation.tool, operation.result_summary or "", arguments, read.replace("\\u006f", "o")]

    def sorted(self, found: list[Operation]) -> list[Operation]:
        found.reverse()
        return sorted(found, key=lambda operation: operation.started_at, reverse=True)

    def limit(self, query: ListQuery) -> int:
        return query.limit

    def cursor(self, last: Operation, query: ListQuery) -> str:
        return last.id

    def after(self, found: list[Operation], cursor: str | None) -> list[Operation]:
        ids = [operation.id for operation in found]
        return found if cursor is None else found[ids.index(cursor) + 1 :]

    def encode(self, operation: Operation) -> bytes:
        return encode(operation)

    def count(self, value: Any, operations: list[Operation]) -> Statistics:
        durations = sorted(each.duration_ms for each in operations)
        waits = sorted(
            each.result_meta.waited_ms for each in operations if each.result_meta and each.result_meta.waited_ms is not None
        )
        return Statistics(
            value=value,
            count=len(operations),
            errors=sum(each.is_error for each in operations),
            sum_ms=sum(durations),
            p50_ms=self.percentile(durations, 0.50),
            p95_ms=self.percentile(durations, 0.95),
            p99_ms=self.percentile(durations, 0.99),
            waits=len(waits),
            waited_ms=sum(waits),
            waited_p50_ms=self.percentile(waits, 0.50),
            waited_p95_ms=self.percentile(waits, 0.95),
            waited_p99_ms=self.percentile(waits, 0.99),
        )

    def percentile(self, durations: list[int], share: float) -> float | None:
        return durations[math.ceil(share * len(durations)) - 1] if durations else None

    def first_day(self, before: datetime) -> datetime:
        return before.replace(hour=0, minute=0, second=0, microsecond=0)


@breaks(Law.STORE_IDEMPOTENT)
class StoresTwice(NaiveStore):
    async def add(self, batch: Iterable[Operation]) -> None:
        for operation in batch:
            self.kept[operation.workspace_id, f"{operation.id} {len(self.kept)}"] = operation
            self.arrived.append(operation)


@breaks(Law.STORE_IDEMPOTENT, Law.STORE_KEEPS)
class LastOneWins(NaiveStore):
    async def add(self, batch: Iterable[Operation]) -> None:
        self.kept.update({self.key(operation): operation for operation in batch})


@breaks(Law.STORE_IDEMPOTENT)
class RefusesWhatItHas(NaiveStore):
    async def add(self, batch: Iterable[Operation]) -> None:
        new = {self.key(operation): operation for operation in batch}
        if self.kept.keys() & new.keys():
            raise KeyError
        await super().add(new.values())


@breaks(Law.STORE_WORKSPACES)
class ShowsEverybodyEverything(NaiveStore):
    def is_theirs(self, operation: Operation, query: ListQuery) -> bool:
        return True


@breaks(Law.STORE_FILTERS)
class IgnoresOneFilter(NaiveStore):
    conditions = ("env_id", *CONDITIONS[2:])


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
        found = dict(self.kept)
        await trio.lowlevel.checkpoint()
        self.kept = found
        await super().add(batch)


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


@breaks(Law.STORE_GET)
class HasOneRecordOfAnId(NaiveStore):
    def key(self, operation: Operation) -> Any:
        return operation.id

    async def get(self, workspace_id: str, operation_id: str) -> bytes | None:
        found = self.kept.get(operation_id)
        return self.encode(found) if found and found.workspace_id == workspace_id else None


@breaks(Law.STORE_GET)
class GivesAnybodyARecord(NaiveStore):
    async def get(self, workspace_id: str, operation_id: str) -> bytes | None:
        found = [each for each in self.kept.values() if each.id == operation_id]
        return self.encode(found[0]) if found else None


@breaks(Law.STORE_PAGES)
class SkipsEqualsAtTheEndOfAPage(NaiveStore):
    def cursor(self, last: Operation, query: ListQuery) -> str:
        return last.started_at.isoformat()

    def after(self, found: list[Operation], cursor: str | None) -> list[Operation]:
        return [each for each in found if cursor is None or each.started_at.isoformat() < cursor]


@breaks(Law.STORE_PAGES)
class RepeatsEqualsOnTheNextPage(SkipsEqualsAtTheEndOfAPage):
    def after(self, found: list[Operation], cursor: str | None) -> list[Operation]:
        return [each for each in found if cursor is None or each.started_at.isoformat() <= cursor]


@breaks(Law.STORE_PAGES)
class CountsFromTheNewest(NaiveStore):
    """A cursor that is an offset: what arrives moves everything on."""

    def cursor(self, last: Operation, query: ListQuery) -> str:
        return str(int(query.cursor or 0) + query.limit)

    def after(self, found: list[Operation], cursor: str | None) -> list[Operation]:
        return found[int(cursor or 0) :]


@breaks(Law.STORE_PAGES)
class ForgetsTheFilterOnTheNextPage(NaiveStore):
    def fits(self, operation: Operation, query: ListQuery) -> bool:
        return super().fits(operation, query if query.cursor is None else evolve(query, tool=None))


@breaks(Law.STORE_FILTERS)
class EndsAfterTheMomentItself(NaiveStore):
    def is_recent(self, operation: Operation, query: ListQuery) -> bool:
        return super().is_recent(operation, evolve(query, until=None)) and (
            query.until is None or operation.started_at <= query.until
        )


@breaks(Law.STORE_FILTERS)
class KnowsNoOutcomeOfTheUsual(NaiveStore):
    def has(self, operation: Operation, name: str, wanted: Any) -> bool:
        return super().has(operation, name, None if (name, wanted) == ("outcome", "ok") else wanted)


@breaks(Law.STORE_FILTERS)
class TakesUndecidedForNobodyAsked(NaiveStore):
    def has(self, operation: Operation, name: str, wanted: Any) -> bool:
        if (name, wanted) == ("approval", "none"):
            return operation.approval is None
        return super().has(operation, name, wanted)


@breaks(Law.STORE_SEARCH)
class SearchesAsItIsWritten(NaiveStore):
    def holds(self, operation: Operation, text: str | None) -> bool:
        return text is None or any(text in each for each in self.texts(operation))


@breaks(Law.STORE_SEARCH)
class SearchesTheWholeRecord(NaiveStore):
    def texts(self, operation: Operation) -> list[str]:
        return [*super().texts(operation), encode(operation).decode()]


@breaks(Law.STORE_SEARCH)
class ReadsNoEscapes(NaiveStore):
    def texts(self, operation: Operation) -> list[str]:
        return super().texts(operation)[:3]


@breaks(Law.STORE_COUNTS)
class CountsRedeliveries(NaiveStore):
    async def add(self, batch: Iterable[Operation]) -> None:
        batch = list(batch)
        again = [each for each in batch if self.key(each) in self.kept]
        await super().add(batch)
        self.counted += again


@breaks(Law.STORE_COUNTS)
class CountsOnlyWhatWentWell(NaiveStore):
    def count(self, value: Any, operations: list[Operation]) -> Statistics:
        return evolve(super().count(value, operations), errors=0)


@breaks(Law.STORE_COUNTS)
class CountsWaitsOfNothing(NaiveStore):
    def count(self, value: Any, operations: list[Operation]) -> Statistics:
        return evolve(super().count(value, operations), waits=len(operations))


@breaks(Law.STORE_PERCENTILES)
class HasBucketsOfPowersOfTwo(NaiveStore):
    def percentile(self, durations: list[int], share: float) -> float | None:
        found = super().percentile(durations, share)
        return found and 2.0 ** math.ceil(math.log2(found))


@breaks(Law.STORE_PRUNES)
class PrunesANeighbour(NaiveStore):
    async def prune(self, before: datetime, *, workspace_id: str | None = None, dry_run: bool = False) -> Pruned:
        return await super().prune(before, dry_run=dry_run)


@breaks(Law.STORE_PRUNES)
class PrunesTheDayItself(NaiveStore):
    def first_day(self, before: datetime) -> datetime:
        return before.replace(hour=23, minute=59, second=59)


@breaks(Law.STORE_PRUNES)
class PrunesWhenAskedWhatItWould(NaiveStore):
    async def prune(self, before: datetime, *, workspace_id: str | None = None, dry_run: bool = False) -> Pruned:
        return await super().prune(before, workspace_id=workspace_id)


@breaks(Law.STORE_PRUNES)
class ForgetsWhatItCounted(NaiveStore):
    async def prune(self, before: datetime, *, workspace_id: str | None = None, dry_run: bool = False) -> Pruned:
        pruned = await super().prune(before, workspace_id=workspace_id, dry_run=dry_run)
        if not dry_run:
            self.counted = list(self.kept.values())
        return pruned


@breaks(Law.STORE_ARRIVALS)
class TakesTimeForArrival(NaiveStore):
    """Whoever watches is shown what began after the last one that it saw."""

    async def arrivals(self, query: ListQuery, after: str | None = None) -> Arrivals:
        found = sorted(each.started_at.isoformat() for each in self.arrived)
        if after is None:
            return Arrivals([], found[-1])
        new = [(each.started_at.isoformat(), encode(each)) for each in self.arrived if each.started_at.isoformat() > after]
        return Arrivals(new, max([after, *(time for time, _ in new)]))


@breaks(Law.STORE_ARRIVALS)
class ShowsTheLastOneAgain(NaiveStore):
    async def arrivals(self, query: ListQuery, after: str | None = None) -> Arrivals:
        return await super().arrivals(query, after and str(max(int(after) - 1, 0)))


@breaks(Law.STORE_PAGES)
class HasAnEmptyPageAtTheEnd(NaiveStore):
    async def page(self, query: ListQuery) -> Page:
        page = await super().page(query)
        last = page.bodies and json.loads(page.bodies[-1])["id"]
        return evolve(page, next=last or query.cursor)


@breaks(Law.STORE_PAGES)
class BeginsAgainOnEveryPage(NaiveStore):
    def after(self, found: list[Operation], cursor: str | None) -> list[Operation]:
        return found


@breaks(Law.STORE_PAGES)
class TurnsThePagesRound(NaiveStore):
    async def page(self, query: ListQuery) -> Page:
        page = await super().page(query)
        return page if query.cursor is None else evolve(page, bodies=page.bodies[::-1])


@breaks(Law.STORE_GET)
class GivesWhatOnlyOthersHave(GivesAnybodyARecord):
    async def get(self, workspace_id: str, operation_id: str) -> bytes | None:
        return await NaiveStore.get(self, workspace_id, operation_id) or await super().get(workspace_id, operation_id)


@breaks(Law.STORE_GET)
class HasNoSingleRecord(NaiveStore):
    async def get(self, workspace_id: str, operation_id: str) -> bytes | None:
        return None


@breaks(Law.STORE_COUNTS)
class CountsUnderAnotherName(NaiveStore):
    def count(self, value: Any, operations: list[Operation]) -> Statistics:
        return super().count(value.upper() if isinstance(value, str) else value, operations)


@breaks(Law.STORE_PRUNES)
class DoesNotSayWhatItPruned(NaiveStore):
    async def prune(self, before: datetime, *, workspace_id: str | None = None, dry_run: bool = False) -> Pruned:
        pruned = await super().prune(before, workspace_id=workspace_id, dry_run=dry_run)
        return pruned if dry_run else evolve(pruned, records=0)
