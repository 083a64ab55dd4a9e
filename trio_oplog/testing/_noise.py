"""Acts that must yield nothing: other traffic, what only looks like a call, and what is no JSON at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_oplog.testing._acts import Act
from trio_oplog.testing._dice import Dice
from trio_oplog.testing._json_text import an_object
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Direction, Feature, FrameData
from trio_oplog.testing._stage import CLIENT, SERVER, Stage

BROKEN: Final[tuple[FrameData, ...]] = (
    "this is not json",
    '{"method":"tools/call","id":1,"params":{"name":"echo"',
    '{"id":1,"result":',
    b'{"method":"tools/call","id":1,"params":{"name":"\xff\xfe"}}',
    b"\x00\x00\x00\x00",
    "",
    "\n",
    '{"id":1,"result":{}}{"id":2,"result":{}}',
    '{"id":1,"result":{},}',
    "{'id':1}",
    '{"id":01,"result":{}}',
    '{"id":1 "result":{}}',
    '"\ud800',
    b"\xed\xa0",
    b"\xef\xbb\xbf",
    b"\xff\xfe{",
    '{"method":"tools/call","id":1,"params":{"name":"a\nb"}}',
)
DEEP: Final[tuple[FrameData, ...]] = ("[" * 100_000, '{"a":' * 50_000, b'{"method":"ping","params":' + b"[" * 100_000)
NOT_OURS: Final = (
    '"text"',
    "5",
    "null",
    "[]",
    "{}",
    "[[]]",
    "[1,null,{}]",
    '{"jsonrpc":"2.0"}',
    '{"method":5,"id":1}',
    '{"method":"tools/call "}',
    '[[{"method":"tools/call","id":1,"params":{"name":"nested"}}]]',
    '{"method":"tools/list","id":"t","params":{"method":"tools/call"}}',
    '{"params":{"method":"tools/call","id":1}}',
    '{"Method":"tools/call","id":1,"params":{"name":"case"}}',
)
_HUGE: Final = '{"method":"x","params":{"n":' + "9" * 5000 + "}}"
_NO_IDS: Final = (None, "null", "true", "{}", "false", "true", '{"a":1}', "[1]")


def _some_direction(dice: Dice) -> Direction:
    return dice.pick((CLIENT, SERVER))


def broken_json(stage: Stage, dice: Dice) -> Iterator[None]:
    """A frame that nobody can read."""
    direction = _some_direction(dice)
    stage.features.add(Feature.BROKEN_JSON)
    if dice.chance(6):
        stage.features.add(Feature.DEEP_NESTING)
        stage.say_raw(direction, dice.pick(DEEP), Law.HOSTILE_FRAMES)
    else:
        stage.say_raw(direction, dice.pick(BROKEN), Law.HOSTILE_FRAMES)
    yield


def not_ours(stage: Stage, dice: Dice) -> Iterator[None]:
    """JSON that is no message, or none of ours."""
    text = _HUGE if dice.chance(12) else dice.pick(NOT_OURS)
    stage.say_raw(_some_direction(dice), text, Law.HOSTILE_FRAMES)
    yield


def no_call(stage: Stage, dice: Dice) -> Iterator[None]:
    """A request that would be a call if it had an id, or came from the other side."""
    method = dice.pick(('"tools/call"', '"mcpServer/tool/call"'))
    params = '{"name":"echo","tool":"echo","threadId":"t1","arguments":{}}'
    if dice.chance(2):
        spelled = stage.fresh_id()
        text = an_object([("method", method), ("id", spelled.text), ("params", params)], stage.gap)
        stage.say(SERVER, text, Law.CLIENT_REQUESTS_BEGIN)
        yield
        stage.say(CLIENT, an_object([("id", spelled.text), ("result", "{}")], stage.gap), Law.CLIENT_REQUESTS_BEGIN)
    else:
        no_id = dice.pick(_NO_IDS)
        text = an_object([("method", method), ("id", no_id), ("params", params)], stage.gap)
        stage.say(CLIENT, text, Law.CLIENT_REQUESTS_BEGIN)
        yield
        text = an_object([("id", no_id), ("result", '{"content":[]}')], stage.gap)
        stage.say(SERVER, text, Law.CLIENT_REQUESTS_BEGIN)


def stray_ends(stage: Stage, dice: Dice) -> Iterator[None]:
    """Answers and cancellations of what nobody asked."""
    text = stage.fresh_id().text
    stage.say(SERVER, an_object([("id", text), ("result", dice.pick(("{}", "null", '{"content":[]}')))], stage.gap))
    yield
    wrong = dice.pick((text, "null", "true", "{}", None))
    params = dice.pick((an_object([("requestId", wrong)]), "null", "[]"))
    message = an_object([("method", '"notifications/cancelled"'), ("params", params)], stage.gap)
    stage.say(dice.pick((CLIENT, SERVER)), message, Law.CANCELLED)


def empty_responses(stage: Stage, dice: Dice) -> Iterator[None]:
    """A message that is no response, since it has neither a result nor an error: to an open call where there is one."""
    asked = [call.spelled_id.text for call in stage.oracle.open if call.spelled_id]
    text = dice.pick((*asked[:1], "1", *asked[-1:], "2", '"1"', "0"))
    members: list[tuple[str, str | None]] = [("id", text)]
    if dice.chance(2):
        members.append(("error", "null"))
    stage.say(SERVER, an_object(members, stage.gap), Law.RESPONSES_END)
    yield


def other_traffic(stage: Stage, _: Dice) -> Iterator[None]:
    """What else goes by."""
    text = stage.fresh_id().text
    stage.say(CLIENT, an_object([("method", '"tools/list"'), ("id", text), ("params", "{}")], stage.gap))
    yield
    stage.say(SERVER, '{"method":"notifications/progress","params":{"progressToken":1,"progress":0.5,"message":"half"}}')
    yield
    stage.say(SERVER, an_object([("id", text), ("result", '{"tools":[{"name":"echo"}]}')], stage.gap))


QUIET_ACTS: Final[tuple[Act, ...]] = (other_traffic,)
NOISE_ACTS: Final[tuple[Act, ...]] = (broken_json, not_ours, no_call, stray_ends, empty_responses)
