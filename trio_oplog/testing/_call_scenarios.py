"""Scenarios: the short stories that a session is made of.  Each is a generator that pauses wherever another one may go on.

A scenario decides everything by its own choices, so that it tells the same story in whatever order scenarios take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from attrs import evolve

from trio_oplog._operation import Outcome
from trio_oplog.testing._answers import some_answer
from trio_oplog.testing._builder import CLIENT, SERVER, SessionBuilder
from trio_oplog.testing._call_texts import ALIKE_IDS, HOSTILE_IDS, PLAIN_IDS, laws_of_id, respelled, some_call
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._expecting import Peers, identity
from trio_oplog.testing._facts import Ending, OpenCall
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature

Scenario: TypeAlias = Callable[[SessionBuilder, ChoiceSource], Iterator[None]]


def begin_call(session: SessionBuilder, choices: ChoiceSource, dialect: Feature, spelled: SpelledId) -> SpelledId:
    """The client calls a tool.

    Returns:
        The id that the call has: another one where this one would leave it to chance which call is meant.
    """
    if spelled.key in session.oracle.spent:
        spelled = session.fresh_id()
    text, facts = some_call(session, choices, dialect, spelled)
    facts = evolve(facts, laws=laws_of_id(spelled))
    session.say(CLIENT, text, Law.EVERY_CALL_ONCE)
    if "\\ud" in spelled.text:
        session.features.add(Feature.LONE_SURROGATE)
    call = OpenCall(key=spelled.key, facts=facts, began=session.oracle.frame, dialect=dialect, spelled_id=spelled)
    session.oracle.begin(call)
    return spelled


def answer(session: SessionBuilder, choices: ChoiceSource, spelled: SpelledId) -> None:
    """The server answers an id, whoever has it now."""
    call, is_alike = session.oracle.target(spelled.key)
    server_known = session.oracle.peers.server_name is not None
    members, ending = some_answer(session, choices, call.dialect if call else None, server_known=server_known)
    # Another spelling of a number that is only alike to begin with, the rules leave open.
    text = respelled(spelled, choices) if session.hostile and not is_alike else spelled.text
    members.insert(choices.pick((0, len(members))), ("id", text))
    if choices.chance(3):
        members.insert(0, ("jsonrpc", '"2.0"'))
    session.say(SERVER, an_object(members, session.gap), Law.EXACT_IDS)
    session.oracle.answer(spelled.key, ending)


def some_id(session: SessionBuilder, choices: ChoiceSource) -> SpelledId:
    """An id: among friends one that is not in use."""
    if session.hostile:
        return choices.pick(HOSTILE_IDS)
    spelled = choices.pick(PLAIN_IDS)
    return spelled if not session.oracle.with_key(spelled.key) else session.fresh_id()


def answered_call(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call and its answer."""
    spelled = begin_call(session, choices, choices.pick(session.dialects), some_id(session, choices))
    yield
    answer(session, choices, spelled)


def unanswered_call(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call that nobody answers."""
    begin_call(session, choices, choices.pick(session.dialects), some_id(session, choices))
    yield


def cancelled_call(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call that the client takes back, and perhaps a late answer."""
    if Feature.MCP not in session.dialects:
        yield from answered_call(session, choices)
        return
    spelled = begin_call(session, choices, Feature.MCP, some_id(session, choices))
    yield
    waiting = session.oracle.with_key(spelled.key)
    # Which of two calls with one id a client means, and whether Codex cares, nobody says.
    if len(waiting) == 1 and waiting[0].dialect is Feature.MCP:
        said, reason = choices.pick((('"AbortError"', "AbortError"), (None, ""), ("7", ""), ('"stöp"', "stöp"), ("null", "")))
        params = an_object([("requestId", spelled.text), ("reason", said)], session.gap)
        session.notify("notifications/cancelled", params, Law.CANCELLED, direction=CLIENT)
        session.features.add(Feature.CANCELLATION)
        laws = (Law.CANCEL_REASON, Law.CANCELLED)
        session.oracle.end(waiting[0], Ending(outcome=Outcome.CANCELLED, text=reason, laws=laws))
        session.oracle.spent.add(spelled.key)
        yield
        # A late answer is nobody's, unless a call is open whose id is the same in the other type.
        if choices.chance(2) and session.oracle.target(spelled.key)[0] is None:
            session.say(SERVER, an_object([("id", spelled.text), ("result", "{}")], session.gap), Law.CANCELLED)
    else:
        answer(session, choices, spelled)


def two_calls_any_order(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two calls open at once, answered in one order or the other."""
    first = begin_call(session, choices, choices.pick(session.dialects), some_id(session, choices))
    yield
    second = begin_call(session, choices, choices.pick(session.dialects), some_id(session, choices))
    yield
    for spelled in choices.pick(((second, first), (first, second))):
        answer(session, choices, spelled)
        yield


def batched_calls(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Calls in a batch, answers in another, the other way round."""
    ids = []
    for number in range(2 + choices.number(2)):
        session.joins = number > 0
        ids.append(begin_call(session, choices, choices.pick(session.dialects), some_id(session, choices)))
    yield
    for number, spelled in enumerate(reversed(ids)):
        session.joins = number > 0
        answer(session, choices, spelled)


def alike_ids(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two calls whose ids look alike, and are not."""
    one, other = (SpelledId(text) for text in choices.pick(ALIKE_IDS))
    one = begin_call(session, choices, choices.pick(session.dialects), one)
    yield
    other = begin_call(session, choices, choices.pick(session.dialects), other)
    yield
    for spelled in choices.pick(((other, one), (one, other))):
        answer(session, choices, spelled)
        yield


def answer_in_the_other_type(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """An answer whose id is 7 for "7", or "7" for 7."""
    number = 1_000 + session.fresh()
    asked, answered = choices.pick(((f"{number}", f'"{number}"'), (f'"{number}"', f"{number}")))
    begin_call(session, choices, choices.pick(session.dialects), SpelledId(asked))
    yield
    answer(session, choices, SpelledId(answered))


def one_id_twice(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """One id for two open calls, and as many answers."""
    spelled = choices.pick(HOSTILE_IDS)
    used = begin_call(session, choices, choices.pick(session.dialects), spelled)
    yield
    begin_call(session, choices, choices.pick(session.dialects), used)
    yield
    answer(session, choices, used)
    yield
    answer(session, choices, used)


def server_reuses_id(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """In the middle of a call the server asks something, with the very id of the call, and the client answers that."""
    spelled = begin_call(session, choices, choices.pick(session.dialects), some_id(session, choices))
    yield
    method = choices.pick(('"roots/list"', '"item/tool/call"', '"tools/call"', '"notifications/cancelled"'))
    params = choices.pick((an_object([("requestId", spelled.text)]), "null", '{"name":"x","tool":"x","arguments":{}}'))
    members: list[tuple[str, str | None]] = [("method", method), ("id", spelled.text), ("params", params)]
    if choices.chance(4):
        members.append(("result", "{}"))
    session.say(SERVER, an_object(members, session.gap), Law.RESPONSES_END)
    if session.oracle.with_key(spelled.key):
        session.features.add(Feature.SERVER_REUSES_ID)
    yield
    reply = choices.pick(('{"action":"accept"}', "null"))
    session.say(CLIENT, an_object([("id", spelled.text), ("result", reply)], session.gap), Law.RESPONSES_END)
    yield
    answer(session, choices, spelled)


def too_many_calls(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """More calls than the limit (where it is small), then an answer to each."""
    ids = []
    for _ in range(min(session.config.max_pending, 3) + 1 + choices.number(2)):
        ids.append(begin_call(session, choices, choices.pick(session.dialects), session.fresh_id()))
        yield
    for spelled in ids if choices.chance(2) else reversed(ids):
        answer(session, choices, spelled)
        yield


def handshake(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Client and server say who they are."""
    known = session.oracle.peers != Peers()
    # Whether a server's name is also that of an MCP call that is open meanwhile, the rules leave open.
    if not known and not session.oracle.open and len(session.oracles) == 1:
        if Feature.CODEX in session.dialects:
            codex_handshake(session)
        elif choices.chance(3):
            acp_handshake(session)
        else:
            name = choices.pick(("everything", "srv-ü", "mcp-servers/x"))
            mcp_handshake(session, choices.pick(("initialize", "server/discover")), name, choices.pick(("1", None)))
    yield


def mcp_handshake(session: SessionBuilder, method: str, name: str, version: str | None = "1") -> None:
    """An MCP client and its server introduce themselves."""
    info = an_object([("name", quoted(name)), ("version", version and quoted(version))], session.gap)
    if method == "initialize":
        params = '{"protocolVersion":"2025-11-25","clientInfo":{"name":"host","version":"3"},"capabilities":{}}'
        result = f'{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{info}}}'
        peers = Peers(client="host/3", server=identity(name, version), protocol="2025-11-25", server_name=name)
    else:
        params = "{}"
        result = f'{{"supportedVersions":["2026-07-28"],"capabilities":{{}},"serverInfo":{info}}}'
        peers = Peers(server=identity(name, version), server_name=name)
    session.respond(session.request(method, params, Law.CONTEXT), "result", result, Law.CONTEXT)
    session.oracle.peers = peers


def codex_handshake(session: SessionBuilder) -> None:
    """A client of Codex app-server introduces itself; the answer names both in one text."""
    params = '{"clientInfo":{"name":"tui","title":"Terminal","version":"0.9"},"capabilities":{"experimentalApi":true}}'
    result = '{"userAgent":"tui/0.171.0 (Linux 6; x86_64) term (tui; 0.9)","platformOs":"linux"}'
    session.respond(session.request("initialize", params, Law.CONTEXT), "result", result, Law.CONTEXT)
    session.oracle.peers = Peers(client="tui/0.9", server="codex/0.171.0")


def acp_handshake(session: SessionBuilder) -> None:
    """An editor and an ACP agent introduce themselves; its protocol's version is a number."""
    params = '{"protocolVersion":1,"clientInfo":{"name":"editor","version":"7"},"clientCapabilities":{}}'
    result = '{"protocolVersion":1,"agentInfo":{"name":"agent","version":"0.4"},"agentCapabilities":{}}'
    session.respond(session.request("initialize", params, Law.CONTEXT), "result", result, Law.CONTEXT)
    session.oracle.peers = Peers(client="editor/7", server="agent/0.4", protocol="1")


CALL_SCENARIOS: Final[tuple[Scenario, ...]] = (answered_call, two_calls_any_order, batched_calls, cancelled_call, unanswered_call)
HOSTILE_CALL_SCENARIOS: Final[tuple[Scenario, ...]] = (
    alike_ids,
    one_id_twice,
    server_reuses_id,
    too_many_calls,
    answer_in_the_other_type,
)
