"""Scenarios of the model: items that begin, complete, are left behind by their turn, or come unannounced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import evolve

from trio_oplog.testing._builder import CLIENT, SERVER, SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import CallFacts, OpenCall
from trio_oplog.testing._item_texts import (
    ITEM_TYPES,
    OTHER_ITEM_TYPES,
    ItemKey,
    item_text,
    some_completion,
    some_item,
    turn_completed_text,
)
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature

_THREADS: Final = ("t1", "t2")
_TURNS: Final = ("turn1", "turn2")
_ITEMS: Final = ("call_1", "call_2", "call_3", "call_4", "itém")


def some_key(session: SessionBuilder, choices: ChoiceSource, types: tuple[str, ...] = ITEM_TYPES) -> ItemKey:
    """An item: among friends one of its own."""
    item_id = choices.pick(_ITEMS) if session.hostile else session.fresh_id().as_text
    return ItemKey(choices.pick(_THREADS), choices.pick(_TURNS), item_id, choices.pick(types))


def start_item(session: SessionBuilder, choices: ChoiceSource, key: ItemKey, started_at_ms: int | None = None) -> None:
    """The server announces an item."""
    members, facts = some_item(session, choices, key)
    at = None if started_at_ms is None else str(started_at_ms)
    text = item_text(session, "item/started", key, [*members, ("status", '"inProgress"'), ("startedAtMs", at)])
    session.say(SERVER, text, Law.ITEMS)
    if session.config.record_items:
        session.oracle.begin_item(open_item(session, key, facts, started_at_ms))


def complete_item(session: SessionBuilder, choices: ChoiceSource, key: ItemKey, started_at_ms: int | None = None) -> None:
    """The server completes an item; all it says counts, whatever the announcement said."""
    # Whoever remembers an item that was evicted, and for how long, the rules leave open; so they do what one means whose time is
    # not that of the item that is open under its key.
    calls = session.oracle.with_key(key)
    is_over = started_at_ms is not None and (key, started_at_ms) in session.oracle.executions
    is_known = is_over or key in session.oracle.left_behind
    if (key in session.oracle.spent and not is_known and not calls) or (calls and calls[0].started_at_ms != started_at_ms):
        return
    members, facts = some_item(session, choices, key)
    more, ending = some_completion(session, choices, key, started_at_ms)
    session.say(SERVER, item_text(session, "item/completed", key, [*members, *more]), Law.ITEMS)
    if session.config.record_items:
        session.oracle.complete(open_item(session, key, facts, started_at_ms), ending)


def open_item(session: SessionBuilder, key: ItemKey, facts: CallFacts, started_at_ms: int | None = None) -> OpenCall:
    """What the oracle is told of an item."""
    return OpenCall(
        key=key,
        facts=facts,
        began=session.oracle.frame,
        dialect=Feature.ITEMS,
        turn=(key.thread_id, key.turn_id),
        outlives_turn=key.item_type == "commandExecution",
        started_at_ms=started_at_ms,
    )


def some_time(session: SessionBuilder, choices: ChoiceSource) -> int | None:
    """When an item starts, where it says so."""
    return choices.pick((session.fresh_ms(), None))


def complete_turn(session: SessionBuilder, thread_id: str, turn_id: str) -> None:
    """The server ends a turn."""
    session.say(SERVER, turn_completed_text(session, thread_id, turn_id), Law.INTERRUPTED)
    session.oracle.complete_turn(thread_id, turn_id)


def usable_key(session: SessionBuilder, key: ItemKey) -> ItemKey:
    """The key, or one of its own where this one is open or was given up before."""
    taken = key in session.oracle.spent or session.oracle.with_key(key)
    return evolve(key, item_id=session.fresh_id().as_text) if taken else key


def whole_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item from beginning to end."""
    key, at = usable_key(session, some_key(session, choices)), some_time(session, choices)
    start_item(session, choices, key, at)
    yield
    complete_item(session, choices, key, at)


def unannounced_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item that only completes."""
    complete_item(session, choices, usable_key(session, some_key(session, choices)), some_time(session, choices))
    yield


def interrupted_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item that its turn leaves behind; a command of the same turn, and an item of another, complete all the same, later."""
    key, at = usable_key(session, some_key(session, choices)), some_time(session, choices)
    command = evolve(some_key(session, choices, ("commandExecution",)), thread_id=key.thread_id, turn_id=key.turn_id)
    unimpressed = choices.pick((None, command, evolve(key, turn_id="turn3")))
    start_item(session, choices, key, at)
    yield
    if unimpressed is not None:
        unimpressed = usable_key(session, unimpressed)
        start_item(session, choices, unimpressed)
        yield
    complete_turn(session, key.thread_id, key.turn_id)
    yield
    if choices.chance(2):
        complete_item(session, choices, unimpressed or key, None if unimpressed else at)


def unfinished_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item that never completes."""
    start_item(session, choices, usable_key(session, some_key(session, choices)), some_time(session, choices))
    yield


def one_item_twice(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two items that have everything in common, or all but one thing; neither says when it started."""
    key = usable_key(session, some_key(session, choices))
    near = (
        key,
        key,
        evolve(key, thread_id="t3"),
        evolve(key, turn_id="turn3"),
        evolve(key, item_type=ITEM_TYPES[(ITEM_TYPES.index(key.item_type) + 1) % len(ITEM_TYPES)]),
    )
    other = choices.pick(near)
    start_item(session, choices, key)
    yield
    if other == key and key in session.oracle.spent:
        return
    other = key if other == key else usable_key(session, other)
    start_item(session, choices, other)
    yield
    for each in choices.pick(((key, other), (other, key))):
        complete_item(session, choices, each)
        yield


def other_items(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Items that are no tool calls, item notifications from the wrong side, and requests that look like them."""
    key = some_key(session, choices, (*OTHER_ITEM_TYPES, "subAgentActivity"))
    kind = ("kind", '"completed"')  # of a sub-agent this only says that it is done
    session.say(SERVER, item_text(session, "item/started", key, [("text", '"thinking"'), kind]), Law.ITEMS)
    yield
    if session.hostile and choices.chance(2):
        direction, request_id = choices.pick(((CLIENT, None), (SERVER, session.fresh_id().text)))
        method, real = choices.pick(("item/completed", "item/started")), some_key(session, choices)
        text = item_text(session, method, real, [("status", '"completed"')], request_id=request_id)
        session.say(direction, text, Law.ITEMS)
        yield
    session.say(SERVER, item_text(session, "item/completed", key, [("text", '"thought"'), kind]), Law.ITEMS)


ITEM_SCENARIOS: Final[tuple[Scenario, ...]] = (whole_item, interrupted_item, unannounced_item, unfinished_item, other_items)
HOSTILE_ITEM_SCENARIOS: Final[tuple[Scenario, ...]] = (one_item_twice, whole_item)
