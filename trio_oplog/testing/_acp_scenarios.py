"""Scenarios of an ACP agent: its tool calls, the permissions that it asks for, prompts that end, and sessions that are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_oplog.testing._approval_scenarios import in_room
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import OpenCall, Question, Said
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature

_SESSIONS: Final = ("sess-1", "sess-2", "sess-é")
_NAMES: Final[tuple[tuple[str | None, str | None], ...]] = (
    (None, None),
    ('{"claudeCode":{"toolName":"Read"}}', "Read"),
    ('{"toolName":"grep"}', "grep"),
    ('{"claudeCode":{}}', None),
    ("[]", None),
)
_INPUTS: Final = (None, '{"path" : "a.txt"}', '["ls"]', '"ls"', "null", "{}")
_CONTENTS: Final[tuple[tuple[tuple[str, ...] | None, str | None], ...]] = (
    (None, None),
    (("ok",), "ok"),
    (("one", "twö"), "onetwö"),
    ((), None),
)
_OUTPUTS: Final[tuple[tuple[str | None, str | None], ...]] = (
    (None, None),
    ('"raw"', "raw"),
    ('{ "exit" :0}', '{ "exit" :0}'),
    ("null", None),
    ("7", "7"),
)
OPTIONS: Final = (
    '[{"optionId":"yes","name":"Yes","kind":"allow_once"},{"optionId":"ever","name":"Always","kind":"allow_always"},'
    '{"optionId":"no","name":"No","kind":"reject_once"}]'
)
# What is chosen, what that means, and whether the call may not go on.
CHOICES: Final = (
    ('{"outcome":"selected","optionId":"yes"}', "allow_once", False),
    ('{"outcome":"selected","optionId":"ever"}', "allow_always", False),
    ('{"outcome":"selected","optionId":"no"}', "reject_once", True),
    ('{"outcome":"cancelled"}', "cancelled", False),
    ('{"outcome":"selected","optionId":"maybe"}', "maybe", False),
)


def update_text(session: SessionBuilder, call_id: str, said: list[tuple[str, str | None]]) -> str:
    """The part of a message that tells of a call."""
    return an_object([("toolCallId", quoted(call_id)), *said], session.gap)


def some_update(
    session: SessionBuilder, choices: ChoiceSource, status: str | None, *, ends: bool = False
) -> tuple[list[tuple[str, str | None]], Said]:
    """What an update says of its call: the members, and what they mean."""
    meta, name = choices.pick(_NAMES)
    kind = choices.pick(("execute", "read", None))
    title = choices.pick(("List files", None, "Läuft"))
    raw_input = choices.pick(_INPUTS)
    texts, text = choices.pick(_CONTENTS if ends else _CONTENTS[:3])
    output, shown = choices.pick(_OUTPUTS)
    said = Said(name=name, kind=kind, title=title, raw_input=None if raw_input == "null" else raw_input, text=text, output=shown)
    return members(session, status, said, meta=meta, raw_input=raw_input, texts=texts, raw_output=output), said


def members(
    session: SessionBuilder,
    status: str | None,
    said: Said,
    *,
    meta: str | None = None,
    raw_input: str | None = None,
    texts: tuple[str, ...] | None = None,
    raw_output: str | None = None,
) -> list[tuple[str, str | None]]:
    """The members of an update."""
    content = None
    if texts is not None:
        blocks = (f'{{"type":"content","content":{{"type":"text","text":{quoted(text)}}}}}' for text in texts)
        content = f"[{','.join(blocks)}]"
    return [
        ("_meta", meta),
        ("status", None if status is None else quoted(status)),
        ("kind", None if said.kind is None else quoted(said.kind)),
        ("title", None if said.title is None else quoted(said.title, escaped=session.escaped)),
        ("rawInput", raw_input),
        ("content", content),
        ("rawOutput", raw_output),
    ]


def tell(
    session: SessionBuilder,
    session_id: str,
    call_id: str,
    said: tuple[list[tuple[str, str | None]], Said],
    status: str | None = None,
    *,
    update: str = "tool_call_update",
    law: Law = Law.ACP_CALLS,
) -> None:
    """The agent tells of a call."""
    text = update_text(session, call_id, [("sessionUpdate", quoted(update)), *said[0]])
    params = an_object([("sessionId", quoted(session_id)), ("update", text)], session.gap)
    session.notify("session/update", params, law)
    session.oracle.hear(session_id, call_id, said[1], status)


def ask_permission(
    session: SessionBuilder, session_id: str, call_id: str, said: tuple[list[tuple[str, str | None]], Said]
) -> tuple[str, OpenCall | None, Question | None]:
    """The agent asks for permission, of a call that it may never have told of.

    Returns:
        The id of the request, and the call and the question, if it is about one.
    """
    params = an_object(
        [("sessionId", quoted(session_id)), ("toolCall", update_text(session, call_id, said[0])), ("options", OPTIONS)],
        session.gap,
    )
    spelled = session.ask("session/request_permission", params, Law.APPROVAL_LINK)
    call = session.oracle.hear(session_id, call_id, said[1], permission=True)
    return spelled, call, None if call is None else session.oracle.ask(call)


def choose(
    session: SessionBuilder, asked: tuple[str, OpenCall | None, Question | None], outcome: str, decision: str, *, refuses: bool
) -> None:
    """The client answers a request for permission."""
    spelled, call, question = asked
    session.reply(spelled, "result", f'{{"outcome":{outcome}}}', Law.APPROVALS)
    if call is not None and question is not None:
        session.oracle.decide(call, question, decision, refuses=refuses)


def prompt(session: SessionBuilder, session_id: str) -> SpelledId:
    """The client sends a prompt."""
    params = an_object([("sessionId", quoted(session_id)), ("prompt", '[{"type":"text","text":"go"}]')], session.gap)
    return session.request("session/prompt", params, Law.ACP_CALLS)


def end_prompt(session: SessionBuilder, spelled: SpelledId, session_id: str, *, fails: bool = False) -> None:
    """The agent's answer to a prompt, a result or an error, ends what its session left open."""
    if fails:
        session.respond(spelled, "error", '{"code":-32603,"message":"boom"}', Law.ACP_CALLS)
    else:
        session.respond(spelled, "result", '{"stopReason":"cancelled"}', Law.ACP_CALLS)
    session.oracle.end_prompt(session_id)


def _new_call(session: SessionBuilder, choices: ChoiceSource) -> tuple[str, str]:
    return choices.pick(_SESSIONS), f"tool-{session.fresh()}"


def agent_call(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call of the agent's: announced, perhaps more than once, told of, and ended; perhaps told of once more."""
    session_id, call_id = _new_call(session, choices)
    for status in ("pending", "in_progress")[: 1 + choices.number(2)]:
        tell(session, session_id, call_id, some_update(session, choices, status), status, update="tool_call")
        yield
    for _ in range(choices.number(3)):
        tell(session, session_id, call_id, some_update(session, choices, None))
        yield
    status = choices.pick(("completed", "failed"))
    tell(session, session_id, call_id, some_update(session, choices, status, ends=True), status)
    yield
    if choices.chance(3):
        update = choices.pick(("tool_call_update", "tool_call"))
        status = choices.pick(("in_progress", "completed"))
        tell(session, session_id, call_id, some_update(session, choices, status), status, update=update)


def ended_at_once(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call that is only told of when it has ended."""
    session_id, call_id = _new_call(session, choices)
    status = choices.pick(("completed", "failed"))
    update = choices.pick(("tool_call_update", "tool_call"))
    tell(session, session_id, call_id, some_update(session, choices, status, ends=True), status, update=update)
    yield


def permitted_call(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call that needs permission, which is asked for before it is announced, or after."""
    session_id, call_id = _new_call(session, choices)
    prompted = prompt(session, session_id)
    yield
    said = some_update(session, choices, "pending")
    if choices.chance(2):
        tell(session, session_id, call_id, said, "pending", update="tool_call")
        yield
    asked = ask_permission(session, session_id, call_id, said)
    yield
    ends = choices.number(4)
    if ends < 3:
        outcome, decision, refuses = choices.pick(CHOICES)
        choose(session, asked, outcome, decision, refuses=refuses)
        yield
    if ends in {0, 3}:
        status = choices.pick(("completed", "failed"))
        tell(session, session_id, call_id, some_update(session, choices, status, ends=True), status)
        yield
    elif ends == 1:
        tell(session, session_id, call_id, some_update(session, choices, "in_progress"), "in_progress", update="tool_call")
        yield
    end_prompt(session, prompted, session_id, fails=choices.chance(3))


def left_behind(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call that its prompt leaves behind; what comes of it later adds nothing."""
    session_id, call_id = _new_call(session, choices)
    prompted = prompt(session, session_id)
    yield
    tell(session, session_id, call_id, some_update(session, choices, "pending"), "pending", update="tool_call")
    yield
    end_prompt(session, prompted, session_id, fails=choices.chance(2))
    yield
    if choices.chance(2):
        tell(session, session_id, call_id, some_update(session, choices, "completed"), "completed")


def loaded_session(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A session is loaded: what it held comes again, and is no call; what comes after the answer is one."""
    session_id, call_id = f"old-{session.fresh()}", f"tool-{session.fresh()}"
    params = an_object([("sessionId", quoted(session_id)), ("cwd", '"/srv"'), ("mcpServers", "[]")], session.gap)
    loading = session.request("session/load", params, Law.ACP_HISTORY)
    session.oracle.history.add(session_id)
    session.features.add(Feature.HISTORY)
    yield
    for _ in range(1 + choices.number(2)):
        old = some_update(session, choices, "completed")
        update = choices.pick(("tool_call", "tool_call_update"))
        tell(session, session_id, f"tool-{session.fresh()}", old, "completed", update=update, law=Law.ACP_HISTORY)
        yield
    session.respond(loading, *choices.pick((("result", "{}"), ("result", "null"), ("error", '{"code":1,"message":"gone"}'))))
    session.oracle.history.discard(session_id)
    yield
    tell(session, session_id, call_id, some_update(session, choices, "completed"), "completed", law=Law.ACP_HISTORY)


def other_updates(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """What else an agent tells and asks: messages, plans, files and terminals of the client's."""
    update = choices.pick(("agent_message_chunk", "plan", "agent_thought_chunk", "available_commands_update"))
    params = f'{{"sessionId":"sess-1","update":{{"sessionUpdate":{quoted(update)},"toolCallId":"x","status":"completed"}}}}'
    session.notify("session/update", params, Law.ACP_CALLS)
    yield
    method = choices.pick(("fs/read_text_file", "fs/write_text_file", "terminal/create"))
    asked = session.ask(method, '{"sessionId":"sess-1","path":"/srv/a"}', Law.ACP_CALLS)
    yield
    session.reply(asked, "result", '{"content":"x"}', Law.ACP_CALLS)


ACP_SCENARIOS: Final[tuple[Scenario, ...]] = (
    agent_call,
    in_room(permitted_call, agent_call),
    left_behind,
    ended_at_once,
    loaded_session,
    other_updates,
)
