"""Acts of the model: items that begin, complete, are left behind by their turn, or come unannounced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import evolve

from trio_oplog.testing._acts import Act
from trio_oplog.testing._dice import Dice
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
from trio_oplog.testing._stage import CLIENT, SERVER, Stage

_THREADS: Final = ("t1", "t2")
_TURNS: Final = ("turn1", "turn2")
_ITEMS: Final = ("call_1", "call_2", "call_3", "call_4", "itém")


def some_key(stage: Stage, dice: Dice, types: tuple[str, ...] = ITEM_TYPES) -> ItemKey:
    """An item: among friends one of its own."""
    item_id = dice.pick(_ITEMS) if stage.hostile else stage.fresh_id().as_text
    return ItemKey(dice.pick(_THREADS), dice.pick(_TURNS), item_id, dice.pick(types))


def start_item(stage: Stage, dice: Dice, key: ItemKey) -> None:
    """The server announces an item."""
    members, facts = some_item(stage, dice, key)
    text = item_text(stage, "item/started", key, [*members, ("status", '"inProgress"'), ("startedAtMs", "1000")])
    stage.say(SERVER, text, Law.ITEMS)
    if stage.config.record_items:
        stage.oracle.begin(_open_call(stage, key, facts))


def complete_item(stage: Stage, dice: Dice, key: ItemKey, *started_at_ms: int) -> None:
    """The server completes an item; all it says counts, whatever the announcement said."""
    # Whoever remembers an item that was given up, and for how long, the rules leave open.
    if key in stage.oracle.spent and not stage.oracle.with_key(key):
        return
    members, facts = some_item(stage, dice, key)
    more, ending = some_completion(stage, dice, key, dice.pick(started_at_ms or (None, 1000, 2000)))
    stage.say(SERVER, item_text(stage, "item/completed", key, [*members, *more]), Law.ITEMS)
    if stage.config.record_items:
        stage.oracle.complete(_open_call(stage, key, facts), ending)


def _open_call(stage: Stage, key: ItemKey, facts: CallFacts) -> OpenCall:
    return OpenCall(
        key=key,
        facts=facts,
        began=stage.oracle.frame,
        dialect=Feature.ITEMS,
        turn=(key.thread_id, key.turn_id),
        outlives_turn=key.item_type == "commandExecution",
    )


def complete_turn(stage: Stage, thread_id: str, turn_id: str) -> None:
    """The server ends a turn."""
    stage.say(SERVER, turn_completed_text(stage, thread_id, turn_id), Law.INTERRUPTED)
    stage.oracle.complete_turn(thread_id, turn_id)


def usable_key(stage: Stage, key: ItemKey) -> ItemKey:
    """The key, or one of its own where this one was given up before."""
    return evolve(key, item_id=stage.fresh_id().as_text) if key in stage.oracle.spent else key


def whole_item(stage: Stage, dice: Dice) -> Iterator[None]:
    """An item from beginning to end."""
    key = usable_key(stage, some_key(stage, dice))
    start_item(stage, dice, key)
    yield
    complete_item(stage, dice, key)


def unannounced_item(stage: Stage, dice: Dice) -> Iterator[None]:
    """An item that only completes."""
    complete_item(stage, dice, usable_key(stage, some_key(stage, dice)))
    yield


def interrupted_item(stage: Stage, dice: Dice) -> Iterator[None]:
    """An item that its turn leaves behind; a command of the same turn, and an item of another, complete all the same, later."""
    key = usable_key(stage, some_key(stage, dice))
    command = evolve(some_key(stage, dice, ("commandExecution",)), thread_id=key.thread_id, turn_id=key.turn_id)
    unimpressed = dice.pick((None, command, evolve(key, turn_id="turn3")))
    start_item(stage, dice, key)
    yield
    if unimpressed is not None:
        unimpressed = usable_key(stage, unimpressed)
        start_item(stage, dice, unimpressed)
        yield
    complete_turn(stage, key.thread_id, key.turn_id)
    yield
    if unimpressed is not None and dice.chance(2):
        complete_item(stage, dice, unimpressed)


def unfinished_item(stage: Stage, dice: Dice) -> Iterator[None]:
    """An item that never completes."""
    start_item(stage, dice, usable_key(stage, some_key(stage, dice)))
    yield


def one_item_twice(stage: Stage, dice: Dice) -> Iterator[None]:
    """Two items that have everything in common, or all but one thing."""
    key = usable_key(stage, some_key(stage, dice))
    near = (
        key,
        key,
        evolve(key, thread_id="t3"),
        evolve(key, turn_id="turn3"),
        evolve(key, item_type=ITEM_TYPES[(ITEM_TYPES.index(key.item_type) + 1) % len(ITEM_TYPES)]),
    )
    other = usable_key(stage, dice.pick(near))
    start_item(stage, dice, key)
    yield
    start_item(stage, dice, other)
    yield
    started_at_ms = dice.pick(((), (1000,)))
    for each in dice.pick(((key, other), (other, key))):
        complete_item(stage, dice, each, *started_at_ms)
        yield


def other_items(stage: Stage, dice: Dice) -> Iterator[None]:
    """Items that are no tool calls, item notifications from the wrong side, and requests that look like them."""
    key = some_key(stage, dice, OTHER_ITEM_TYPES)
    stage.say(SERVER, item_text(stage, "item/started", key, [("text", '"thinking"')]), Law.ITEMS)
    yield
    if stage.hostile and dice.chance(2):
        direction, request_id = dice.pick(((CLIENT, None), (SERVER, stage.fresh_id().text)))
        method, real = dice.pick(("item/completed", "item/started")), some_key(stage, dice)
        text = item_text(stage, method, real, [("status", '"completed"')], request_id=request_id)
        stage.say(direction, text, Law.ITEMS)
        yield
    stage.say(SERVER, item_text(stage, "item/completed", key, [("text", '"thought"')]), Law.ITEMS)


ITEM_ACTS: Final[tuple[Act, ...]] = (whole_item, interrupted_item, unannounced_item, unfinished_item, other_items)
HOSTILE_ITEM_ACTS: Final[tuple[Act, ...]] = (one_item_twice, whole_item)
