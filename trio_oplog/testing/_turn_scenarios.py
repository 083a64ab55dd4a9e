"""Scenarios of items that are told of again, and of turns and threads that end them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import evolve

from trio_oplog.testing._approval_scenarios import ask_item, in_room, own_item
from trio_oplog.testing._approval_texts import COMMAND, DECISIONS
from trio_oplog.testing._builder import SERVER, SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._item_scenarios import complete_item, complete_turn, start_item
from trio_oplog.testing._item_texts import ITEM_TYPES, turn_started_text
from trio_oplog.testing._json_text import an_object, quoted
from trio_oplog.testing._laws import Law


def start_turn(session: SessionBuilder, thread_id: str, turn_id: str) -> None:
    """The server starts a turn; one that it has started before is only steered."""
    session.say(SERVER, turn_started_text(session, thread_id, turn_id), Law.TURN_ENDS)
    session.oracle.start_turn(thread_id, turn_id)


def close_thread(session: SessionBuilder, thread_id: str) -> None:
    """The server closes a thread."""
    session.notify("thread/closed", an_object([("threadId", quoted(thread_id))], session.gap), Law.TURN_ENDS)
    session.oracle.close_thread(thread_id)


def repeated_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item that is announced twice and completed twice; perhaps it runs again at another time, which is another call."""
    key, at = own_item(session, choices.pick(ITEM_TYPES)), session.fresh_ms()
    said = bytes(choices.number(256) for _ in range(6))  # whoever repeats something says the same
    start_item(session, ChoiceSource(said), key, at)
    yield
    if choices.chance(2):
        start_item(session, ChoiceSource(said), key, at)
        yield
    complete_item(session, ChoiceSource(said), key, at)
    yield
    again = choices.pick((at, session.fresh_ms()))
    if choices.chance(2):
        start_item(session, ChoiceSource(said), key, again)
        yield
    complete_item(session, ChoiceSource(said), key, again)


def overtaken_item(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An item whose turn is over, since another one starts or the thread closes; what comes of it later adds nothing."""
    types = (*(ITEM_TYPES[:2] * 4), *ITEM_TYPES)  # a command has more to tell than others
    key, at = own_item(session, choices.pick(types)), session.fresh_ms()
    start_item(session, choices, key, at)
    yield
    if choices.chance(2):
        start_turn(session, key.thread_id, key.turn_id)  # its own one again
        yield
    if key.item_type == "commandExecution" and choices.chance(2):
        asked = ask_item(session, key, COMMAND)
        if choices.chance(2):
            asked.answer(session, choices.pick(DECISIONS[:4]))
        yield
    how = choices.number(4)
    if how < 2:
        start_turn(session, key.thread_id, f"turn-{session.fresh()}")
    elif how == 2:
        close_thread(session, key.thread_id)
    else:
        complete_turn(session, key.thread_id, key.turn_id)
    yield
    if choices.chance(2):
        complete_item(session, choices, key, at)


def neighbours(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """What ends in one thread goes on in another."""
    key, at = own_item(session, choices.pick(ITEM_TYPES)), session.fresh_ms()
    other = evolve(key, thread_id=f"thread-{session.fresh()}")
    for each in (key, other):
        start_item(session, choices, each, at)
        yield
    if choices.chance(2):
        close_thread(session, key.thread_id)
    else:
        start_turn(session, key.thread_id, "turn-x")
    yield
    complete_item(session, choices, other, at)


TURN_SCENARIOS: Final[tuple[Scenario, ...]] = tuple(
    in_room(each) for each in (repeated_item, overtaken_item, neighbours, repeated_item, overtaken_item)
)
