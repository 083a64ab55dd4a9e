"""Acts: the short stories that a session is made of.  Each is a generator that pauses wherever another one may go on.

An act decides everything by its own dice, so that it tells the same story in whatever order acts take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from attrs import evolve

from trio_oplog._operation import Outcome
from trio_oplog.testing._answers import some_answer
from trio_oplog.testing._call_texts import ALIKE_IDS, HOSTILE_IDS, PLAIN_IDS, laws_of_id, respelled, some_call
from trio_oplog.testing._dice import Dice
from trio_oplog.testing._json_text import SpelledId, an_object
from trio_oplog.testing._laws import Law
from trio_oplog.testing._oracle import Ending, OpenCall
from trio_oplog.testing._session import Feature
from trio_oplog.testing._stage import CLIENT, SERVER, Stage

Act: TypeAlias = Callable[[Stage, Dice], Iterator[None]]


def begin_call(stage: Stage, dice: Dice, dialect: Feature, spelled: SpelledId) -> SpelledId:
    """The client calls a tool.

    Returns:
        The id that the call has: another one where this one would leave it to chance which call is meant.
    """
    if spelled.key in stage.oracle.spent:
        spelled = stage.fresh_id()
    text, facts = some_call(stage, dice, dialect, spelled)
    facts = evolve(facts, laws=laws_of_id(spelled))
    stage.say(CLIENT, text, Law.EVERY_CALL_ONCE)
    if "\\ud" in spelled.text:
        stage.features.add(Feature.LONE_SURROGATE)
    call = OpenCall(key=spelled.key, facts=facts, began=stage.oracle.frame, dialect=dialect, spelled_id=spelled)
    stage.oracle.begin(call)
    return spelled


def answer(stage: Stage, dice: Dice, spelled: SpelledId) -> None:
    """The server answers an id, whoever has it now."""
    waiting = stage.oracle.with_key(spelled.key)
    dialect = waiting[0].dialect if waiting else None
    members, ending = some_answer(stage, dice, dialect, server_known=stage.oracle.server_name is not None)
    members.insert(dice.pick((0, len(members))), ("id", respelled(spelled, dice) if stage.hostile else spelled.text))
    if dice.chance(3):
        members.insert(0, ("jsonrpc", '"2.0"'))
    stage.say(SERVER, an_object(members, stage.gap), Law.EXACT_IDS)
    stage.oracle.answer(spelled.key, ending)


def some_id(stage: Stage, dice: Dice) -> SpelledId:
    """An id: among friends one that is not in use."""
    if stage.hostile:
        return dice.pick(HOSTILE_IDS)
    spelled = dice.pick(PLAIN_IDS)
    return spelled if not stage.oracle.with_key(spelled.key) else stage.fresh_id()


def answered_call(stage: Stage, dice: Dice) -> Iterator[None]:
    """A call and its answer."""
    spelled = begin_call(stage, dice, dice.pick(stage.dialects), some_id(stage, dice))
    yield
    answer(stage, dice, spelled)


def unanswered_call(stage: Stage, dice: Dice) -> Iterator[None]:
    """A call that nobody answers."""
    begin_call(stage, dice, dice.pick(stage.dialects), some_id(stage, dice))
    yield


def cancelled_call(stage: Stage, dice: Dice) -> Iterator[None]:
    """A call that the client takes back, and perhaps a late answer."""
    if Feature.MCP not in stage.dialects:
        yield from answered_call(stage, dice)
        return
    spelled = begin_call(stage, dice, Feature.MCP, some_id(stage, dice))
    yield
    waiting = stage.oracle.with_key(spelled.key)
    # Which of two calls with one id a client means, and whether Codex cares, nobody says.
    if len(waiting) == 1 and waiting[0].dialect is Feature.MCP:
        params = an_object([("requestId", spelled.text), ("reason", '"AbortError"')], stage.gap)
        text = an_object([("method", '"notifications/cancelled"'), ("params", params)], stage.gap)
        stage.say(CLIENT, text, Law.CANCELLED)
        stage.features.add(Feature.CANCELLATION)
        stage.oracle.end(waiting[0], Ending(outcome=Outcome.CANCELLED, laws=(Law.CANCELLED,)))
        stage.oracle.spent.add(spelled.key)
        yield
        if dice.chance(2):
            stage.say(SERVER, an_object([("id", spelled.text), ("result", "{}")], stage.gap), Law.CANCELLED)
    else:
        answer(stage, dice, spelled)


def two_calls_any_order(stage: Stage, dice: Dice) -> Iterator[None]:
    """Two calls open at once, answered in one order or the other."""
    first = begin_call(stage, dice, dice.pick(stage.dialects), some_id(stage, dice))
    yield
    second = begin_call(stage, dice, dice.pick(stage.dialects), some_id(stage, dice))
    yield
    for spelled in dice.pick(((second, first), (first, second))):
        answer(stage, dice, spelled)
        yield


def batched_calls(stage: Stage, dice: Dice) -> Iterator[None]:
    """Calls in a batch, answers in another, the other way round."""
    ids = []
    for number in range(2 + dice.number(2)):
        stage.joins = number > 0
        ids.append(begin_call(stage, dice, dice.pick(stage.dialects), some_id(stage, dice)))
    yield
    for number, spelled in enumerate(reversed(ids)):
        stage.joins = number > 0
        answer(stage, dice, spelled)


def alike_ids(stage: Stage, dice: Dice) -> Iterator[None]:
    """Two calls whose ids look alike, and are not."""
    one, other = (SpelledId(text) for text in dice.pick(ALIKE_IDS))
    one = begin_call(stage, dice, dice.pick(stage.dialects), one)
    yield
    other = begin_call(stage, dice, dice.pick(stage.dialects), other)
    yield
    for spelled in dice.pick(((other, one), (one, other))):
        answer(stage, dice, spelled)
        yield


def one_id_twice(stage: Stage, dice: Dice) -> Iterator[None]:
    """One id for two open calls, and as many answers."""
    spelled = dice.pick(HOSTILE_IDS)
    used = begin_call(stage, dice, dice.pick(stage.dialects), spelled)
    yield
    begin_call(stage, dice, dice.pick(stage.dialects), used)
    yield
    answer(stage, dice, used)
    yield
    answer(stage, dice, used)


def server_reuses_id(stage: Stage, dice: Dice) -> Iterator[None]:
    """In the middle of a call the server asks something, with the very id of the call, and the client answers that."""
    spelled = begin_call(stage, dice, dice.pick(stage.dialects), some_id(stage, dice))
    yield
    method = dice.pick(('"elicitation/create"', '"item/tool/call"', '"tools/call"', '"notifications/cancelled"'))
    params = dice.pick((an_object([("requestId", spelled.text)]), "null", '{"name":"x","tool":"x","arguments":{}}'))
    members: list[tuple[str, str | None]] = [("method", method), ("id", spelled.text), ("params", params)]
    if dice.chance(4):
        members.append(("result", "{}"))
    stage.say(SERVER, an_object(members, stage.gap), Law.RESPONSES_END)
    if stage.oracle.with_key(spelled.key):
        stage.features.add(Feature.SERVER_REUSES_ID)
    yield
    reply = dice.pick(('{"action":"accept"}', "null"))
    stage.say(CLIENT, an_object([("id", spelled.text), ("result", reply)], stage.gap), Law.RESPONSES_END)
    yield
    answer(stage, dice, spelled)


def too_many_calls(stage: Stage, dice: Dice) -> Iterator[None]:
    """More calls than the limit (where it is small), then an answer to each."""
    ids = []
    for _ in range(min(stage.config.max_pending, 3) + 1 + dice.number(2)):
        ids.append(begin_call(stage, dice, dice.pick(stage.dialects), stage.fresh_id()))
        yield
    for spelled in ids if dice.chance(2) else reversed(ids):
        answer(stage, dice, spelled)
        yield


def handshake(stage: Stage, dice: Dice) -> Iterator[None]:
    """The MCP server says its name."""
    # Whether its name is also that of a call that is open meanwhile, or of a Codex call, the rules leave open.
    if stage.dialects == (Feature.MCP,) and not stage.oracle.open and stage.oracle.server_name is None:
        spelled = stage.fresh_id()
        method = dice.pick(('"initialize"', '"server/discover"'))
        name = dice.pick(("everything", "srv-ü", "mcp-servers/x"))
        stage.say(CLIENT, an_object([("method", method), ("id", spelled.text), ("params", "{}")], stage.gap))
        info = f'{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{{"name":"{name}","version":"1"}}}}'
        stage.say(SERVER, an_object([("id", spelled.text), ("result", info)], stage.gap))
        stage.oracle.server_name = name
    yield


CALL_ACTS: Final[tuple[Act, ...]] = (answered_call, two_calls_any_order, batched_calls, cancelled_call, unanswered_call)
HOSTILE_CALL_ACTS: Final[tuple[Act, ...]] = (alike_ids, one_id_twice, server_reuses_id, too_many_calls)
