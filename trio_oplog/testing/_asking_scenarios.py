"""Scenarios in which an MCP server asks the client something in the middle of a call, or takes its question back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_oplog._operation import Outcome
from trio_oplog.testing._builder import CLIENT, SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario, answer, answered_call
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Ending, OpenCall
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature
from trio_oplog.testing._task_scenarios import call_tool

ELICIT: Final = "elicitation/create"
_SAMPLE: Final = "sampling/createMessage"


def elicit(
    session: SessionBuilder,
    call: OpenCall | None,
    member: str = "result",
    value: str = '{"action":"accept"}',
    *,
    spelled: str | None = None,
) -> None:
    """The server asks a person, who answers; ``call`` is what the rules say that it is about, ``spelled`` the server's id."""
    asked = session.ask(ELICIT, '{"message":"Go on?","requestedSchema":{}}', Law.APPROVAL_LINK, spelled=spelled)
    question = None if call is None else session.oracle.ask(call)
    session.reply(asked, member, value, Law.APPROVALS)
    if call is not None and question is not None:
        decisions = {f'{{"action":"{each}"}}': each for each in ("accept", "decline", "cancel")}
        reason = "no screen" if member == "error" else None
        session.oracle.decide(call, question, decisions.get(value), reason=reason)


def take_back(session: SessionBuilder, spelled: str) -> None:
    """The server's own ``notifications/cancelled``."""
    params = an_object([("requestId", spelled), ("reason", '"never mind"')], session.gap)
    session.notify("notifications/cancelled", params, Law.ONLY_REQUESTER_CANCELS)
    session.features.add(Feature.SERVER_CANCELS)


def asked_in_the_middle(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call in the middle of which a person is asked: once, twice, by error or nonsense, or in vain."""
    spelled = call_tool(session, "ask", '{"n":1}', law=Law.APPROVAL_LINK)
    yield
    call = session.oracle.lone_mcp_call()
    if call is None or call.key != spelled.key:
        answer(session, choices, spelled)
        return
    server_id = choices.pick((None, spelled.text))  # both sides number their requests as they like
    for _ in range(1 + choices.number(2)):
        member, value = choices.pick(
            (
                ("result", '{"action":"accept"}'),
                ("result", '{"action":"decline"}'),
                ("result", '{"action":"cancel"}'),
                ("error", '{"code":-1,"message":"no screen"}'),
                ("result", '{"yes":true}'),
            )
        )
        elicit(session, call, member, value, spelled=server_id)
    if choices.chance(3):
        asked = session.ask(ELICIT, '{"message":"Still there?"}', Law.APPROVAL_LINK, spelled=server_id)
        question = session.oracle.ask(call)
        ends = choices.number(3)
        if ends == 1:
            take_back(session, asked)
            session.oracle.withdraw(call, question)
        elif ends == 2:
            cancel(session, call, spelled)
        if ends:  # too late
            session.reply(asked, "result", '{"action":"accept"}', Law.ONLY_REQUESTER_CANCELS)
        if ends == 2:
            return
    answer(session, choices, spelled)


def cancel(session: SessionBuilder, call: OpenCall, spelled: SpelledId) -> None:
    """The client takes its call back while a person is asked about it."""
    params = an_object([("requestId", spelled.text), ("reason", '"closed the dialog"')], session.gap)
    session.notify("notifications/cancelled", params, Law.CANCELLED, direction=CLIENT)
    session.oracle.end(call, Ending(outcome=Outcome.CANCELLED, text="closed the dialog", laws=(Law.CANCELLED,)))


def sampled_in_the_middle(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call in the middle of which the server asks the client's model: nobody waits, and nobody approves anything."""
    spelled = call_tool(session, "sum", '{"n":2}', law=Law.WAITS)
    yield
    call = session.oracle.lone_mcp_call()
    if call is not None and call.key == spelled.key:
        asked = session.ask(_SAMPLE, '{"messages":[],"maxTokens":9}', Law.WAITS)
        session.reply(asked, "result", '{"role":"assistant"}', Law.WAITS)
    answer(session, choices, spelled)


def asked_about_nothing(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A person is asked while no call of MCP is open."""
    calls = [call for call in session.oracle.open if call.dialect is Feature.MCP]
    if not calls and not session.world.suspended:
        elicit(session, None)
    yield
    yield from answered_call(session, choices)


def cancelled_by_the_server(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """The server's ``notifications/cancelled`` names the id of a call, which is none of its requests."""
    spelled = SpelledId(choices.pick((f"{2_000 + session.fresh()}", quoted(f"own-{session.fresh()}"))))
    call_tool(session, "slow", '{"n":3}', spelled=spelled, law=Law.ONLY_REQUESTER_CANCELS)
    yield
    take_back(session, spelled.text)
    yield
    answer(session, choices, spelled)


ASKING_SCENARIOS: Final[tuple[Scenario, ...]] = (
    asked_in_the_middle,
    cancelled_by_the_server,
    sampled_in_the_middle,
    asked_about_nothing,
)
