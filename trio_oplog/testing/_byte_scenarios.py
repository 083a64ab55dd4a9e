"""Scenarios of frames that are no UTF-8: each byte that cannot be decoded is read as U+FFFD."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_oplog.testing._answers import IMAGE
from trio_oplog.testing._builder import CLIENT, SERVER, SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario, answer
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Arguments, CallFacts, Ending, OpenCall
from trio_oplog.testing._json_text import SpelledId
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature
from trio_oplog.testing._task_scenarios import call_tool

# Latin-1, half a character of UTF-8 before something else, and what is never UTF-8.
DAMAGED: Final = (
    (b"caf\xe9", "caf\ufffd"),
    (b"\xe2\x82!", "\ufffd\ufffd!"),
    (b"\xff\xff", "\ufffd\ufffd"),
    (b"\xc3\xa9\xe9", "é\ufffd"),
)

_LONGEST: Final = 7


def call_in_bytes(session: SessionBuilder, damaged: tuple[bytes, str], *, in_arguments: bool = True) -> SpelledId:
    """A call whose frame is damaged, in its arguments or in the name of its tool."""
    spelled = session.fresh_id()
    raw, shown = damaged
    arguments = b'{"text":"%b"}' % (raw if in_arguments else b"fine")
    tool = (b"echo", "echo") if in_arguments else (raw, shown)
    frame = b'{"method":"tools/call","id":%b,"params":{"name":"%b","arguments":%b}}'
    session.say_raw(CLIENT, frame % (spelled.text.encode(), tool[0], arguments), Law.REPLACED_BYTES)
    facts = CallFacts(
        source=session.config.source,
        tool=tool[1],
        request_id=spelled.as_text,
        arguments=Arguments(raw=arguments),
        laws=(Law.REPLACED_BYTES,),
    )
    session.features.add(Feature.REPLACED_BYTES)
    session.oracle.begin(OpenCall(key=spelled.key, facts=facts, began=0, dialect=Feature.MCP, spelled_id=spelled))
    return spelled


def answer_in_bytes(session: SessionBuilder, spelled: SpelledId, damaged: tuple[bytes, str], *, in_text: bool = True) -> None:
    """An answer whose frame is damaged, in its text or elsewhere."""
    raw, shown = damaged
    text = raw if in_text else b"fine"
    block = IMAGE.encode().replace(b"aGk=", b"aGk=" if in_text else raw)
    frame = b'{"id":%b,"result":{"content":[{"type":"text","text":"%b"},%b]}}' % (spelled.text.encode(), text, block)
    session.say_raw(SERVER, frame, Law.REPLACED_BYTES)
    session.features.add(Feature.REPLACED_BYTES)
    ending = Ending(
        text=shown if in_text else "fine", content_types=("text", "image"), replaced=in_text, laws=(Law.REPLACED_BYTES,)
    )
    session.oracle.answer(spelled.key, ending)


def damaged_call(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call that is no UTF-8."""
    spelled = call_in_bytes(session, choices.pick(DAMAGED), in_arguments=not choices.chance(3))
    yield
    answer(session, choices, spelled)


def damaged_answer(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An answer that is no UTF-8."""
    spelled = call_tool(session, "echo", '{"n":4}', law=Law.REPLACED_BYTES)
    yield
    # Whether a summary that was cut before the damage says so, the rules leave open.
    in_text = not choices.chance(3) and session.config.result_max_bytes >= _LONGEST
    answer_in_bytes(session, spelled, choices.pick(DAMAGED), in_text=in_text)


BYTE_SCENARIOS: Final[tuple[Scenario, ...]] = (damaged_call, damaged_answer)
