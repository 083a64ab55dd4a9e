"""Scenarios of several connections whose calls wait for tasks and rounds in one table, as HTTP exchanges do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_oplog.testing._approval_scenarios import own_item
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._item_scenarios import complete_item
from trio_oplog.testing._item_texts import ITEM_TYPES
from trio_oplog.testing._laws import Law
from trio_oplog.testing._round_scenarios import ask_for_input, finish, new_dialogue, retry
from trio_oplog.testing._session import Feature
from trio_oplog.testing._task_scenarios import NEW, OLD, TASK_ENDS, UNFETCHED, begin_task, call_tool, ends_well, hand_out


def elsewhere(session: SessionBuilder, choices: ChoiceSource) -> int:
    """The index of another connection than the one that is used now."""
    session.features.add(Feature.ELSEWHERE)
    others = [number for number in range(session.shared) if number != session.connection]
    return choices.pick(others)


def task_elsewhere(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A task that another connection fetches, cancels or hears of."""
    version = choices.pick((OLD, NEW))
    there = elsewhere(session, choices)
    task_id = begin_task(session, version)
    yield
    session.connection = there
    choices.pick((*TASK_ENDS, *UNFETCHED))(session, task_id, version)


def round_elsewhere(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call that goes on over another connection, and may become a task there; perhaps nobody ever answers it."""
    there = elsewhere(session, choices)
    dialogue = new_dialogue(session)
    spelled = call_tool(session, dialogue.tool, dialogue.arguments, law=Law.SUSPENDED_ELSEWHERE)
    yield
    ask_for_input(session, spelled, dialogue)
    yield
    if not session.roomy:
        return
    session.connection = there
    spelled = retry(session, dialogue)
    yield
    session.connection = there
    kind = choices.number(3)
    if kind == 0:
        finish(session, spelled)
    elif kind == 1:
        task_id = f"task-{session.fresh()}"
        hand_out(session, spelled, task_id, NEW)
        ends_well(session, task_id, NEW)


def exchanges(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Each request has a connection of its own, which ends with the answer: what waits outlives it."""
    session.features.add(Feature.ELSEWHERE)
    version = choices.pick((OLD, NEW))
    session.connect()
    task_id = begin_task(session, version)
    session.hang_up()
    yield
    session.connect()
    choices.pick((*TASK_ENDS, *UNFETCHED))(session, task_id, version)
    session.hang_up()


def rounds_in_exchanges(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A round is asked for over one connection and answered over the next."""
    session.features.add(Feature.ELSEWHERE)
    dialogue = new_dialogue(session)
    session.connect()
    spelled = call_tool(session, dialogue.tool, dialogue.arguments, law=Law.SUSPENDED_ELSEWHERE)
    ask_for_input(session, spelled, dialogue)
    session.hang_up()
    yield
    if not session.roomy:
        return
    session.connect()
    spelled = retry(session, dialogue)
    if choices.number(3) < 2:
        finish(session, spelled)
    session.hang_up()


def same_id_elsewhere(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two connections use one id at the same time: each answer ends the call of its own connection."""
    here, there = session.connection, elsewhere(session, choices)
    spelled = call_tool(session, "echo", '{"n":1}', law=Law.SUSPENDED_ELSEWHERE)
    session.connection = there
    call_tool(session, "echo", '{"n":2}', spelled=spelled, law=Law.SUSPENDED_ELSEWHERE)
    yield
    for connection in choices.pick(((there, here), (here, there))):
        session.connection = connection
        finish(session, spelled)
        yield


def watched_twice(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two connections watch one thread: both record what it does, as one execution."""
    there = elsewhere(session, choices)
    key, at, said = own_item(session, choices.pick(ITEM_TYPES)), session.fresh_ms(), bytes(choices.number(4) for _ in range(4))
    complete_item(session, ChoiceSource(said), key, at)
    yield
    session.connection = there
    complete_item(session, ChoiceSource(said), key, at)


SHARED_SCENARIOS: Final[tuple[Scenario, ...]] = (
    task_elsewhere,
    round_elsewhere,
    exchanges,
    rounds_in_exchanges,
    same_id_elsewhere,
    watched_twice,
)
