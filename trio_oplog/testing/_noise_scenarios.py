"""Scenarios that must yield nothing: other traffic, what only looks like a call, and what is no JSON at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_oplog.testing._builder import CLIENT, SERVER, SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._json_text import an_object
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Direction, Feature, FrameData

BROKEN: Final[tuple[FrameData, ...]] = (
    "this is not json",
    '{"method":"tools/call","id":1,"params":{"name":"echo"',
    '{"id":1,"result":',
    b'{"method":"tools/call","id":1,"params":{"name":"\xff\xfe}}',
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


def _some_direction(choices: ChoiceSource) -> Direction:
    return choices.pick((CLIENT, SERVER))


def broken_json(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A frame that nobody can read."""
    direction = _some_direction(choices)
    session.features.add(Feature.BROKEN_JSON)
    if choices.chance(6):
        session.features.add(Feature.DEEP_NESTING)
        session.say_raw(direction, choices.pick(DEEP), Law.HOSTILE_FRAMES)
    else:
        session.say_raw(direction, choices.pick(BROKEN), Law.HOSTILE_FRAMES)
    yield


def not_ours(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """JSON that is no message, or none of ours."""
    text = _HUGE if choices.chance(12) else choices.pick(NOT_OURS)
    session.say_raw(_some_direction(choices), text, Law.HOSTILE_FRAMES)
    yield


def no_call(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A request that would be a call if it had an id, or came from the other side."""
    method = choices.pick(('"tools/call"', '"mcpServer/tool/call"'))
    params = '{"name":"echo","tool":"echo","threadId":"t1","arguments":{}}'
    if choices.chance(2):
        spelled = session.fresh_id()
        text = an_object([("method", method), ("id", spelled.text), ("params", params)], session.gap)
        session.say(SERVER, text, Law.CLIENT_REQUESTS_BEGIN)
        yield
        session.say(CLIENT, an_object([("id", spelled.text), ("result", "{}")], session.gap), Law.CLIENT_REQUESTS_BEGIN)
    else:
        no_id = choices.pick(_NO_IDS)
        text = an_object([("method", method), ("id", no_id), ("params", params)], session.gap)
        session.say(CLIENT, text, Law.CLIENT_REQUESTS_BEGIN)
        yield
        text = an_object([("id", no_id), ("result", '{"content":[]}')], session.gap)
        session.say(SERVER, text, Law.CLIENT_REQUESTS_BEGIN)


def stray_ends(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Answers and cancellations of what nobody asked."""
    text = session.fresh_id().text
    session.say(SERVER, an_object([("id", text), ("result", choices.pick(("{}", "null", '{"content":[]}')))], session.gap))
    yield
    wrong = choices.pick((text, "null", "true", "{}", None))
    params = choices.pick((an_object([("requestId", wrong)]), "null", "[]"))
    message = an_object([("method", '"notifications/cancelled"'), ("params", params)], session.gap)
    session.say(choices.pick((CLIENT, SERVER)), message, Law.CANCELLED)


def empty_responses(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A message that is no response, since it has neither a result nor an error: to an open call where there is one."""
    asked = [call.spelled_id.text for call in session.oracle.open if call.spelled_id]
    text = choices.pick((*asked[:1], "1", *asked[-1:], "2", '"1"', "0"))
    members: list[tuple[str, str | None]] = [("id", text)]
    if choices.chance(2):
        members.append(("error", "null"))
    session.say(SERVER, an_object(members, session.gap), Law.RESPONSES_END)
    yield


def other_traffic(session: SessionBuilder, _: ChoiceSource) -> Iterator[None]:
    """What else goes by."""
    text = session.fresh_id().text
    session.say(CLIENT, an_object([("method", '"tools/list"'), ("id", text), ("params", "{}")], session.gap))
    yield
    session.say(SERVER, '{"method":"notifications/progress","params":{"progressToken":1,"progress":0.5,"message":"half"}}')
    yield
    session.say(SERVER, an_object([("id", text), ("result", '{"tools":[{"name":"echo"}]}')], session.gap))


QUIET_SCENARIOS: Final[tuple[Scenario, ...]] = (other_traffic,)
NOISE_SCENARIOS: Final[tuple[Scenario, ...]] = (broken_json, not_ours, no_call, stray_ends, empty_responses)
