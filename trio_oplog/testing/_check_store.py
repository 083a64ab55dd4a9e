"""``check_store``: holds a store of operations to what the endpoint promises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import trio
from attrs import asdict, evolve
from hypothesis import given
from hypothesis import strategies as st

from trio_oplog._listing import LIMIT_DEFAULT, LIMIT_MAX, ListQuery
from trio_oplog._operation import Operation
from trio_oplog._wire import decode
from trio_oplog.testing._check_interceptor import search
from trio_oplog.testing._check_store_counts import (
    approval_of,
    check_counts,
    client_of,
    outcome_of,
    percentiles_hold,
    prune_holds,
)
from trio_oplog.testing._check_store_reads import arrivals_hold, get_holds, pages_hold, search_holds
from trio_oplog.testing._laws import Law, LawBroken
from trio_oplog.testing._operations import operations, sample
from trio_oplog.testing._store_like import StoreLike, StoreOpener

DEFAULT_EXAMPLES: Final = 10

_DIRECTED: Final = 30
_WRITERS: Final = 8
_EACH: Final = 25


_Filter: TypeAlias = tuple[str, Any]


def check_store(open_store: StoreOpener, *, max_examples: int = DEFAULT_EXAMPLES, seed: int | None = None) -> None:
    """Hold a store to its promises: it keeps, tells apart, filters, orders, limits, pages, counts and prunes.

    Runs Trio itself: call it from a plain test.

    Args:
        open_store: Makes an async context manager that yields an empty store; it is called for each example.
        max_examples: How many random sets of operations are tried; at least 1.
        seed: Makes them repeatable.

    Raises:
        LawBroken: It breaks a promise; the error names it.
    """
    some = sample(_DIRECTED)
    trio.run(_check_contents, open_store, [some[:10], some[10:]], some, 1)
    trio.run(_limits_hold, open_store)
    for holds in (get_holds, pages_hold, search_holds, arrivals_hold, percentiles_hold, prune_holds):
        trio.run(holds, open_store)
    search(_contents_hold(open_store), max_examples=max_examples, seed=seed)
    trio.run(_concurrency_holds, open_store)


def _contents_hold(open_store: StoreOpener) -> Callable[[], None]:
    batches = st.lists(st.lists(operations(), max_size=6), max_size=3)

    @given(batches=batches, again=st.integers(min_value=0, max_value=2))
    def holds(batches: list[list[Operation]], again: int) -> None:
        # One id, one operation of a workspace: whatever else comes under an id is passed over.
        kept: dict[tuple[str, str], Operation] = {}
        for operation in (each for batch in batches for each in batch):
            kept.setdefault((operation.workspace_id, operation.id), operation)
        trio.run(_check_contents, open_store, batches, list(kept.values()), again)

    return holds


async def _check_contents(open_store: StoreOpener, batches: list[list[Operation]], kept: list[Operation], again: int) -> None:
    async with open_store() as store:
        for batch in batches:
            await store.add(batch)
        workspaces = sorted({operation.workspace_id for operation in kept}) or ["ws-1"]
        for workspace in workspaces:
            await _check_workspace(store, workspace, kept)
        for batch in batches[: again + 1]:
            await _expect(store.add(batch), Law.STORE_IDEMPOTENT)
            # The same id with something else in it: the first one stays.
            await _expect(
                store.add([evolve(each, tool="changed", is_error=not each.is_error) for each in batch]), Law.STORE_IDEMPOTENT
            )
        for workspace in workspaces:
            found = await _find(store, workspace)
            if _by_id(found) != _by_id([each for each in kept if each.workspace_id == workspace]) or len(found) != len(
                _by_id(found)
            ):
                detail = f"the same {len(kept)} operations were stored again, and now {len(found)} are listed, or others"
                raise LawBroken(Law.STORE_IDEMPOTENT, detail)
            await check_counts(store, workspace, kept)


async def _expect(doing: Awaitable[object], law: Law) -> None:
    try:
        await doing
    except Exception as error:
        raise LawBroken(law, f"{error!r} came out") from error


async def _find(store: StoreLike, workspace: str, **conditions: Any) -> list[Operation]:
    return [decode(body) for body in await store.find(ListQuery(workspace_id=workspace, **conditions))]


def _by_id(found: Iterable[Operation]) -> dict[str, Operation]:
    return {operation.id: operation for operation in found}


async def _check_workspace(store: StoreLike, workspace: str, kept: list[Operation]) -> None:
    mine = [operation for operation in kept if operation.workspace_id == workspace]
    found = await _find(store, workspace)
    if strangers := [operation for operation in found if operation.workspace_id != workspace]:
        raise LawBroken(Law.STORE_WORKSPACES, f"{workspace} sees an operation of {strangers[0].workspace_id}")
    if missing := [operation for operation in mine if operation not in found]:
        there = _by_id(found).get(missing[0].id)
        raise LawBroken(Law.STORE_KEEPS, f"this was stored: {_all_of(missing[0])}\nand this came back: {_all_of(there)}")
    if len(found) != len(mine):
        raise LawBroken(Law.STORE_IDEMPOTENT, f"{len(mine)} were stored, {len(found)} are listed")
    if found != sorted(found, key=lambda operation: operation.started_at, reverse=True):
        raise LawBroken(Law.STORE_ORDER, f"listed in this order: {[str(operation.started_at) for operation in found]}")
    for name, value in _conditions(mine):
        wanted = [each for each in mine if _fits(each, name, value)]
        got = await _find(store, workspace, **{name: value})
        if _by_id(got) != _by_id(wanted):
            raise LawBroken(Law.STORE_FILTERS, f"{name}={value!r} lists {len(got)} operations of {len(wanted)}, or others")


def _fits(operation: Operation, name: str, value: Any) -> bool:
    if name in ("since", "until"):
        return (operation.started_at >= value) is (name == "since")
    found = _READ[name](operation) if name in _READ else getattr(operation, name)
    return found is not None if (name, value) == ("approval", "any") else bool(found == value)


_READ: Final[dict[str, Callable[[Operation], Any]]] = {"outcome": outcome_of, "client": client_of, "approval": approval_of}


def _conditions(mine: list[Operation]) -> list[_Filter]:
    """A few values of each filter: such as occur, and such as do not."""
    found: list[_Filter] = [("is_error", True), ("is_error", False), ("tool", "never called"), ("id", "no-such-id")]
    found += [("outcome", "ok"), ("outcome", "error"), ("approval", "any"), ("approval", "none"), ("client", "never there")]
    for operation in mine[:2]:
        found += [(name, getattr(operation, name)) for name in ("env_id", "tool", "source", "id")]
        found += [(name, value) for name in ("user_id", "thread_id") if (value := getattr(operation, name))]
        found += [(name, value) for name, read in _READ.items() if (value := read(operation))]
        for moment in (operation.started_at, operation.started_at + timedelta(microseconds=1)):
            found += [("since", moment), ("until", moment)]
    return found


def _all_of(operation: Operation | None) -> str:
    return "nothing" if operation is None else str(asdict(operation))


async def _limits_hold(open_store: StoreOpener) -> None:
    many = [_numbered(number) for number in range(LIMIT_MAX + 5)]
    async with open_store() as store:
        for start in range(0, len(many), 200):
            await store.add(many[start : start + 200])
        newest = [operation.id for operation in reversed(many)]
        for limit in (None, 1, 7, LIMIT_MAX):
            conditions = {} if limit is None else {"limit": limit}
            got = [operation.id for operation in await _find(store, "ws-1", **conditions)]
            count = limit or LIMIT_DEFAULT
            if len(got) != count:
                raise LawBroken(Law.STORE_LIMITS, f"{len(many)} are stored, limit={limit} lists {len(got)}")
            if got != newest[:count]:
                raise LawBroken(Law.STORE_ORDER, f"limit={limit} does not list the newest")


def _numbered(number: int, writer: int = 0) -> Operation:
    began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)
    return Operation(
        id=f"00000000-0000-4000-{writer:04}-{number:012}",
        workspace_id="ws-1",
        source="sdk",
        env_id="local",
        tool="echo",
        is_error=False,
        started_at=began,
        completed_at=began,
        duration_ms=0,
        arguments=b'{"n":%d}' % number,
    )


async def _concurrency_holds(open_store: StoreOpener) -> None:
    async def write(writer: int) -> None:
        for number in range(_EACH):
            await store.add([_numbered(number, writer), _numbered(number, 9999)])

    async def read() -> None:
        for _ in range(_EACH):
            await _find(store, "ws-1", limit=10)

    async with open_store() as store:
        try:
            async with trio.open_nursery() as nursery:
                for writer in range(_WRITERS):
                    nursery.start_soon(write, writer)
                    nursery.start_soon(read)
        except ExceptionGroup as group:
            raise LawBroken(Law.STORE_CONCURRENCY, f"{group.exceptions[0]!r} came out") from group
        found = await _find(store, "ws-1", limit=LIMIT_MAX)
    wanted = (_WRITERS + 1) * _EACH
    if len(_by_id(found)) != wanted or len(found) != wanted:
        detail = f"{wanted} different operations were stored at the same time, {len(found)} are listed"
        raise LawBroken(Law.STORE_CONCURRENCY, detail)
