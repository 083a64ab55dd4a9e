"""What ``check_store`` asks of pages, of single records, of searches and of whoever watches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import evolve

from trio_oplog._listing import ListQuery
from trio_oplog._operation import Operation
from trio_oplog._wire import decode
from trio_oplog.testing._laws import Law, LawBroken
from trio_oplog.testing._operations import sample
from trio_oplog.testing._store_like import StoreLike, StoreOpener

_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
_MANY: Final = 40
_PAGE: Final = 7
_PAGES_AT_MOST: Final = 4 * _MANY

# (what is searched for, whether the record below holds it)
_SEARCHES: Final = (
    ("needle", True),
    ("NeEdLe", True),
    ("stroh\u00c4", True),
    ('say "hi"', True),
    ("two\nlines", True),
    ('{"text":', True),
    ("gr\u00fcn \u2603", True),
    ("Tool/With", True),
    ("somebody", False),
    ("duration_ms", False),
    ("no such text", False),
)


def numbered(number: int, **changes: Any) -> Operation:
    """An operation that differs from others in its id, and in what is asked for."""
    values: dict[str, Any] = {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "workspace_id": "ws-1",
        "source": "sdk",
        "env_id": "local",
        "tool": "echo",
        "is_error": False,
        "started_at": _BEGINNING,
        "completed_at": _BEGINNING,
        "duration_ms": 0,
    }
    return Operation(**(values | changes))


async def pages_hold(open_store: StoreOpener) -> None:
    """Pages hold each record once, also where several began at the same time and while others arrive."""
    # Five of each moment, so that the end of a page falls among equals.
    many = [numbered(number, started_at=_BEGINNING + timedelta(seconds=number // 5)) for number in range(_MANY)]
    async with open_store() as store:
        await store.add(many)
        new = iter(range(_MANY, 10 * _MANY))
        seen: list[Operation] = []
        cursor: str | None = None
        for _ in range(_PAGES_AT_MOST):
            page = await store.page(ListQuery(workspace_id="ws-1", limit=_PAGE, cursor=cursor))
            found = [decode(body) for body in page.bodies]
            seen += found
            cursor = page.next
            if cursor is None:
                break
            if not found:
                raise LawBroken(Law.STORE_PAGES, "a page is empty and has a next one")
            # Newer ones, and some that began when the last one on the page did.
            moments = (found[-1].started_at, _BEGINNING + timedelta(hours=1))
            await store.add([numbered(next(new), started_at=moment) for moment in moments])
        else:
            raise LawBroken(Law.STORE_PAGES, f"{len(many)} operations have more than {_PAGES_AT_MOST} pages of {_PAGE}")
        ids = [operation.id for operation in seen]
        if repeated := sorted({each for each in ids if ids.count(each) > 1}):
            raise LawBroken(Law.STORE_PAGES, f"{len(repeated)} operations are on more than one page")
        if missing := [operation.id for operation in many if operation.id not in ids]:
            raise LawBroken(Law.STORE_PAGES, f"{len(missing)} operations that were there are on no page")
        if seen != sorted(seen, key=lambda operation: operation.started_at, reverse=True):
            raise LawBroken(Law.STORE_PAGES, "the pages are not in one order")
        await _filtered_pages_hold(store)


async def _filtered_pages_hold(store: StoreLike) -> None:
    rare = [numbered(10_000 + number, tool="rare", started_at=_BEGINNING + timedelta(seconds=number)) for number in range(2)]
    await store.add(rare)
    first = await store.page(ListQuery(workspace_id="ws-1", tool="rare", limit=1))
    second = await store.page(ListQuery(workspace_id="ws-1", tool="rare", limit=1, cursor=first.next))
    found = [decode(body) for body in (*first.bodies, *second.bodies)]
    if found != rare[::-1] or second.next is not None:
        raise LawBroken(Law.STORE_PAGES, f"two operations of one tool came on two pages as {len(found)}, or as others")


async def get_holds(open_store: StoreOpener) -> None:
    """A record is found by its id, in its own workspace."""
    mine = numbered(1, tool="mine")
    yours = evolve(mine, workspace_id="ws-2", tool="yours")
    only_mine = numbered(2)
    async with open_store() as store:
        await store.add([mine, yours, only_mine])
        for operation in (mine, yours, only_mine):
            body = await store.get(operation.workspace_id, operation.id)
            if body is None or decode(body) != operation:
                raise LawBroken(Law.STORE_GET, f"asked for an operation of {operation.workspace_id}, got {body!r}")
        for workspace, operation_id in (("ws-2", only_mine.id), ("ws-3", mine.id), ("ws-1", "no-such-id")):
            if (body := await store.get(workspace, operation_id)) is not None:
                raise LawBroken(Law.STORE_GET, f"{workspace} has no such operation, and got {body!r}")


async def search_holds(open_store: StoreOpener) -> None:
    """A search finds what people read in a record, and nothing else of it."""
    record = numbered(
        1,
        tool="tool/with.dots",
        user_id="somebody",
        arguments=b'{"text":"a Needle in str\\u006fh\\u00e4: say \\"hi\\""}',
        result_summary="Gr\u00fcn \u2603: two\nlines",
    )
    async with open_store() as store:
        await store.add([record, *(numbered(number, tool="t") for number in range(2, 5))])
        for text, holds in _SEARCHES:
            page = await store.page(ListQuery(workspace_id="ws-1", q=text))
            found = [decode(body).id for body in page.bodies]
            if found != ([record.id] if holds else []):
                raise LawBroken(Law.STORE_SEARCH, f"q={text!r} finds {len(found)} operations, and should find {int(holds)}")


async def arrivals_hold(open_store: StoreOpener) -> None:
    """Whoever watches sees each record once, in the order of arrival, whenever it began."""
    operations = [
        evolve(each, workspace_id="ws-1", started_at=_BEGINNING - timedelta(days=number))
        for number, each in enumerate(sample(12))
    ]
    async with open_store() as store:
        await store.add([numbered(901), numbered(902)])
        after = (await store.arrivals(ListQuery(workspace_id="ws-1"))).next
        seen: list[str] = []
        for start in range(0, len(operations), 3):
            some = operations[start : start + 3]
            await store.add([*some, *(evolve(each, workspace_id="ws-2") for each in some), *operations[:start]])
            for _ in range(3):
                arrived = await store.arrivals(ListQuery(workspace_id="ws-1", limit=2), after)
                seen += [decode(body).id for _, body in arrived.records]
                # Whoever was cut off begins after the last one that it saw.
                after = arrived.records[-1][0] if arrived.records else arrived.next
    if seen != [operation.id for operation in operations]:
        detail = f"{len(operations)} operations arrived, {len(seen)} were seen, or in another order"
        raise LawBroken(Law.STORE_ARRIVALS, detail)
