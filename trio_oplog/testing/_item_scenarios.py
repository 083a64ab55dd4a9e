"""Scenarios of the model: items that begin, complete, are left behind by their turn, or come unannounced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import evolve

from trio_oplog.testing._builder import CLIENT, SERVER, SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario
from trio_oplog.testing._choices import ChoiceSource
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
from trio_oplog.testing._oracle import CallFacts, OpenCall
from trio_oplog.testing._session import Feature

_THREADS: Final = ("t1", "t2")
_TURNS: Final = ("turn1", "turn2")
_ITEMS: Final = ("call_1", "call_2", "call_3", "call_4", "itém")


def some_key(session: SessionBuilder, choices: ChoiceSource, types: tuple[str, ...] = ITEM_TYPES) -> ItemKey:
    """An item: among friends one of its own."""
    item_id = choices.pick(_ITEMS) if session.hostile else session.fresh_id().as_text
    return ItemKey(choices.pick(_THREADS), choices.pick(_TURNS), item_id, choices.pick(types))


def start_item(session: SessionBuilder, choices: ChoiceSource, key: ItemKey) -> None:
    """The server announces an item."""
    members, facts = some_item(session, choices, key)
    text = item_text(session, "item/started", key, [*members, ("status", '"inProgress"'), ("startedAtMs", "1000")])
    session.say(SERVER, text, Law.ITEMS)
    if session.config.record_items:
        session.oracle.begin(_open_call(session, key, facts))


def complete_item(session: SessionBuilder, choices: ChoiceSource, key: ItemKey, *started_at_ms: int) -> None:
    """The server completes an item; all it says counts, whatever the announcement said."""
    # Whoever remembers an item that was given up, and for how long, the rules leave open.
    if key in session.oracle.spent and not session.oracle.with_key(key):
        return
    members, facts = some_item(session, choices, key)
    more, ending = some_completion(session, choices, key, choices.pick(started_at_ms or (None, 1000, 2000)))
    session.say(SERVER, item_text(session, "item/completed", key, [*members, *more]), Law.ITEMS)
    if session.config.record_items:
        session.oracle.complete(_open_call(session, key, facts), ending)


def _open_call(session: SessionBuilder, key: ItemKey, facts: CallFacts) -> OpenCall:
    return OpenCall(
        key=key,
        facts=facts,
        began=session.oracle.frame,
        dialect=Feature.ITEMS,
        turn=(key.thread_id, key.turn_id),
        outlives_turn=key.item_type == "commandExecution",
    )


def complete_turn(session: SessionBuilder, thread_id: str, turn_id: str) -> None:
    """The server ends a turn."""
    session.say(SERVER, turn_completed_text(session, thread_id, turn_id), Law.INTERRUPTED)
    session.oracle.complete_turn(thread_id, turn_id)


def usable_key(session: SessionBuilder, key: ItemKey) -> ItemKey:
    """The key, or one of its own where this one was given up before."""
    return evolve(key, item_id=session.fresh_id().as_text) if key in session.oracle.spent else key


def whole_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item from beginning to end."""
    key = usable_key(session, some_key(session, choices))
    start_item(session, choices, key)
    yield
    complete_item(session, choices, key)


def unannounced_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item that only completes."""
    complete_item(session, choices, usable_key(session, some_key(session, choices)))
    yield


def interrupted_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item that its turn leaves behind; a command of the same turn, and an item of another, complete all the same, later."""
    key = usable_key(session, some_key(session, choices))
    command = evolve(some_key(session, choices, ("commandExecution",)), thread_id=key.thread_id, turn_id=key.turn_id)
    unimpressed = choices.pick((None, command, evolve(key, turn_id="turn3")))
    start_item(session, choices, key)
    yield
    if unimpressed is not None:
        unimpressed = usable_key(session, unimpressed)
        start_item(session, choices, unimpressed)
        yield
    complete_turn(session, key.thread_id, key.turn_id)
    yield
    if unimpressed is not None and choices.chance(2):
        complete_item(session, choices, unimpressed)


def unfinished_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item that never completes."""
    start_item(session, choices, usable_key(session, some_key(session, choices)))
    yield


def one_item_twice(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two items that have everything in common, or all but one thing."""
    key = usable_key(session, some_key(session, choices))
    near = (
        key,
        key,
        evolve(key, thread_id="t3"),
        evolve(key, turn_id="turn3"),
        evolve(key, item_type=ITEM_TYPES[(ITEM_TYPES.index(key.item_type) + 1) % len(ITEM_TYPES)]),
    )
    other = usable_key(session, choices.pick(near))
    start_item(session, choices, key)
    yield
    start_item(session, choices, other)
    yield
    started_at_ms = choices.pick(((), (1000,)))
    for each in choices.pick(((key, other), (other, key))):
        complete_item(session, choices, each, *started_at_ms)
        yield


def other_items(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Items that are no tool calls, item notifications from the wrong side, and requests that look like them."""
    key = some_key(session, choices, OTHER_ITEM_TYPES)
    session.say(SERVER, item_text(session, "item/started", key, [("text", '"thinking"')]), Law.ITEMS)
    yield
    if session.hostile and choices.chance(2):
        direction, request_id = choices.pick(((CLIENT, None), (SERVER, session.fresh_id().text)))
        method, real = choices.pick(("item/completed", "item/started")), some_key(session, choices)
        text = item_text(session, method, real, [("status", '"completed"')], request_id=request_id)
        session.say(direction, text, Law.ITEMS)
        yield
    session.say(SERVER, item_text(session, "item/completed", key, [("text", '"thought"')]), Law.ITEMS)


ITEM_SCENARIOS: Final[tuple[Scenario, ...]] = (whole_item, interrupted_item, unannounced_item, unfinished_item, other_items)
HOSTILE_ITEM_SCENARIOS: Final[tuple[Scenario, ...]] = (one_item_twice, whole_item)
