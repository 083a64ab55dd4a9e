"""What ``check_store`` asks of statistics and of pruning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import evolve

from trio_oplog._listing import ListQuery, StatisticsQuery
from trio_oplog._operation import Operation
from trio_oplog._wire import decode
from trio_oplog.testing._check_store_reads import numbered
from trio_oplog.testing._laws import Law, LawBroken
from trio_oplog.testing._store_like import StoreLike, StoreOpener

_DAY: Final = timedelta(days=1)
_CUT: Final = datetime(2026, 1, 3, 15, 30, tzinfo=UTC)
_ERROR: Final = 0.05


def outcome_of(operation: Operation) -> str:
    """The outcome by which an operation is found and counted."""
    if operation.result_meta is not None and operation.result_meta.outcome is not None:
        return operation.result_meta.outcome.value
    return "error" if operation.is_error else "ok"


def client_of(operation: Operation) -> str | None:
    """The client by which an operation is found and counted."""
    return None if operation.context is None else operation.context.client


def approval_of(operation: Operation) -> str | None:
    """The approval by which an operation is found and counted."""
    return None if operation.approval is None else operation.approval.decision or "none"


GROUPS: Final[dict[str, Callable[[Operation], Any]]] = {
    "tool": lambda operation: operation.tool,
    "env_id": lambda operation: operation.env_id,
    "source": lambda operation: operation.source,
    "outcome": outcome_of,
    "client": client_of,
    "approval": approval_of,
    "user_id": lambda operation: operation.user_id,
    "hour": lambda operation: operation.started_at.replace(minute=0, second=0, microsecond=0),
    "day": lambda operation: operation.started_at.replace(hour=0, minute=0, second=0, microsecond=0),
}


async def check_counts(store: StoreLike, workspace: str, kept: Iterable[Operation]) -> None:
    """Statistics by everything count just these operations."""
    mine = [operation for operation in kept if operation.workspace_id == workspace]
    for by, value_of in GROUPS.items():
        wanted: dict[Any, list[Operation]] = {}
        for operation in mine:
            wanted.setdefault(value_of(operation), []).append(operation)
        found = {each.value: each for each in (await store.statistics(StatisticsQuery(workspace_id=workspace, by=by))).groups}
        # A name that no index holds is shown as far as it goes; how many there are of it counts all the same.
        if sorted(_sums(each) for each in found.values()) != sorted(_sums_of(each) for each in wanted.values()):
            raise LawBroken(Law.STORE_COUNTS, f"by {by}, {len(mine)} operations of {len(wanted)} groups are counted otherwise")
        for value in {value for value in wanted if _is_plain(value)}:
            if value not in found or _sums(found[value]) != _sums_of(wanted[value]):
                raise LawBroken(Law.STORE_COUNTS, f"those whose {by} is {value!r} are counted otherwise")


def _is_plain(value: Any) -> bool:
    return not isinstance(value, str) or (len(value.encode()) <= 1_000 and "\0" not in value)


def _sums(counted: Any) -> tuple[int, ...]:
    return (counted.count, counted.errors, counted.sum_ms, counted.waits, counted.waited_ms)


def _sums_of(operations: list[Operation]) -> tuple[int, ...]:
    waits = [each.result_meta.waited_ms for each in operations if each.result_meta and each.result_meta.waited_ms is not None]
    errors = sum(each.is_error for each in operations)
    return (len(operations), errors, sum(each.duration_ms for each in operations), len(waits), sum(waits))


async def percentiles_hold(open_store: StoreOpener) -> None:
    """Percentiles are within 5 % of the duration of that rank, for durations of any size."""
    durations = [(number * number * 7) % 5_003 for number in range(97)] + [3, 3, 2**31 - 1]
    operations = [numbered(number, duration_ms=duration) for number, duration in enumerate(durations)]
    async with open_store() as store:
        await store.add(operations)
        [counted] = (await store.statistics(StatisticsQuery(workspace_id="ws-1", by="tool"))).groups
    for share, found in ((0.5, counted.p50_ms), (0.95, counted.p95_ms), (0.99, counted.p99_ms)):
        wanted = sorted(durations)[math.ceil(share * len(durations)) - 1]
        if found is None or abs(found - wanted) > _ERROR * wanted:
            raise LawBroken(Law.STORE_PERCENTILES, f"{share:.0%} took at most {wanted} ms, and {found} ms is what is said")


async def prune_holds(open_store: StoreOpener) -> None:
    """Pruning takes whole days, of the workspace that is named, and leaves the statistics."""
    days = [datetime(2026, 1, 1, 23, 59, tzinfo=UTC) + number * _DAY for number in range(4)]
    mine = [numbered(number, started_at=day) for number, day in enumerate(days)]
    yours = [evolve(each, workspace_id="ws-2") for each in mine]
    async with open_store() as store:
        await store.add([*mine, *yours])
        would = await store.prune(_CUT, dry_run=True)
        await _expect(store, mine + yours, "a dry run was made")
        if would.records != 2 * 2:
            raise LawBroken(Law.STORE_PRUNES, f"a dry run says that {would.records} operations would go, of 4")
        pruned = await store.prune(_CUT, workspace_id="ws-1")
        await _expect(store, mine[2:] + yours, "ws-1 was pruned")
        if pruned.records != 2:
            raise LawBroken(Law.STORE_PRUNES, f"2 operations were pruned, and {pruned.records} are said to be")
        await store.add(yours)
        await _expect(store, mine[2:] + yours, "what was left was delivered again")
        await store.prune(_CUT)
        await _expect(store, mine[2:] + yours[2:], "everything was pruned")
        for workspace in ("ws-1", "ws-2"):
            by_day = await store.statistics(StatisticsQuery(workspace_id=workspace, by="day"))
            counted = sum(each.count for each in by_day.groups)
            if counted != len(days):
                raise LawBroken(Law.STORE_PRUNES, f"statistics of {len(days)} operations count {counted} after pruning")


async def _expect(store: StoreLike, wanted: list[Operation], what: str) -> None:
    for workspace in ("ws-1", "ws-2"):
        found = {decode(body).started_at for body in await store.find(ListQuery(workspace_id=workspace))}
        if found != {each.started_at for each in wanted if each.workspace_id == workspace}:
            raise LawBroken(Law.STORE_PRUNES, f"{what}, and {workspace} has the days {sorted(day.day for day in found)}")
